//! [`KnownServers`]: which certificate each server showed first, kept in a text file.
//!
//! One line a server: its address as the user writes it, a space, 64 hexadecimal digits of the
//! SHA-256 of its certificate. To accept a changed certificate, remove the line.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::hex::{hex, unhex};
use qpq_store::files;

/// The file's name in a client's data directory.
pub const KNOWN_SERVERS_FILE: &str = "known-servers";

/// Longer files were not written by us.
const MAX_FILE: u64 = 1024 * 1024;

/// The certificates that are pinned.
#[derive(Clone, Debug)]
pub struct KnownServers {
    path: PathBuf,
    pins: BTreeMap<String, [u8; 32]>,
}

/// Why the file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read or written.
    #[error("{} cannot be read or written ({kind}): check its permissions", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// It holds nothing, though it was made to hold a certificate.
    #[error("{} is empty, and the certificates of known servers were in it: restore it from a backup, or remove it to trust what each server shows next", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what it should be; guessing could mean to trust anyone.
    #[error("line {line} of {} is damaged: correct or remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

impl KnownServers {
    /// Reads the file in `dir`; without one, nothing is pinned.
    ///
    /// # Errors
    ///
    /// See [`TrustError`].
    pub fn load(dir: &Path) -> Result<Self, TrustError> {
        let path = dir.join(KNOWN_SERVERS_FILE);
        let contents = files::read(&path, MAX_FILE).map_err(|error| TrustError::File {
            path: path.clone(),
            kind: error.kind(),
        })?;
        if contents.as_ref().is_some_and(Vec::is_empty) {
            return Err(TrustError::Empty { path });
        }
        let contents = contents.unwrap_or_default();
        let mut pins = BTreeMap::new();
        for (at, line) in contents.split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let (server, sha256) = parse(line).ok_or_else(|| TrustError::Damaged {
                path: path.clone(),
                line: at.saturating_add(1),
            })?;
            pins.insert(server, sha256);
        }
        Ok(Self { path, pins })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the certificate that this server must show; `None` if it was never seen.
    #[must_use]
    pub fn pin(&self, server: &str) -> Option<[u8; 32]> {
        self.pins.get(server).copied()
    }

    /// Keeps what a server showed, durably, unless something is kept already.
    ///
    /// # Errors
    ///
    /// [`TrustError::File`].
    pub fn keep(&mut self, server: &str, sha256: [u8; 32]) -> Result<(), TrustError> {
        if self.pins.contains_key(server) {
            return Ok(());
        }
        self.pins.insert(server.to_owned(), sha256);
        let lines: String = self
            .pins
            .iter()
            .map(|(server, sha256)| format!("{server} {}\n", hex(sha256)))
            .collect();
        files::write_private(&self.path, lines.as_bytes()).map_err(|error| TrustError::File {
            path: self.path.clone(),
            kind: error.kind(),
        })
    }
}

fn parse(line: &[u8]) -> Option<(String, [u8; 32])> {
    let (server, digits) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((server.to_owned(), unhex(digits)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_first_certificate_stays() {
        let dir = Scratch::try_new("trust").unwrap();
        let mut known = KnownServers::load(dir.path()).unwrap();
        assert_eq!(known.pin("a:1"), None);
        known.keep("a:1", [1; 32]).unwrap();
        known.keep("b:1", [2; 32]).unwrap();
        known.keep("a:1", [3; 32]).unwrap();
        let known = KnownServers::load(dir.path()).unwrap();
        assert_eq!(known.pin("a:1"), Some([1; 32]));
        assert_eq!(known.pin("b:1"), Some([2; 32]));
    }

    #[test]
    fn an_empty_file_is_not_taken_for_a_first_use() {
        let dir = Scratch::try_new("trust-empty").unwrap();
        let path = dir.path().join(KNOWN_SERVERS_FILE);
        std::fs::write(&path, b"").unwrap();
        let error = KnownServers::load(dir.path()).unwrap_err();
        assert_eq!(error, TrustError::Empty { path });
    }

    #[test]
    fn a_damaged_line_is_named_and_nothing_is_trusted() {
        let dir = Scratch::try_new("trust-damaged").unwrap();
        let path = dir.path().join(KNOWN_SERVERS_FILE);
        let good = format!("a:1 {}\n", hex(&[1; 32]));
        for bad in ["b:1", "b:1 12", "b:1 \u{fc}", &good.replace('0', "+")] {
            std::fs::write(&path, format!("{good}{bad}\n")).unwrap();
            let error = KnownServers::load(dir.path()).unwrap_err();
            let path = path.clone();
            assert_eq!(error, TrustError::Damaged { path, line: 2 });
        }
    }
}
