//! Checking and reading a transcript.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use zeroize::Zeroizing;

use super::{END, HEADER_LENGTH, Key, Link, MAGIC, RECORD, Record, TranscriptError};
use crate::encoding::Reader;
use crate::identity::{IdentityKey, verify as verify_signature};

/// What a transcript says about itself, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Who exported it and vouches for it.
    pub exporter: IdentityKey,
    /// When, by the exporter's clock, in milliseconds since 1970.
    pub exported_at_ms: u64,
    /// How many records it holds.
    pub records: u64,
}

/// A transcript whose chain and signature hold.
struct Checked<'a> {
    summary: Summary,
    salt: [u8; 16],
    /// Each record's ciphertext with the link before it.
    records: Vec<(Link, &'a [u8])>,
}

fn check(bytes: &[u8]) -> Result<Checked<'_>, TranscriptError> {
    let (magic, version) = MAGIC.split_at(MAGIC.len() - 1);
    let rest = bytes
        .strip_prefix(magic)
        .ok_or(TranscriptError::NotATranscript)?;
    if !rest.starts_with(version) {
        return Err(TranscriptError::UnknownVersion);
    }
    parse(bytes).ok_or(TranscriptError::Refused)
}

fn parse(bytes: &[u8]) -> Option<Checked<'_>> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LENGTH>()?;
    let mut fields = Reader::new(header);
    fields.array::<{ MAGIC.len() }>()?;
    let salt = fields.array()?;
    let exporter = IdentityKey(fields.array()?);
    let exported_at_ms = fields.u64()?;

    let mut reader = Reader::new(rest);
    let mut link = Link::first(header);
    let mut records = Vec::new();
    loop {
        match reader.u8()? {
            RECORD => {
                let ciphertext = reader.var()?;
                records.push((link, ciphertext));
                link = link.next(ciphertext);
            }
            END => break,
            _ => return None,
        }
    }
    let count = reader.u64()?;
    let signature = reader.array::<64>()?;
    if !reader.is_empty() || count != link.count {
        return None;
    }
    verify_signature(exporter.as_bytes(), &link.head_input(), &signature).ok()?;
    Some(Checked {
        summary: Summary {
            exporter,
            exported_at_ms,
            records: count,
        },
        salt,
        records,
    })
}

/// Checks that a transcript is complete and unchanged since its exporter signed it. Needs no
/// password. Whether the exporter is who one thinks is for the caller to compare.
///
/// # Errors
/// [`TranscriptError`].
pub fn verify(bytes: &[u8]) -> Result<Summary, TranscriptError> {
    check(bytes).map(|checked| checked.summary)
}

/// Checks a transcript as [`verify`] does and reads its records. Runs Argon2id: call it on a worker
/// thread.
///
/// # Errors
/// [`TranscriptError`].
pub fn open(bytes: &[u8], password: &[u8]) -> Result<(Summary, Vec<Record>), TranscriptError> {
    open_with(bytes, |salt| Key::stretch(password, salt))
}

pub(super) fn open_with(
    bytes: &[u8],
    key: impl FnOnce(&[u8; 16]) -> Result<Key, TranscriptError>,
) -> Result<(Summary, Vec<Record>), TranscriptError> {
    let checked = check(bytes)?;
    let cipher = ChaCha20Poly1305::new(key(&checked.salt)?.0.expose().into());
    let records = checked
        .records
        .iter()
        .map(|(link, ciphertext)| {
            let payload = Payload {
                msg: ciphertext,
                aad: &link.hash,
            };
            let plaintext = cipher
                .decrypt(&link.nonce().into(), payload)
                .map(Zeroizing::new)
                .map_err(|_| TranscriptError::WrongPassword)?;
            Record::decode(&plaintext).ok_or(TranscriptError::Refused)
        })
        .collect::<Result<_, _>>()?;
    Ok((checked.summary, records))
}
