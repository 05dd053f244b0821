//! A server's data directory: made whole, or mended by the next start, or refused with what to do.
//!
//! The database comes first and holds nothing until the core has begun; then the domain, the key and
//! the certificate. So as long as the database holds nothing a start was cut off, and what it left is
//! gone through again. Afterwards nothing of it is made anew by itself: accounts are bound to the
//! domain, and clients to the certificate.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::certificate::{CERTIFICATE_FILE, Certificate, CertificateError, KEY_FILE};
use qpq_store::files::{self, Found};
use qpq_store::lock::Lock;
use qpq_store::sqlite::{self, Sqlite};

/// The database's name in a server's data directory.
pub const DATABASE_FILE: &str = "server.db";
/// The name of the file with the domain that the data were made for.
pub const DOMAIN_FILE: &str = "domain";

/// The longest name of a host.
const MAX_DOMAIN: u64 = 255;

/// A server's data, held by this process alone.
pub struct ServerData {
    /// What everything is stored in.
    pub engine: Sqlite,
    /// What clients pin.
    pub certificate: Certificate,
}

/// Why a server's data cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DataError {
    /// The data directory cannot be made or used.
    #[error("the data directory {} cannot be used ({kind}): choose another or change its permissions", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// A file of the set is gone, or what was in it.
    #[error("{} is {found}, and the rest of this server's data is there: restore it from a backup{}, or begin anew with another --data-dir", path.display(), hint(path))]
    Incomplete {
        /// Which file.
        path: PathBuf,
        /// Missing or empty.
        found: Found,
    },
    /// Every password and signature in the data is bound to the domain they were made for.
    #[error("the data in {} are those of {known}: start it with --domain {known}, or choose another directory", path.display())]
    OtherDomain {
        /// The directory.
        path: PathBuf,
        /// The domain of its data.
        known: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlite::SqliteError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// What else helps than a backup.
fn hint(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(DATABASE_FILE) => " (`qpq-server restore FILE`)",
        Some(DOMAIN_FILE) => " or write the server's domain into it",
        Some(CERTIFICATE_FILE | KEY_FILE) => {
            " or start with --new-certificate, which clients refuse until they remove the old one"
        }
        _ => "",
    }
}

impl ServerData {
    /// Opens the data in `dir`, or makes them for `domain`. With `new_certificate` a certificate that
    /// was lost is made anew.
    ///
    /// # Errors
    ///
    /// See [`DataError`].
    pub fn open(
        dir: &Path,
        domain: &str,
        options: &sqlite::Options,
        new_certificate: bool,
    ) -> Result<Self, DataError> {
        files::create_private_dir(dir).map_err(|error| data_dir(dir, &error))?;
        let file = |name: &str| dir.join(name);
        let found = |name: &str| {
            let path = file(name);
            Found::at(&path).map_err(|error| data_dir(&path, &error))
        };
        let lost = |name: &str, found: Found| DataError::Incomplete {
            path: file(name),
            found,
        };
        let path = file(DATABASE_FILE);
        // First: nobody else may be making what is looked for here.
        let lock = Lock::take(&path).map_err(sqlite::SqliteError::from)?;
        let database = found(DATABASE_FILE)?;
        if database != Found::There {
            for name in [DOMAIN_FILE, KEY_FILE, CERTIFICATE_FILE] {
                if found(name)? != Found::Missing {
                    return Err(lost(DATABASE_FILE, database));
                }
            }
        }
        let engine = Sqlite::open_locked(lock, &path, options)?;
        let is_new = engine.holds_nothing()?;
        match (found(DOMAIN_FILE)?, is_new) {
            (Found::There, _) | (Found::Missing | Found::Empty | Found::Damaged, true) => {}
            (domain, false) => return Err(lost(DOMAIN_FILE, domain)),
        }
        keep_domain(dir, domain, is_new)?;
        let mut lacks = None;
        for name in [CERTIFICATE_FILE, KEY_FILE] {
            match found(name)? {
                Found::There => {}
                other => lacks = Some((name, other)),
            }
        }
        let certificate = match lacks {
            None => Certificate::load(dir)?,
            Some(_) if is_new || new_certificate => Certificate::make_in(dir, domain)?,
            Some((name, found)) => return Err(lost(name, found)),
        };
        Ok(Self {
            engine,
            certificate,
        })
    }
}

fn keep_domain(dir: &Path, domain: &str, is_new: bool) -> Result<(), DataError> {
    let path = dir.join(DOMAIN_FILE);
    let failed = |error: std::io::Error| data_dir(&path, &error);
    match files::read(&path, MAX_DOMAIN).map_err(failed)? {
        Some(known) if known == domain.as_bytes() => Ok(()),
        Some(known) if !is_new => Err(DataError::OtherDomain {
            path: dir.to_owned(),
            known: String::from_utf8_lossy(&known).into_owned(),
        }),
        _ => files::write_public(&path, domain.as_bytes()).map_err(failed),
    }
}

fn data_dir(path: &Path, error: &std::io::Error) -> DataError {
    DataError::DataDir {
        path: path.to_owned(),
        kind: error.kind(),
    }
}

#[cfg(test)]
mod tests {
    use qpq_protocol::storage::{Command, Commit, Engine as _, Reply};

    use super::*;
    use crate::scratch::Scratch;

    const FILES: [&str; 4] = [DATABASE_FILE, DOMAIN_FILE, KEY_FILE, CERTIFICATE_FILE];

    fn open(dir: &Path, new_certificate: bool) -> Result<ServerData, DataError> {
        ServerData::open(
            dir,
            "a.example",
            &sqlite::Options::default(),
            new_certificate,
        )
    }

    #[test]
    fn a_start_that_was_cut_off_anywhere_is_mended() {
        for made in 0..FILES.len() {
            for left in ["", "missing"] {
                let dir = Scratch::try_new("server-cut").unwrap();
                drop(open(dir.path(), false).unwrap());
                for name in &FILES[made + 1..] {
                    std::fs::remove_file(dir.path().join(name)).unwrap();
                }
                // The file at which it was cut off: of 0 bytes, or not there.
                let last = dir.path().join(FILES[made]);
                match (left, made) {
                    ("", 0) => std::fs::write(last, b"").unwrap(),
                    ("", _) => {}
                    (_, _) => std::fs::remove_file(last).unwrap(),
                }
                let data = open(dir.path(), false).unwrap();
                let sha256 = data.certificate.sha256();
                drop(data);
                assert_eq!(
                    open(dir.path(), false).unwrap().certificate.sha256(),
                    sha256
                );
            }
        }
    }

    #[test]
    fn what_was_lost_later_is_never_made_anew_by_itself() {
        let dir = Scratch::try_new("server-lost").unwrap();
        let mut data = open(dir.path(), false).unwrap();
        let commit = Commit {
            puts: vec![(b"key".to_vec().into(), b"value".to_vec().into())],
            ..Commit::default()
        };
        let stored = data.engine.run(vec![Command::Commit(commit)]);
        assert_eq!(stored, [Reply::Committed]);
        drop(data);
        for name in FILES {
            let path = dir.path().join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, b"").unwrap();
            let said = open(dir.path(), false).err().unwrap().to_string();
            assert!(said.contains(&format!("{name} is empty")), "{said}");
            std::fs::remove_file(&path).unwrap();
            let said = open(dir.path(), false).err().unwrap().to_string();
            assert!(said.contains(&format!("{name} is missing")), "{said}");
            assert!(!path.exists(), "{name} was made anew");
            std::fs::write(&path, whole).unwrap();
            open(dir.path(), false).unwrap();
        }
        let before = open(dir.path(), true).unwrap().certificate.sha256();
        std::fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        let after = open(dir.path(), true).unwrap().certificate.sha256();
        assert_ne!(before, after);
    }
}
