//! The log: an [`Entry`] for each thing that happened, and the hash of them all.

use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::time::Time;

/// Something that happened in a world. As text it is a line: seconds, who, what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When, in virtual time.
    pub at: Time,
    /// To whom: `c0` and so on is a client, `s0` a server, `*` the world itself; `VIOLATED` tells of an invariant.
    pub who: String,
    /// What, in words for people.
    pub what: String,
}

/// Who did what nobody in the world did.
pub(super) const WORLD: &str = "*";
/// Who is named where an invariant does not hold.
pub(super) const VIOLATED: &str = "VIOLATED";

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, who, what } = self;
        let micros = at.as_micros();
        write!(
            f,
            "{:>5}.{:06} {who} {what}",
            micros / 1_000_000,
            micros % 1_000_000
        )
    }
}

/// Takes entries, keeps them if asked to, hashes them in any case.
pub(super) struct Log {
    entries: Option<Vec<Entry>>,
    hash: Sha256,
}

impl Log {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            entries: keep.then(Vec::new),
            hash: Sha256::new(),
        }
    }

    /// Something happened at `at`.
    pub(super) fn entry(&mut self, at: Time, who: impl fmt::Display, what: fmt::Arguments<'_>) {
        let (who, what) = (who.to_string(), what.to_string());
        let entry = Entry { at, who, what };
        self.hash.update(entry.to_string().as_bytes());
        self.hash.update(b"\n");
        if let Some(entries) = &mut self.entries {
            entries.push(entry);
        }
    }

    /// The hash so far, and the entries that were kept.
    pub(super) fn end(&mut self) -> ([u8; 32], Vec<Entry>) {
        let hash = self.hash.clone().finalize().into();
        (hash, self.entries.take().unwrap_or_default())
    }
}

/// The first bytes of a hash, to tell things apart by.
pub(super) fn mark(bytes: &[u8]) -> u32 {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    hash.first_chunk::<4>()
        .map_or(0, |first| u32::from_be_bytes(*first))
}
