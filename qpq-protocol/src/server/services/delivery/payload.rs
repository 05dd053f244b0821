//! Where a payload is kept: inside the one entry that needs it, or once for several queues.
//!
//! A shared payload lies in pieces of its own, and each queue that needs it has a claim on it. All
//! claims are made in the commit that stores the payload, so one without claims stays without. An
//! entry that goes takes its claim with it and leaves a mark; the sweeper looks at what is marked
//! and removes the payloads that nobody claims.

use bytes::Bytes;

use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::Next;
use crate::server::txn::{Change, Seen, read};
use crate::storage::MAX_VALUE;
use crate::storage::keys::{self, PayloadId, QueueId};
use crate::storage::records::{SharedPayload, entry};

/// The longest payload kept inside an entry, in bytes: it fits a value with room for the rest.
const MAX_INLINE: usize = MAX_VALUE - 1024;

/// A payload on its way into queues.
pub(super) struct Payload {
    bytes: Bytes,
    /// Where it is stored; `None`: inside the one entry that needs it.
    shared: Option<PayloadId>,
    claimed: bool,
}

impl Payload {
    /// A payload for this many queues.
    pub(super) fn new(ctx: &mut Ctx<'_>, bytes: Bytes, queues: usize) -> Self {
        let shared = (queues > 1 || bytes.len() > MAX_INLINE).then(|| {
            let mut id = [0; 16];
            id.copy_from_slice(&ctx.seed()[..16]);
            PayloadId(id)
        });
        Self {
            bytes,
            shared,
            claimed: false,
        }
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body of the entry in `queue`; adds the queue's claim on a shared payload to the change.
    pub(super) fn body(&mut self, change: &mut Change, queue: &QueueId) -> entry::Body {
        let Some(id) = &self.shared else {
            return entry::Body::Inline(self.bytes.clone());
        };
        self.claimed = true;
        change.write(keys::payload_claim(id, queue), &());
        entry::Body::Shared(SharedPayload {
            payload_id: Bytes::copy_from_slice(&id.0),
            length: u32::try_from(self.bytes.len()).unwrap_or(u32::MAX),
        })
    }

    /// Adds the pieces of a shared payload to the change, if any queue claims it.
    pub(super) fn store(&self, change: &mut Change) {
        if let (Some(id), true) = (&self.shared, self.claimed) {
            for (piece, bytes) in pieces(&self.bytes) {
                change.write(keys::payload(id, piece), &bytes);
            }
        }
    }
}

/// Long bytes cut into values, each with its number.
pub(super) fn pieces(bytes: &Bytes) -> impl Iterator<Item = (u16, Bytes)> {
    (0u16..)
        .zip((0..bytes.len()).step_by(MAX_VALUE))
        .map(move |(piece, start)| {
            (
                piece,
                bytes.slice(start..bytes.len().min(start + MAX_VALUE)),
            )
        })
}

/// How many pieces bytes of this length have.
pub(in crate::server) fn piece_count(length: usize) -> u16 {
    u16::try_from(length.div_ceil(MAX_VALUE)).unwrap_or(u16::MAX)
}

/// How long the payload of an entry is, in bytes.
pub(super) fn length(body: Option<&entry::Body>) -> usize {
    match body {
        None => 0,
        Some(entry::Body::Inline(bytes)) => bytes.len(),
        Some(entry::Body::Shared(shared)) => usize::try_from(shared.length).unwrap_or(usize::MAX),
    }
}

/// Adds to the change that `queue` needs this body no more.
pub(super) fn release(
    change: &mut Change,
    queue: &QueueId,
    body: Option<&entry::Body>,
) -> Result<(), Fault> {
    let Some(entry::Body::Shared(shared)) = body else {
        return Ok(());
    };
    let id = payload_id(shared)?;
    change.erase(keys::payload_claim(&id, queue));
    // The mark names who made it: anyone who removes it checks that nobody has marked it again since.
    let by: Bytes = keys::queue(queue).into();
    change.write(keys::payload_check(&id), &by);
    Ok(())
}

/// Reads the payloads of bodies, in the same order; `None` where there is none, or where a shared
/// one went since the entry was read.
pub(super) fn fetch<R: 'static>(
    ctx: &mut Ctx<'_>,
    bodies: Vec<Option<entry::Body>>,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Option<Bytes>>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let mut wanted = Vec::new();
    for body in bodies.iter().flatten() {
        if let entry::Body::Shared(shared) = body {
            let id = payload_id(shared)?;
            let count = piece_count(length(Some(body)));
            wanted.extend((0..count).map(|piece| keys::payload(&id, piece)));
        }
    }
    let join = move |rows: Vec<Option<Bytes>>| {
        let mut rows = rows.into_iter();
        let payloads = bodies.into_iter().map(|body| match body? {
            entry::Body::Inline(bytes) => Some(bytes),
            entry::Body::Shared(shared) => {
                let length = length(Some(&entry::Body::Shared(shared)));
                let parts: Vec<Option<Bytes>> = rows
                    .by_ref()
                    .take(usize::from(piece_count(length)))
                    .collect();
                joined(parts)
            }
        });
        payloads.collect()
    };
    if wanted.is_empty() {
        return then(ctx, join(Vec::new()));
    }
    read(wanted, move |ctx, rows| {
        let rows = rows.into_iter().map(Seen::into_value);
        then(ctx, join(rows.collect()))
    })
}

/// The pieces put together; without a copy where there is one.
pub(in crate::server) fn joined(pieces: Vec<Option<Bytes>>) -> Option<Bytes> {
    match <[Option<Bytes>; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => {
            let pieces = pieces.into_iter().collect::<Option<Vec<Bytes>>>()?;
            Some(pieces.concat().into())
        }
    }
}

fn payload_id(shared: &SharedPayload) -> Result<PayloadId, Fault> {
    let id = shared.payload_id.as_ref().try_into();
    id.map(PayloadId)
        .map_err(|_| Fault::internal("a stored row cannot be read"))
}

/// A length as it is counted in storage.
pub(super) fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, IdentityKey};

    #[test]
    fn long_bytes_are_cut_and_joined() {
        for length in [0, 1, MAX_VALUE, MAX_VALUE + 1, 3 * MAX_VALUE] {
            let bytes = Bytes::from(vec![7; length]);
            let parts: Vec<(u16, Bytes)> = pieces(&bytes).collect();
            assert_eq!(parts.len(), usize::from(piece_count(length)));
            assert!(parts.iter().all(|(_, part)| part.len() <= MAX_VALUE));
            let parts: Vec<Option<Bytes>> = parts.into_iter().map(|(_, part)| Some(part)).collect();
            assert_eq!(joined(parts), Some(bytes));
        }
        assert_eq!(joined(vec![Some(Bytes::new()), None]), None);
    }

    #[test]
    fn an_entry_that_goes_gives_up_its_claim_and_marks_the_payload() {
        let queue = QueueId {
            recipient: IdentityKey([1; 32]),
            device: DeviceId::DEFAULT,
            channel: None,
        };
        let mut payload = Payload {
            bytes: Bytes::from_static(b"hello"),
            shared: Some(PayloadId([5; 16])),
            claimed: false,
        };
        let mut change = Change::default();
        payload.store(&mut change);
        assert!(change.is_empty(), "nobody claims it");
        let body = payload.body(&mut change, &queue);
        let claim = keys::payload_claim(&PayloadId([5; 16]), &queue);
        let claim = Bytes::from(claim);
        assert_eq!(change.puts(), [(claim.clone(), Bytes::new())]);
        payload.store(&mut change);
        let piece = keys::payload(&PayloadId([5; 16]), 0);
        let stored = (piece.into(), Bytes::from_static(b"hello"));
        assert_eq!(change.puts().last(), Some(&stored));

        let mut change = Change::default();
        assert!(release(&mut change, &queue, Some(&body)).is_ok());
        assert_eq!(change.deletes(), [claim]);
        let mark = keys::payload_check(&PayloadId([5; 16])).into();
        assert_eq!(change.puts(), [(mark, keys::queue(&queue).into())]);
    }

    #[test]
    fn a_payload_of_one_queue_has_nothing_to_give_up() {
        let queue = QueueId {
            recipient: IdentityKey([1; 32]),
            device: DeviceId::DEFAULT,
            channel: None,
        };
        let mut change = Change::default();
        let body = entry::Body::Inline(Bytes::from_static(b"hello"));
        assert!(release(&mut change, &queue, Some(&body)).is_ok());
        assert!(change.is_empty());
    }
}
