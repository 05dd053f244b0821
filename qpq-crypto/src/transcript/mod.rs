//! A conversation exported to a file that can be checked by anyone and read with the password.
//!
//! | part | bytes |
//! | --- | --- |
//! | header | `"qpqt"`, version 1 (u8), salt (16), exporter's identity key (32), exported_at_ms (u64) |
//! | each record | 1, length (u32), ChaCha20-Poly1305 ciphertext and tag |
//! | end | 0, number of records (u64), Ed25519 signature (64) |
//!
//! The links of the hash chain are `SHA-256("qpq transcript v1" || header)` and then, for each record,
//! `SHA-256(link before || index (u64) || ciphertext)`. The exporter signs
//! `"qpq transcript head v1" || number of records || last link`. So [`verify`] finds a record that was
//! changed, moved, added or left out, without the password. [`open`] also decrypts: the key is
//! Argon2id (64 MiB, 3 passes, 4 lanes) of password and salt, the nonce the index, the associated data
//! the link before, which ties content to place once more.
//!
//! The signature shows that the exporter vouches for the records, not that their senders wrote them:
//! messages in groups are deniable towards outsiders.

mod reader;
mod writer;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::encoding::{Reader, push_var};
use crate::identity::{IdentityKey, SigningInput};
use crate::opaque::Suite;
use crate::secret::Secret32;

pub use reader::{Summary, open, verify};
pub use writer::Exporter;

/// The first bytes of a transcript and its version.
const MAGIC: &[u8; 5] = b"qpqt\x01";
/// Bytes of the header.
const HEADER_LENGTH: usize = 5 + 16 + 32 + 8;
/// What a record begins with.
const RECORD: u8 = 1;
/// What the end begins with.
const END: u8 = 0;

/// One message of the conversation. `Debug` shows everything but what was said.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was sent, in milliseconds since 1970.
    pub sent_at_ms: u64,
    /// Who sent it.
    pub sender: IdentityKey,
    /// In which channel: 16 bytes, or none for the default channel.
    pub channel_id: Vec<u8>,
    /// What was said, in the application's encoding.
    pub content: Vec<u8>,
}

impl core::fmt::Debug for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Record")
            .field("sent_at_ms", &self.sent_at_ms)
            .field("sender", &self.sender)
            .field("channel_id", &self.channel_id)
            .field("bytes", &self.content.len())
            .finish()
    }
}

/// Why a transcript could not be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// Choose another file: this is no transcript.
    #[error("this is not a transcript")]
    NotATranscript,
    /// Update this application: a newer version wrote the file.
    #[error("transcript has an unknown version")]
    UnknownVersion,
    /// Do not trust the file: it was changed or cut.
    #[error("transcript was changed or is not complete")]
    Refused,
    /// Ask for the password again: it does not open the records of this unchanged file.
    #[error("wrong password for this transcript")]
    WrongPassword,
    /// Split the content: a record holds less than 4 GiB.
    #[error("record is too long for a transcript")]
    TooLong,
}

/// The key of the records.
struct Key(Secret32);

impl Key {
    /// Runs Argon2id. Slow on purpose.
    fn stretch(password: &[u8], salt: &[u8; 16]) -> Result<Self, TranscriptError> {
        let mut stretched = Zeroizing::new([0u8; 32]);
        crate::opaque::argon2id(
            Suite::DEFAULT.argon2id(),
            salt,
            password,
            stretched.as_mut(),
        )
        .map_err(|_| TranscriptError::TooLong)?;
        Ok(Self::from_stretched(&stretched))
    }

    fn from_stretched(stretched: &[u8; 32]) -> Self {
        let mut key = Zeroizing::new([0u8; 32]);
        Hkdf::<Sha256>::new(None, stretched)
            .expand(b"qpq transcript key v1", key.as_mut())
            .expect("32 bytes are within HKDF's bound");
        Self(Secret32::new(*key))
    }
}

/// A link of the hash chain.
#[derive(Clone, Copy)]
struct Link {
    hash: [u8; 32],
    /// How many records are before it.
    count: u64,
}

impl Link {
    fn first(header: &[u8; HEADER_LENGTH]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"qpq transcript v1")
            .chain_update(header)
            .finalize();
        Self {
            hash: hash.into(),
            count: 0,
        }
    }

    fn next(&self, ciphertext: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(self.hash)
            .chain_update(self.count.to_be_bytes())
            .chain_update(ciphertext)
            .finalize();
        Self {
            hash: hash.into(),
            count: self.count + 1,
        }
    }

    /// The nonce of the record behind this link: one key never sees one twice.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        for (to, from) in nonce.iter_mut().skip(4).zip(self.count.to_be_bytes()) {
            *to = from;
        }
        nonce
    }

    fn head_input(&self) -> Vec<u8> {
        SigningInput::new("qpq transcript head v1")
            .u64(self.count)
            .fixed(&self.hash)
            .finish()
    }
}

impl Record {
    fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let length = 48 + self.channel_id.len() + self.content.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(&self.sent_at_ms.to_be_bytes());
        bytes.extend_from_slice(self.sender.as_bytes());
        push_var(&mut bytes, &self.channel_id)?;
        bytes.extend_from_slice(&self.content);
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        Some(Self {
            sent_at_ms: reader.u64()?,
            sender: IdentityKey(reader.array()?),
            channel_id: reader.var()?.to_vec(),
            content: reader.rest().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentitySecret;
    use proptest::prelude::*;

    fn exporter() -> IdentitySecret {
        IdentitySecret::from_seed([1; 32])
    }

    fn key() -> Key {
        Key::from_stretched(&[7; 32])
    }

    fn record(number: u8) -> Record {
        Record {
            sent_at_ms: u64::from(number),
            sender: IdentityKey([number; 32]),
            channel_id: vec![number; if number.is_multiple_of(2) { 16 } else { 0 }],
            content: vec![number; usize::from(number) * 3],
        }
    }

    /// A transcript of these records under [`key`], without the wait for Argon2id.
    fn transcript(records: &[Record]) -> Vec<u8> {
        let (mut export, mut bytes) = Exporter::with_key(&exporter().public(), key(), [2; 16], 9);
        for record in records {
            bytes.extend(export.record(record).unwrap());
        }
        bytes.extend(export.finish(&exporter()));
        bytes
    }

    fn records() -> Vec<Record> {
        (0..4).map(record).collect()
    }

    #[test]
    fn a_transcript_is_checked_without_and_read_with_the_password() {
        let mut bytes = Vec::new();
        let (mut export, header) =
            Exporter::start(&exporter().public(), b"password", &[3; 32], 9).unwrap();
        bytes.extend(header);
        for record in records() {
            bytes.extend(export.record(&record).unwrap());
        }
        bytes.extend(export.finish(&exporter()));
        let summary = verify(&bytes).unwrap();
        assert_eq!(summary.exporter, exporter().public());
        assert_eq!((summary.records, summary.exported_at_ms), (4, 9));
        assert_eq!(open(&bytes, b"password"), Ok((summary, records())));
        assert_eq!(
            open(&bytes, b"passwort"),
            Err(TranscriptError::WrongPassword)
        );
    }

    #[test]
    fn every_changed_bit_and_cut_is_found_without_the_password() {
        let bytes = transcript(&records());
        assert!(verify(&bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(verify(&bytes[..length]).is_err(), "length {length}");
        }
        assert!(verify(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn records_cannot_be_left_out_moved_or_repeated() {
        let whole = records();
        let bytes = transcript(&whole);
        let pieces: Vec<_> = whole
            .iter()
            .map(|record| 1 + 4 + record.encode().unwrap().len() + 16)
            .collect();
        let at = |index: usize| HEADER_LENGTH + pieces[..index].iter().sum::<usize>();
        let piece = |index: usize| &bytes[at(index)..at(index + 1)];
        let (header, end) = (&bytes[..HEADER_LENGTH], &bytes[at(4)..]);
        let build = |order: &[usize]| {
            let middle: Vec<_> = order
                .iter()
                .flat_map(|index| piece(*index))
                .copied()
                .collect();
            [header, &middle, end].concat()
        };
        assert!(verify(&build(&[0, 1, 2, 3])).is_ok());
        for order in [&[0, 1, 2][..], &[1, 2, 3], &[1, 0, 2, 3], &[0, 1, 2, 3, 3]] {
            assert_eq!(verify(&build(order)), Err(TranscriptError::Refused));
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        assert_eq!(verify(b""), Err(TranscriptError::NotATranscript));
        assert_eq!(
            verify(b"hello, world"),
            Err(TranscriptError::NotATranscript)
        );
        let mut newer = transcript(&[]);
        newer[4] = 2;
        assert_eq!(verify(&newer), Err(TranscriptError::UnknownVersion));
        assert!(verify(&transcript(&[])).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            ours in any::<bool>(),
        ) {
            let bytes = if ours { [MAGIC.as_slice(), &bytes].concat() } else { bytes };
            prop_assert!(verify(&bytes).is_err());
            if let Some(record) = Record::decode(&bytes) {
                prop_assert_eq!(record.encode().unwrap().to_vec(), bytes);
            }
        }

        #[test]
        fn any_records_return(
            contents in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..100), 0..10
            ),
        ) {
            let records: Vec<_> = contents
                .into_iter()
                .map(|content| Record { content, ..record(2) })
                .collect();
            let bytes = transcript(&records);
            let (summary, opened) = reader::open_with(&bytes, |_| Ok(key())).unwrap();
            prop_assert_eq!(summary.records, records.len() as u64);
            prop_assert_eq!(opened, records);
        }
    }
}
