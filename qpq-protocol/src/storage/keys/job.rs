//! Keys of work that is done in the background (protocol.md §5.34).

use super::{Family, Fields, Key, KeyBuilder, Range};
use crate::ids::{DeviceId, IdentityKey};
use crate::storage::records::Job;

const DEVICES_CHANGED: u8 = 1;
const DEVICE_REVOKED: u8 = 2;

/// What is to be done, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// The channels of an account are to be told that its devices have changed.
    DevicesChanged(IdentityKey),
    /// What a revoked device leaves is to be removed.
    DeviceRevoked(IdentityKey, DeviceId),
}

/// The channels of an account are to be told that its devices have changed.
///
/// Identity `aa…aa`: `j` `01` `aa…aa`, 34 bytes.
#[must_use]
pub fn devices_changed(identity: &IdentityKey) -> Key<Job> {
    let key = KeyBuilder::new(Family::Job).fixed(&[DEVICES_CHANGED]);
    key.fixed(identity.as_bytes()).key()
}

/// What a revoked device leaves is to be removed.
///
/// Identity `aa…aa`, device `dd…dd`: `j` `02` `aa…aa` `01` `dd…dd`, 51 bytes.
#[must_use]
pub fn device_revoked(identity: &IdentityKey, device: &DeviceId) -> Key<Job> {
    let key = KeyBuilder::new(Family::Job).fixed(&[DEVICE_REVOKED]);
    key.fixed(identity.as_bytes()).device(device).key()
}

/// All work that is to be done.
#[must_use]
pub fn jobs() -> Range<Job> {
    Range::of(KeyBuilder::new(Family::Job).done())
}

/// What is to be done by a key of this family.
#[must_use]
pub fn parse_job(key: &[u8]) -> Option<Work> {
    let mut fields = Fields::of(key, Family::Job)?;
    let [kind] = fields.array()?;
    let identity = IdentityKey(fields.array()?);
    let work = match kind {
        DEVICES_CHANGED => Work::DevicesChanged(identity),
        DEVICE_REVOKED => Work::DeviceRevoked(identity, fields.device()?),
        _ => return None,
    };
    fields.end(work)
}
