//! [`Lock`]: one process at a time on one file or directory, and the name of the one that has it.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::files;

/// Holds a lock file until dropped; the system releases it when the process dies.
///
/// The file holds the process id in decimal. It stays behind: removing it would let a third process
/// lock a new file of the same name while a second still waits on the old one.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}: stop it first", path.display(), holder_name(*holder))]
    Held {
        /// What is locked.
        path: PathBuf,
        /// The process that has it, where it has said so.
        holder: Option<u32>,
    },
    /// The lock file cannot be made.
    #[error("{} cannot be written ({kind}): choose a directory that can, or change its permissions", path.display())]
    Unwritable {
        /// What was to be locked.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
}

impl Lock {
    /// Takes the lock of `path`, kept in the file `path` + `.lock`. Never waits.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] if another process has it, [`LockError::Unwritable`] if the lock file
    /// cannot be opened or written.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let unwritable = |error: std::io::Error| LockError::Unwritable {
            path: path.to_owned(),
            kind: error.kind(),
        };
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let mut file = files::open_private(Path::new(&name)).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        file.set_len(0).map_err(unwritable)?;
        writeln!(file, "{}", std::process::id()).map_err(unwritable)?;
        Ok(Self { _file: file })
    }
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn holder_name(holder: Option<u32>) -> String {
    holder.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_learns_who_holds_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        assert_eq!(
            error,
            LockError::Held {
                path: path.clone(),
                holder: Some(std::process::id())
            }
        );
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(first);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_missing_directory_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = Lock::take(&dir.path().join("no").join("data")).unwrap_err();
        assert!(matches!(
            error,
            LockError::Unwritable {
                kind: ErrorKind::NotFound,
                ..
            }
        ));
    }
}
