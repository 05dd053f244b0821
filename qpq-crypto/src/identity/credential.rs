//! The MLS credential of a device and the certificate in it (protocol.md §5.12).

use super::{BadSignature, DeviceId, DeviceKey, IdentityKey, IdentitySecret, SigningInput, verify};

/// The device key was not certified by the identity key named beside it: refuse the leaf or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device key is not certified by this identity key")]
pub struct BadCertificate;

impl From<BadSignature> for BadCertificate {
    fn from(_: BadSignature) -> Self {
        Self
    }
}

/// The bytes are no credential: refuse the message they came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a credential has {} bytes, or {} for the default device, not {length}",
    Credential::LENGTH,
    Credential::DEFAULT_LENGTH
)]
pub struct CredentialError {
    /// The length that came, in bytes.
    pub length: usize,
}

/// What the Basic credential of an MLS leaf holds: whose device this is, and the identity key's word
/// for it.
///
/// The device key itself is the leaf's signature key and is handed to [`Credential::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The account.
    pub identity_key: IdentityKey,
    /// Which of its devices.
    pub device_id: DeviceId,
    /// When the device was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Ed25519 by the identity key over `"qpq device v1" || device_id || device_key ||
    /// created_at_ms`; none for the default device, and only for it.
    pub certificate: Option<[u8; 64]>,
}

impl Credential {
    /// Bytes of an encoded credential with a device id and certificate.
    pub const LENGTH: usize = 32 + 16 + 8 + 64;
    /// Bytes of an encoded credential of the default device.
    pub const DEFAULT_LENGTH: usize = 32 + 8;

    /// Certifies `device_key` as the device `device_id` of the account.
    ///
    /// For [`DeviceId::DEFAULT`] there is no certificate, and [`verify`](Self::verify) accepts only
    /// the identity key itself as device key.
    pub fn issue(
        identity: &IdentitySecret,
        device_id: DeviceId,
        device_key: DeviceKey,
        created_at_ms: u64,
    ) -> Self {
        let certificate = (!device_id.is_default())
            .then(|| identity.sign(&certificate_input(device_id, &device_key, created_at_ms)));
        Self {
            identity_key: identity.public(),
            device_id,
            created_at_ms,
            certificate,
        }
    }

    /// Checks that the identity key has certified `device_key`.
    ///
    /// # Errors
    /// [`BadCertificate`] when the certificate is missing, superfluous, or not over exactly these
    /// fields; for the default device when `device_key` is not the identity key.
    pub fn verify(&self, device_key: &DeviceKey) -> Result<(), BadCertificate> {
        match (self.device_id.is_default(), &self.certificate) {
            (true, None) if self.identity_key.default_device_key() == *device_key => Ok(()),
            (false, Some(certificate)) => Ok(verify(
                self.identity_key.as_bytes(),
                &certificate_input(self.device_id, device_key, self.created_at_ms),
                certificate,
            )?),
            _ => Err(BadCertificate),
        }
    }

    /// `identity_key || device_id || created_at_ms (u64 big-endian) || certificate`: 120 bytes, or 40
    /// for the default device.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        bytes.extend_from_slice(self.identity_key.as_bytes());
        bytes.extend_from_slice(self.device_id.as_bytes());
        bytes.extend_from_slice(&self.created_at_ms.to_be_bytes());
        if let Some(certificate) = &self.certificate {
            bytes.extend_from_slice(certificate);
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote. Nothing is verified yet.
    ///
    /// # Errors
    /// [`CredentialError`] unless there are exactly 40 or 120 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CredentialError> {
        Self::parse(bytes).ok_or(CredentialError {
            length: bytes.len(),
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let is_default = match bytes.len() {
            Self::LENGTH => false,
            Self::DEFAULT_LENGTH => true,
            _ => return None,
        };
        let (identity_key, rest) = bytes.split_first_chunk::<32>()?;
        let (device_id, rest) = if is_default {
            (DeviceId::DEFAULT, rest)
        } else {
            let (id, rest) = rest.split_first_chunk::<16>()?;
            (DeviceId::new(*id), rest)
        };
        let (created_at_ms, rest) = rest.split_first_chunk::<8>()?;
        let certificate = if is_default {
            None
        } else {
            Some(*rest.first_chunk::<64>()?)
        };
        Some(Self {
            identity_key: IdentityKey(*identity_key),
            device_id,
            created_at_ms: u64::from_be_bytes(*created_at_ms),
            certificate,
        })
    }
}

fn certificate_input(device_id: DeviceId, device_key: &DeviceKey, created_at_ms: u64) -> Vec<u8> {
    SigningInput::new("qpq device v1")
        .fixed(device_id.as_bytes())
        .fixed(device_key.as_bytes())
        .u64(created_at_ms)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::DeviceSecret;
    use proptest::prelude::*;

    fn device() -> (Credential, DeviceKey) {
        let identity = IdentitySecret::from_seed([1; 32]);
        let key = DeviceSecret::from_seed([2; 32]).public();
        let credential = Credential::issue(&identity, DeviceId::new([3; 16]), key, 1_700_000_000);
        (credential, key)
    }

    #[test]
    fn a_certified_device_is_accepted_and_survives_the_wire() {
        let (credential, key) = device();
        assert_eq!(credential.verify(&key), Ok(()));
        let bytes = credential.encode();
        assert_eq!(bytes.len(), Credential::LENGTH);
        assert_eq!(Credential::decode(&bytes), Ok(credential));
    }

    #[test]
    fn every_flipped_bit_of_a_credential_is_refused() {
        let (credential, key) = device();
        let bytes = credential.encode();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let verdict = Credential::decode(&bad).map(|c| c.verify(&key));
            assert_eq!(verdict, Ok(Err(BadCertificate)), "bit {bit}");
        }
        let other = DeviceSecret::from_seed([4; 32]).public();
        assert_eq!(credential.verify(&other), Err(BadCertificate));
    }

    #[test]
    fn the_default_device_is_the_identity_key_without_certificate() {
        let identity = IdentitySecret::from_seed([1; 32]);
        let key = identity.default_device().public();
        let credential = Credential::issue(&identity, DeviceId::DEFAULT, key, 5);
        assert_eq!(credential.certificate, None);
        assert_eq!(credential.verify(&key), Ok(()));
        let bytes = credential.encode();
        assert_eq!(bytes.len(), Credential::DEFAULT_LENGTH);
        assert_eq!(Credential::decode(&bytes), Ok(credential));
        let (certified, other) = device();
        assert_eq!(credential.verify(&other), Err(BadCertificate));
        // Neither a default device with a certificate nor another device without one.
        let superfluous = Credential {
            certificate: certified.certificate,
            ..credential
        };
        assert_eq!(superfluous.verify(&key), Err(BadCertificate));
        let missing = Credential {
            certificate: None,
            ..certified
        };
        assert_eq!(missing.verify(&other), Err(BadCertificate));
        assert!(Credential::decode(&superfluous.encode()).is_err());
        assert!(Credential::decode(&missing.encode()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_decode_only_at_the_right_length(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            match Credential::decode(&bytes) {
                Ok(credential) => prop_assert_eq!(credential.encode(), bytes),
                Err(error) => prop_assert_eq!(error.length, bytes.len()),
            }
        }
    }
}
