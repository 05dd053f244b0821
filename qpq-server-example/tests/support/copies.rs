//! Directories copied and put back, as backups are, and programs whose clock is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Puts a copy in the place of a directory.
pub fn put_back(copy_of: &Path, dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
    copy(copy_of, dir);
}

/// What makes the wall clock of a program wrong, where the system has a way to: a library that is loaded
/// before the system's.
pub struct Clocks {
    library: PathBuf,
}

impl Clocks {
    /// Builds the library with the C compiler that the crates need anyway.
    pub fn build(dir: &Path) -> Self {
        let library = dir.join("wrong_clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/wrong_clock.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([library.as_path(), Path::new(source)])
            .status();
        assert!(built.unwrap().success(), "cc builds {source}");
        Self { library }
    }

    /// The clock of what this command runs is so many days ahead.
    pub fn set_ahead(&self, command: &mut Command, days: u32) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("WRONG_CLOCK_DAYS", days.to_string());
    }
}
