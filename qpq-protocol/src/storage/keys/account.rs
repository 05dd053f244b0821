//! Keys of accounts, their names, devices and sessions.

use super::{Family, Fields, Key, KeyBuilder, Range};
use crate::ids::{DeviceId, IdentityKey};
use crate::storage::records::{Account, DeviceSet, DeviceUse, Name, Session};

/// An account by its identity key.
///
/// Identity `aa…aa`: `a` `aa…aa`, 33 bytes.
#[must_use]
pub fn account(identity: &IdentityKey) -> Key<Account> {
    KeyBuilder::new(Family::Account)
        .fixed(identity.as_bytes())
        .key()
}

/// Who has a user name; names are never given out twice.
///
/// `name("alice")` is `n` `alice`.
#[must_use]
pub fn name(name: &str) -> Key<Name> {
    KeyBuilder::new(Family::Name).fixed(name.as_bytes()).key()
}

/// The registered devices of an account: small, and checked by everyone who writes to its queues.
///
/// Identity `aa…aa`: `D` `aa…aa`, 33 bytes.
#[must_use]
pub fn device_set(identity: &IdentityKey) -> Key<DeviceSet> {
    KeyBuilder::new(Family::DeviceSet)
        .fixed(identity.as_bytes())
        .key()
}

/// A device; the row stays after a revocation, so that its id is never used again.
///
/// Identity `aa…aa`, device `dd…dd`: `d` `aa…aa` `01` `dd…dd`, 50 bytes.
#[must_use]
pub fn device(identity: &IdentityKey, device: &DeviceId) -> Key<DeviceUse> {
    let key = KeyBuilder::new(Family::Device).fixed(identity.as_bytes());
    key.device(device).key()
}

/// All devices of an account, in order of their ids.
#[must_use]
pub fn devices(identity: &IdentityKey) -> Range<DeviceUse> {
    Range::of(
        KeyBuilder::new(Family::Device)
            .fixed(identity.as_bytes())
            .done(),
    )
}

/// A session by the SHA-256 of its token.
///
/// Hash `ff…ff`: `t` `ff…ff`, 33 bytes.
#[must_use]
pub fn session(token_hash: &[u8; 32]) -> Key<Session> {
    KeyBuilder::new(Family::Session).fixed(token_hash).key()
}

/// All sessions, in the order of the hashes.
#[must_use]
pub fn sessions() -> Range<Session> {
    Range::of(KeyBuilder::new(Family::Session).done())
}

/// Marks a session as one of a device.
///
/// Identity `aa…aa`, default device, hash `ff…ff`: `T` `aa…aa` `00` `ff…ff`, 66 bytes.
#[must_use]
pub fn device_session(identity: &IdentityKey, device: &DeviceId, token_hash: &[u8; 32]) -> Key<()> {
    let key = KeyBuilder::new(Family::DeviceSession).fixed(identity.as_bytes());
    key.device(device).fixed(token_hash).key()
}

/// The sessions of one device, or of all devices of an account.
#[must_use]
pub fn device_sessions(identity: &IdentityKey, device: Option<&DeviceId>) -> Range<()> {
    let key = KeyBuilder::new(Family::DeviceSession).fixed(identity.as_bytes());
    let key = match device {
        Some(device) => key.device(device),
        None => key,
    };
    Range::of(key.done())
}

/// The token's hash in a key made by [`device_session`].
#[must_use]
pub fn parse_device_session(key: &[u8]) -> Option<[u8; 32]> {
    let mut fields = Fields::of(key, Family::DeviceSession)?;
    let _identity: [u8; 32] = fields.array()?;
    fields.device()?;
    let hash = fields.array()?;
    fields.end(hash)
}
