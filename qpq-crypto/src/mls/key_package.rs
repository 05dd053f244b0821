//! What a key package says, checked without a group: by servers on upload and by anyone who adds it.

use openmls::{
    extensions::{Extension, ExtensionType, Extensions, UnknownExtension},
    prelude::{self as mls, KeyPackageIn, MlsMessageBodyIn, MlsMessageIn, ProtocolVersion},
};

use super::{
    KeyPackageError, Policy, Suite, codec,
    crypto::QpqCrypto,
    device::open_lifetime,
    suite::{LIFETIME_EXTENSION, PROFILE_EXTENSION},
};
use crate::identity::{Credential, DeviceKey};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How far a key package reaches back before its making.
const SKEW_MS: u64 = HOUR_MS;
/// How long a key package is valid.
const VALIDITY_MS: u64 = 84 * DAY_MS;
/// How long a last-resort key package is valid.
const LAST_RESORT_VALIDITY_MS: u64 = 366 * DAY_MS;

/// What a key package says about itself, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPackageInfo {
    /// Its suite, one of [`Suite::OFFERED`].
    pub suite: Suite,
    /// Whose it is; the certificate in it verifies for `device_key`.
    pub credential: Credential,
    /// The leaf's signature key.
    pub device_key: DeviceKey,
    /// Its `KeyPackageRef` (RFC 9420 §5.2): 32 bytes, 48 for suite 0x004E.
    pub reference: Vec<u8>,
    /// Whether it may be handed out more than once.
    pub last_resort: bool,
    /// Start of its validity, in milliseconds since 1970.
    pub not_before: u64,
    /// End of its validity, in milliseconds since 1970.
    pub not_after: u64,
}

/// Checks a bare TLS-encoded key package as a server does before it keeps one and a member before
/// it adds one: encoding, suite, both signatures, the certificate of the device, capabilities, and
/// that it is valid at `now_ms` for not too long.
///
/// # Errors
/// [`KeyPackageError`] says which of these failed.
pub fn inspect_key_package(bytes: &[u8], now_ms: u64) -> Result<KeyPackageInfo, KeyPackageError> {
    let key_package = verify(bytes)?;
    let suite = Suite::from_ciphersuite(key_package.ciphersuite())
        .filter(|suite| suite.is_offered())
        .ok_or(KeyPackageError::Suite(key_package.ciphersuite().into()))?;
    let validity = check(&key_package, Policy::Qpq, now_ms)?;
    let leaf = key_package.leaf_node();
    Ok(KeyPackageInfo {
        suite,
        credential: Credential::decode(leaf.credential().serialized_content())
            .map_err(|_| KeyPackageError::Leaf(super::BadLeaf::Credential))?,
        device_key: DeviceKey::try_from(leaf.signature_key().as_slice())
            .map_err(|_| KeyPackageError::Leaf(super::BadLeaf::SignatureKey))?,
        reference: key_package
            .hash_ref(&QpqCrypto::unseeded())
            .map_err(|_| KeyPackageError::Invalid)?
            .as_slice()
            .to_vec(),
        last_resort: key_package.last_resort(),
        not_before: validity.not_before_ms,
        not_after: validity.not_after_ms,
    })
}

/// The `KeyPackageRef`s that a Welcome (an `MLSMessage`) is addressed to, in its order: 32 bytes each, 48
/// for suite 0x004E.
///
/// # Errors
/// [`super::JoinError::Malformed`] if the bytes are no Welcome.
pub fn welcome_references(welcome: &[u8]) -> Result<Vec<Vec<u8>>, super::JoinError> {
    match codec::decode(welcome).map(MlsMessageIn::extract) {
        Some(MlsMessageBodyIn::Welcome(welcome)) => Ok(welcome
            .secrets()
            .iter()
            .map(|secrets| secrets.new_member().as_slice().to_vec())
            .collect()),
        _ => Err(super::JoinError::Malformed),
    }
}

/// Decodes a key package and verifies what it says on its own.
pub(super) fn verify(bytes: &[u8]) -> Result<mls::KeyPackage, KeyPackageError> {
    let suite = bytes
        .get(2..4)
        .and_then(|suite| <[u8; 2]>::try_from(suite).ok())
        .map(u16::from_be_bytes)
        .ok_or(KeyPackageError::Malformed)?;
    if Suite::from_id(suite).is_none() {
        return Err(KeyPackageError::Suite(suite));
    }
    codec::decode::<KeyPackageIn>(bytes)
        .ok_or(KeyPackageError::Malformed)?
        .validate(&QpqCrypto::unseeded(), ProtocolVersion::Mls10)
        .map_err(|error| match error {
            mls::KeyPackageVerifyError::LifetimeError(_) => KeyPackageError::Expired,
            _ => KeyPackageError::Invalid,
        })
}

/// Checks a verified key package against a policy and a time.
pub(super) fn check(
    key_package: &mls::KeyPackage,
    policy: Policy,
    now_ms: u64,
) -> Result<Validity, KeyPackageError> {
    let leaf = key_package.leaf_node();
    policy
        .check(0, leaf.signature_key().as_slice(), leaf.credential())
        .map_err(KeyPackageError::Leaf)?;

    let can = leaf.capabilities();
    let supports_profile = can
        .extensions()
        .contains(&ExtensionType::Unknown(PROFILE_EXTENSION));
    if !can.versions().contains(&ProtocolVersion::Mls10)
        || !can
            .ciphersuites()
            .contains(&key_package.ciphersuite().into())
        || !can
            .credentials()
            .contains(&leaf.credential().credential_type())
        || (policy == Policy::Qpq && !supports_profile)
    {
        return Err(KeyPackageError::Capabilities);
    }

    let validity = Validity::of(key_package).ok_or(KeyPackageError::Lifetime)?;
    if policy == Policy::Qpq {
        check_lifetime(key_package)?;
        validity.check(now_ms, key_package.last_resort())?;
    }
    Ok(validity)
}

/// Checks that a key package states its validity in our extension and leaves the leaf's lifetime
/// open. A leaf with an end would be added by those members whose clocks are before it and not by
/// the others, and the group would fork.
pub(super) fn check_lifetime(key_package: &mls::KeyPackage) -> Result<(), KeyPackageError> {
    let is_stated = key_package
        .extensions()
        .unknown(LIFETIME_EXTENSION)
        .is_some();
    if is_stated && *key_package.life_time() == open_lifetime() {
        Ok(())
    } else {
        Err(KeyPackageError::Lifetime)
    }
}

/// From when to when a key package may be used, in milliseconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    pub not_before_ms: u64,
    pub not_after_ms: u64,
}

impl Validity {
    pub fn starting(now_ms: u64, last_resort: bool) -> Self {
        Validity {
            not_before_ms: now_ms.saturating_sub(SKEW_MS),
            not_after_ms: now_ms.saturating_add(max_validity(last_resort)),
        }
    }

    /// The range of our extension; without one, that of the leaf (whole seconds).
    pub fn of(key_package: &mls::KeyPackage) -> Option<Self> {
        match key_package.extensions().unknown(LIFETIME_EXTENSION) {
            Some(extension) => {
                let (not_before, not_after) = extension.0.split_first_chunk::<8>()?;
                Some(Validity {
                    not_before_ms: u64::from_be_bytes(*not_before),
                    not_after_ms: u64::from_be_bytes(not_after.try_into().ok()?),
                })
            }
            None => {
                let lifetime = key_package.life_time();
                Some(Validity {
                    not_before_ms: lifetime.not_before().saturating_mul(1000),
                    not_after_ms: lifetime.not_after().saturating_mul(1000),
                })
            }
        }
    }

    pub fn extensions(
        &self,
    ) -> Result<Extensions<mls::KeyPackage>, openmls::extensions::errors::InvalidExtensionError>
    {
        let range = [
            self.not_before_ms.to_be_bytes(),
            self.not_after_ms.to_be_bytes(),
        ];
        Extensions::single(Extension::Unknown(
            LIFETIME_EXTENSION,
            UnknownExtension(range.concat()),
        ))
    }

    pub fn created_at_ms(&self) -> u64 {
        self.not_before_ms.saturating_add(SKEW_MS)
    }

    fn check(&self, now_ms: u64, last_resort: bool) -> Result<(), KeyPackageError> {
        if now_ms < self.not_before_ms || now_ms > self.not_after_ms {
            return Err(KeyPackageError::Expired);
        }
        let longest = max_validity(last_resort).saturating_add(SKEW_MS);
        if self.not_after_ms.saturating_sub(self.not_before_ms) > longest {
            return Err(KeyPackageError::Lifetime);
        }
        Ok(())
    }
}

fn max_validity(last_resort: bool) -> u64 {
    if last_resort {
        LAST_RESORT_VALIDITY_MS
    } else {
        VALIDITY_MS
    }
}
