//! What the method table says of a request, checked once: how long it may be, who may call, that it can be read.

use bytes::Bytes;

use super::caller::Caller;
use super::ctx::Ctx;
use super::fault::Fault;
use super::line::Line;
use super::step::{Next, Step};
use crate::limits::Limits;
use crate::method::{Caller as Rule, Method, Rpc};
use crate::wire::decode_request;

/// Whether a request of this size may be read: its method and the caller allow it.
pub(super) fn check_length(
    has_session: bool,
    method: Method,
    length: usize,
    limits: &Limits,
) -> Result<(), Fault> {
    let most = if has_session {
        method.max_request()
    } else {
        method.max_request().min(limits.anonymous_payload)
    };
    if length <= most {
        return Ok(());
    }
    if length <= method.max_request() && needs_session(method) {
        return Err(Fault::no_session());
    }
    let of = match length <= method.max_request() {
        true => " without a session (`anonymous_payload`)",
        false => "",
    };
    Err(Fault::bad_request(format!(
        "a payload of {length} bytes is too long: {most} are allowed here{of}"
    )))
}

/// Decodes the request, checks its lengths and who asks, and calls the handler.
pub(super) fn call_checked<M: Rpc>(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    line: &Line,
    payload: Bytes,
    handler: fn(&mut Ctx<'_>, &Caller, M::Request) -> Next<M::Response>,
) -> Next {
    may_call(ctx, caller, M::METHOD, line)?;
    let request =
        decode_request::<M>(payload).map_err(|error| Fault::bad_request(error.to_string()))?;
    if M::METHOD.caller() == Rule::Owner
        && M::subject(&request).map(Bytes::as_ref) != Some(caller.identity()?.as_bytes())
    {
        return Err(Fault::forbidden("that identity key is not yours"));
    }
    handler(ctx, caller, request).map(Step::erased)
}

const fn needs_session(method: Method) -> bool {
    match method.caller() {
        Rule::Anonymous | Rule::SessionOrSealed => false,
        Rule::Session | Rule::Owner | Rule::Member | Rule::Admin | Rule::Federation => true,
    }
}

/// The caller rule, as far as it does not need the request.
fn may_call(ctx: &Ctx<'_>, caller: &Caller, method: Method, line: &Line) -> Result<(), Fault> {
    if !needs_session(method) && caller.session.is_none() {
        return Ok(());
    }
    let session = caller.session()?;
    match method.caller() {
        Rule::Anonymous => return Ok(()),
        Rule::Admin if !ctx.config.admins.contains(&session.identity_key) => {
            return Err(Fault::forbidden(
                "this method is for the server's administrators",
            ));
        }
        Rule::Federation => {
            return Err(Fault::forbidden("this method is for other servers"));
        }
        Rule::Admin | Rule::Session | Rule::Owner | Rule::Member | Rule::SessionOrSealed => {}
    }
    if !session.registered && !line.is_open_to_unregistered() {
        return Err(Fault::forbidden(
            "this device is not registered: register it first",
        ));
    }
    if method.needs_fresh_login() && !session.is_fresh(ctx.date, &ctx.config.limits) {
        return Err(Fault::unauthorized(
            "this method needs a fresh login: log in again",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn these_may_be_called_without_a_session() {
        let all = Method::ALL.iter().filter(|method| !needs_session(**method));
        let ids: Vec<u16> = all.map(|method| method.id()).collect();
        assert_eq!(
            ids,
            [
                100, 101, 102, 103, 104, 200, 205, 511, 520, 521, 751, 802, 803
            ]
        );
    }
}
