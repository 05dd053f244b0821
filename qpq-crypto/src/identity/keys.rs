//! Public keys, device ids and the secrets behind them.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::{ed25519::SigningKey, hex};

/// A key or id that came from outside has another length than its field allows: refuse the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes where {expected} are expected")]
pub struct WrongLength {
    /// The length that was expected, in bytes.
    pub expected: usize,
    /// The length that came, in bytes.
    pub length: usize,
}

/// The bytes as an array of the right length.
fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N], WrongLength> {
    bytes.try_into().map_err(|_| WrongLength {
        expected: N,
        length: bytes.len(),
    })
}

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes of the key.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = WrongLength;

            fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
                exact(bytes).map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                hex::write(f, &self.0[..4])?;
                f.write_str(")")
            }
        }
    };
}

public_key! {
    /// The Ed25519 public key of an account, 32 bytes (RFC 8032): its name across servers and devices.
    ///
    /// `Debug` prints the first 8 hexadecimal digits. Whether the bytes are a point on the curve shows
    /// when a signature is verified.
    IdentityKey
}

public_key! {
    /// The Ed25519 public key of one device, 32 bytes (RFC 8032): the signature key of its MLS leaves.
    ///
    /// `Debug` prints the first 8 hexadecimal digits.
    DeviceKey
}

impl IdentityKey {
    /// The key of the default device, which is the identity key itself (protocol.md §5.18).
    pub fn default_device_key(&self) -> DeviceKey {
        DeviceKey(self.0)
    }

    /// The fingerprint of the account, for display. Two people compare [safety
    /// numbers](crate::safety) rather than two fingerprints.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(b"qpq identity fingerprint v1", &self.0)
    }
}

impl DeviceKey {
    /// The fingerprint of the device, for display in a device list.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(b"qpq device fingerprint v1", &self.0)
    }
}

/// SHA-256 over a label and a public key, 32 bytes. `Display` writes 16 groups of 4 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(label: &[u8], key: &[u8; 32]) -> Self {
        Self(
            Sha256::new()
                .chain_update(label)
                .chain_update(key)
                .finalize()
                .into(),
        )
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks(2).enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            hex::write(f, pair)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Which device of an account: 16 bytes, or the default device, whose id is empty on the wire.
///
/// Ids are never reused (protocol.md §5.19). The default device sorts first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Option<[u8; 16]>);

impl DeviceId {
    /// The device an account starts with: the empty id (protocol.md §5.18).
    pub const DEFAULT: Self = Self(None);

    /// The id of a registered device.
    pub fn new(id: [u8; 16]) -> Self {
        Self(Some(id))
    }

    /// Reads the id from a message: 16 bytes, or none for the default device.
    ///
    /// # Errors
    /// [`WrongLength`] for any other length.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, WrongLength> {
        match bytes {
            [] => Ok(Self::DEFAULT),
            bytes => exact(bytes).map(Self::new),
        }
    }

    /// The id as it is on the wire: 16 bytes, or none for the default device.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Some(id) => id,
            None => &[],
        }
    }

    /// Whether this is the default device.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl TryFrom<&[u8]> for DeviceId {
    type Error = WrongLength;

    fn try_from(bytes: &[u8]) -> Result<Self, WrongLength> {
        Self::from_wire(bytes)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(id) => {
                f.write_str("DeviceId(")?;
                hex::write(f, id)?;
                f.write_str(")")
            }
            None => f.write_str("DeviceId(default)"),
        }
    }
}

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident => $public:ident) => {
        $(#[$doc])*
        pub struct $name(SigningKey);

        impl $name {
            /// The secret of this 32-byte Ed25519 seed (RFC 8032). The seed must come from a
            /// cryptographic generator.
            pub fn from_seed(seed: [u8; 32]) -> Self {
                let seed = zeroize::Zeroizing::new(seed);
                Self(SigningKey::from_seed(&seed))
            }

            /// The public key.
            pub fn public(&self) -> $public {
                $public(self.0.public())
            }

            /// Signs `message` with Ed25519; deterministic. Build `message` with
            /// [`SigningInput`](crate::identity::SigningInput).
            pub fn sign(&self, message: &[u8]) -> [u8; 64] {
                self.0.sign(message)
            }

            /// The 32-byte seed, for sealing or deriving. It is the whole secret.
            pub fn seed(&self) -> &[u8; 32] {
                self.0.seed()
            }
        }

        impl Clone for $name {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }
    };
}

secret_key! {
    /// The Ed25519 secret of an account. Wiped on drop, not printable.
    IdentitySecret => IdentityKey
}

secret_key! {
    /// The Ed25519 secret of one device. Wiped on drop, not printable.
    DeviceSecret => DeviceKey
}

impl IdentitySecret {
    /// The secret of the default device, which signs with the identity key (protocol.md §5.18).
    pub fn default_device(&self) -> DeviceSecret {
        DeviceSecret(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8032_test_1() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let secret = IdentitySecret::from_seed(seed);
        assert_eq!(format!("{:?}", secret.public()), "IdentityKey(d75a9801)");
        assert_eq!(secret.sign(b"")[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert_eq!(secret.seed(), &seed);
        assert_eq!(
            secret.default_device().public(),
            secret.public().default_device_key()
        );
    }

    #[test]
    fn lengths_are_checked() {
        for length in 0..40usize {
            let bytes = vec![1u8; length];
            assert_eq!(IdentityKey::try_from(&bytes[..]).is_ok(), length == 32);
            assert_eq!(DeviceKey::try_from(&bytes[..]).is_ok(), length == 32);
            let id = DeviceId::from_wire(&bytes);
            assert_eq!(id.is_ok(), length == 16 || length == 0);
            if let Ok(id) = id {
                assert_eq!(id.as_bytes(), bytes);
                assert_eq!(id.is_default(), length == 0);
            }
        }
        assert_eq!(
            IdentityKey::try_from(&[0u8; 5][..]),
            Err(WrongLength {
                expected: 32,
                length: 5
            })
        );
        assert!(DeviceId::DEFAULT < DeviceId::new([0; 16]));
    }

    #[test]
    fn fingerprints_are_grouped_and_separate_by_kind() {
        let key = IdentityKey([9; 32]);
        let text = key.fingerprint().to_string();
        assert_eq!(text.len(), 16 * 4 + 15);
        assert!(text.split(' ').all(|group| group.len() == 4));
        assert_ne!(key.fingerprint(), key.default_device_key().fingerprint());
        assert_ne!(key.fingerprint(), IdentityKey([8; 32]).fingerprint());
    }
}
