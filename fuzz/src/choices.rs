//! Fuzz input read as choices: which act is next, on whom, with how much.

/// What is left of an input. Reading past its end gives zeros, so every input means something.
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// All of an input.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether all of it was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A yes, once in so many times.
    pub fn once_in(&mut self, times: u8) -> bool {
        self.byte().is_multiple_of(times)
    }

    /// A number below `end`, which is at most 256 and not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// So many bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        array[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        array
    }

    /// A length in one byte, then at most so many bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        let (taken, rest) = self.0.split_at(self.0.len().min(length));
        self.0 = rest;
        taken
    }

    /// `original` with up to seven changes: bytes set, flipped, put in, cut out or moved.
    pub fn edited(&mut self, original: &[u8]) -> Vec<u8> {
        let mut edited = original.to_vec();
        for _ in 0..self.byte() % 8 {
            let (edit, at) = (self.byte(), usize::from(self.u16()) % (edited.len() + 1));
            match edit % 6 {
                0 => {
                    let byte = self.byte();
                    if let Some(to) = edited.get_mut(at) {
                        *to = byte;
                    }
                }
                1 => {
                    let bit = self.byte() % 8;
                    if let Some(to) = edited.get_mut(at) {
                        *to ^= 1 << bit;
                    }
                }
                2 => drop(edited.splice(at..at, self.bytes().iter().copied())),
                3 => {
                    let end = edited.len().min(at + self.below(64));
                    edited.drain(at..end);
                }
                4 => edited.truncate(at),
                _ => {
                    let end = edited.len().min(at + self.below(64));
                    let to = usize::from(self.u16()) % (edited.len() + 1);
                    let span = edited[at..end].to_vec();
                    edited.splice(to..to, span);
                }
            }
        }
        edited
    }
}
