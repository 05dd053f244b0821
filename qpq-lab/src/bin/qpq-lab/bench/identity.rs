//! The servers' certificate, one for all of them, in files that they and their clients share.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::generate_simple_self_signed;
use sha2::{Digest as _, Sha256};

use super::{Failure, Outcome};

/// A self-signed certificate for `localhost` in a directory.
#[derive(Clone, Debug)]
pub struct Identity(PathBuf);

impl Identity {
    /// Makes one in `dir`.
    pub fn make(dir: &Path) -> Outcome<Self> {
        let made = generate_simple_self_signed(["localhost".to_owned()])
            .map_err(Failure::of("a certificate"))?;
        let identity = Self(dir.to_owned());
        let (certificate, key) = (&made.cert, &made.signing_key);
        for (name, bytes) in [
            ("certificate.der", certificate.der().to_vec()),
            ("key.der", key.serialize_der()),
            ("certificate.pem", certificate.pem().into_bytes()),
            ("key.pem", key.serialize_pem().into_bytes()),
        ] {
            fs::write(dir.join(name), bytes).map_err(Failure::of(name))?;
        }
        Ok(identity)
    }

    /// The one that was made in `dir`.
    pub fn of(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The certificate and its key in DER.
    pub fn der(&self) -> Outcome<[Vec<u8>; 2]> {
        Ok([self.read("certificate.der")?, self.read("key.der")?])
    }

    /// The certificate and its key in PEM.
    pub fn pem(&self) -> Outcome<[Vec<u8>; 2]> {
        Ok([self.read("certificate.pem")?, self.read("key.pem")?])
    }

    /// SHA-256 of the certificate in DER.
    pub fn sha256(&self) -> Outcome<[u8; 32]> {
        Ok(Sha256::digest(self.read("certificate.der")?).into())
    }

    fn read(&self, name: &str) -> Outcome<Vec<u8>> {
        fs::read(self.0.join(name)).map_err(Failure::of(name))
    }
}
