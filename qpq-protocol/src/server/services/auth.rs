//! Accounts and sessions (methods 100 to 105, protocol.md §5.15-5.18).
//!
//! What a caller can learn of a name is the same whether it exists or not: registration and login
//! start alike, with one read or none, the login of an unknown name fails at its end like one with a
//! wrong password, and all answers are paced. Only 101 tells that a name is taken.

mod openings;
mod register;
mod resume;
mod session;
mod tickets;

pub(in crate::server) use register::{register_finish, register_start};
pub(in crate::server) use resume::resume;
pub(in crate::server) use session::{check_again, forget_sessions, logout};

use bytes::Bytes;
use qpq_crypto::opaque::{self, OpaqueError};
use sha2::{Digest as _, Sha256};

use crate::ids::{DeviceId, IdentityKey};
use crate::proto::{
    OpaqueLoginFinishRequest, OpaqueLoginFinishResponse, OpaqueLoginStartRequest,
    OpaqueLoginStartResponse,
};
use crate::server::caller::Caller;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::login_slot::{Counted, LoginSlot, Proof};
use crate::server::policy::Question;
use crate::server::policy_check;
use crate::server::rate::octets;
use crate::server::step::{Next, Step};
use crate::server::txn::{load_fresh, read};
use crate::storage::keys;
use crate::storage::records::Name;
use crate::time::Time;

/// 102: begins a login. An unknown name gets an answer from a fake record.
///
/// It counts as a failure until its LoginFinish succeeds: anyone who guesses knows from this answer
/// whether the guess was right, and would never send the second request.
pub(in crate::server) fn login_start(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: OpaqueLoginStartRequest,
) -> Next<OpaqueLoginStartResponse> {
    let by_name = Counted::Name(octets(caller.address));
    let (name_key, at) = (keys::name(&request.username), ctx.now);
    if request.ticket.is_empty() {
        by_name.count(ctx, &request.username)?;
        return read(name_key, move |ctx, name| {
            begin_login(ctx, request, name.into_value(), (by_name, at))
        });
    }
    read(name_key, move |_, name| {
        let name = name.into_value();
        // An unknown name has an account that nobody has: the reads are the same.
        let identity = match known(name.as_ref()) {
            Some(name) => IdentityKey::try_from(name.identity_key.as_ref()).map_err(|_| wrong())?,
            None => IdentityKey(Sha256::digest(request.username.as_bytes()).into()),
        };
        read(keys::account(&identity), move |ctx, account| {
            let account = account.into_value().unwrap_or_default();
            let counted = match tickets::holder(&account, &request.ticket) {
                Some(device) => Counted::Device(identity, device),
                None => by_name,
            };
            let at = ctx.now;
            counted.count(ctx, &request.username)?;
            begin_login(ctx, request, name, (counted, at))
        })
    })
}

/// What is stored of a name that somebody has.
fn known(name: Option<&Name>) -> Option<&Name> {
    name.filter(|name| !name.identity_key.is_empty())
}

/// Begins a login that was counted.
fn begin_login(
    ctx: &mut Ctx<'_>,
    request: OpaqueLoginStartRequest,
    name: Option<Name>,
    (counted, counted_at): (Counted, Time),
) -> Next<OpaqueLoginStartResponse> {
    let known = known(name.as_ref());
    let seed = ctx.seed();
    let (state, response) = opaque::server::login_start(
        &ctx.keys.opaque,
        &seed,
        &ctx.config.domain,
        &request.username,
        known.map(|name| name.record.as_ref()),
        &request.request,
    )
    .map_err(refused)?;
    let newest = || String::from_utf8_lossy(ctx.config.opaque_suite.as_bytes()).into_owned();
    let suite = known.map_or_else(newest, |name| name.suite.clone());
    *ctx.login = Some(LoginSlot {
        expires: ctx.now + ctx.config.limits.login_state,
        counted,
        counted_at,
        username: request.username,
        name,
        proof: Proof::Asked(state),
    });
    Ok(Step::ok(&OpaqueLoginStartResponse {
        response: response.into(),
        suite,
    }))
}

/// 103: ends a login with a session.
pub(in crate::server) fn login_finish(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: OpaqueLoginFinishRequest,
) -> Next<OpaqueLoginFinishResponse> {
    let address = caller.address;
    let device_id = DeviceId::from_wire(&request.device_id)
        .map_err(|_| Fault::bad_request("the device id has a wrong length"))?;
    let name = prove(ctx, &request)?.ok_or_else(wrong)?;
    let identity = IdentityKey::try_from(name.identity_key.as_ref()).map_err(|_| wrong())?;
    if !request.identity_key.is_empty() && request.identity_key != name.identity_key {
        *ctx.login = None;
        return Err(Fault::unauthorized(
            "that name belongs to another identity key than the one you expect",
        ));
    }
    let wanted = (
        keys::name(&request.username),
        keys::account(&identity),
        keys::device(&identity, &device_id),
        keys::device_set(&identity),
    );
    // What is refused here ends the login, so it can't run again to be sure of what it read.
    load_fresh(
        ctx,
        wanted,
        move |ctx, (stored, account, device, devices)| {
            if stored.as_ref() != Some(&name) {
                *ctx.login = None;
                return Err(Fault::unauthorized(
                    "the password was changed just now: log in again",
                ));
            }
            if device.as_ref().is_some_and(|used| used.retired) {
                *ctx.login = None;
                return Err(Fault::forbidden(
                    "this device was revoked and its id is never used again: take a new one",
                ));
            }
            let opening = session::Opening {
                identity,
                device_id,
                account,
                device,
                devices,
                chain: request.chain,
            };
            let question = ctx.question(|| Question::Login {
                username: request.username.clone(),
                identity_key: identity,
                device_id,
                address,
            });
            policy_check::check_policy(ctx, question, move |ctx| {
                opening.open(ctx, move |opened| OpaqueLoginFinishResponse {
                    session_token: Bytes::copy_from_slice(&opened.token),
                    identity_key: Bytes::copy_from_slice(identity.as_bytes()),
                    expires_at_ms: opened.expires_at_ms,
                    sealed_identity: name.sealed_identity,
                    server_time_ms: opened.server_time_ms,
                    server_epoch: opened.server_epoch,
                    last: opened.last.clone(),
                    ticket: Bytes::copy_from_slice(&opened.ticket),
                })
            })
        },
    )
}

/// Checks the finalization; the stored name that the password belongs to.
fn prove(ctx: &mut Ctx<'_>, request: &OpaqueLoginFinishRequest) -> Result<Option<Name>, Fault> {
    let shown: [u8; 32] = Sha256::digest(&request.finalization).into();
    let slot = ctx
        .login
        .take()
        .filter(|slot| slot.expires > ctx.now && slot.username == request.username);
    let Some(slot) = slot else {
        return Err(Fault::bad_request(
            "no login of this name is under way here: start again",
        ));
    };
    match slot.proof {
        Proof::Asked(state) => {
            state.finish(&request.finalization).map_err(|_| wrong())?;
            slot.counted
                .take_back(ctx, &request.username, slot.counted_at);
        }
        Proof::Shown(before) if before == shown => {}
        Proof::Shown(_) => return Err(wrong()),
    }
    let name = slot.name.clone();
    *ctx.login = Some(LoginSlot {
        proof: Proof::Shown(shown),
        ..slot
    });
    Ok(name)
}

/// The one answer to a wrong password and to an unknown name.
fn wrong() -> Fault {
    Fault::unauthorized("wrong name or password")
}

fn refused(error: OpaqueError) -> Fault {
    Fault::bad_request(error.to_string())
}
