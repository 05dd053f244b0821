//! Keys of key packages and hybrid keys.

use bytes::Bytes;

use super::{Family, Key, KeyBuilder, Range};
use crate::ids::{DeviceId, IdentityKey};
use crate::storage::records::{HybridKey, PackagePool, PackageSeen};

/// Which key packages a device has: every change of its packages changes this row.
///
/// Identity `aa…aa`, default device: `k` `aa…aa` `00`, 34 bytes.
#[must_use]
pub fn package_pool(identity: &IdentityKey, device: &DeviceId) -> Key<PackagePool> {
    let key = KeyBuilder::new(Family::PackagePool).fixed(identity.as_bytes());
    key.device(device).key()
}

/// A key package by its fingerprint, the SHA-256 of the package.
///
/// Identity `aa…aa`, default device, fingerprint `ff…ff`: `K` `aa…aa` `00` `ff…ff`, 66 bytes.
#[must_use]
pub fn package(identity: &IdentityKey, device: &DeviceId, fingerprint: &[u8; 32]) -> Key<Bytes> {
    let key = KeyBuilder::new(Family::Package).fixed(identity.as_bytes());
    key.device(device).fixed(fingerprint).key()
}

/// All key packages of a device.
#[must_use]
pub fn packages(identity: &IdentityKey, device: &DeviceId) -> Range<Bytes> {
    let key = KeyBuilder::new(Family::Package).fixed(identity.as_bytes());
    Range::of(key.device(device).done())
}

/// Says that a key package was uploaded once: a retry must not put back what was already taken.
///
/// Identity `aa…aa`, default device, fingerprint `ff…ff`: `U` `aa…aa` `00` `ff…ff`, 66 bytes.
#[must_use]
pub fn package_seen(
    identity: &IdentityKey,
    device: &DeviceId,
    fingerprint: &[u8; 32],
) -> Key<PackageSeen> {
    let key = KeyBuilder::new(Family::PackageSeen).fixed(identity.as_bytes());
    key.device(device).fixed(fingerprint).key()
}

/// All key packages that were uploaded once.
#[must_use]
pub fn packages_seen() -> Range<PackageSeen> {
    Range::of(KeyBuilder::new(Family::PackageSeen).done())
}

/// The hybrid key of an account.
///
/// Identity `aa…aa`: `h` `aa…aa`, 33 bytes.
#[must_use]
pub fn hybrid_key(identity: &IdentityKey) -> Key<HybridKey> {
    KeyBuilder::new(Family::HybridKey)
        .fixed(identity.as_bytes())
        .key()
}
