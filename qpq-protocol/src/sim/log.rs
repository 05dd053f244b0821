//! The log: one line for each thing that happened, and the hash of them all.

use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::time::Time;

/// Takes lines, keeps them if asked to, hashes them in any case.
pub(super) struct Log {
    lines: Option<Vec<String>>,
    hash: Sha256,
}

impl Log {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            lines: keep.then(Vec::new),
            hash: Sha256::new(),
        }
    }

    /// Something happened at `now`.
    pub(super) fn line(&mut self, now: Time, what: fmt::Arguments<'_>) {
        let micros = now.as_micros();
        let line = format!("{:>5}.{:06} {what}", micros / 1_000_000, micros % 1_000_000);
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// The hash so far, and the lines that were kept.
    pub(super) fn end(&mut self) -> ([u8; 32], Vec<String>) {
        let hash = self.hash.clone().finalize().into();
        (hash, self.lines.take().unwrap_or_default())
    }
}

/// The first bytes of a hash, to tell things apart by.
pub(super) fn mark(bytes: &[u8]) -> u32 {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    hash.first_chunk::<4>()
        .map_or(0, |first| u32::from_be_bytes(*first))
}
