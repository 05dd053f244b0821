//! The core's only source of randomness: ChaCha20 from the embedder's seed, one child an operation.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use zeroize::Zeroizing;

use crate::time::UnixTime;

/// What all randomness of a core comes from: 32 bytes, fresh from the operating system at every
/// start. Nothing shows them, and they are wiped when they are dropped.
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// The seed with these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The generator that this seed names.
    pub(crate) fn rng(&self) -> Rng {
        Rng::new(*self.0)
    }
}

/// A ChaCha20 generator. Each operation takes a child of its own ([`Rng::child`]), so that one more
/// draw inside an operation shifts nothing that comes after it.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The generator that this 32-byte seed names.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// A seed for one operation.
    pub fn seed(&mut self) -> [u8; 32] {
        self.bytes()
    }

    /// A generator for one operation.
    #[must_use]
    pub fn child(&mut self) -> Self {
        Self::new(self.seed())
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`, without bias worth the name (bounds here are timer spans); 0 for a
    /// bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A UUID v7 (RFC 9562) dated `unix`.
    pub fn uuid_v7(&mut self, unix: UnixTime) -> [u8; 16] {
        let mut uuid = self.bytes::<16>();
        let millis = unix.as_millis().to_be_bytes();
        uuid[..6].copy_from_slice(&millis[2..]);
        uuid[6] = 0x70 | (uuid[6] & 0x0f);
        uuid[8] = 0x80 | (uuid[8] & 0x3f);
        uuid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_in_a_child_shifts_nothing() {
        let (mut a, mut b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        let _ = a.child().bytes::<1000>();
        let _ = b.child();
        assert_eq!(a.bytes::<32>(), b.bytes::<32>());
    }

    #[test]
    fn a_uuid_carries_its_version_variant_and_date() {
        let uuid = Rng::new([1; 32]).uuid_v7(UnixTime::from_millis(0x0123_4567_89ab));
        assert_eq!(uuid[..6], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        assert_eq!(uuid[6] >> 4, 7);
        assert_eq!(uuid[8] >> 6, 0b10);
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new([2; 32]);
        assert!((0..1000).all(|_| rng.below(10) < 10));
        assert_eq!(rng.below(0), 0);
    }
}
