//! From the bytes of a stream, however they are split, to frames.

use alloc::vec::Vec;
use core::mem;

use bytes::{Buf as _, Bytes};

use super::{FrameError, Header, MAX_PAYLOAD, RequestHeader};

/// Length of the longest header in bytes.
const LONGEST_HEADER: usize = RequestHeader::LEN;

/// The next thing found on a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded<H> {
    /// A header is whole. Nothing is buffered for its payload yet: now is the time to make room, or
    /// to call [`Decoder::skip`].
    Header(H),
    /// The payload that belongs to the header before.
    Payload(Bytes),
    /// The payload that belongs to the header before is over; it was dropped as asked.
    Skipped,
}

/// Turns the bytes of one stream into frames, however they are split.
///
/// Give it each piece with [`Decoder::decode`], again and again until that returns `None`, and
/// [`Decoder::finish`] when the stream has ended. Nothing is allocated before a header is whole; a
/// payload that lies in one piece is handed out without copying; for one that does not, the buffer
/// grows with what has come, never beyond the payload's length.
pub struct Decoder<H> {
    state: State<H>,
}

enum State<H> {
    /// Collecting a header; `have` of its bytes are here.
    Header {
        bytes: [u8; LONGEST_HEADER],
        have: usize,
    },
    /// The payload of `header` comes next; nothing of it is here.
    Payload { header: H },
    /// Collecting the payload of `header`, which does not lie in one piece.
    Pieces { header: H, have: Vec<u8> },
    /// A payload, to be handed out.
    Whole(Bytes),
    /// Dropping the payload of `header`; this many bytes are still to come.
    Skipping { header: H, missing: usize },
    /// The one frame was handed out.
    Done,
    /// The stream is broken.
    Failed(FrameError),
}

impl<H: Header> Decoder<H> {
    /// A decoder for a stream that nothing was read from.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Header {
                bytes: [0; LONGEST_HEADER],
                have: 0,
            },
        }
    }

    /// Takes bytes from the front of `input` until something is whole. `None`: all of `input` is
    /// taken and more is needed. After an error every call returns the same error.
    #[inline]
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Decoded<H>>, FrameError> {
        // Mostly `input` starts with a header, or is the payload; then the caller needs no call.
        match &self.state {
            State::Header { have: 0, .. } if input.len() >= H::LEN => {}
            State::Payload { header } if input.len() == payload_len(header) => {}
            State::Done if input.is_empty() => return Ok(None),
            _ => {
                if !self.collect(input)? {
                    return Ok(None);
                }
            }
        }
        match &mut self.state {
            State::Header { bytes, have } => {
                let header = if *have == 0 {
                    let header = H::read(input);
                    // Not split off, which would share the memory and give it back at once.
                    input.advance(H::LEN);
                    header
                } else {
                    H::read(bytes)
                };
                let Some(header) = header else {
                    return Ok(None);
                };
                let payload_len = header.payload_len();
                if !usize::try_from(payload_len).is_ok_and(|len| len <= MAX_PAYLOAD) {
                    return self.fail(FrameError::TooLarge {
                        payload_len: payload_len.into(),
                    });
                }
                self.state = State::Payload { header };
                Ok(Some(Decoded::Header(header)))
            }
            State::Payload { .. } => {
                let payload = mem::take(input);
                self.state = State::after_frame();
                Ok(Some(Decoded::Payload(payload)))
            }
            _ => Ok(Some(self.collected())),
        }
    }

    /// What [`Self::collect`] has made whole.
    #[inline(never)]
    fn collected(&mut self) -> Decoded<H> {
        match mem::replace(&mut self.state, State::after_frame()) {
            State::Whole(payload) => Decoded::Payload(payload),
            _ => Decoded::Skipped,
        }
    }

    /// Takes what there is of a header or payload that `input` has more or less than, or that is
    /// dropped; whether it is whole.
    #[inline(never)]
    fn collect(&mut self, input: &mut Bytes) -> Result<bool, FrameError> {
        match &mut self.state {
            State::Header { bytes, have } => {
                let wanted = bytes.get_mut(*have..H::LEN).unwrap_or_default();
                let taken = wanted.len().min(input.len());
                for (to, from) in wanted.iter_mut().zip(&*input) {
                    *to = *from;
                }
                input.advance(taken);
                *have += taken;
                Ok(*have == H::LEN)
            }
            // Nothing of it is here: it may still come in one piece.
            State::Payload { .. } if input.is_empty() => Ok(false),
            State::Payload { header } => {
                let len = payload_len(header);
                if input.len() >= len {
                    self.state = State::Whole(input.split_to(len));
                    return Ok(true);
                }
                let header = *header;
                let mut have = Vec::new();
                grow(&mut have, input.len(), len);
                have.extend_from_slice(&mem::take(input));
                self.state = State::Pieces { header, have };
                Ok(false)
            }
            State::Pieces { header, have } => {
                let len = payload_len(header);
                let taken = input.split_to(len.saturating_sub(have.len()).min(input.len()));
                grow(have, taken.len(), len);
                have.extend_from_slice(&taken);
                if have.len() < len {
                    return Ok(false);
                }
                self.state = State::Whole(mem::take(have).into());
                Ok(true)
            }
            State::Skipping { missing, .. } => {
                let taken = (*missing).min(input.len());
                input.advance(taken);
                *missing -= taken;
                Ok(*missing == 0)
            }
            State::Whole(_) => Ok(true),
            State::Done if input.is_empty() => Ok(false),
            State::Done => self.fail(FrameError::TrailingBytes),
            State::Failed(error) => Err(*error),
        }
    }

    /// Drops the payload of the header last returned: what of it has come, and what comes, as it
    /// comes. Its end is told as [`Decoded::Skipped`]. Without such a header this does nothing.
    pub fn skip(&mut self) {
        if let State::Payload { header } | State::Pieces { header, .. } = &self.state {
            self.state = State::Skipping {
                header: *header,
                missing: self.missing(),
            };
        }
    }

    /// The stream has ended: `Ok` if it did so where it may.
    #[inline]
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.state {
            State::Done => Ok(()),
            State::Header { have: 0, .. } if H::MANY => Ok(()),
            State::Failed(error) => Err(*error),
            _ => Err(FrameError::FinInsideFrame),
        }
    }

    /// The header whose payload is being collected or skipped.
    #[must_use]
    pub fn header(&self) -> Option<H> {
        match &self.state {
            State::Payload { header }
            | State::Pieces { header, .. }
            | State::Skipping { header, .. } => Some(*header),
            State::Header { .. } | State::Whole(_) | State::Done | State::Failed(_) => None,
        }
    }

    /// Bytes that are still missing from the header or payload being collected or skipped; 0 when
    /// no more may come.
    #[must_use]
    pub fn missing(&self) -> usize {
        match &self.state {
            State::Header { have, .. } => H::LEN.saturating_sub(*have),
            State::Payload { header } => payload_len(header),
            State::Pieces { header, have } => payload_len(header).saturating_sub(have.len()),
            State::Skipping { missing, .. } => *missing,
            State::Whole(_) | State::Done | State::Failed(_) => 0,
        }
    }

    /// Bytes of memory held for a payload that is not whole.
    #[must_use]
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Pieces { have, .. } => have.capacity(),
            _ => 0,
        }
    }

    #[cold]
    fn fail<T>(&mut self, error: FrameError) -> Result<T, FrameError> {
        self.state = State::Failed(error);
        Err(error)
    }
}

impl<H: Header> Default for Decoder<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Header> State<H> {
    const fn after_frame() -> Self {
        if H::MANY {
            Self::Header {
                bytes: [0; LONGEST_HEADER],
                have: 0,
            }
        } else {
            Self::Done
        }
    }
}

/// Payload length of a header that passed the check against [`MAX_PAYLOAD`].
fn payload_len(header: &impl Header) -> usize {
    usize::try_from(header.payload_len())
        .unwrap_or(MAX_PAYLOAD)
        .min(MAX_PAYLOAD)
}

/// Makes room for `more` bytes, doubling so that copying stays linear, but never above `len`.
fn grow(have: &mut Vec<u8>, more: usize, len: usize) {
    let needed = have.len() + more;
    if needed > have.capacity() {
        let target = needed.max(have.capacity().saturating_mul(2)).min(len);
        have.reserve_exact(target.saturating_sub(have.len()));
    }
}
