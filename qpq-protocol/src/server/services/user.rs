//! Names and identity keys (methods 500 and 501).
//!
//! The fields of the transparency log (§5.25) stay empty in this version: there is no log yet, and a
//! client can tell from the empty tree head.

use bytes::Bytes;

use crate::ids::IdentityKey;
use crate::limits::RateClass;
use crate::proto::{
    ResolveIdentityRequest, ResolveIdentityResponse, ResolveUserRequest, ResolveUserResponse,
};
use crate::server::caller::Caller;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::read;
use crate::storage::keys;

/// 500: the identity key of a name.
pub(in crate::server) fn resolve_user(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: ResolveUserRequest,
) -> Next<ResolveUserResponse> {
    let identity = caller.identity()?;
    ctx.limit(RateClass::Resolves, &[identity.as_bytes()], 1)?;
    let name = match request.username.split_once('@') {
        None => request.username.as_str(),
        Some((name, domain)) if domain == ctx.config.domain => name,
        Some(_) => {
            return Err(Fault::unavailable(
                "users of other servers are not in this version of the server",
            ));
        }
    };
    read(keys::name(name), |_, name| {
        let name = name.into_value();
        let known = name.filter(|name| !name.identity_key.is_empty());
        let name = known.ok_or_else(|| Fault::not_found("no user has this name"))?;
        Ok(Step::ok(&ResolveUserResponse {
            identity_key: name.identity_key,
            ..ResolveUserResponse::default()
        }))
    })
}

/// 501: the name of an identity key.
pub(in crate::server) fn resolve_identity(
    _: &mut Ctx<'_>,
    _: &Caller,
    request: ResolveIdentityRequest,
) -> Next<ResolveIdentityResponse> {
    let identity = identity(&request.identity_key)?;
    read(keys::account(&identity), |_, account| {
        let account = account.into_value();
        let account = account.ok_or_else(|| Fault::not_found("no user has this identity key"))?;
        Ok(Step::ok(&ResolveIdentityResponse {
            username: account.username,
        }))
    })
}

fn identity(key: &Bytes) -> Result<IdentityKey, Fault> {
    IdentityKey::try_from(key.as_ref())
        .map_err(|_| Fault::bad_request("the identity key has a wrong length"))
}
