//! Calls that do not go as they should: answers that are others than the server gave, and requests and answers that are
//! late on their way.

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::ids::{ConnId, Dir, StreamId};
use qpq_protocol::io::StreamInput;

use super::wires::Side;
use super::{Input, Net};

/// What a server says instead of its answer to a method: given the method's id and the payload of an
/// answer that went well, or of one that did not.
pub type Lie = fn(u16, Result<Bytes, u8>) -> Result<Bytes, u8>;

/// What is late of a call, by its method.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Late {
    Request(u16),
    Answer(u16),
}

impl Net {
    /// What the server says in place of this, `None` while it is not known yet.
    pub(super) fn lied(
        &mut self,
        conn: ConnId,
        from: Side,
        stream: StreamId,
        data: Bytes,
        fin: bool,
    ) -> Option<Bytes> {
        let (Some(lie), Side::Server, StreamId::Peer(Dir::Bi, place)) = (self.lie, from, stream)
        else {
            return Some(data);
        };
        let link = self.links.get_mut(&conn)?;
        let place = usize::try_from(place).ok()?;
        let held = link.held.entry(*link.bi.get(place)?).or_default();
        held.extend_from_slice(&data);
        if !fin {
            return None;
        }
        // Status, request id, length, payload.
        let (header, payload) = held.split_at_checked(9)?;
        let payload = Bytes::copy_from_slice(payload);
        let said = match header[0] {
            0 => Ok(payload.clone()),
            status => Err(status),
        };
        let (status, payload) = match lie(*link.methods.get(place)?, said) {
            Ok(payload) => (0, payload),
            // What is not lied about keeps its details.
            Err(status) if status == header[0] => (status, payload),
            Err(status) => (status, self.detail.encode_to_vec().into()),
        };
        let length = u32::try_from(payload.len()).ok()?.to_be_bytes();
        let answer = [&[status], &header[1..5], &length, &payload[..]].concat();
        // What of its own answer is not delivered is off its hands all the same.
        let dropped = held.len().saturating_sub(answer.len());
        if let (Some(server), 1..) = (&mut self.server, dropped) {
            let sent = StreamInput::Sent(dropped);
            server.tell(self.now, Input::Stream(conn, stream, sent));
        }
        Some(answer.into())
    }

    /// Whether this belongs to a call that is [`late`](Self::late).
    pub(super) fn is_late(&self, conn: ConnId, to: Side, stream: StreamId) -> bool {
        let Some(link) = self.links.get(&conn) else {
            return false;
        };
        let place = match (to, stream) {
            (Side::Client, StreamId::Own(own)) => link.bi.iter().position(|stream| *stream == own),
            (Side::Server, StreamId::Peer(Dir::Bi, number)) => usize::try_from(number).ok(),
            _ => None,
        };
        let Some(method) = place.and_then(|place| link.methods.get(place)) else {
            return false;
        };
        let late = match to {
            Side::Server => Late::Request(*method),
            Side::Client => Late::Answer(*method),
        };
        self.late.contains(&(link.client, late))
    }
}
