//! What a recovery code opens.
//!
//! Sealed: `version (1) || nonce (24) || XChaCha20-Poly1305`, the version byte being the associated
//! data, over the [padded](crate::padding) plaintext: identity seed (32), created_at_ms (u64), user
//! name, number of devices (u32), each with id, key (32) and created_at_ms (u64), number of contacts
//! (u32), each with identity key (32), verified (0 or 1) and name. Variable parts have their length in
//! front (u32).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand_core::Rng;
use zeroize::Zeroizing;

use super::RecoveryCode;
use crate::encoding::{Reader, push_var};
use crate::identity::{DeviceId, DeviceKey, IdentityKey};
use crate::padding::{pad, unpad};
use crate::random;
use crate::secret::Secret32;

/// The version of the format.
const VERSION: u8 = 1;

/// A device of the account, to be revoked or kept after recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredDevice {
    /// Which device.
    pub device_id: DeviceId,
    /// Its public key.
    pub device_key: DeviceKey,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// Someone the account knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredContact {
    /// Whom.
    pub identity_key: IdentityKey,
    /// The contact's user name.
    pub username: String,
    /// Whether the safety numbers were compared.
    pub verified: bool,
}

/// The account without its messages.
pub struct RecoveryBundle {
    /// The seed of the identity key.
    pub identity_seed: Secret32,
    /// When the bundle was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The account's user name.
    pub username: String,
    /// The account's devices.
    pub devices: Vec<RecoveredDevice>,
    /// The account's contacts.
    pub contacts: Vec<RecoveredContact>,
}

/// Why a bundle could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Update this application: a newer version sealed the bundle.
    #[error("recovery bundle has an unknown version")]
    UnknownVersion,
    /// Refuse the bundle: it was changed or belongs to another code.
    #[error("recovery bundle was changed or belongs to another code")]
    Refused,
    /// Refuse the bundle: it opened, but is not laid out as this version does.
    #[error("recovery bundle is malformed")]
    Malformed,
    /// Leave out contacts: a bundle does not hold 4 billion of them.
    #[error("recovery bundle is too large")]
    TooLarge,
}

fn encode(bundle: &RecoveryBundle) -> Option<Zeroizing<Vec<u8>>> {
    // Reserved at once, so that no copy of the seed is left behind by growing.
    let names = bundle.contacts.iter().map(|contact| contact.username.len());
    let length = 256
        + bundle.username.len()
        + bundle.devices.len() * 64
        + bundle.contacts.len() * 64
        + names.sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(bundle.identity_seed.expose());
    bytes.extend_from_slice(&bundle.created_at_ms.to_be_bytes());
    push_var(&mut bytes, bundle.username.as_bytes())?;
    let count = u32::try_from(bundle.devices.len()).ok()?;
    bytes.extend_from_slice(&count.to_be_bytes());
    for device in &bundle.devices {
        push_var(&mut bytes, device.device_id.as_bytes())?;
        bytes.extend_from_slice(device.device_key.as_bytes());
        bytes.extend_from_slice(&device.created_at_ms.to_be_bytes());
    }
    let count = u32::try_from(bundle.contacts.len()).ok()?;
    bytes.extend_from_slice(&count.to_be_bytes());
    for contact in &bundle.contacts {
        bytes.extend_from_slice(contact.identity_key.as_bytes());
        bytes.push(u8::from(contact.verified));
        push_var(&mut bytes, contact.username.as_bytes())?;
    }
    Some(bytes)
}

fn decode(bytes: &[u8]) -> Option<RecoveryBundle> {
    let mut reader = Reader::new(bytes);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let identity_seed = Secret32::new(reader.array()?);
    let created_at_ms = reader.u64()?;
    let username = text(reader.var()?)?;
    // Nothing is reserved for what a count merely claims.
    let mut devices = Vec::new();
    for _ in 0..reader.u32()? {
        devices.push(RecoveredDevice {
            device_id: DeviceId::from_wire(reader.var()?).ok()?,
            device_key: DeviceKey(reader.array()?),
            created_at_ms: reader.u64()?,
        });
    }
    let mut contacts = Vec::new();
    for _ in 0..reader.u32()? {
        contacts.push(RecoveredContact {
            identity_key: IdentityKey(reader.array()?),
            verified: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            username: text(reader.var()?)?,
        });
    }
    reader.is_empty().then_some(RecoveryBundle {
        identity_seed,
        created_at_ms,
        username,
        devices,
        contacts,
    })
}

fn cipher(code: &RecoveryCode) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(code.key().expose().into())
}

/// Seals `bundle` under one of the account's codes: 41 bytes more than its padded encoding, 297 for an
/// account with few contacts.
///
/// # Errors
/// [`BundleError::TooLarge`].
pub fn seal_bundle(
    code: &RecoveryCode,
    bundle: &RecoveryBundle,
    seed: &[u8; 32],
) -> Result<Vec<u8>, BundleError> {
    let plaintext = encode(bundle).ok_or(BundleError::TooLarge)?;
    let plaintext = Zeroizing::new(pad(&plaintext));
    let mut nonce = [0u8; 24];
    random::from_seed(seed).fill_bytes(&mut nonce);
    let payload = Payload {
        msg: &plaintext,
        aad: &[VERSION],
    };
    let ciphertext = cipher(code)
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| BundleError::TooLarge)?;
    Ok([&[VERSION], nonce.as_slice(), &ciphertext].concat())
}

/// Opens what [`seal_bundle`] sealed.
///
/// # Errors
/// [`BundleError`].
pub fn open_bundle(code: &RecoveryCode, sealed: &[u8]) -> Result<RecoveryBundle, BundleError> {
    let mut reader = Reader::new(sealed);
    let version = reader.u8().ok_or(BundleError::Refused)?;
    if version != VERSION {
        return Err(BundleError::UnknownVersion);
    }
    let nonce = reader.array::<24>().ok_or(BundleError::Refused)?;
    let payload = Payload {
        msg: reader.rest(),
        aad: &[VERSION],
    };
    let plaintext = cipher(code)
        .decrypt(&XNonce::from(nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| BundleError::Refused)?;
    unpad(&plaintext)
        .ok()
        .and_then(decode)
        .ok_or(BundleError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code() -> RecoveryCode {
        let [code, ..] = RecoveryCode::generate_set(&[1; 32]);
        code
    }

    fn bundle() -> RecoveryBundle {
        RecoveryBundle {
            identity_seed: Secret32::new([2; 32]),
            created_at_ms: 3,
            username: "alice".to_owned(),
            devices: vec![
                RecoveredDevice {
                    device_id: DeviceId::DEFAULT,
                    device_key: DeviceKey([4; 32]),
                    created_at_ms: 5,
                },
                RecoveredDevice {
                    device_id: DeviceId::new([6; 16]),
                    device_key: DeviceKey([7; 32]),
                    created_at_ms: 8,
                },
            ],
            contacts: vec![RecoveredContact {
                identity_key: IdentityKey([9; 32]),
                username: "bob".to_owned(),
                verified: true,
            }],
        }
    }

    #[test]
    fn a_bundle_returns() {
        let sealed = seal_bundle(&code(), &bundle(), &[3; 32]).unwrap();
        assert_eq!(sealed.len(), 1 + 24 + 256 + 16);
        let opened = open_bundle(&code(), &sealed).ok().unwrap();
        assert!(opened.identity_seed.ct_eq(&bundle().identity_seed));
        assert_eq!(opened.created_at_ms, 3);
        assert_eq!(opened.username, "alice");
        assert_eq!(opened.devices, bundle().devices);
        assert_eq!(opened.contacts, bundle().contacts);
    }

    #[test]
    fn every_changed_bit_and_other_codes_are_refused() {
        let sealed = seal_bundle(&code(), &bundle(), &[3; 32]).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open_bundle(&code(), &bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open_bundle(&code(), &sealed[..length]).is_err());
        }
        for other in RecoveryCode::generate_set(&[1; 32]).iter().skip(1) {
            let result = open_bundle(other, &sealed).err();
            assert_eq!(result, Some(BundleError::Refused));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_plaintext_never_panics(
            start in proptest::collection::vec(any::<u8>(), 40..60),
            rest in proptest::collection::vec(0u8..3, 0..200),
        ) {
            let bytes = [start, rest].concat();
            if let Some(bundle) = decode(&bytes) {
                prop_assert_eq!(encode(&bundle).unwrap().to_vec(), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_open(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(open_bundle(&code(), &bytes).is_err());
        }
    }
}
