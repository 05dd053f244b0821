//! One request stream: from bytes in any split to a whole request, and until its answer has left.

use bytes::Bytes;

use super::tasks::TaskId;
use crate::frame::{Decoded, Decoder, FrameError, RequestHeader};
use crate::time::Time;

/// A request stream of a peer.
pub(super) struct Stream {
    /// What it waits for.
    pub(super) state: State,
    /// When its first byte came.
    pub(super) arrived: Time,
    /// Bytes of the answer that the transport has not taken.
    pub(super) unsent: usize,
    /// Bytes set aside for its answer, until the transport has taken that.
    pub(super) reserved: usize,
    /// Whether the peer has ended its half.
    pub(super) fin: bool,
}

/// What a request stream waits for.
pub(super) enum State {
    /// The rest of the request.
    Reading(Reading),
    /// Its end: it was answered from its header, what still comes is dropped.
    Dropping,
    /// The request, to be answered.
    Running(TaskId),
    /// The transport, to take the answer.
    Answered,
}

/// A request that is arriving.
#[derive(Default)]
pub(super) struct Reading {
    decoder: Decoder<RequestHeader>,
    /// Bytes set aside for it.
    pub(super) reserved: usize,
    header: Option<RequestHeader>,
    payload: Option<Bytes>,
}

impl Stream {
    /// A stream that nothing was read from.
    pub(super) fn new(now: Time) -> Self {
        Self {
            state: State::Reading(Reading::default()),
            arrived: now,
            unsent: 0,
            reserved: 0,
            fin: false,
        }
    }

    /// Whether nothing more is to happen on it.
    pub(super) fn is_over(&self) -> bool {
        self.fin && self.unsent == 0 && matches!(self.state, State::Dropping | State::Answered)
    }
}

impl Reading {
    /// Takes bytes until the header is whole, which is returned once: make room for the payload
    /// before going on. `None`: all of `input` is taken.
    pub(super) fn read(&mut self, input: &mut Bytes) -> Result<Option<RequestHeader>, FrameError> {
        while let Some(decoded) = self.decoder.decode(input)? {
            match decoded {
                Decoded::Header(header) => {
                    self.header = Some(header);
                    return Ok(Some(header));
                }
                Decoded::Payload(payload) => self.payload = Some(payload),
                Decoded::Skipped => {}
            }
        }
        Ok(None)
    }

    /// The stream has ended: the request, if it is whole.
    pub(super) fn finish(self) -> Result<(RequestHeader, Bytes), FrameError> {
        self.decoder.finish()?;
        match (self.header, self.payload) {
            (Some(header), Some(payload)) => Ok((header, payload)),
            _ => Err(FrameError::FinInsideFrame),
        }
    }

    /// Bytes that may still come, and one more that must not.
    pub(super) fn wanted(&self) -> usize {
        self.decoder.missing().saturating_add(1)
    }
}
