//! Tree heads as C2SP checkpoints, so that witnesses who know nothing of qpq can cosign them.
//!
//! A checkpoint (c2sp.org/tlog-checkpoint) is a signed note (c2sp.org/signed-note): origin, size and
//! root a line each, an empty line, then signature lines. A witness adds a line of its own; lines that
//! are not the log's are passed over. The first line, the origin, holds no space, so what is signed
//! here is never one of the strings signed elsewhere, which all begin with `"qpq "`.

use core::fmt;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use super::Hash;
use crate::identity::{IdentitySecret, verify};

/// Signature type Ed25519 of the signed note format.
const ED25519: u8 = 1;
/// A checkpoint of more bytes than this is not read (64 KiB hold hundreds of cosignatures).
const MAX_LENGTH: usize = 64 * 1024;

/// Why a checkpoint was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Choose another origin: 1 to 255 visible ASCII characters without "+".
    #[error("an origin is 1 to 255 visible ASCII characters without +")]
    BadOrigin,
    /// Refuse the text: it is no checkpoint.
    #[error("checkpoint is malformed")]
    Malformed,
    /// Refuse the text: it is another log's.
    #[error("checkpoint is of another log")]
    OtherLog,
    /// Refuse the text: the log did not sign it.
    #[error("checkpoint is not signed by the log")]
    BadSignature,
}

/// The name of a log, which is also the name of its key: for a server its domain and
/// `/qpq-key-transparency`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CheckpointOrigin(String);

impl CheckpointOrigin {
    /// The origin of a server's log.
    ///
    /// # Errors
    /// [`CheckpointError::BadOrigin`] where the domain is no domain.
    pub fn of_server(domain: &str) -> Result<Self, CheckpointError> {
        Self::new(format!("{domain}/qpq-key-transparency"))
    }

    /// Any origin.
    ///
    /// # Errors
    /// [`CheckpointError::BadOrigin`].
    pub fn new(origin: String) -> Result<Self, CheckpointError> {
        let visible = origin
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'+');
        if !visible || origin.is_empty() || origin.len() > 255 {
            return Err(CheckpointError::BadOrigin);
        }
        Ok(Self(origin))
    }

    /// The key id of the signed note format: which signature line is the log's.
    fn key_id(&self, key: &[u8; 32]) -> [u8; 4] {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&self.0)
            .chain_update([b'\n', ED25519])
            .chain_update(key)
            .finalize()
            .into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The verifier key of the signed note format (`name+id+key`), to configure witnesses with.
    pub fn verifier_key(&self, server_key: &[u8; 32]) -> String {
        let id = u32::from_be_bytes(self.key_id(server_key));
        let key = [&[ED25519], server_key.as_slice()].concat();
        format!("{}+{id:08x}+{}", self.0, Base64::encode_string(&key))
    }
}

impl fmt::Display for CheckpointOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a checkpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// How many leaves.
    pub tree_size: u64,
    /// The Merkle tree hash.
    pub root: Hash,
}

impl Checkpoint {
    /// The three lines that are signed.
    fn body(&self, origin: &CheckpointOrigin) -> String {
        let root = Base64::encode_string(&self.root);
        format!("{origin}\n{}\n{root}\n", self.tree_size)
    }

    /// The signed checkpoint.
    pub fn sign(&self, origin: &CheckpointOrigin, server: &IdentitySecret) -> String {
        let body = self.body(origin);
        let signature = server.sign(body.as_bytes());
        let id = origin.key_id(server.public().as_bytes());
        let line = Base64::encode_string(&[id.as_slice(), &signature].concat());
        format!("{body}\n\u{2014} {origin} {line}\n")
    }

    /// Reads a checkpoint of at most 64 KiB and verifies the log's signature on it. Other signature lines, extension
    /// lines and witnesses' cosignatures are allowed and not looked at; an extension line is signed
    /// with the rest.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(
        text: &str,
        origin: &CheckpointOrigin,
        server_key: &[u8; 32],
    ) -> Result<Self, CheckpointError> {
        const MALFORMED: CheckpointError = CheckpointError::Malformed;
        if text.len() > MAX_LENGTH || !text.ends_with('\n') {
            return Err(MALFORMED);
        }
        // The signatures begin after the last empty line.
        let split = text.rfind("\n\n").ok_or(MALFORMED)?;
        let body = text.get(..=split).ok_or(MALFORMED)?;
        let signatures = text.get(split + 2..).ok_or(MALFORMED)?;

        let mut lines = body.lines();
        if lines.next() != Some(origin.0.as_str()) {
            return Err(CheckpointError::OtherLog);
        }
        let tree_size = lines.next().and_then(decimal).ok_or(MALFORMED)?;
        let root = lines.next().and_then(base64).ok_or(MALFORMED)?;
        if lines.any(str::is_empty) {
            return Err(MALFORMED);
        }

        let signed = signatures
            .lines()
            .filter_map(|line| line.strip_prefix("\u{2014} ")?.split_once(' '))
            .filter(|(name, _)| *name == origin.0)
            .filter_map(|(_, line)| base64::<68>(line))
            .filter_map(|line| {
                let (id, signature) = line.split_first_chunk::<4>()?;
                (*id == origin.key_id(server_key)).then(|| signature.to_vec())
            })
            .any(|signature| verify(server_key, body.as_bytes(), &signature).is_ok());
        if !signed {
            return Err(CheckpointError::BadSignature);
        }
        Ok(Self { tree_size, root })
    }
}

/// A number in decimal without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}

/// Exactly `N` bytes in standard base64 with padding.
fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    Base64::decode_vec(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparency::empty_root;
    use proptest::prelude::*;

    fn origin() -> CheckpointOrigin {
        CheckpointOrigin::of_server("example.org").unwrap()
    }

    fn server() -> IdentitySecret {
        IdentitySecret::from_seed([1; 32])
    }

    fn open(text: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(text, &origin(), server().public().as_bytes())
    }

    const CHECKPOINT: Checkpoint = Checkpoint {
        tree_size: 42,
        root: [7; 32],
    };

    #[test]
    fn the_text_has_the_form_of_the_specification() {
        let empty = Checkpoint {
            tree_size: 0,
            root: empty_root(),
        };
        let text = empty.sign(&origin(), &server());
        let start = "example.org/qpq-key-transparency\n0\n\
                     47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\
                     \u{2014} example.org/qpq-key-transparency ";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(text.len(), start.len() + 92 + 1);
        assert_eq!(open(&text), Ok(empty));
        let key = origin().verifier_key(server().public().as_bytes());
        let parts: Vec<_> = key.split('+').collect();
        assert_eq!(
            (parts[0], parts[1].len()),
            ("example.org/qpq-key-transparency", 8)
        );
    }

    #[test]
    fn witnesses_may_add_lines_and_nobody_may_change_any() {
        let text = CHECKPOINT.sign(&origin(), &server());
        let cosigned = format!("{text}\u{2014} witness.example AAAAAAAA\n");
        assert_eq!(open(&cosigned), Ok(CHECKPOINT));
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(open(&text).is_err(), "byte {position}");
            }
        }
        let other = CheckpointOrigin::of_server("example.com").unwrap();
        let result = Checkpoint::open(&text, &other, server().public().as_bytes());
        assert_eq!(result, Err(CheckpointError::OtherLog));
        let stranger = IdentitySecret::from_seed([2; 32]);
        let forged = CHECKPOINT.sign(&origin(), &stranger);
        assert_eq!(open(&forged), Err(CheckpointError::BadSignature));
    }

    #[test]
    fn origins_hold_no_space() {
        for bad in ["", "qpq tree head v1", "a+b", "a\nb", "é"] {
            let result = CheckpointOrigin::new(bad.to_owned());
            assert_eq!(result, Err(CheckpointError::BadOrigin));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*\n?\n?\\PC*\n", number in "[0-9+-]{0,22}") {
            prop_assert!(open(&text).is_err());
            let text = format!("{}\n{number}\n{text}\n{text}", origin());
            prop_assert!(open(&text).is_err());
        }
    }
}
