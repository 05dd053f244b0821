//! Hybrid keys: signed by their owner, and only ever replaced by newer ones (protocol.md §5.21).

use super::delivery::parse_identity;
use crate::ids::IdentityKey;
use crate::proto;
use crate::server::step::{
    Caller, Ctx, Fault, Next, Step, commit, decode_row, encode_row, load_fresh, read, read_all,
    unchanged,
};
use crate::storage::records::HybridKey;
use crate::storage::{Commit, keys};
use crate::time::UnixTime;

/// Method 302.
pub(in crate::server) fn upload_hybrid_key(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::UploadHybridKeyRequest,
) -> Next<proto::UploadHybridKeyResponse> {
    let identity = caller.identity()?;
    qpq_crypto::proof::verify_hybrid_key(
        &identity,
        &request.hybrid_public_key,
        request.created_at_ms,
        &request.signature,
    )
    .map_err(|_| Fault::bad_request("the hybrid key is not signed by the identity key"))?;
    let skew = ctx.config.limits.signed_time;
    if UnixTime::from_millis(request.created_at_ms) > ctx.unix + skew {
        return Err(Fault::bad_request("created_at_ms lies in the future"));
    }
    let key = keys::hybrid_key(&identity);
    load_fresh(ctx, [key.clone()], move |_, [row]| {
        let new = HybridKey {
            public_key: request.hybrid_public_key,
            signature: request.signature,
            created_at_ms: request.created_at_ms,
        };
        match decode_row::<HybridKey>(&row)? {
            Some(old)
                if old.public_key == new.public_key && old.created_at_ms == new.created_at_ms =>
            {
                return Ok(Step::ok(&proto::UploadHybridKeyResponse {}));
            }
            Some(old) if old.created_at_ms >= new.created_at_ms => {
                return Err(Fault::conflict("a newer hybrid key is known"));
            }
            _ => {}
        }
        let change = Commit {
            checks: vec![unchanged(&key, &row)],
            puts: vec![(key, encode_row(&new))],
            ..Commit::default()
        };
        commit(change, |_| Ok(Step::ok(&proto::UploadHybridKeyResponse {})))
    })
}

/// Method 303.
pub(in crate::server) fn fetch_hybrid_key(
    _: &mut Ctx<'_>,
    _: &Caller,
    request: proto::FetchHybridKeyRequest,
) -> Next<proto::FetchHybridKeyResponse> {
    let identity = parse_identity(&request.identity_key)?;
    read([keys::hybrid_key(&identity)], |_, [row]| {
        let key = decode_row::<HybridKey>(&row)?.unwrap_or_default();
        Ok(Step::ok(&proto::FetchHybridKeyResponse {
            hybrid_public_key: key.public_key,
            signature: key.signature,
            created_at_ms: key.created_at_ms,
        }))
    })
}

/// Method 304.
pub(in crate::server) fn fetch_hybrid_keys(
    ctx: &mut Ctx<'_>,
    _: &Caller,
    request: proto::FetchHybridKeysRequest,
) -> Next<proto::FetchHybridKeysResponse> {
    let identities = request.identity_keys.iter().map(parse_identity);
    let identities = identities.collect::<Result<Vec<IdentityKey>, Fault>>()?;
    if identities.is_empty() || identities.len() > ctx.config.limits.recipients {
        return Err(Fault::bad_request(
            "identity_keys names nobody, or more than `recipients`",
        ));
    }
    read_all(
        identities.iter().map(keys::hybrid_key).collect(),
        |_, rows| {
            let mut response = proto::FetchHybridKeysResponse::default();
            for row in rows {
                let key = decode_row::<HybridKey>(&row)?.unwrap_or_default();
                response.keys.push(key.public_key);
                response.signatures.push(key.signature);
                response.created_at_ms.push(key.created_at_ms);
            }
            Ok(Step::ok(&response))
        },
    )
}
