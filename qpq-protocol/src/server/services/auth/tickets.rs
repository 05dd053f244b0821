//! Whom a login counts for until it has succeeded (protocol.md §5.27).
//!
//! Guesses count for the name and the address they come from. If everything did, anyone who guesses would
//! keep the owner out. So each login gives its device a ticket, and a device that shows it counts in a
//! share of its own, which nobody else can use up.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::ids::DeviceId;
use crate::limits::RateClass;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::login_slot::Counted;
use crate::server::services::devices::is_registered;
use crate::server::txn::Seen;
use crate::storage::records::{Account, DeviceSet, DeviceTicket};
use crate::time::Time;

impl Counted {
    /// Counts a login of this name, or refuses it.
    pub(super) fn count(&self, ctx: &mut Ctx<'_>, name: &str) -> Result<(), Fault> {
        let name = name.as_bytes();
        match self {
            Self::Name(address) => {
                ctx.limit(RateClass::LoginsAddress, &[name, address], 1)?;
                ctx.limit(RateClass::LoginsName, &[name], 1)
            }
            Self::Device(identity, device) => {
                let device: &[&[u8]] = &[identity.as_bytes(), device.as_bytes()];
                ctx.limit(RateClass::LoginsDevice, device, 1)
            }
        }
    }

    /// The login that was counted `at` this time has succeeded.
    pub(super) fn take_back(&self, ctx: &mut Ctx<'_>, name: &str, at: Time) {
        let name = name.as_bytes();
        match self {
            Self::Name(address) => {
                ctx.take_back(RateClass::LoginsAddress, &[name, address], at);
                ctx.take_back(RateClass::LoginsName, &[name], at);
            }
            Self::Device(identity, device) => {
                let device: &[&[u8]] = &[identity.as_bytes(), device.as_bytes()];
                ctx.take_back(RateClass::LoginsDevice, device, at);
            }
        }
    }
}

/// The device whose ticket this is.
pub(super) fn holder(account: &Account, ticket: &[u8]) -> Option<DeviceId> {
    let hash = Sha256::digest(ticket);
    let mut tickets = account.tickets.iter();
    let found = tickets.find(|held| held.ticket_hash.as_ref() == hash.as_slice())?;
    DeviceId::from_wire(&found.device_id).ok()
}

/// Gives a device a ticket in place of its former one. Those of devices that are not registered go with
/// their last session.
pub(super) fn replace_ticket(
    account: &mut Account,
    device_id: &DeviceId,
    ticket: &[u8; 32],
    devices: &Seen<DeviceSet>,
) {
    let mut kept = Vec::with_capacity(account.tickets.len().saturating_add(1));
    for held in core::mem::take(&mut account.tickets) {
        let Ok(holder) = DeviceId::from_wire(&held.device_id) else {
            continue;
        };
        let mut sessions = account.sessions.iter();
        let is_used = sessions.any(|session| session.device_id == held.device_id);
        if holder != *device_id && (is_used || is_registered(devices, &holder)) {
            kept.push(held);
        }
    }
    kept.push(DeviceTicket {
        device_id: Bytes::copy_from_slice(device_id.as_bytes()),
        ticket_hash: Bytes::copy_from_slice(&Sha256::digest(ticket)),
    });
    account.tickets = kept;
}
