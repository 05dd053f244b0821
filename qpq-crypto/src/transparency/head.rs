//! The signed head of the log.

use super::Hash;
use crate::identity::{BadSignature, IdentitySecret, SigningInput, verify};

/// The server's word that its log of `tree_size` leaves has this root: Ed25519 over
/// `"qpq tree head v1" || tree_size || root || timestamp_ms`. Two heads of one size with different
/// roots are evidence of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeHead {
    /// How many leaves.
    pub tree_size: u64,
    /// The Merkle tree hash.
    pub root: Hash,
    /// When it was signed, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The server's signature.
    pub signature: [u8; 64],
}

fn input(tree_size: u64, root: &Hash, timestamp_ms: u64) -> Vec<u8> {
    SigningInput::new("qpq tree head v1")
        .u64(tree_size)
        .fixed(root)
        .u64(timestamp_ms)
        .finish()
}

impl TreeHead {
    /// Bytes of an encoded head.
    pub const LENGTH: usize = 8 + 32 + 8 + 64;

    /// Signs a head.
    pub fn sign(server: &IdentitySecret, tree_size: u64, root: Hash, timestamp_ms: u64) -> Self {
        Self {
            tree_size,
            root,
            timestamp_ms,
            signature: server.sign(&input(tree_size, &root, timestamp_ms)),
        }
    }

    /// Checks the signature under the server's Ed25519 signing key.
    ///
    /// # Errors
    /// [`BadSignature`]: refuse the head, it is not the server's.
    pub fn verify(&self, server_key: &[u8; 32]) -> Result<(), BadSignature> {
        let input = input(self.tree_size, &self.root, self.timestamp_ms);
        verify(server_key, &input, &self.signature)
    }

    /// `tree_size || root || timestamp_ms || signature`, 112 bytes, for keeping.
    pub fn encode(&self) -> Vec<u8> {
        [
            self.tree_size.to_be_bytes().as_slice(),
            &self.root,
            &self.timestamp_ms.to_be_bytes(),
            &self.signature,
        ]
        .concat()
    }

    /// Reads what [`encode`](Self::encode) wrote, or none from anything but 112 bytes. The signature
    /// is not checked yet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tree_size, rest) = bytes.split_first_chunk()?;
        let (root, rest) = rest.split_first_chunk()?;
        let (timestamp_ms, rest) = rest.split_first_chunk()?;
        Some(Self {
            tree_size: u64::from_be_bytes(*tree_size),
            root: *root,
            timestamp_ms: u64::from_be_bytes(*timestamp_ms),
            signature: rest.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_refused() {
        let server = IdentitySecret::from_seed([1; 32]);
        let key = server.public().0;
        let head = TreeHead::sign(&server, 7, [2; 32], 9);
        let bytes = head.encode();
        assert_eq!(bytes.len(), TreeHead::LENGTH);
        assert_eq!(TreeHead::decode(&bytes), Some(head));
        assert_eq!(head.verify(&key), Ok(()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let bad = TreeHead::decode(&bad).unwrap();
            assert_eq!(bad.verify(&key), Err(BadSignature), "bit {bit}");
        }
        assert_eq!(TreeHead::decode(&bytes[1..]), None);
        assert_eq!(TreeHead::decode(&[bytes.as_slice(), &[0]].concat()), None);
    }
}
