//! The devices of an account (methods 700 to 702, protocol.md §5.18 and §5.19).
//!
//! An account starts with its default device. The first device that is registered takes over that
//! one's queues: they keep their keys, the row of devices says so, and nothing is moved. The id of a
//! device that was revoked is never used again, so its row stays.

mod channels;
mod purge;

use bytes::Bytes;
use qpq_crypto::identity::Credential;

use crate::ids::{DeviceId, DeviceKey, IdentityKey};
use crate::limits::RateClass;
use crate::proto::{
    Device, ListDevicesRequest, ListDevicesResponse, RegisterDeviceRequest, RegisterDeviceResponse,
    RevokeDeviceRequest, RevokeDeviceResponse,
};
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Ended, Fault, Next, Session, SessionChange, Step, commit, decode_row,
    encode_row, load_fresh, read, read_all, unchanged,
};
use crate::storage::records::{Account, DeviceSet, DeviceUse, RegisteredDevice};
use crate::storage::{Commit, keys};

/// 700: registers a device. The same device again is only answered, unless its channels have not all been
/// told.
pub(in crate::server) fn register_device(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: RegisterDeviceRequest,
) -> Next<RegisterDeviceResponse> {
    let session = caller.session()?;
    let device = request.device.unwrap_or_default();
    let device_id = check_certificate(session.identity_key, &device)?;
    let set_key = keys::device_set(&session.identity_key);
    let use_key = keys::device(&session.identity_key, &device_id);
    load_fresh(
        ctx,
        [set_key.clone(), use_key.clone()],
        move |ctx, [set, used]| {
            let was: DeviceUse = decode_row(&used)?.unwrap_or_default();
            if was.retired {
                return Err(Fault::conflict(
                    "a device with this id was revoked: ids are never used again",
                ));
            }
            let mut devices: DeviceSet = decode_row(&set)?.unwrap_or_default();
            let mine = RegisteredDevice {
                device_id: device.device_id,
                device_key: device.device_key,
                name: device.name,
                certificate: device.certificate,
                created_at_ms: device.created_at_ms,
                default_queues: false,
            };
            if let Some(old) = find(&devices, &device_id) {
                return if old.device_key == mine.device_key && old.certificate == mine.certificate {
                    match was.untold {
                        true => registered(ctx, session, device_id),
                        false => answer_registered(session, device_id, Effects::default()),
                    }
                } else {
                    Err(Fault::conflict(
                        "a device with this id is registered already",
                    ))
                };
            }
            add(&mut devices, mine, ctx.config.limits.devices)?;
            let account = session.identity_key;
            ctx.limit_once(RateClass::DeviceChanges, &[account.as_bytes()], 1)?;
            let change = Commit {
                checks: vec![unchanged(&set_key, &set), unchanged(&use_key, &used)],
                puts: vec![
                    (set_key, encode_row(&devices)),
                    (
                        use_key,
                        encode_row(&DeviceUse {
                            untold: true,
                            ..was
                        }),
                    ),
                ],
                deletes: Vec::new(),
            };
            commit(change, move |ctx| registered(ctx, session, device_id))
        },
    )
}

/// The device's id, if its certificate is by the account.
fn check_certificate(identity_key: IdentityKey, device: &Device) -> Result<DeviceId, Fault> {
    let bad = |_| Fault::bad_request("the device's id or key has a wrong length");
    let device_id = DeviceId::from_wire(&device.device_id).map_err(bad)?;
    let device_key = DeviceKey::try_from(device.device_key.as_ref()).map_err(bad)?;
    let certificate = device.certificate.as_ref().try_into();
    let certificate =
        certificate.map_err(|_| Fault::bad_request("the certificate has a wrong length"))?;
    let credential = Credential {
        identity_key,
        device_id,
        created_at_ms: device.created_at_ms,
        certificate: Some(certificate),
    };
    credential
        .verify(&device_key)
        .map_err(|_| Fault::forbidden("the certificate is not by your identity key"))?;
    Ok(device_id)
}

/// Adds a device in its place; the first one takes the default device's.
fn add(devices: &mut DeviceSet, mut mine: RegisteredDevice, most: usize) -> Result<(), Fault> {
    if let Some(default) = devices
        .devices
        .iter()
        .position(|device| device.device_id.is_empty())
    {
        devices.devices.remove(default);
        mine.default_queues = true;
    }
    if devices.devices.len() >= most {
        return Err(Fault::full(
            "devices",
            &format!("an account has at most {most}, revoke one first"),
        ));
    }
    devices.devices.push(mine);
    devices
        .devices
        .sort_by(|one, other| one.device_id.cmp(&other.device_id));
    Ok(())
}

/// Tells the channels, then answers 700.
fn registered(
    ctx: &mut Ctx<'_>,
    session: Session,
    device_id: DeviceId,
) -> Next<RegisterDeviceResponse> {
    tell(ctx, session.identity_key, device_id, move |_, effects| {
        answer_registered(session, device_id, effects)
    })
}

/// A session of that device is no longer one of an unregistered device, one of the default device
/// becomes one.
fn answer_registered(
    session: Session,
    device_id: DeviceId,
    effects: Effects,
) -> Next<RegisterDeviceResponse> {
    let effects = Effects {
        session: SessionChange::Bind(Session {
            registered: session.device_id == device_id
                || (session.registered && !session.device_id.is_default()),
            ..session
        }),
        ..effects
    };
    Ok(Step::ok_with(&RegisterDeviceResponse {}, effects))
}

/// Tells the channels of a device, and notes that they have been told.
fn tell<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device_id: DeviceId,
    then: impl FnOnce(&mut Ctx<'_>, Effects) -> Next<R> + Send + 'static,
) -> Next<R> {
    channels::tell(ctx, identity, move |ctx, effects| {
        let use_key = keys::device(&identity, &device_id);
        load_fresh(ctx, [use_key.clone()], move |ctx, [row]| {
            let used: DeviceUse = decode_row(&row)?.unwrap_or_default();
            if !used.untold {
                return then(ctx, effects);
            }
            let told = DeviceUse {
                untold: false,
                ..used
            };
            let change = Commit {
                checks: vec![unchanged(&use_key, &row)],
                puts: vec![(use_key, encode_row(&told))],
                deletes: Vec::new(),
            };
            commit(change, move |ctx| then(ctx, effects))
        })
    })
}

/// 701: the registered devices of an account. Names and times of use are only for their owner.
pub(in crate::server) fn list_devices(
    _: &mut Ctx<'_>,
    caller: &Caller,
    request: ListDevicesRequest,
) -> Next<ListDevicesResponse> {
    let identity = IdentityKey::try_from(request.identity_key.as_ref())
        .map_err(|_| Fault::bad_request("the identity key has a wrong length"))?;
    let mine = caller.identity()? == identity;
    read([keys::device_set(&identity)], move |_, [set]| {
        let set: DeviceSet =
            decode_row(&set)?.ok_or_else(|| Fault::not_found("no user has this identity key"))?;
        if !mine {
            return listed(set.devices, &[]);
        }
        let ids = set.devices.iter();
        let uses = ids
            .filter_map(|device| DeviceId::from_wire(&device.device_id).ok())
            .map(|device_id| keys::device(&identity, &device_id))
            .collect();
        read_all(uses, |_, uses| listed(set.devices, &uses))
    })
}

/// The answer of 701; `uses` is empty for others than the owner.
fn listed(devices: Vec<RegisteredDevice>, uses: &[Row]) -> Next<ListDevicesResponse> {
    let owner = !uses.is_empty();
    let mut answer = Vec::with_capacity(devices.len());
    for (index, device) in devices.into_iter().enumerate() {
        let used: DeviceUse = match uses.get(index) {
            Some(row) => decode_row(row)?.unwrap_or_default(),
            None => DeviceUse::default(),
        };
        answer.push(Device {
            device_id: device.device_id,
            device_key: device.device_key,
            name: if owner { device.name } else { String::new() },
            certificate: device.certificate,
            created_at_ms: device.created_at_ms,
            last_seen_ms: used.last_seen_ms,
        });
    }
    Ok(Step::ok(&ListDevicesResponse { devices: answer }))
}

/// 702: revokes a device of the account: its sessions end, its id is never used again. Soon after a login
/// it is open to an unregistered device too, which may be the one that has no room, and has a limit of
/// its own, which nobody uses up who only has an old session.
pub(in crate::server) fn revoke_device(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: RevokeDeviceRequest,
) -> Next<RevokeDeviceResponse> {
    let session = caller.session()?;
    let identity = session.identity_key;
    let device_id = DeviceId::from_wire(&request.device_id)
        .map_err(|_| Fault::bad_request("the device id has a wrong length"))?;
    let class = match ctx.date <= session.login_at + ctx.config.limits.fresh_login {
        true => RateClass::FreshRevocations,
        false if session.registered => RateClass::DeviceChanges,
        false => {
            return Err(Fault::unauthorized(
                "a device that is not registered revokes another only soon after a login: log in again",
            ));
        }
    };
    let keys = [
        keys::device_set(&identity),
        keys::device(&identity, &device_id),
        keys::account(&identity),
    ];
    load_fresh(ctx, keys.clone(), move |ctx, rows| {
        let [set, used, account] = &rows;
        let was: Option<DeviceUse> = decode_row(used)?;
        let mut devices: DeviceSet = decode_row(set)?.unwrap_or_default();
        let mut state: Account = decode_row(account)?.unwrap_or_default();
        let Some(device) = find(&devices, &device_id) else {
            return match was {
                // The same request again: it may have ended half way.
                Some(was) if was.retired && was.untold => {
                    ctx.limit_once(class, &[identity.as_bytes()], 1)?;
                    revoked(ctx, identity, device_id, was.default_queues)
                }
                Some(was) if was.retired => Ok(Step::ok(&RevokeDeviceResponse {})),
                _ => Err(Fault::not_found("no device with this id is registered")),
            };
        };
        ctx.limit_once(class, &[identity.as_bytes()], 1)?;
        let default_queues = device.default_queues;
        devices
            .devices
            .retain(|device| device.device_id.as_ref() != device_id.as_bytes());
        let deletes = end_sessions(&mut state, &device_id);
        let mine = device_id.as_bytes();
        state.tickets.retain(|held| held.device_id.as_ref() != mine);
        let was = was.unwrap_or_default();
        let values = [
            encode_row(&devices),
            encode_row(&DeviceUse {
                retired: true,
                default_queues,
                untold: true,
                ..was
            }),
            encode_row(&state),
        ];
        let change = Commit {
            checks: keys
                .iter()
                .zip(&rows)
                .map(|(key, row)| unchanged(key, row))
                .collect(),
            puts: keys.into_iter().zip(values).collect(),
            deletes,
        };
        commit(change, move |ctx| {
            revoked(ctx, identity, device_id, default_queues)
        })
    })
}

/// Takes the sessions of a device off the account; the keys of their rows.
fn end_sessions(account: &mut Account, device_id: &DeviceId) -> Vec<Bytes> {
    let (ended, kept): (Vec<_>, Vec<_>) = core::mem::take(&mut account.sessions)
        .into_iter()
        .partition(|session| session.device_id.as_ref() == device_id.as_bytes());
    account.sessions = kept;
    let hashes = ended.iter().map(|session| session.token_hash.as_ref());
    hashes
        .filter_map(|hash| hash.try_into().ok())
        .map(|hash: [u8; 32]| keys::session(&hash))
        .collect()
}

/// Removes what the device leaves, tells the channels, then answers 702.
fn revoked(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device_id: DeviceId,
    default_queues: bool,
) -> Next<RevokeDeviceResponse> {
    let stored = if default_queues {
        DeviceId::DEFAULT
    } else {
        device_id
    };
    purge::purge(ctx, identity, device_id, stored, move |ctx| {
        tell(ctx, identity, device_id, move |_, effects| {
            let effects = Effects {
                ended: vec![Ended::Device(identity, device_id)],
                ..effects
            };
            Ok(Step::ok_with(&RevokeDeviceResponse {}, effects))
        })
    })
}

fn find<'a>(devices: &'a DeviceSet, device_id: &DeviceId) -> Option<&'a RegisteredDevice> {
    let mut devices = devices.devices.iter();
    devices.find(|device| device.device_id.as_ref() == device_id.as_bytes())
}
