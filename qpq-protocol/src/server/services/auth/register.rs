//! Registration and change of password (methods 100 and 101, protocol.md §5.15).

use bytes::Bytes;
use qpq_crypto::opaque;
use qpq_crypto::proof;

use super::refused;
use super::session::drop_leftovers;
use crate::ids::{DeviceId, IdentityKey};
use crate::limits::RateClass;
use crate::proto::{
    OpaqueRegisterFinishRequest, OpaqueRegisterFinishResponse, OpaqueRegisterStartRequest,
    OpaqueRegisterStartResponse,
};
use crate::server::caller::Caller;
use crate::server::ctx::Ctx;
use crate::server::effects::{Effects, Ended};
use crate::server::event::Event;
use crate::server::fault::Fault;
use crate::server::policy::Question;
use crate::server::policy_check;
use crate::server::rate::octets;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load_fresh};
use crate::storage::keys;
use crate::storage::records::{Account, DeviceSet, DeviceUse, Name, RegisteredDevice};
use crate::time::UnixTime;

/// 100: begins a registration. The answer tells nothing of the name and nothing is kept.
pub(in crate::server) fn register_start(
    ctx: &mut Ctx<'_>,
    _: &Caller,
    request: OpaqueRegisterStartRequest,
) -> Next<OpaqueRegisterStartResponse> {
    let response =
        opaque::server::registration_start(&ctx.keys.opaque, &request.username, &request.request)
            .map_err(refused)?;
    Ok(Step::ok(&OpaqueRegisterStartResponse {
        response: response.into(),
    }))
}

/// 101: stores the record of a name: a new one's, or anew for a name bound to the same key.
pub(in crate::server) fn register_finish(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: OpaqueRegisterFinishRequest,
) -> Next<OpaqueRegisterFinishResponse> {
    let limits = &ctx.config.limits;
    if request.sealed_identity.len() > limits.sealed_identity {
        return Err(Fault::bad_request(
            "the sealed identity is longer than `sealed_identity`",
        ));
    }
    let identity = IdentityKey::try_from(request.identity_key.as_ref())
        .map_err(|_| Fault::bad_request("the identity key has a wrong length"))?;
    opaque::check_upload(&request.upload).map_err(refused)?;
    check_signed_time(ctx, request.time_ms)?;
    proof::verify_register(
        &identity,
        &ctx.config.domain,
        &request.username,
        &request.upload,
        &request.sealed_identity,
        request.time_ms,
        &request.signature,
    )
    .map_err(|_| Fault::forbidden("the registration is not signed by that identity key"))?;
    // What can be told from the request alone costs nobody a registration: a clock that is wrong is set, and
    // the same person comes again.
    let class = match caller.address.is_loopback() {
        true => RateClass::LoopbackRegistrations,
        false => RateClass::Registrations,
    };
    let address = caller.address;
    ctx.limit(class, &[&octets(address)], 1)?;

    let wanted = (
        keys::name(&request.username),
        keys::account(&identity),
        keys::device_set(&identity),
        keys::device(&identity, &DeviceId::DEFAULT),
    );
    load_fresh(
        ctx,
        wanted,
        move |ctx, (name, account, devices, default)| {
            let rows = Rows {
                name,
                account,
                devices,
                default,
            };
            match &*rows.name {
                None if rows.account.is_some() => Err(Fault::conflict(
                    "this identity key has a name already: log in with that one",
                )),
                None => {
                    let question = ctx.question(|| Question::Registration {
                        username: request.username.clone(),
                        identity_key: identity,
                        invitation: request.invitation.clone().into(),
                        address,
                    });
                    policy_check::check_policy(ctx, question, move |ctx| {
                        create(ctx, identity, &request, &rows)
                    })
                }
                Some(old) if old.identity_key != request.identity_key => {
                    Err(Fault::conflict("this name is taken: choose another"))
                }
                // The same request again, its answer was lost.
                Some(old) if old.time_ms == request.time_ms && old.record == request.upload => {
                    done()
                }
                Some(old) if old.time_ms >= request.time_ms => Err(Fault::conflict(
                    "a later change of the password is already stored",
                )),
                Some(old) => replace(ctx, identity, &request, &rows, old),
            }
        },
    )
}

/// What a registration rests on.
struct Rows {
    name: Seen<Name>,
    account: Seen<Account>,
    devices: Seen<DeviceSet>,
    default: Seen<DeviceUse>,
}

/// Whether a signed time is near enough to now.
fn check_signed_time(ctx: &Ctx<'_>, time_ms: u64) -> Result<(), Fault> {
    let signed = UnixTime::from_millis(time_ms);
    let apart = ctx.config.limits.signed_time;
    if signed + apart < ctx.unix || ctx.unix + apart < signed {
        return Err(Fault::bad_request(
            "the signature's time is not now: set the clock and sign again",
        ));
    }
    Ok(())
}

/// A new account with its default device.
fn create(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    request: &OpaqueRegisterFinishRequest,
    rows: &Rows,
) -> Next<OpaqueRegisterFinishResponse> {
    let created_at_ms = ctx.unix.as_millis();
    let account = Account {
        username: request.username.clone(),
        created_at_ms,
        ..Account::default()
    };
    let devices = DeviceSet {
        devices: vec![RegisteredDevice {
            device_key: Bytes::copy_from_slice(identity.default_device_key().as_bytes()),
            created_at_ms,
            ..RegisteredDevice::default()
        }],
    };
    let suite = String::from_utf8_lossy(ctx.config.opaque_suite.as_bytes()).into_owned();
    let mut change = Change::default();
    change.put(&rows.name, &record(request, suite));
    change.put(&rows.account, &account);
    change.put(&rows.devices, &devices);
    change.put(&rows.default, &DeviceUse::default());
    let registered = Event::Registered {
        identity_key: identity,
        username: request.username.clone(),
    };
    commit(ctx, change, move |_| {
        let effects = Effects::event(registered);
        Ok(Step::ok_with(&DONE, effects))
    })
}

/// A new record for a name: ends all sessions.
fn replace(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    request: &OpaqueRegisterFinishRequest,
    rows: &Rows,
    old: &Name,
) -> Next<OpaqueRegisterFinishResponse> {
    let state = rows.account.value();
    let mut state = state.ok_or_else(|| Fault::internal("a name has no account"))?;
    let ended = core::mem::take(&mut state.sessions);
    let mut change = Change::default();
    drop_leftovers(&mut change, &identity, &state, &ended, &rows.devices);
    change.put(&rows.name, &record(request, old.suite.clone()));
    change.put(&rows.account, &state);
    commit(ctx, change, move |_| {
        let effects = Effects {
            ended: vec![Ended::Account(identity)],
            ..Effects::event(Event::PasswordChanged {
                identity_key: identity,
            })
        };
        Ok(Step::ok_with(&DONE, effects))
    })
}

fn record(request: &OpaqueRegisterFinishRequest, suite: String) -> Name {
    Name {
        identity_key: request.identity_key.clone(),
        record: request.upload.clone(),
        suite,
        sealed_identity: request.sealed_identity.clone(),
        time_ms: request.time_ms,
    }
}

const DONE: OpaqueRegisterFinishResponse = OpaqueRegisterFinishResponse { success: true };

fn done() -> Next<OpaqueRegisterFinishResponse> {
    Ok(Step::ok(&DONE))
}
