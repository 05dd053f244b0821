//! Signing with aws-lc-rs.
//!
//! It wipes its copy of the secret when the last clone is dropped: aws-lc frees keys with `OPENSSL_free`,
//! which overwrites what it frees, unless the process gave aws-lc an allocator of its own.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ed25519_dalek::Signer;
use zeroize::Zeroizing;

/// An Ed25519 secret with its public key. Wiped on drop.
#[derive(Clone)]
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    /// Missing where aws-lc had no memory for it, the only thing that can go wrong. dalek needs none, and
    /// what it signs then is the same.
    pair: Option<Arc<Ed25519KeyPair>>,
}

impl SigningKey {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            seed: Zeroizing::new(*seed),
            pair: Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Arc::new),
        }
    }

    pub fn public(&self) -> [u8; 32] {
        self.pair
            .as_ref()
            .and_then(|pair| pair.public_key().as_ref().try_into().ok())
            .unwrap_or_else(|| self.dalek().verifying_key().to_bytes())
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair
            .as_ref()
            .and_then(|pair| pair.try_sign(message).ok())
            .and_then(|signature| signature.as_ref().try_into().ok())
            .unwrap_or_else(|| self.dalek().sign(message).to_bytes())
    }

    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    fn dalek(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.seed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::ed25519::dalek;

    proptest! {
        #[test]
        fn both_make_the_same_signatures(
            seed in any::<[u8; 32]>(),
            message in vec(any::<u8>(), 0..600),
        ) {
            let key = SigningKey::from_seed(&seed);
            let other = dalek::SigningKey::from_seed(&seed);
            prop_assert_eq!(key.seed(), other.seed());
            prop_assert_eq!(key.public(), other.public());
            prop_assert_eq!(key.sign(&message), other.sign(&message));
            // It was aws-lc that did.
            let signature = key.pair.as_deref().unwrap().sign(&message);
            prop_assert_eq!(signature.as_ref(), other.sign(&message));
        }

        #[test]
        fn without_memory_for_a_pair_it_signs_the_same(
            seed in any::<[u8; 32]>(),
            message in vec(any::<u8>(), 0..600),
        ) {
            let key = SigningKey::from_seed(&seed);
            let poor = SigningKey { pair: None, ..key.clone() };
            prop_assert_eq!(poor.public(), key.public());
            prop_assert_eq!(poor.sign(&message), key.sign(&message));
        }
    }
}
