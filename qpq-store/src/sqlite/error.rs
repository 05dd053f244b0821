//! What can go wrong when a database is opened, and what ends an engine for good.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::lock::LockError;

/// Why a database was not opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SqliteError {
    /// Another process has it, or the lock beside it cannot be made.
    #[error("{0}")]
    Lock(#[from] LockError),
    /// A newer program wrote it.
    #[error("the database {} has layout {found} and this program knows {known}: use a newer program", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout it has.
        found: i32,
        /// The newest layout this program knows.
        known: i32,
    },
    /// It is a database of another program.
    #[error("{} belongs to another program: choose another data directory", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It is not a database, or parts of it are damaged.
    #[error("the database {} is damaged: restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file or its directory cannot be written.
    #[error("the database {} cannot be written ({why}): check permissions and free space", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said, for people.
        why: String,
    },
}

impl SqliteError {
    pub(super) fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Damaged { path },
            _ => Self::Unwritable {
                path,
                why: error.to_string(),
            },
        }
    }
}

/// The engine could not write and answers nothing more; the text says what SQLite said.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the storage failed ({0}): check the disk and start again")]
pub struct Broken(pub String);
