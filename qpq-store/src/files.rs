//! Files that only their owner may read, made so that a crash leaves the whole file or none.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::path::Path;

/// What is where a file should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A file of 0 bytes, which is not the same: what was in it is lost.
    Empty,
    /// Something.
    There,
    /// Something that it can't be.
    Damaged,
}

impl Found {
    /// What is at `path`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn at(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(file) if file.len() == 0 => Ok(Self::Empty),
            Ok(_) => Ok(Self::There),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::Missing),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Empty => "empty",
            Self::There => "there",
            Self::Damaged => "damaged",
        })
    }
}

/// Makes a directory, and those above it, that only its owner may enter. One that exists is left as
/// it is.
///
/// # Errors
///
/// What the system says.
pub fn create_private_dir(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only its owner may read (mode 0600) and makes it durable. Until the write is
/// whole the name keeps what it had.
///
/// # Errors
///
/// What the system says.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write(path, contents, &mut options)
}

/// Makes an empty file that only its owner may read, unless there is one of that name.
///
/// # Errors
///
/// What the system says.
pub fn create_private(path: &Path) -> Result<()> {
    open_private(path).map(drop)
}

/// Opens a file to read and write it, or makes one that only its owner may read.
///
/// # Errors
///
/// What the system says.
pub fn open_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// As [`write_private`], for a file that everyone may read.
///
/// # Errors
///
/// What the system says.
pub fn write_public(path: &Path, contents: &[u8]) -> Result<()> {
    write(path, contents, &mut OpenOptions::new())
}

fn write(path: &Path, contents: &[u8], options: &mut OpenOptions) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = Path::new(&name);
    // One left by a crash may have other permissions.
    match std::fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.write(true).create_new(true).open(temporary)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
///
/// What the system says.
pub fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// The whole of a file of at most `limit` bytes; `None` where there is none.
///
/// # Errors
///
/// What the system says, [`ErrorKind::FileTooLarge`] for a longer one.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut contents = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut contents)?;
    let length = u64::try_from(contents.len()).unwrap_or(u64::MAX);
    if length > limit {
        return Err(Error::from(ErrorKind::FileTooLarge));
    }
    Ok(Some(contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(dir.path().join("key.new"), b"left by a crash").unwrap();
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(read(&path, 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(read(&dir.path().join("none"), 3).unwrap(), None);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
