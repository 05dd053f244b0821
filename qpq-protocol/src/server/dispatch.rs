//! From a method and a payload to its handler: rate and session are looked at here, all else in `checks.rs`.

use bytes::Bytes;

use super::caller::Caller;
use super::ctx::Ctx;
use super::fault::Fault;
use super::rate::octets;
use super::services::auth;
use super::step::Next;
use super::table;
use crate::limits::RateClass;
use crate::method::Method;

/// Calls the handler of a method.
pub(super) fn dispatch(ctx: &mut Ctx<'_>, caller: &Caller, method: Method, payload: Bytes) -> Next {
    count_request(ctx, caller)?;
    match caller.session {
        Some(session) if ctx.now.since(session.checked_at) > ctx.config.limits.session_check => {
            auth::check_again(*caller, session, move |ctx, caller| {
                table::call(ctx, caller, method, payload)
            })
        }
        _ => table::call(ctx, caller, method, payload),
    }
}

/// The rate that holds for every method: a session's account, else the address.
fn count_request(ctx: &mut Ctx<'_>, caller: &Caller) -> Result<(), Fault> {
    match caller.session {
        Some(session) => {
            let account = session.identity_key;
            ctx.limit(RateClass::AccountRequests, &[account.as_bytes()], 1)
        }
        None => {
            let address = octets(caller.address);
            ctx.limit(RateClass::AddressRequests, &[&address], 1)
        }
    }
}
