//! The server's self-signed certificate: made at the first start, the same ever after.
//!
//! Clients pin it, so neither its names nor its dates are looked at; it only has to stay the same.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest as _, Sha256};

use crate::files;

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
    /// One of the two files is there without the other.
    #[error("{} is missing: restore it from a backup, or remove its sibling to make a new pair", path.display())]
    Half {
        /// The one that is missing.
        path: PathBuf,
    },
    /// The certificate cannot be made for this name.
    #[error("no certificate can be made for the domain {domain}: choose another domain")]
    Domain {
        /// The name.
        domain: String,
    },
}

impl Certificate {
    /// The one kept in `dir`, or a new one for `domain`.
    ///
    /// # Errors
    ///
    /// See [`CertificateError`]; a new one is never made while a part of an old one is there.
    pub fn load_or_make(dir: &Path, domain: &str) -> Result<Self, CertificateError> {
        let (certificate_path, key_path) = (dir.join(CERTIFICATE_FILE), dir.join(KEY_FILE));
        match (read(&certificate_path)?, read(&key_path)?) {
            (Some(certificate), Some(private_key)) => Ok(Self {
                certificate,
                private_key,
            }),
            // The key is written first: one alone is left by a crash before anyone saw a certificate.
            (None, _) => {
                let made = Self::make(domain)?;
                let failed = |path: &Path| {
                    let path = path.to_owned();
                    move |error: std::io::Error| CertificateError::File {
                        path,
                        kind: error.kind(),
                    }
                };
                files::write_private(&key_path, &made.private_key).map_err(failed(&key_path))?;
                files::write_public(&certificate_path, &made.certificate)
                    .map_err(failed(&certificate_path))?;
                Ok(made)
            }
            (Some(_), None) => Err(CertificateError::Half { path: key_path }),
        }
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

fn read(path: &Path) -> Result<Option<Vec<u8>>, CertificateError> {
    files::read(path, MAX_FILE).map_err(|error| CertificateError::File {
        path: path.to_owned(),
        kind: error.kind(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_same_pair_comes_back_and_half_a_pair_is_refused() {
        let dir = Scratch::try_new("certificate").unwrap();
        let made = Certificate::load_or_make(dir.path(), "example.org").unwrap();
        let loaded = Certificate::load_or_make(dir.path(), "other.org").unwrap();
        assert_eq!(made.certificate, loaded.certificate);
        assert_eq!(made.private_key, loaded.private_key);
        assert_eq!(made.sha256(), loaded.sha256());

        std::fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        assert_eq!(
            Certificate::load_or_make(dir.path(), "example.org").err(),
            Some(CertificateError::Half {
                path: dir.path().join(KEY_FILE)
            })
        );
    }

    #[test]
    fn a_crash_between_key_and_certificate_is_healed() {
        let dir = Scratch::try_new("certificate-crash").unwrap();
        std::fs::write(dir.path().join(KEY_FILE), b"old").unwrap();
        let made = Certificate::load_or_make(dir.path(), "example.org").unwrap();
        let key = std::fs::read(dir.path().join(KEY_FILE)).unwrap();
        assert_eq!(key, made.private_key);
    }
}
