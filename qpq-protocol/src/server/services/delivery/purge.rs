//! Removing all queues of a device that was revoked. Nothing comes in any more: anyone who enqueues
//! checks the row of the account's devices.

use super::payload::release;
use super::queue::Queue;
use crate::ids::{DeviceId, IdentityKey};
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Page, commit, load, scan_ordered};
use crate::storage::keys::{self, QueueId};

/// Messages removed by one Commit, and bytes of rows read for it.
const PAGE: Page = Page {
    items: 1000,
    bytes: 4 * 1024 * 1024,
};

type Then<R> = Box<dyn FnOnce(&mut Ctx<'_>) -> Next<R> + Send>;

/// Removes the queues that are stored under this device, then goes on.
pub(in crate::server) fn purge<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device: DeviceId,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    next_queue(ctx, identity, device, Box::new(then))
}

fn next_queue<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device: DeviceId,
    then: Then<R>,
) -> Next<R> {
    ctx.notes.reads.begin_anew();
    let queues = keys::queues(&identity, &device);
    scan_ordered(queues, 1.into(), move |ctx, found, _| match found.first() {
        None => then(ctx),
        Some(found) => {
            let id = keys::parse_queue(found.key())
                .ok_or_else(|| Fault::internal("a stored row cannot be read"))?;
            next_page(ctx, id, then)
        }
    })
}

/// Removes a page of messages; with the last one the head of the queue.
fn next_page<R: 'static>(ctx: &mut Ctx<'_>, id: QueueId, then: Then<R>) -> Next<R> {
    load(ctx, keys::queue(&id), move |_, head| {
        let mut queue = Queue::new(id, head);
        let head = queue.head();
        let entries = keys::entries(&id, head.first_seq, head.next_seq);
        scan_ordered(entries, PAGE, move |ctx, found, more| {
            let mut change = Change::default();
            for found in found {
                if *found.key() != keys::entry(&id, queue.head().first_seq) {
                    // The head was not that of the messages read: another core has moved the queue.
                    return Ok(Step::rerun());
                }
                let entry = found.value()?;
                release(&mut change, &id, entry.body.as_ref())?;
                queue.remove_first(&mut change, &entry);
            }
            if more {
                queue.write(&mut change);
                return commit(ctx, change, move |ctx| next_page(ctx, id, then));
            }
            queue.remove(&mut change);
            commit(ctx, change, move |ctx| {
                next_queue(ctx, id.recipient, id.device, then)
            })
        })
    })
}
