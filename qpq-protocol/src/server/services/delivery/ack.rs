//! Ack: a device has stored messages durably itself, so the queue lets them go.

use super::payload::release;
use super::queue::Queue;
use super::recipient::{own_mailbox, parse_channel};
use crate::defect::seeded;
use crate::proto;
use crate::server::caller::Caller;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Found, Page, commit, load, scan_ordered};
use crate::storage::keys::{self, QueueId};
use crate::storage::records::Entry;

/// Messages removed by one Commit, and bytes of rows read for it.
const PAGE: Page = Page {
    items: 1000,
    bytes: 4 * 1024 * 1024,
};

/// Method 204.
pub(in crate::server) fn ack(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::AckRequest,
) -> Next<proto::AckResponse> {
    let session = caller.session()?;
    let channel = parse_channel(&request.channel_id)?;
    load(
        ctx,
        keys::device_set(&session.identity_key),
        move |ctx, devices| {
            let mailbox = own_mailbox(&session, &request.device_id, channel, devices.as_ref())?;
            let acked = Acked {
                id: mailbox.stored,
                up_to: request.seq_up_to,
            };
            acked.remove(ctx)
        },
    )
}

/// What a device has stored itself.
struct Acked {
    id: QueueId,
    up_to: u64,
}

impl Acked {
    /// Removes a page of what is to go, then the next one.
    fn remove(self, ctx: &mut Ctx<'_>) -> Next<proto::AckResponse> {
        load(ctx, keys::queue(&self.id), move |_, head| {
            let queue = Queue::new(self.id, head);
            let head = queue.head();
            if self.up_to >= head.next_seq {
                return Err(Fault::bad_request("seq_up_to has not been given out"));
            }
            if self.up_to < head.first_seq {
                return Ok(Step::ok(&proto::AckResponse {}));
            }
            let rewrites = head.rewrites;
            let entries = keys::entries(&self.id, head.first_seq, self.up_to.saturating_add(1));
            scan_ordered(entries, PAGE, move |ctx, found, _| {
                // While the messages were read the queue went on: others were put in, and some of these
                // may have gone. They are what they were unless the head says so, and the change is made
                // to the queue as it is now.
                load(ctx, keys::queue(&self.id), move |ctx, head| {
                    let queue = Queue::new(self.id, head);
                    if queue.head().rewrites != rewrites {
                        return Ok(Step::rerun());
                    }
                    self.remove_page(ctx, queue, found)
                })
            })
        })
    }

    fn remove_page(
        self,
        ctx: &mut Ctx<'_>,
        mut queue: Queue,
        found: Vec<Found<Entry>>,
    ) -> Next<proto::AckResponse> {
        let id = self.id;
        if self.up_to < queue.head().first_seq {
            return Ok(Step::ok(&proto::AckResponse {}));
        }
        let first = keys::entry(&id, queue.head().first_seq);
        if found.last().is_some_and(|last| *last.key() < first) {
            // All of them went meanwhile, and there are more.
            return self.remove(ctx);
        }
        let mut change = Change::default();
        let left = found.into_iter().skip_while(|found| *found.key() < first);
        for found in left {
            // If the messages read are not those of the queue as it is now, another core has moved it, or some
            // have expired meanwhile.
            if *found.key() != keys::entry(&id, queue.head().first_seq) {
                return Ok(Step::rerun());
            }
            let entry = found.value()?;
            release(&mut change, &id, entry.body.as_ref())?;
            queue.remove_first(&mut change, &entry);
        }
        if change.is_empty() {
            return Ok(Step::rerun());
        }
        let is_drained = queue.head().first_seq == queue.head().next_seq;
        match is_drained && seeded!(ctx.config, SeqReused) {
            true => queue.remove(&mut change),
            false => queue.write(&mut change),
        }
        ctx.leave_untidy();
        commit(ctx, change, move |ctx| self.remove(ctx))
    }
}
