//! Frames (protocol.md section 2): a fixed header, then one protobuf message.
//!
//! | frame | header | bytes |
//! | --- | --- | --- |
//! | request | method_id u16, request_id u32, payload_len u32 | 10 |
//! | response | status u8, request_id u32, payload_len u32 | 9 |
//! | push | event_type u16, payload_len u32 | 6 |
//!
//! Integers are big-endian. A stream carries one request and one response, or any number of pushes.
//!
//! ```
//! use bytes::Bytes;
//! use qpq_protocol::frame::{self, Decoded, Decoder, RequestHeader};
//! use qpq_protocol::proto::HealthRequest;
//!
//! let mut wire: Bytes = frame::encode_request(802, 7, &HealthRequest {})?;
//! let mut decoder = Decoder::<RequestHeader>::new();
//! let header = RequestHeader { method_id: 802, request_id: 7, payload_len: 0 };
//! assert_eq!(decoder.decode(&mut wire)?, Some(Decoded::Header(header)));
//! assert_eq!(decoder.decode(&mut wire)?, Some(Decoded::Payload(Bytes::new())));
//! assert_eq!(decoder.decode(&mut wire)?, None);
//! decoder.finish()?;
//! # Ok::<(), frame::FrameError>(())
//! ```

use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::status::{AppCode, Status};

/// Longest payload in bytes: 4 MiB.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// Length of the longest header in bytes.
const LONGEST_HEADER: usize = RequestHeader::LEN;

/// What is wrong with the bytes of a stream. The stream is of no more use: reset it with
/// [`FrameError::app_code`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The payload is longer than [`MAX_PAYLOAD`]: send less, nothing of it is buffered.
    #[error("a payload of {payload_len} bytes is longer than a frame may be (4 MiB)")]
    TooLarge {
        /// Length of the payload in bytes, as the header says.
        payload_len: u64,
    },
    /// The stream ended before its frame was whole: do not use what came.
    #[error("the stream ended inside a frame")]
    FinInsideFrame,
    /// Bytes follow the one frame that the stream may carry: do not use the frame either.
    #[error("bytes follow the one frame of this stream")]
    TrailingBytes,
}

impl FrameError {
    /// The application error code to reset the stream with.
    #[must_use]
    pub const fn app_code(self) -> AppCode {
        match self {
            Self::TooLarge { .. } => AppCode::TooLarge,
            Self::FinInsideFrame | Self::TrailingBytes => AppCode::Frame,
        }
    }
}

/// A frame's header.
pub trait Header: Copy + PartialEq + Eq + fmt::Debug {
    /// Length in bytes.
    const LEN: usize;
    /// Whether further frames may follow on the same stream.
    const MANY: bool;

    /// Reads a header from its [`Header::LEN`] bytes, `None` if there are fewer. The length of the
    /// payload is not judged here.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Appends the [`Header::LEN`] bytes of the header.
    fn write(&self, out: &mut impl BufMut);
    /// Length of the payload in bytes.
    fn payload_len(&self) -> u32;
}

/// Header of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Which method; may be one that nobody registered.
    pub method_id: u16,
    /// Chosen by the caller, echoed in the response.
    pub request_id: u32,
    /// Length of the payload in bytes.
    pub payload_len: u32,
}

impl Header for RequestHeader {
    const LEN: usize = 10;
    const MANY: bool = false;

    fn read(bytes: &[u8]) -> Option<Self> {
        let [m0, m1, r0, r1, r2, r3, p0, p1, p2, p3] = *bytes.first_chunk()?;
        Some(Self {
            method_id: u16::from_be_bytes([m0, m1]),
            request_id: u32::from_be_bytes([r0, r1, r2, r3]),
            payload_len: u32::from_be_bytes([p0, p1, p2, p3]),
        })
    }

    fn write(&self, out: &mut impl BufMut) {
        out.put_u16(self.method_id);
        out.put_u32(self.request_id);
        out.put_u32(self.payload_len);
    }

    fn payload_len(&self) -> u32 {
        self.payload_len
    }
}

/// Header of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHeader {
    /// How the request ended; a byte that this version does not know reads as
    /// [`Status::Internal`].
    pub status: Status,
    /// That of the request.
    pub request_id: u32,
    /// Length of the payload in bytes.
    pub payload_len: u32,
}

impl Header for ResponseHeader {
    const LEN: usize = 9;
    const MANY: bool = false;

    fn read(bytes: &[u8]) -> Option<Self> {
        let [status, r0, r1, r2, r3, p0, p1, p2, p3] = *bytes.first_chunk()?;
        Some(Self {
            status: Status::from_wire(status),
            request_id: u32::from_be_bytes([r0, r1, r2, r3]),
            payload_len: u32::from_be_bytes([p0, p1, p2, p3]),
        })
    }

    fn write(&self, out: &mut impl BufMut) {
        out.put_u8(self.status.code());
        out.put_u32(self.request_id);
        out.put_u32(self.payload_len);
    }

    fn payload_len(&self) -> u32 {
        self.payload_len
    }
}

/// Header of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PushHeader {
    /// Which event; may be one that this version does not know.
    pub event_type: u16,
    /// Length of the payload in bytes.
    pub payload_len: u32,
}

impl Header for PushHeader {
    const LEN: usize = 6;
    const MANY: bool = true;

    fn read(bytes: &[u8]) -> Option<Self> {
        let [e0, e1, p0, p1, p2, p3] = *bytes.first_chunk()?;
        Some(Self {
            event_type: u16::from_be_bytes([e0, e1]),
            payload_len: u32::from_be_bytes([p0, p1, p2, p3]),
        })
    }

    fn write(&self, out: &mut impl BufMut) {
        out.put_u16(self.event_type);
        out.put_u32(self.payload_len);
    }

    fn payload_len(&self) -> u32 {
        self.payload_len
    }
}

/// The whole frame of a request, [`FrameError::TooLarge`] if the message does not fit.
pub fn encode_request(
    method_id: u16,
    request_id: u32,
    message: &impl Message,
) -> Result<Bytes, FrameError> {
    encode(message, |payload_len| RequestHeader {
        method_id,
        request_id,
        payload_len,
    })
}

/// The whole frame of a response, [`FrameError::TooLarge`] if the message does not fit.
pub fn encode_response(
    status: Status,
    request_id: u32,
    message: &impl Message,
) -> Result<Bytes, FrameError> {
    encode(message, |payload_len| ResponseHeader {
        status,
        request_id,
        payload_len,
    })
}

/// The whole frame of a push, [`FrameError::TooLarge`] if the message does not fit.
pub fn encode_push(event_type: u16, message: &impl Message) -> Result<Bytes, FrameError> {
    encode(message, |payload_len| PushHeader {
        event_type,
        payload_len,
    })
}

/// Header and message in one allocation of their exact size.
fn encode<H: Header>(
    message: &impl Message,
    header: impl FnOnce(u32) -> H,
) -> Result<Bytes, FrameError> {
    let len = message.encoded_len();
    let payload_len = u32::try_from(len)
        .ok()
        .filter(|_| len <= MAX_PAYLOAD)
        .ok_or(FrameError::TooLarge {
            payload_len: len as u64,
        })?;
    let mut out = BytesMut::with_capacity(H::LEN + len);
    header(payload_len).write(&mut out);
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

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
                let wanted = bytes.get_mut(*have..H::LEN).unwrap_or_default();
                let taken = input.split_to(wanted.len().min(input.len()));
                for (to, from) in wanted.iter_mut().zip(&taken) {
                    *to = *from;
                }
                *have += taken.len();
                if *have < H::LEN {
                    return Ok(None);
                }
                let Some(header) = H::read(bytes) else {
                    return Ok(None);
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

#[cfg(test)]
mod tests;
