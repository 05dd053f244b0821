//! The devices of this account, and the number that two people compare to be sure of each other.

use qpq_crypto::safety::SafetyNumber;

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::DeviceInfo;
use crate::client::intents::Progress;
use crate::client::link::rpc::{Answer, Then};
use crate::client::outcome::Outcome;
use crate::client::people::contacts::LookUp;
use crate::ids::{DeviceId, IdentityKey, IntentId};
use crate::method::rpc;
use crate::proto;
use crate::status::Status;
use crate::time::UnixTime;

impl Client {
    pub(in crate::client) fn advance_devices(&mut self, intent: IntentId) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        let then = Then::ListDevices(intent);
        if self.link.is_ready() && !self.link.is_asked(&then) {
            self.ask_devices(then);
        }
        Progress::Wait
    }

    fn ask_devices(&mut self, then: Then) {
        let Some(own) = self.state.identity_key() else {
            return;
        };
        let request = proto::ListDevicesRequest {
            identity_key: own.as_bytes().to_vec().into(),
        };
        self.call::<rpc::ListDevices>(&request, then);
    }

    pub(in crate::client) fn on_devices(
        &mut self,
        intent: IntentId,
        answer: Answer<rpc::ListDevices>,
    ) {
        match answer {
            Ok(answer) => {
                let devices = self.device_infos(&answer.devices);
                self.done(intent, Outcome::Devices(devices));
            }
            Err(fault) if fault.is_passing() => self.fail(intent, IntentError::HeldBack),
            Err(fault) => {
                let message = fault.message;
                self.fail(intent, IntentError::Refused { message });
            }
        }
    }

    fn device_infos(&self, devices: &[proto::Device]) -> Vec<DeviceInfo> {
        let own = self.state.me.as_ref().map(|me| me.device_id);
        let info = |device: &proto::Device| {
            let device_id = DeviceId::from_wire(&device.device_id).ok()?;
            Some(DeviceInfo {
                device_id,
                name: device.name.clone(),
                created_at: UnixTime::from_millis(device.created_at_ms),
                last_seen: UnixTime::from_millis(device.last_seen_ms),
                own: own == Some(device_id),
            })
        };
        devices.iter().filter_map(info).collect()
    }

    pub(in crate::client) fn advance_removing_device(
        &mut self,
        intent: IntentId,
        device: DeviceId,
    ) -> Progress {
        if let Some(error) = self.session_missing() {
            return Progress::Failed(error);
        }
        if self
            .state
            .me
            .as_ref()
            .is_some_and(|me| me.device_id == device)
        {
            return Progress::Failed(IntentError::OwnDevice);
        }
        let then = Then::RevokeDevice(intent, device);
        if self.link.is_ready() && !self.link.is_asked(&then) {
            self.revoke_device(device, then);
        }
        Progress::Wait
    }

    fn revoke_device(&mut self, device: DeviceId, then: Then) {
        let request = proto::RevokeDeviceRequest {
            device_id: device.as_bytes().to_vec().into(),
        };
        self.call::<rpc::RevokeDevice>(&request, then);
    }

    pub(in crate::client) fn on_device_revoked(
        &mut self,
        intent: IntentId,
        device: DeviceId,
        answer: Answer<rpc::RevokeDevice>,
    ) {
        let replaced = self.intents.replacing.remove(&intent).is_some();
        match answer {
            Ok(_) if replaced => self.register_device(),
            Ok(_) => self.done(intent, Outcome::DeviceRemoved(device)),
            Err(fault) => {
                let error = match fault.status {
                    Status::NotFound => IntentError::UnknownDevice,
                    _ if fault.is_passing() => IntentError::HeldBack,
                    _ => IntentError::Refused {
                        message: fault.message,
                    },
                };
                self.fail(intent, error);
                if replaced {
                    self.forget_session();
                }
            }
        }
    }

    /// The account has as many devices as it may have: one gives way if the login has named it, else
    /// the login fails with all of them.
    pub(super) fn find_room(&mut self, intent: IntentId) {
        match self.intents.replacing.get(&intent).copied() {
            Some(device) => self.revoke_device(device, Then::RevokeDevice(intent, device)),
            None => self.ask_devices(Then::DevicesInTheWay(intent)),
        }
    }

    pub(in crate::client) fn on_devices_in_the_way(
        &mut self,
        intent: IntentId,
        answer: Answer<rpc::ListDevices>,
    ) {
        let devices = answer.map(|answer| self.device_infos(&answer.devices));
        let devices = devices.unwrap_or_default();
        self.fail(intent, IntentError::TooManyDevices { devices });
        self.forget_session();
    }

    pub(in crate::client) fn advance_safety_number(&mut self, name: &str) -> Progress {
        let other = match self.look_up(name) {
            LookUp::Known(key) => key,
            LookUp::Failed(error) => return Progress::Failed(error),
            LookUp::Asked => {
                return match self.session_missing() {
                    Some(error) => Progress::Failed(error),
                    None => Progress::Wait,
                };
            }
        };
        let Some(me) = &self.state.me else {
            return Progress::Failed(IntentError::NotLoggedIn);
        };
        if me.identity_key() == other {
            return Progress::Failed(IntentError::Yourself);
        }
        let full = |name: &str| format!("{name}@{}", me.domain);
        let own: IdentityKey = me.identity_key();
        let number = SafetyNumber::new((&own, &full(&me.name)), (&other, &full(name)));
        let person = self.state.person(other);
        Progress::Done(Outcome::SafetyNumber { person, number })
    }
}
