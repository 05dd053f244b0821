//! The bytes of a stored value: wiped when dropped and when they outgrow their room, at the speed of
//! memory.
//!
//! `Zeroizing` wipes a byte at a time and postcard's own `Extend` flavor writes one at a time. The
//! message secrets of a large group are megabytes that each message rewrites, and these two took longer
//! than its cryptography.

use std::ops::Deref;

use postcard::ser_flavors::Flavor;
use serde::Serialize;

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Value(Vec<u8>);

impl Value {
    /// An empty value with room for so many bytes.
    pub fn with_capacity(room: usize) -> Self {
        Value(Vec::with_capacity(room))
    }

    /// Encodes `value` as postcard, into room for `len` bytes and a little more.
    pub fn encode(value: &impl Serialize, len: usize) -> postcard::Result<Self> {
        let room = Value::with_capacity(len.saturating_add(256));
        postcard::serialize_with_flavor(value, room)
    }

    /// Appends bytes. What has to move leaves nothing behind.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len().saturating_add(bytes.len());
        if needed > self.0.capacity() {
            let mut moved = Value::with_capacity(needed.max(self.0.capacity().saturating_mul(2)));
            moved.0.extend_from_slice(&self.0);
            *self = moved;
        }
        self.0.extend_from_slice(bytes);
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // With the spare room: what was there before may have been longer.
        self.0.clear();
        self.0.resize(self.0.capacity(), 0);
        zeroize::optimization_barrier(self.0.as_slice());
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes)
    }
}

impl Flavor for Value {
    type Output = Self;

    // Called for every byte of a list of bytes.
    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.0.len() == self.0.capacity() {
            self.extend(&[byte]);
        } else {
            self.0.push(byte);
        }
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.extend(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_grows_is_what_postcard_writes() {
        let long = (vec![7u16; 3000], "text", vec![vec![1u8; 200]; 40]);
        let expected = postcard::to_allocvec(&long).unwrap();
        for len in [
            0,
            1,
            expected.len() - 256,
            expected.len() - 257,
            expected.len(),
        ] {
            assert_eq!(&*Value::encode(&long, len).unwrap(), expected.as_slice());
        }
    }
}
