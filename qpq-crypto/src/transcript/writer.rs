//! Writing a transcript piece by piece.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use rand_core::Rng;

use super::{END, HEADER_LENGTH, Key, Link, MAGIC, RECORD, Record, TranscriptError};
use crate::encoding::push_var;
use crate::identity::{IdentityKey, IdentitySecret};
use crate::random;

/// An export under way: the file is the header from [`start`](Self::start), then what each
/// [`record`](Self::record) answers, then what [`finish`](Self::finish) answers.
pub struct Exporter {
    cipher: ChaCha20Poly1305,
    link: Link,
}

impl Exporter {
    /// Starts a transcript of `exporter` under `password`, at `exported_at_ms` (milliseconds since
    /// 1970), and answers the header of 61 bytes. Runs Argon2id: call it on a worker thread.
    ///
    /// # Errors
    /// [`TranscriptError::TooLong`] for a password of 4 GiB or more.
    pub fn start(
        exporter: &IdentityKey,
        password: &[u8],
        seed: &[u8; 32],
        exported_at_ms: u64,
    ) -> Result<(Self, Vec<u8>), TranscriptError> {
        let mut salt = [0; 16];
        random::from_seed(seed).fill_bytes(&mut salt);
        let key = Key::stretch(password, &salt)?;
        Ok(Self::with_key(exporter, key, salt, exported_at_ms))
    }

    pub(super) fn with_key(
        exporter: &IdentityKey,
        key: Key,
        salt: [u8; 16],
        exported_at_ms: u64,
    ) -> (Self, Vec<u8>) {
        let mut header = [0; HEADER_LENGTH];
        let parts: [&[u8]; 4] = [
            MAGIC,
            &salt,
            exporter.as_bytes(),
            &exported_at_ms.to_be_bytes(),
        ];
        for (to, from) in header.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let export = Self {
            cipher: ChaCha20Poly1305::new(key.0.expose().into()),
            link: Link::first(&header),
        };
        (export, header.to_vec())
    }

    /// The next record's bytes.
    ///
    /// # Errors
    /// [`TranscriptError::TooLong`]; the export goes on without the record.
    pub fn record(&mut self, record: &Record) -> Result<Vec<u8>, TranscriptError> {
        let plaintext = record.encode().ok_or(TranscriptError::TooLong)?;
        let payload = Payload {
            msg: &plaintext,
            aad: &self.link.hash,
        };
        let ciphertext = self
            .cipher
            .encrypt(&self.link.nonce().into(), payload)
            .map_err(|_| TranscriptError::TooLong)?;
        let mut bytes = Vec::with_capacity(1 + 4 + ciphertext.len());
        bytes.push(RECORD);
        push_var(&mut bytes, &ciphertext).ok_or(TranscriptError::TooLong)?;
        self.link = self.link.next(&ciphertext);
        Ok(bytes)
    }

    /// The last bytes of the file, signed by the exporter.
    pub fn finish(self, exporter: &IdentitySecret) -> Vec<u8> {
        let signature = exporter.sign(&self.link.head_input());
        [&[END], self.link.count.to_be_bytes().as_slice(), &signature].concat()
    }
}
