//! Safety numbers: what two people compare to be sure that nobody sits between them.
//!
//! Each side is hashed 5,200 times with SHA-512 over its identity key and user name, which makes
//! looking for a key with a similar number slow. Of each side's hash 30 bytes become 30 digits (6
//! groups of 5 bytes, modulo 100,000); the two sides are put in order, so both people see the same 60
//! digits. The construction follows Signal's numeric fingerprints, with a label of its own.

use core::fmt;

use sha2::{Digest, Sha512};

use crate::identity::{IdentityKey, SigningInput};
use crate::secret::ct_eq;

/// Hash iterations a side.
const ITERATIONS: usize = 5_200;
/// The version of the QR payload.
const VERSION: u8 = 1;
/// Bytes of each side's hash that count.
const SIDE_LENGTH: usize = 32;

/// Bytes of a QR payload.
pub const QR_PAYLOAD_LENGTH: usize = 1 + 2 * SIDE_LENGTH;

/// The safety number of two accounts. `Display` writes 12 groups of 5 digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SafetyNumber {
    /// Both sides' hashes, the lesser one first.
    sides: [[u8; SIDE_LENGTH]; 2],
}

/// What a scanned code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Ask to scan again: this is no safety number.
    #[error("the scanned code is not a safety number")]
    NotASafetyNumber,
    /// Ask to update the older of the two applications.
    #[error("the scanned code has a version this application does not know")]
    UnknownVersion,
    /// Warn: the two devices do not see the same keys, someone may be in between.
    #[error("the safety numbers differ: do not trust this connection")]
    Different,
}

impl SafetyNumber {
    /// The number of two accounts, each its identity key and full user name (`name@domain` where
    /// accounts live on several servers). Order does not matter. Takes a few milliseconds.
    pub fn new(one: (&IdentityKey, &str), other: (&IdentityKey, &str)) -> Self {
        let mut sides = [side(one), side(other)];
        sides.sort_unstable();
        Self { sides }
    }

    /// The 60 digits without spaces.
    pub fn digits(&self) -> String {
        self.groups().map(|group| format!("{group:05}")).collect()
    }

    /// The 12 groups, each below 100,000.
    fn groups(&self) -> impl Iterator<Item = u64> {
        self.sides.iter().flat_map(|side| {
            side.chunks_exact(5).take(6).map(|chunk| {
                chunk
                    .iter()
                    .fold(0u64, |number, byte| (number << 8) | u64::from(*byte))
                    % 100_000
            })
        })
    }

    /// What the QR code holds: a version byte and both hashes, 65 bytes, the same on both sides.
    pub fn qr_payload(&self) -> [u8; QR_PAYLOAD_LENGTH] {
        let mut payload = [VERSION; QR_PAYLOAD_LENGTH];
        for (to, from) in payload.iter_mut().skip(1).zip(self.sides.iter().flatten()) {
            *to = *from;
        }
        payload
    }

    /// Compares a scanned QR payload with this number: `Ok` means that both devices see the same keys.
    ///
    /// # Errors
    /// [`ScanError`]; only [`ScanError::Different`] is a reason for alarm.
    pub fn check_scanned(&self, payload: &[u8]) -> Result<(), ScanError> {
        match payload.first() {
            Some(&VERSION) if payload.len() == QR_PAYLOAD_LENGTH => {
                if ct_eq(payload, &self.qr_payload()) {
                    Ok(())
                } else {
                    Err(ScanError::Different)
                }
            }
            Some(&version) if version != VERSION && payload.len() >= QR_PAYLOAD_LENGTH => {
                Err(ScanError::UnknownVersion)
            }
            _ => Err(ScanError::NotASafetyNumber),
        }
    }
}

impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.groups().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{group:05}")?;
        }
        Ok(())
    }
}

/// One side's hash: `h = SHA-512("qpq safety v1" || key || username)`, then 5,199 times
/// `h = SHA-512(h || key)`; its first 32 bytes.
fn side((key, username): (&IdentityKey, &str)) -> [u8; SIDE_LENGTH] {
    let start = SigningInput::new("qpq safety v1")
        .fixed(key.as_bytes())
        .var(username.as_bytes())
        .finish();
    let mut hash = Sha512::digest(&start);
    for _ in 1..ITERATIONS {
        hash = Sha512::new()
            .chain_update(hash)
            .chain_update(key.as_bytes())
            .finalize();
    }
    let mut side = [0; SIDE_LENGTH];
    side.copy_from_slice(&hash[..SIDE_LENGTH]);
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number() -> SafetyNumber {
        SafetyNumber::new(
            (&IdentityKey([1; 32]), "alice"),
            (&IdentityKey([2; 32]), "bob"),
        )
    }

    #[test]
    fn both_people_see_the_same_sixty_digits() {
        let reversed = SafetyNumber::new(
            (&IdentityKey([2; 32]), "bob"),
            (&IdentityKey([1; 32]), "alice"),
        );
        assert_eq!(number(), reversed);
        let digits = number().digits();
        assert_eq!(digits.len(), 60);
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
        let text = number().to_string();
        assert_eq!(text.replace(' ', ""), digits);
        assert!(text.split(' ').all(|group| group.len() == 5));
        assert_eq!(text.split(' ').count(), 12);
    }

    #[test]
    fn keys_names_and_who_has_which_all_count() {
        let (one, two) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        let others = [
            SafetyNumber::new((&one, "alicf"), (&two, "bob")),
            SafetyNumber::new((&one, "alice"), (&IdentityKey([3; 32]), "bob")),
            SafetyNumber::new((&one, "bob"), (&two, "alice")),
            SafetyNumber::new((&one, "alice"), (&one, "alice")),
        ];
        for other in others {
            assert_ne!(number(), other);
            assert_ne!(number().digits(), other.digits());
            let scanned = number().check_scanned(&other.qr_payload());
            assert_eq!(scanned, Err(ScanError::Different));
        }
    }

    #[test]
    fn a_scanned_code_is_accepted_only_unchanged() {
        let number = number();
        let payload = number.qr_payload();
        assert_eq!(number.check_scanned(&payload), Ok(()));
        for bit in 0..payload.len() * 8 {
            let mut bad = payload;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(number.check_scanned(&bad).is_err(), "bit {bit}");
        }
        let scan = |bytes: &[u8]| number.check_scanned(bytes).err();
        assert_eq!(scan(&[]), Some(ScanError::NotASafetyNumber));
        assert_eq!(scan(b"https://x"), Some(ScanError::NotASafetyNumber));
        assert_eq!(scan(&payload[..64]), Some(ScanError::NotASafetyNumber));
        assert_eq!(scan(&[2; 65]), Some(ScanError::UnknownVersion));
    }
}
