//! The server's self-signed certificate: made at the first start, the same ever after (see
//! [`server_data`](crate::server_data)).
//!
//! Clients pin it, so neither its names nor its dates are looked at; it only has to stay the same.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest as _, Sha256};

use qpq_store::files;

/// The name of the certificate in the data directory; DER, for everyone to read.
pub const CERTIFICATE_FILE: &str = "server-cert.der";
/// The name of its private key; PKCS #8 in DER, for the owner only.
pub const KEY_FILE: &str = "server-key.der";

/// Longer files are not certificates.
const MAX_FILE: u64 = 64 * 1024;

/// A certificate and its private key.
pub struct Certificate {
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS #8 in DER.
    pub private_key: Vec<u8>,
}

/// Why there is no certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of the two files cannot be read or written.
    #[error("{} cannot be read or written ({kind}): check its permissions", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// The certificate cannot be made for this name.
    #[error("no certificate can be made for the domain {domain}: choose another domain")]
    Domain {
        /// The name.
        domain: String,
    },
}

impl Certificate {
    /// The one kept in `dir`.
    ///
    /// # Errors
    ///
    /// [`CertificateError::File`], also where one of the two is missing.
    pub fn load(dir: &Path) -> Result<Self, CertificateError> {
        Ok(Self {
            certificate: read(&dir.join(CERTIFICATE_FILE))?,
            private_key: read(&dir.join(KEY_FILE))?,
        })
    }

    /// A new one for `domain`, kept in `dir` in the place of what is there.
    ///
    /// # Errors
    ///
    /// See [`CertificateError`].
    pub fn make_in(dir: &Path, domain: &str) -> Result<Self, CertificateError> {
        let (certificate_path, key_path) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        let made = Self::make(domain)?;
        // A key without its certificate is seen to be half a pair; a certificate before its key could
        // be pinned.
        match std::fs::remove_file(&certificate_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed(&certificate_path)(error));
            }
            _ => {}
        }
        files::write_private(&key_path, &made.private_key).map_err(failed(&key_path))?;
        files::write_public(&certificate_path, &made.certificate)
            .map_err(failed(&certificate_path))?;
        Ok(made)
    }

    /// A new one for `domain`, kept nowhere.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Domain`].
    pub fn make(domain: &str) -> Result<Self, CertificateError> {
        let failed = |_: rcgen::Error| CertificateError::Domain {
            domain: domain.to_owned(),
        };
        let key = KeyPair::generate().map_err(failed)?;
        let names = vec![domain.to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .map_err(failed)?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            private_key: key.serialize_der(),
        })
    }

    /// SHA-256 of the certificate in DER: what clients pin.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    files::read(path, MAX_FILE)
        .and_then(|contents| contents.ok_or_else(|| ErrorKind::NotFound.into()))
        .map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> CertificateError {
    let path = path.to_owned();
    move |error| CertificateError::File {
        path: path.clone(),
        kind: error.kind(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_same_pair_comes_back() {
        let dir = Scratch::try_new("certificate").unwrap();
        let missing = Certificate::load(dir.path()).err();
        assert!(matches!(
            missing,
            Some(CertificateError::File {
                kind: ErrorKind::NotFound,
                ..
            })
        ));
        let made = Certificate::make_in(dir.path(), "example.org").unwrap();
        let loaded = Certificate::load(dir.path()).unwrap();
        assert_eq!(made.certificate, loaded.certificate);
        assert_eq!(made.private_key, loaded.private_key);
        assert_eq!(made.sha256(), loaded.sha256());
        let again = Certificate::make_in(dir.path(), "example.org").unwrap();
        assert_ne!(made.sha256(), again.sha256());
    }
}
