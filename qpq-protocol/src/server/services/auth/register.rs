//! Registration and change of password (methods 100 and 101, protocol.md §5.15).

use bytes::Bytes;
use qpq_crypto::opaque;
use qpq_crypto::proof;

use super::refused;
use super::session::leftovers;
use crate::ids::{DeviceId, IdentityKey};
use crate::limits::RateClass;
use crate::proto::{
    OpaqueRegisterFinishRequest, OpaqueRegisterFinishResponse, OpaqueRegisterStartRequest,
    OpaqueRegisterStartResponse,
};
use crate::server::rate::octets;
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Ended, Fault, Next, Step, commit, decode_row, encode_row, load_fresh,
    unchanged,
};
use crate::storage::records::{Account, DeviceSet, DeviceUse, Name, RegisteredDevice};
use crate::storage::{Commit, keys};
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
    ctx.limit(class, &[&octets(caller.address)], 1)?;

    let keys = [
        keys::name(&request.username),
        keys::account(&identity),
        keys::device_set(&identity),
    ];
    load_fresh(ctx, keys, move |ctx, [name, account, devices]| {
        match decode_row::<Name>(&name)? {
            None if account.is_some() => Err(Fault::conflict(
                "this identity key has a name already: log in with that one",
            )),
            None => create(ctx, identity, &request),
            Some(old) if old.identity_key != request.identity_key => {
                Err(Fault::conflict("this name is taken: choose another"))
            }
            // The same request again, its answer was lost.
            Some(old) if old.time_ms == request.time_ms && old.record == request.upload => done(),
            Some(old) if old.time_ms >= request.time_ms => Err(Fault::conflict(
                "a later change of the password is already stored",
            )),
            Some(_) => replace(identity, &request, name, account, devices),
        }
    })
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
    ctx: &Ctx<'_>,
    identity: IdentityKey,
    request: &OpaqueRegisterFinishRequest,
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
    let puts = vec![
        (
            keys::name(&request.username),
            encode_row(&record(request, suite)),
        ),
        (keys::account(&identity), encode_row(&account)),
        (keys::device_set(&identity), encode_row(&devices)),
        (
            keys::device(&identity, &DeviceId::DEFAULT),
            encode_row(&DeviceUse::default()),
        ),
    ];
    let change = Commit {
        checks: puts.iter().map(|(key, _)| unchanged(key, &None)).collect(),
        puts,
        deletes: Vec::new(),
    };
    commit(change, |_| done())
}

/// A new record for a name: ends all sessions.
fn replace(
    identity: IdentityKey,
    request: &OpaqueRegisterFinishRequest,
    name: Row,
    account: Row,
    devices: Row,
) -> Next<OpaqueRegisterFinishResponse> {
    let mut state: Account =
        decode_row(&account)?.ok_or_else(|| Fault::internal("a name has no account"))?;
    let ended = core::mem::take(&mut state.sessions);
    let deletes = leftovers(&identity, &state, &ended, &devices)?;
    let old: Name = decode_row(&name)?.unwrap_or_default();
    let (name_key, account_key) = (keys::name(&request.username), keys::account(&identity));
    let change = Commit {
        checks: vec![
            unchanged(&name_key, &name),
            unchanged(&account_key, &account),
            unchanged(&keys::device_set(&identity), &devices),
        ],
        puts: vec![
            (name_key, encode_row(&record(request, old.suite))),
            (account_key, encode_row(&state)),
        ],
        deletes,
    };
    commit(change, move |_| {
        let effects = Effects {
            ended: vec![Ended::Account(identity)],
            ..Effects::default()
        };
        Ok(Step::ok_with(
            &OpaqueRegisterFinishResponse { success: true },
            effects,
        ))
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

fn done() -> Next<OpaqueRegisterFinishResponse> {
    Ok(Step::ok(&OpaqueRegisterFinishResponse { success: true }))
}
