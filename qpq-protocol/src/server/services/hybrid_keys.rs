//! Hybrid keys: signed by their owner, and only ever replaced by newer ones (protocol.md §5.21).

use super::delivery::parse_identity;
use crate::ids::IdentityKey;
use crate::proto;
use crate::server::caller::Caller;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, commit, load_fresh, read};
use crate::storage::keys;
use crate::storage::records::HybridKey;
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
    load_fresh(ctx, keys::hybrid_key(&identity), move |ctx, known| {
        let new = HybridKey {
            public_key: request.hybrid_public_key,
            signature: request.signature,
            created_at_ms: request.created_at_ms,
        };
        match &*known {
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
        let mut change = Change::default();
        change.put(&known, &new);
        commit(ctx, change, |_| {
            Ok(Step::ok(&proto::UploadHybridKeyResponse {}))
        })
    })
}

/// Method 303.
pub(in crate::server) fn fetch_hybrid_key(
    _: &mut Ctx<'_>,
    _: &Caller,
    request: proto::FetchHybridKeyRequest,
) -> Next<proto::FetchHybridKeyResponse> {
    let identity = parse_identity(&request.identity_key)?;
    read(keys::hybrid_key(&identity), |_, key| {
        let key = key.into_value().unwrap_or_default();
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
    let wanted: Vec<_> = identities.iter().map(keys::hybrid_key).collect();
    read(wanted, |_, hybrid_keys| {
        let mut response = proto::FetchHybridKeysResponse::default();
        for key in hybrid_keys {
            let key = key.into_value().unwrap_or_default();
            response.keys.push(key.public_key);
            response.signatures.push(key.signature);
            response.created_at_ms.push(key.created_at_ms);
        }
        Ok(Step::ok(&response))
    })
}
