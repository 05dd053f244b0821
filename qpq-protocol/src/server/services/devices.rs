//! The devices of an account (methods 700 to 702, protocol.md §5.18 and §5.19).
//!
//! An account starts with its default device. The first device that is registered takes over that
//! one's queues: they keep their keys, the row of devices says so, and nothing is moved. The id of a
//! device that was revoked is never used again, so its row stays.

mod channels;
mod purge;

pub(in crate::server) use channels::tell;
pub(in crate::server) use purge::purge;

use qpq_crypto::identity::Credential;

use crate::ids::{DeviceId, DeviceKey, IdentityKey};
use crate::limits::RateClass;
use crate::proto::{
    Device, ListDevicesRequest, ListDevicesResponse, RegisterDeviceRequest, RegisterDeviceResponse,
    RevokeDeviceRequest, RevokeDeviceResponse,
};
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::{Effects, Ended, SessionChange};
use crate::server::event::Event;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load_fresh, read};
use crate::storage::keys;
use crate::storage::records::{Account, DeviceSet, DeviceUse, Job, RegisteredDevice};

/// 700: registers a device. The same device again is only answered.
pub(in crate::server) fn register_device(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: RegisterDeviceRequest,
) -> Next<RegisterDeviceResponse> {
    let session = caller.session()?;
    let device = request.device.unwrap_or_default();
    let device_id = check_certificate(session.identity_key, &device)?;
    let account = session.identity_key;
    let wanted = (
        keys::device_set(&account),
        keys::device(&account, &device_id),
    );
    load_fresh(ctx, wanted, move |ctx, (set, used)| {
        let was = used.value().unwrap_or_default();
        if was.retired {
            return Err(Fault::conflict(
                "a device with this id was revoked: ids are never used again",
            ));
        }
        let mut devices = set.value().unwrap_or_default();
        let mine = RegisteredDevice {
            device_id: device.device_id,
            device_key: device.device_key,
            name: device.name,
            certificate: device.certificate,
            created_at_ms: device.created_at_ms,
            default_queues: false,
        };
        if let Some(old) = find(&devices, &device_id) {
            let is_same = old.device_key == mine.device_key && old.certificate == mine.certificate;
            return match is_same {
                true => Ok(registered(session, device_id, Vec::new())),
                false => Err(Fault::conflict(
                    "a device with this id is registered already",
                )),
            };
        }
        add(&mut devices, mine, ctx.config.limits.devices)?;
        ctx.limit_once(RateClass::DeviceChanges, &[account.as_bytes()], 1)?;
        let mut change = Change::default();
        change.put(&set, &devices);
        change.put(&used, &was);
        ctx.start_job(
            &mut change,
            keys::devices_changed(&account),
            &Job::default(),
        );
        commit(ctx, change, move |_| {
            let event = Event::DeviceRegistered {
                identity_key: account,
                device_id,
            };
            Ok(registered(session, device_id, vec![event]))
        })
    })
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

/// The answer of 700. A session of that device is no longer one of an unregistered device, one of the default device
/// becomes one.
fn registered(
    session: Session,
    device_id: DeviceId,
    events: Vec<Event>,
) -> Step<RegisterDeviceResponse> {
    let effects = Effects {
        session: SessionChange::Bind(Session {
            registered: session.device_id == device_id
                || (session.registered && !session.device_id.is_default()),
            ..session
        }),
        events,
        ..Effects::default()
    };
    Step::ok_with(&RegisterDeviceResponse {}, effects)
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
    read(keys::device_set(&identity), move |_, set| {
        let set = set.into_value();
        let set = set.ok_or_else(|| Fault::not_found("no user has this identity key"))?;
        if !mine {
            return Ok(listed(set.devices, Vec::new()));
        }
        let ids = set.devices.iter();
        let ids = ids.filter_map(|device| DeviceId::from_wire(&device.device_id).ok());
        let uses: Vec<_> = ids.map(|id| keys::device(&identity, &id)).collect();
        read(uses, |_, uses| Ok(listed(set.devices, uses)))
    })
}

/// The answer of 701; `uses` is empty for others than the owner.
fn listed(devices: Vec<RegisteredDevice>, uses: Vec<Seen<DeviceUse>>) -> Step<ListDevicesResponse> {
    let is_owner = !uses.is_empty();
    let mut uses = uses.into_iter();
    let devices = devices.into_iter().map(|device| {
        let used = uses.next().and_then(Seen::into_value).unwrap_or_default();
        let name = if is_owner { device.name } else { String::new() };
        Device {
            device_id: device.device_id,
            device_key: device.device_key,
            name,
            certificate: device.certificate,
            created_at_ms: device.created_at_ms,
            last_seen_ms: used.last_seen_ms,
        }
    });
    Step::ok(&ListDevicesResponse {
        devices: devices.collect(),
    })
}

/// 702: revokes a device of the account: its sessions end, its id is never used again; what it leaves goes in the
/// background. Soon after a login
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
    let class = match session.is_fresh(ctx.date, &ctx.config.limits) {
        true => RateClass::FreshRevocations,
        false if session.registered => RateClass::DeviceChanges,
        false => {
            return Err(Fault::unauthorized(
                "a device that is not registered revokes another only soon after a login: log in again",
            ));
        }
    };
    let wanted = (
        keys::device_set(&identity),
        keys::device(&identity, &device_id),
        keys::account(&identity),
    );
    load_fresh(ctx, wanted, move |ctx, (set, used, account)| {
        let mut devices = set.value().unwrap_or_default();
        let mut state = account.value().unwrap_or_default();
        let Some(device) = find(&devices, &device_id) else {
            return match used.as_ref().is_some_and(|used| used.retired) {
                true => Ok(Step::ok(&RevokeDeviceResponse {})),
                false => Err(Fault::not_found("no device with this id is registered")),
            };
        };
        ctx.limit_once(class, &[identity.as_bytes()], 1)?;
        let default_queues = device.default_queues;
        devices
            .devices
            .retain(|device| device.device_id.as_ref() != device_id.as_bytes());
        let mut change = Change::default();
        end_sessions(&mut change, &mut state, &device_id);
        let mine = device_id.as_bytes();
        state.tickets.retain(|held| held.device_id.as_ref() != mine);
        let retired = DeviceUse {
            retired: true,
            default_queues,
            ..used.value().unwrap_or_default()
        };
        change.put(&set, &devices);
        change.put(&used, &retired);
        change.put(&account, &state);
        let left = Job {
            default_queues,
            ..Job::default()
        };
        let removed = keys::device_revoked(&identity, &device_id);
        ctx.start_job(&mut change, removed, &left);
        ctx.start_job(
            &mut change,
            keys::devices_changed(&identity),
            &Job::default(),
        );
        commit(ctx, change, move |_| {
            let effects = Effects {
                ended: vec![Ended::Device(identity, device_id)],
                ..Effects::event(Event::DeviceRevoked {
                    identity_key: identity,
                    device_id,
                })
            };
            Ok(Step::ok_with(&RevokeDeviceResponse {}, effects))
        })
    })
}

/// Takes the sessions of a device off the account, and away.
fn end_sessions(change: &mut Change, account: &mut Account, device_id: &DeviceId) {
    account.sessions.retain(|session| {
        let ends = session.device_id.as_ref() == device_id.as_bytes();
        if ends && let Ok(hash) = <[u8; 32]>::try_from(session.token_hash.as_ref()) {
            change.erase(keys::session(&hash));
        }
        !ends
    });
}

/// Whether an account has registered this device.
pub(in crate::server) fn is_registered(devices: &Seen<DeviceSet>, device_id: &DeviceId) -> bool {
    let devices = devices.as_ref();
    devices.is_some_and(|devices| find(devices, device_id).is_some())
}

fn find<'a>(devices: &'a DeviceSet, device_id: &DeviceId) -> Option<&'a RegisteredDevice> {
    let mut devices = devices.devices.iter();
    devices.find(|device| device.device_id.as_ref() == device_id.as_bytes())
}
