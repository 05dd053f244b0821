//! From a method and a payload to its handler: what the method table says is checked here, once.

use core::time::Duration;

use bytes::Bytes;

use super::rate::octets;
use super::services::{auth, channel, delivery, devices, group, hybrid_keys, info, keys, user};
use super::step::{Caller, Ctx, Fault, Next};
use crate::limits::{Limits, RateClass};
use crate::method::{Caller as Rule, Method, Rpc, rpc};
use crate::wire::decode_request;

/// Runs the handler of a method.
pub(super) fn handle(ctx: &mut Ctx<'_>, caller: &Caller, method: Method, payload: Bytes) -> Next {
    limit(ctx, caller)?;
    match caller.session {
        Some(session) if ctx.now.since(session.checked_at) > ctx.config.limits.session_check => {
            auth::check_again(*caller, session, move |ctx, caller| {
                route(ctx, caller, method, payload)
            })
        }
        _ => route(ctx, caller, method, payload),
    }
}

fn route(ctx: &mut Ctx<'_>, caller: &Caller, method: Method, payload: Bytes) -> Next {
    match method {
        Method::OpaqueRegisterStart => {
            call::<rpc::OpaqueRegisterStart>(ctx, caller, payload, auth::register_start)
        }
        Method::OpaqueRegisterFinish => {
            call::<rpc::OpaqueRegisterFinish>(ctx, caller, payload, auth::register_finish)
        }
        Method::OpaqueLoginStart => {
            call::<rpc::OpaqueLoginStart>(ctx, caller, payload, auth::login_start)
        }
        Method::OpaqueLoginFinish => {
            call::<rpc::OpaqueLoginFinish>(ctx, caller, payload, auth::login_finish)
        }
        Method::ResumeSession => call::<rpc::ResumeSession>(ctx, caller, payload, auth::resume),
        Method::Logout => call::<rpc::Logout>(ctx, caller, payload, auth::logout),
        Method::ResolveUser => call::<rpc::ResolveUser>(ctx, caller, payload, user::resolve_user),
        Method::ResolveIdentity => {
            call::<rpc::ResolveIdentity>(ctx, caller, payload, user::resolve_identity)
        }
        Method::RegisterDevice => {
            call::<rpc::RegisterDevice>(ctx, caller, payload, devices::register_device)
        }
        Method::ListDevices => {
            call::<rpc::ListDevices>(ctx, caller, payload, devices::list_devices)
        }
        Method::RevokeDevice => {
            call::<rpc::RevokeDevice>(ctx, caller, payload, devices::revoke_device)
        }
        Method::Health => call::<rpc::Health>(ctx, caller, payload, info::health),
        Method::GetServerInfo => {
            call::<rpc::GetServerInfo>(ctx, caller, payload, info::server_info)
        }
        Method::Enqueue => call::<rpc::Enqueue>(ctx, caller, payload, delivery::enqueue),
        Method::Fetch => call::<rpc::Fetch>(ctx, caller, payload, delivery::fetch),
        Method::FetchWait => call::<rpc::FetchWait>(ctx, caller, payload, delivery::fetch_wait),
        Method::Peek => call::<rpc::Peek>(ctx, caller, payload, delivery::peek),
        Method::Ack => call::<rpc::Ack>(ctx, caller, payload, delivery::ack),
        Method::BatchEnqueue => {
            call::<rpc::BatchEnqueue>(ctx, caller, payload, delivery::batch_enqueue)
        }
        Method::SubmitCommit => {
            call::<rpc::SubmitCommit>(ctx, caller, payload, delivery::submit_commit)
        }
        Method::ListQueues => call::<rpc::ListQueues>(ctx, caller, payload, delivery::list_queues),
        Method::UploadKeyPackage => {
            call::<rpc::UploadKeyPackage>(ctx, caller, payload, keys::upload_key_package)
        }
        Method::FetchKeyPackage => {
            call::<rpc::FetchKeyPackage>(ctx, caller, payload, keys::fetch_key_package)
        }
        Method::UploadHybridKey => {
            call::<rpc::UploadHybridKey>(ctx, caller, payload, hybrid_keys::upload_hybrid_key)
        }
        Method::FetchHybridKey => {
            call::<rpc::FetchHybridKey>(ctx, caller, payload, hybrid_keys::fetch_hybrid_key)
        }
        Method::FetchHybridKeys => {
            call::<rpc::FetchHybridKeys>(ctx, caller, payload, hybrid_keys::fetch_hybrid_keys)
        }
        Method::FetchKeyPackages => {
            call::<rpc::FetchKeyPackages>(ctx, caller, payload, keys::fetch_key_packages)
        }
        Method::CountKeyPackages => {
            call::<rpc::CountKeyPackages>(ctx, caller, payload, keys::count_key_packages)
        }
        Method::CreateChannel => {
            call::<rpc::CreateChannel>(ctx, caller, payload, channel::create_channel)
        }
        Method::RemoveMember => {
            call::<rpc::RemoveMember>(ctx, caller, payload, group::remove_member)
        }
        Method::ListGroupMembers => {
            call::<rpc::ListGroupMembers>(ctx, caller, payload, group::list_group_members)
        }
        Method::RotateKeys => call::<rpc::RotateKeys>(ctx, caller, payload, group::rotate_keys),
        Method::AddMember => call::<rpc::AddMember>(ctx, caller, payload, group::add_member),
        Method::GetGroupInfo => {
            call::<rpc::GetGroupInfo>(ctx, caller, payload, group::get_group_info)
        }
        _ => Err(Fault::unavailable(format!(
            "{} is not in this version of the server",
            method.name()
        ))),
    }
}

/// Whether a request of this size may be read: its method and the caller allow it.
pub(super) fn admit(
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

/// Whether the answer may be longer than [`crate::limits::ENTRY`], up to a whole frame.
pub(super) const fn has_long_answer(method: Method) -> bool {
    matches!(
        method,
        Method::Fetch
            | Method::FetchWait
            | Method::Peek
            | Method::BatchEnqueue
            | Method::ListQueues
            | Method::FetchKeyPackage
            | Method::FetchKeyPackages
            | Method::FetchHybridKey
            | Method::FetchHybridKeys
            | Method::ListDevices
            | Method::ListGroupMembers
            | Method::GetGroupInfo
    )
}

/// Whether the method is answered while the server shuts down.
pub(super) const fn answers_while_draining(method: Method) -> bool {
    matches!(method, Method::Health | Method::GetServerInfo)
}

/// How long a step of a request may take.
pub(super) const fn time_to_run(method: Method, limits: &Limits) -> Duration {
    match method {
        Method::OpaqueRegisterStart
        | Method::OpaqueRegisterFinish
        | Method::OpaqueLoginStart
        | Method::OpaqueLoginFinish
        | Method::ResumeSession => limits.login_time,
        _ => limits.request_time,
    }
}

/// Decodes the request, checks its lengths and who asks, and runs the handler.
fn call<M: Rpc>(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    payload: Bytes,
    handler: fn(&mut Ctx<'_>, &Caller, M::Request) -> Next,
) -> Next {
    may_call(ctx, caller, M::METHOD)?;
    let request =
        decode_request::<M>(payload).map_err(|error| Fault::bad_request(error.to_string()))?;
    if M::METHOD.caller() == Rule::Owner
        && M::subject(&request).map(Bytes::as_ref) != Some(caller.identity()?.as_bytes())
    {
        return Err(Fault::forbidden("that identity key is not yours"));
    }
    handler(ctx, caller, request)
}

/// The rate that holds for every method: a session's account, else the address.
fn limit(ctx: &mut Ctx<'_>, caller: &Caller) -> Result<(), Fault> {
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

const fn needs_session(method: Method) -> bool {
    match method.caller() {
        Rule::Anonymous | Rule::SessionOrSealed => false,
        Rule::Session | Rule::Owner | Rule::Member | Rule::Admin | Rule::Federation => true,
    }
}

/// The caller rule, as far as it does not need the request.
fn may_call(ctx: &Ctx<'_>, caller: &Caller, method: Method) -> Result<(), Fault> {
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
    if !session.registered && !open_to_unregistered(method) {
        return Err(Fault::forbidden(
            "this device is not registered: register it first",
        ));
    }
    if method.needs_fresh_login() && ctx.date > session.login_at + ctx.config.limits.fresh_login {
        return Err(Fault::unauthorized(
            "this method needs a fresh login: log in again",
        ));
    }
    Ok(())
}

/// What a session of an unregistered device may call (protocol.md §5.18, and 702 soon after a login,
/// §5.27).
const fn open_to_unregistered(method: Method) -> bool {
    matches!(method.id(), 105 | 500..=521 | 700..=702 | 750..=759 | 800..=809 | 950)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_call_without_a_session_and_without_a_registered_device() {
        let ids = |which: &dyn Fn(&Method) -> bool| -> Vec<u16> {
            let all = Method::ALL.iter().filter(|method| which(method));
            all.map(|method| method.id()).collect()
        };
        assert_eq!(
            ids(&|method| !needs_session(*method)),
            [
                100, 101, 102, 103, 104, 200, 205, 511, 520, 521, 751, 802, 803
            ]
        );
        assert_eq!(
            ids(&|method| open_to_unregistered(*method)),
            [
                105, 500, 501, 502, 503, 510, 511, 520, 521, 700, 701, 702, 750, 751, 752, 800,
                801, 802, 803, 950
            ]
        );
    }
}
