//! The bytes of a stored value: wiped when dropped and when they outgrow their room, at the speed of
//! memory.
//!
//! `Zeroizing` wipes a byte at a time. serde hands over lists of bytes one byte at a time, so that
//! what is done for each of them counts. The message secrets of a large group are megabytes that each
//! message rewrites: these two took longer than its cryptography.

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
        let room = Encoder {
            room: Value(vec![0; len.saturating_add(256)]),
            written: 0,
        };
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

/// A value that is being written into room full of zeros: one comparison for each byte of a list of
/// bytes, where a vector that grows makes two.
struct Encoder {
    room: Value,
    written: usize,
}

impl Encoder {
    /// Makes room for `len` bytes. What was there is wiped when the old room is dropped.
    #[cold]
    fn grow(&mut self, len: usize) {
        let mut larger = vec![0; len.max(self.room.len().saturating_mul(2))];
        if let Some(start) = larger.get_mut(..self.room.len()) {
            start.copy_from_slice(&self.room);
        }
        self.room = Value(larger);
    }
}

impl Flavor for Encoder {
    type Output = Value;

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.room.0.get_mut(self.written) {
            Some(place) => {
                *place = byte;
                self.written += 1;
                Ok(())
            }
            None => self.try_extend(&[byte]),
        }
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let end = self.written.saturating_add(bytes.len());
        if end > self.room.len() {
            self.grow(end);
        }
        let places = self.room.0.get_mut(self.written..end);
        places
            .ok_or(postcard::Error::SerializeBufferFull)?
            .copy_from_slice(bytes);
        self.written = end;
        Ok(())
    }

    fn finalize(mut self) -> postcard::Result<Value> {
        self.room.0.truncate(self.written);
        Ok(self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_grows_is_what_postcard_writes() {
        let long = (vec![7u16; 3000], "text", vec![vec![1u8; 200]; 40]);
        let expected = postcard::to_allocvec(&long).unwrap();
        let len = expected.len();
        for room in [0, 1, len - 257, len - 256, len] {
            assert_eq!(&*Value::encode(&long, room).unwrap(), expected.as_slice());
        }
    }

    #[test]
    fn bytes_come_in_order_wherever_the_room_ends() {
        for pushed in [0, 1, 250, 254, 255, 256, 257, 511, 512] {
            for extended in [0usize, 1, 2, 255, 256, 257, 1000] {
                // Bytes one by one, then a string at once, then bytes again.
                let text = "a".repeat(extended);
                let value = (vec![3u8; pushed], text, vec![4u8; 3]);
                let expected = postcard::to_allocvec(&value).unwrap();
                assert_eq!(&*Value::encode(&value, 0).unwrap(), expected.as_slice());
            }
        }
    }
}
