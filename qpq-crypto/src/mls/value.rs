//! The bytes of a stored value: wiped when dropped and when they outgrow their room, at the speed of
//! memory. `Zeroizing` wipes a byte at a time, which for the megabytes that a message rewrites in a
//! large group took longer than its cryptography.

use std::ops::{Deref, DerefMut};

use postcard::ser_flavors::Flavor;

use super::encoder::Room;

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Value(Vec<u8>);

impl Value {
    /// An empty value with room for this many bytes.
    pub fn with_capacity(room: usize) -> Self {
        Value(Vec::with_capacity(room))
    }

    /// Appends bytes.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Cuts off what is beyond `len`, and wipes it.
    pub fn truncate(&mut self, len: usize) {
        self.wipe(len);
        self.0.truncate(len);
    }

    /// Zeroes what is beyond `len`.
    pub(super) fn wipe(&mut self, len: usize) {
        let beyond = self.0.get_mut(len..).unwrap_or_default();
        beyond.fill(0);
        zeroize::optimization_barrier(&*beyond);
    }

    #[inline]
    fn reserve(&mut self, more: usize) {
        if more > self.0.capacity() - self.0.len() {
            self.grow(more);
        }
    }

    /// Moves to larger room. The old is wiped when it is dropped.
    #[cold]
    fn grow(&mut self, more: usize) {
        let needed = self.0.len().saturating_add(more);
        let mut moved = Value::with_capacity(needed.max(self.0.capacity().saturating_mul(2)));
        moved.0.extend_from_slice(&self.0);
        *self = moved;
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

impl DerefMut for Value {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes)
    }
}

/// What postcard writes into.
impl Flavor for Value {
    type Output = Value;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.reserve(1);
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.extend(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Value> {
        Ok(self)
    }
}

impl Room for Value {
    #[inline]
    fn extend_exactly(&mut self, len: usize, bytes: impl Iterator<Item = u8>) {
        self.reserve(len);
        self.0.extend(bytes.take(len));
    }
}
