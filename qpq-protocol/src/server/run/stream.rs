//! One request stream: from bytes in any split to a whole request, and until its answer has left.

use bytes::Bytes;

use super::task_id::TaskId;
use crate::frame::{Decoded, Decoder, FrameError, RequestHeader};
use crate::limits::{ENTRY, Limits};
use crate::server::charges::{Charge, Unsent, time_for};
use crate::time::Time;

/// A request stream of a peer.
pub(in crate::server) struct Stream {
    /// What it waits for.
    pub(in crate::server) state: State,
    /// When it was opened.
    opened: Time,
    /// Bytes that have come.
    received: usize,
    /// Bytes of the answer that the transport has not taken.
    pub(in crate::server) unsent: Unsent,
    /// What covers a short answer, until the transport has taken that.
    pub(in crate::server) entry: Option<Charge>,
    /// What covers a long one.
    pub(in crate::server) answer: Option<Charge>,
    /// Whether the peer has ended its half.
    pub(in crate::server) fin: bool,
}

/// What a request stream waits for.
pub(in crate::server) enum State {
    /// The rest of the request.
    Reading(Reading),
    /// Its end: it was answered before it was whole, what still comes is dropped.
    Dropping,
    /// The request, to be answered.
    Running(TaskId),
    /// The transport, to take the answer.
    Answered,
}

/// A request that is arriving.
#[derive(Default)]
pub(in crate::server) struct Reading {
    decoder: Decoder<RequestHeader>,
    /// What is set aside for it, once its header is whole.
    pub(in crate::server) claim: Option<Claim>,
    payload: Option<Bytes>,
}

/// A request whose header is whole, and what is set aside for it.
pub(in crate::server) struct Claim {
    pub(in crate::server) header: RequestHeader,
    pub(in crate::server) charge: Charge,
    /// Its place among the requests that are not whole; the higher, the younger.
    pub(in crate::server) age: u64,
}

/// How far bytes have brought a request.
pub(in crate::server) enum Progress {
    /// The header is whole: see that the request is wanted before going on.
    Header(RequestHeader),
    /// The payload is whole.
    Payload,
    /// All bytes are taken.
    Waiting,
}

impl Stream {
    /// A stream that nothing was read from.
    pub(in crate::server) fn new(now: Time, unsent: Unsent) -> Self {
        Self {
            state: State::Reading(Reading::default()),
            opened: now,
            received: 0,
            unsent,
            entry: None,
            answer: None,
            fin: false,
        }
    }

    /// So many bytes have come.
    pub(in crate::server) const fn receive(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes);
    }

    /// When the request must be whole.
    pub(in crate::server) fn due(&self, limits: &Limits) -> Option<Time> {
        let more = time_for(self.received, limits.slowest);
        (!self.fin).then(|| self.opened + limits.arrival_time + more)
    }

    /// Whether nothing more is to happen on it.
    pub(in crate::server) fn is_over(&self) -> bool {
        self.fin
            && self.unsent.bytes() == 0
            && matches!(self.state, State::Dropping | State::Answered)
    }

    /// What is set aside for the request that is arriving on it.
    pub(in crate::server) const fn claim(&self) -> Option<&Claim> {
        match &self.state {
            State::Reading(reading) => reading.claim.as_ref(),
            _ => None,
        }
    }

    /// Reads the request that is arriving no further, and gives what was set aside for it.
    pub(in crate::server) fn give_up(&mut self) -> Option<Claim> {
        match core::mem::replace(&mut self.state, State::Dropping) {
            State::Reading(reading) => reading.claim,
            state => {
                self.state = state;
                None
            }
        }
    }
}

impl Reading {
    /// Takes bytes until something is whole.
    pub(in crate::server) fn read(&mut self, input: &mut Bytes) -> Result<Progress, FrameError> {
        while let Some(decoded) = self.decoder.decode(input)? {
            match decoded {
                Decoded::Header(header) => return Ok(Progress::Header(header)),
                Decoded::Payload(payload) => {
                    self.payload = Some(payload);
                    return Ok(Progress::Payload);
                }
                Decoded::Skipped => {}
            }
        }
        Ok(Progress::Waiting)
    }

    /// Whether the payload is here.
    pub(in crate::server) const fn is_whole(&self) -> bool {
        self.payload.is_some()
    }

    /// Bytes that the request costs so far: a buffer that grows may be twice as long as what has come.
    pub(in crate::server) fn cost(&self) -> usize {
        let Some(claim) = &self.claim else {
            return 0;
        };
        let length = usize::try_from(claim.header.payload_len).unwrap_or(usize::MAX);
        let missing = match self.payload {
            Some(_) => 0,
            None => self.decoder.missing(),
        };
        let here = length.saturating_sub(missing);
        ENTRY.saturating_add(length.min(here.saturating_mul(2)))
    }

    /// The stream has ended: the request, if it is whole.
    pub(in crate::server) fn finish(self) -> Result<(Claim, Bytes), (Option<Claim>, FrameError)> {
        if let Err(error) = self.decoder.finish() {
            return Err((self.claim, error));
        }
        match (self.claim, self.payload) {
            (Some(claim), Some(payload)) => Ok((claim, payload)),
            (claim, _) => Err((claim, FrameError::FinInsideFrame)),
        }
    }

    /// Bytes that may still come, and one more that must not.
    pub(in crate::server) fn wanted(&self) -> usize {
        self.decoder.missing().saturating_add(1)
    }
}
