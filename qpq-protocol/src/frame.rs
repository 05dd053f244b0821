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

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::status::{AppCode, Status};

mod decode;

pub use decode::{Decoded, Decoder};

/// Longest payload in bytes: 4 MiB.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

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
    /// Which method; may be one that this version does not know.
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
        let [m0, m1] = self.method_id.to_be_bytes();
        let [r0, r1, r2, r3] = self.request_id.to_be_bytes();
        let [p0, p1, p2, p3] = self.payload_len.to_be_bytes();
        out.put_slice(&[m0, m1, r0, r1, r2, r3, p0, p1, p2, p3]);
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
        let [r0, r1, r2, r3] = self.request_id.to_be_bytes();
        let [p0, p1, p2, p3] = self.payload_len.to_be_bytes();
        out.put_slice(&[self.status.code(), r0, r1, r2, r3, p0, p1, p2, p3]);
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

/// The whole frame of a request whose message is encoded already, [`FrameError::TooLarge`] if it does
/// not fit.
pub fn wrap_request(method_id: u16, request_id: u32, payload: &[u8]) -> Result<Bytes, FrameError> {
    let mut frame = begin(payload.len(), |payload_len| RequestHeader {
        method_id,
        request_id,
        payload_len,
    })?;
    frame.put_slice(payload);
    Ok(frame.freeze())
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
    let mut out = begin(message.encoded_len(), header)?;
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

/// The header of a payload of `len` bytes, with room for it.
fn begin<H: Header>(len: usize, header: impl FnOnce(u32) -> H) -> Result<BytesMut, FrameError> {
    let payload_len = u32::try_from(len)
        .ok()
        .filter(|_| len <= MAX_PAYLOAD)
        .ok_or(FrameError::TooLarge {
            payload_len: len as u64,
        })?;
    let mut out = BytesMut::with_capacity(H::LEN + len);
    header(payload_len).write(&mut out);
    Ok(out)
}

#[cfg(test)]
mod tests;
