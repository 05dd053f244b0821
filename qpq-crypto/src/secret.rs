//! Secret bytes: wiped when dropped, compared in constant time, never printed.
//!
//! No type here implements `Debug`, `Display`, `PartialEq` or `Clone`: a secret that ends up in a
//! log line or a `==` is a compile error, a copy is written out where it is made.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret of `N` bytes.
pub struct Secret<const N: usize>([u8; N]);

/// A 32-byte secret: AEAD and MAC keys, access keys, channel keys.
pub type Secret32 = Secret<32>;

impl<const N: usize> Secret<N> {
    /// Takes over `bytes`. The caller's own copy of the array, if it kept one, is not wiped.
    pub fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The bytes, for handing to a primitive.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// A second, independent copy, wiped on its own.
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// Whether both are the same, in time that does not depend on where they differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> From<[u8; N]> for Secret<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self::new(bytes)
    }
}

/// A secret whose length is known only when it arrives: passwords, decrypted bundles.
pub struct SecretVec(Vec<u8>);

impl SecretVec {
    /// Takes over `bytes` without copying.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for handing to a primitive.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same. Only the length may show in the time taken.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Drop for SecretVec {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<Vec<u8>> for SecretVec {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

/// Secret text: a printed recovery code.
pub struct SecretText(String);

impl SecretText {
    /// Takes over `text` without copying.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for showing once to whom it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Whether two byte strings are equal, in time that depends only on their lengths.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_sees_every_byte() {
        let base = [7u8; 32];
        for position in 0..base.len() {
            let mut other = base;
            other[position] ^= 1;
            assert!(!Secret::new(base).ct_eq(&Secret::new(other)));
            assert!(!ct_eq(&base, &other));
        }
        assert!(Secret::new(base).ct_eq(&Secret::new(base).duplicate()));
        assert!(SecretVec::new(base.to_vec()).ct_eq(&base.to_vec().into()));
        assert!(!SecretVec::new(base.to_vec()).ct_eq(&vec![7u8; 31].into()));
    }
}
