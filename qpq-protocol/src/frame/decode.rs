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
    /// Collecting the payload of `header`.
    Payload { header: H, have: Vec<u8> },
    /// Dropping the payload of `header`; so many bytes are still to come.
    Skipping { header: H, missing: usize },
    /// The one frame was handed out.
    Done,
    /// The stream is broken.
    Failed(FrameError),
}

impl<H: Header> Decoder<H> {
    /// A decoder for a stream that nothing was read from.
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
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Decoded<H>>, FrameError> {
        match &mut self.state {
            State::Header { bytes, have } => {
                // Mostly it is there at once. It is not split off, which would share the memory and
                // give it back at once.
                let whole = if *have == 0 { H::read(input) } else { None };
                let header = if let Some(header) = whole {
                    input.advance(H::LEN);
                    header
                } else {
                    let wanted = bytes.get_mut(*have..H::LEN).unwrap_or_default();
                    let taken = wanted.len().min(input.len());
                    for (to, from) in wanted.iter_mut().zip(&*input) {
                        *to = *from;
                    }
                    input.advance(taken);
                    *have += taken;
                    match H::read(bytes) {
                        Some(header) if *have == H::LEN => header,
                        _ => return Ok(None),
                    }
                };
                let payload_len = header.payload_len();
                if usize::try_from(payload_len).is_ok_and(|len| len <= MAX_PAYLOAD) {
                    self.state = State::Payload {
                        header,
                        have: Vec::new(),
                    };
                    Ok(Some(Decoded::Header(header)))
                } else {
                    self.fail(FrameError::TooLarge {
                        payload_len: payload_len.into(),
                    })
                }
            }
            State::Payload { header, have } => {
                let len = payload_len(header);
                let missing = len.saturating_sub(have.len());
                let taken = input.split_to(missing.min(input.len()));
                if taken.len() < missing {
                    grow(have, taken.len(), len);
                    have.extend_from_slice(&taken);
                    return Ok(None);
                }
                let payload = if have.is_empty() {
                    taken
                } else {
                    grow(have, taken.len(), len);
                    have.extend_from_slice(&taken);
                    Bytes::from(mem::take(have))
                };
                self.state = State::after_frame();
                Ok(Some(Decoded::Payload(payload)))
            }
            State::Skipping { missing, .. } => {
                let taken = input.split_to((*missing).min(input.len()));
                *missing -= taken.len();
                if *missing > 0 {
                    return Ok(None);
                }
                self.state = State::after_frame();
                Ok(Some(Decoded::Skipped))
            }
            State::Done if input.is_empty() => Ok(None),
            State::Done => self.fail(FrameError::TrailingBytes),
            State::Failed(error) => Err(*error),
        }
    }

    /// Drops the payload of the header last returned: what of it has come, and what comes, as it
    /// comes. Its end is told as [`Decoded::Skipped`]. Without such a header this does nothing.
    pub fn skip(&mut self) {
        if let State::Payload { header, have } = &self.state {
            let missing = payload_len(header).saturating_sub(have.len());
            self.state = State::Skipping {
                header: *header,
                missing,
            };
        }
    }

    /// The stream has ended: `Ok` if it did so where it may.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.state {
            State::Done => Ok(()),
            State::Header { have: 0, .. } if H::MANY => Ok(()),
            State::Header { .. } | State::Payload { .. } | State::Skipping { .. } => {
                Err(FrameError::FinInsideFrame)
            }
            State::Failed(error) => Err(*error),
        }
    }

    /// The header whose payload is being collected or skipped.
    #[must_use]
    pub fn header(&self) -> Option<H> {
        match &self.state {
            State::Payload { header, .. } | State::Skipping { header, .. } => Some(*header),
            State::Header { .. } | State::Done | State::Failed(_) => None,
        }
    }

    /// Bytes that are still missing from the header or payload being collected or skipped; 0 when
    /// no more may come.
    #[must_use]
    pub fn missing(&self) -> usize {
        match &self.state {
            State::Header { have, .. } => H::LEN.saturating_sub(*have),
            State::Payload { header, have } => payload_len(header).saturating_sub(have.len()),
            State::Skipping { missing, .. } => *missing,
            State::Done | State::Failed(_) => 0,
        }
    }

    /// Bytes of memory held for a payload that is not whole.
    #[must_use]
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Payload { have, .. } => have.capacity(),
            _ => 0,
        }
    }

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
