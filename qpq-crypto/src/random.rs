//! The one generator: ChaCha20 from the caller's 32-byte seed.
//!
//! Every randomised operation makes its own from a fresh seed, so that what one operation draws
//! never shifts another's bytes.

use opaque_ke::rand as rand_06;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The generator of one operation, for crates on rand_core 0.10.
pub(crate) fn from_seed(seed: &[u8; 32]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(*seed)
}

/// The same generator behind the traits of rand_core 0.6, which opaque-ke uses.
pub(crate) struct Rand06(ChaCha20Rng);

impl Rand06 {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(from_seed(seed))
    }
}

impl rand_06::RngCore for Rand06 {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_06::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl rand_06::CryptoRng for Rand06 {}
