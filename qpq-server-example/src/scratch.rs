//! [`Scratch`]: a directory of one's own that goes when it is dropped, for the demo and for tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory under the system's temporary one, removed with its contents on drop.
#[derive(Debug)]
pub struct Scratch(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Scratch {
    /// Makes `qpq-<name>-<process>-<n>`, empty and open to its owner only.
    ///
    /// # Errors
    ///
    /// What the system says when the directory cannot be made.
    pub fn try_new(name: &str) -> std::io::Result<Self> {
        Self::try_new_in(&std::env::temp_dir(), name)
    }

    /// The same under another directory.
    ///
    /// # Errors
    ///
    /// What the system says when the directory cannot be made.
    pub fn try_new_in(parent: &Path, name: &str) -> std::io::Result<Self> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("qpq-{name}-{}-{n}", std::process::id()));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        qpq_store::files::create_private_dir(&path)?;
        Ok(Self(path))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to be done about a directory that will not go; the system clears it some day.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
