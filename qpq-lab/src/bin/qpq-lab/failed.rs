//! [`Failed`]: why a command of `qpq-lab` did not come to its end, for people and for scripts.

use std::io::ErrorKind;

use qpq_lab::feed::FilesError;

/// Why a command did not come to its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failed {
    #[error("standard output cannot be written ({0})")]
    Output(ErrorKind),
    #[error("{failed} of {all} files of vectors do not hold")]
    Vectors { failed: usize, all: usize },
    #[error("an invariant does not hold with seed {0}: please report it")]
    Simulation(u64),
    #[error(transparent)]
    Streams(#[from] FilesError),
    #[error("the core panicked on {panicked} of {files} files: please report it, with one of them")]
    Panicked { panicked: usize, files: usize },
}

impl Failed {
    /// What a script can tell apart.
    pub const fn code(&self) -> &'static str {
        "failed"
    }
}
