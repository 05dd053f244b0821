//! [`Streams`]: the files of a directory, each the bytes of one stream.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use qpq_store::files;

/// The longest file that is read, in bytes: four times the longest frame.
pub const LONGEST: u64 = 16 * 1024 * 1024;

/// Why there are no streams to feed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FilesError {
    /// The directory cannot be read.
    #[error("{dir}: {kind}: name a directory that you may read, with a file for each stream", dir = .dir.display())]
    Directory {
        /// Which one.
        dir: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// No file is in it.
    #[error("{dir} has no files: put one there for each stream (directories in it are not looked into)", dir = .0.display())]
    Empty(PathBuf),
    /// A file is too long.
    #[error("{path} is longer than {LONGEST} bytes: no stream of this protocol needs that; shorten it or take it away", path = .0.display())]
    TooLong(PathBuf),
    /// A file cannot be read.
    #[error("{path}: {kind}: make it readable or take it away", path = .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
}

/// The files of a directory, by name.
#[derive(Clone, Debug)]
pub struct Streams {
    dir: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

impl Streams {
    /// The files that are in `dir` itself.
    ///
    /// # Errors
    ///
    /// [`FilesError::Directory`] and [`FilesError::Empty`].
    pub fn of(dir: &Path) -> Result<Self, FilesError> {
        let unreadable = |error: std::io::Error| FilesError::Directory {
            dir: dir.to_owned(),
            kind: error.kind(),
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            if dir.join(&name).is_file() {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(FilesError::Empty(dir.to_owned()));
        }
        names.sort();
        let (dir, names) = (dir.to_owned(), names.into_iter());
        Ok(Self { dir, names })
    }
}

impl Iterator for Streams {
    /// The name of a file, and what is in it.
    type Item = Result<(String, Bytes), FilesError>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.next()?;
        let path = self.dir.join(&name);
        let shown = name.to_string_lossy().into_owned();
        Some(match files::read(&path, LONGEST) {
            Ok(Some(bytes)) => Ok((shown, bytes.into())),
            Ok(None) => Err(FilesError::File {
                path,
                kind: ErrorKind::NotFound,
            }),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(FilesError::TooLong(path)),
            Err(error) => Err(FilesError::File {
                path,
                kind: error.kind(),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use qpq_server_example::scratch::Scratch;

    use super::*;

    #[test]
    fn files_come_by_name_and_are_refused_where_they_are_too_long() {
        let scratch = Scratch::try_new("streams").unwrap();
        let path = |name: &str| scratch.path().join(name);
        std::fs::write(path("b"), b"two").unwrap();
        std::fs::write(path("a"), b"one").unwrap();
        let long = std::fs::File::create(path("c")).unwrap();
        long.set_len(LONGEST + 1).unwrap();
        let streams: Vec<_> = Streams::of(scratch.path()).unwrap().collect();
        let of = |name: &str, bytes: &'static [u8]| Ok((name.to_owned(), bytes.into()));
        let expected = [
            of("a", b"one"),
            of("b", b"two"),
            Err(FilesError::TooLong(path("c"))),
        ];
        assert_eq!(streams, expected);
    }
}
