//! Ack: a device has stored messages durably itself, so the queue lets them go.

use bytes::Bytes;

use super::payload::release;
use super::queue::Queue;
use super::recipient::{own_mailbox, parse_channel};
use crate::defect::seeded;
use crate::proto;
use crate::server::step::{
    Caller, Ctx, Fault, Next, Step, commit, decode_row, doubt, load, scan_ordered, unchanged,
};
use crate::storage::keys::{self, QueueId, Range};
use crate::storage::records::Entry;
use crate::storage::{Commit, Direction, Expect, Scan};

/// Messages removed by one Commit.
const PAGE: usize = 1000;
/// Bytes of rows read for one Commit.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Method 204.
pub(in crate::server) fn ack(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::AckRequest,
) -> Next<proto::AckResponse> {
    let session = caller.session()?;
    let channel = parse_channel(&request.channel_id)?;
    let key = keys::device_set(&session.identity_key);
    load(ctx, [key.clone()], move |ctx, [devices]| match own_mailbox(
        &session,
        &request.device_id,
        channel,
        &devices,
    ) {
        Ok(mailbox) => {
            let acked = Acked {
                id: mailbox.stored,
                up_to: request.seq_up_to,
                owner: session
                    .device_id
                    .is_default()
                    .then(|| unchanged(&key, &devices)),
            };
            acked.remove(ctx)
        }
        Err(fault) => doubt(ctx, [&key], fault),
    })
}

/// What a device has stored itself.
struct Acked {
    id: QueueId,
    up_to: u64,
    /// Of the default device, that the account's devices are what was remembered: another core may have given
    /// its queues to the first one that is registered. No other device's queues get another owner, and where
    /// nothing is left to remove it does not matter whose that was.
    owner: Option<(Bytes, Expect)>,
}

impl Acked {
    /// Removes a page of what is to go, then the next one.
    fn remove(self, ctx: &mut Ctx<'_>) -> Next<proto::AckResponse> {
        load(ctx, [keys::queue(&self.id)], move |ctx, [row]| {
            let queue = Queue::new(self.id, row)?;
            let head = queue.head();
            if self.up_to >= head.next_seq {
                let fault = Fault::bad_request("seq_up_to has not been given out");
                let keys = [keys::queue(&self.id)];
                let owner = self.owner.iter().map(|(key, _)| key);
                return doubt(ctx, keys.iter().chain(owner), fault);
            }
            if self.up_to < head.first_seq {
                return Ok(Step::ok(&proto::AckResponse {}));
            }
            let (first_seq, rewrites) = (head.first_seq, head.rewrites);
            let Range { start, end } =
                keys::entries(&self.id, first_seq, self.up_to.saturating_add(1));
            let range = Scan {
                start,
                end,
                direction: Direction::Forward,
                items: PAGE,
                bytes: PAGE_BYTES,
            };
            scan_ordered(range, move |ctx, rows, _| {
                // While the messages were read the queue went on: others were put in, and some of these
                // may have gone. They are what they were unless the head says so, and the change is made
                // to the queue as it is now.
                load(ctx, [keys::queue(&self.id)], move |ctx, [row]| {
                    let queue = Queue::new(self.id, row)?;
                    if queue.head().rewrites != rewrites {
                        return moved(ctx, &self.id);
                    }
                    self.remove_page(ctx, queue, rows)
                })
            })
        })
    }

    fn remove_page(
        self,
        ctx: &mut Ctx<'_>,
        mut queue: Queue,
        rows: Vec<(Bytes, Bytes)>,
    ) -> Next<proto::AckResponse> {
        let id = self.id;
        if self.up_to < queue.head().first_seq {
            return Ok(Step::ok(&proto::AckResponse {}));
        }
        let first = keys::entry(&id, queue.head().first_seq);
        if rows.last().is_some_and(|(key, _)| *key < first) {
            // All of them went meanwhile, and there are more.
            return self.remove(ctx);
        }
        let mut change = Commit {
            checks: self.owner.iter().cloned().collect(),
            ..Commit::default()
        };
        for (key, row) in rows.into_iter().skip_while(|(key, _)| *key < first) {
            let entry: Entry = decode_row(&Some(row))?.unwrap_or_default();
            if key != keys::entry(&id, queue.head().first_seq) {
                return moved(ctx, &id);
            }
            release(&mut change, &id, entry.body.as_ref())?;
            queue.remove_first(&mut change, &entry);
        }
        if change.deletes.is_empty() {
            return moved(ctx, &id);
        }
        let is_drained = queue.head().first_seq == queue.head().next_seq;
        match is_drained && seeded!(ctx.config, SeqReused) {
            true => queue.remove(&mut change),
            false => queue.write(&mut change),
        }
        ctx.leave_untidy();
        commit(change, move |ctx| self.remove(ctx))
    }
}

/// The messages read are not those of the queue as it is now: another core has moved it, or some have
/// expired meanwhile.
fn moved(ctx: &mut Ctx<'_>, id: &QueueId) -> Next<proto::AckResponse> {
    ctx.rows.forget(&keys::queue(id));
    Ok(Step::rerun())
}
