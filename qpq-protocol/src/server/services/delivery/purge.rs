//! Removing all queues of a device that was revoked. Nothing comes in any more: whoever enqueues
//! checks the row of the account's devices.

use super::payload::release;
use super::queue::Queue;
use crate::ids::{DeviceId, IdentityKey};
use crate::server::step::{Ctx, Fault, Next, Step, commit, decode_row, load, scan_ordered};
use crate::storage::keys::{self, QueueId, Range};
use crate::storage::records::Entry;
use crate::storage::{Commit, Direction, Scan};

/// Messages removed by one Commit.
const PAGE: usize = 1000;
/// Bytes of rows read for one Commit.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

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
    _: &mut Ctx<'_>,
    identity: IdentityKey,
    device: DeviceId,
    then: Then<R>,
) -> Next<R> {
    let first = page(keys::queues(&identity, &device), 1);
    scan_ordered(first, move |ctx, rows, _| match rows.first() {
        None => then(ctx),
        Some((key, _)) => {
            let id = keys::parse_queue(key)
                .ok_or_else(|| Fault::internal("a stored row cannot be read"))?;
            next_page(ctx, id, then)
        }
    })
}

/// Removes a page of messages; with the last one the head of the queue.
fn next_page<R: 'static>(ctx: &mut Ctx<'_>, id: QueueId, then: Then<R>) -> Next<R> {
    load(ctx, [keys::queue(&id)], move |_, [row]| {
        let mut queue = Queue::new(id, row)?;
        let head = queue.head();
        let entries = page(keys::entries(&id, head.first_seq, head.next_seq), PAGE);
        scan_ordered(entries, move |ctx, rows, more| {
            let mut change = Commit::default();
            for (key, row) in rows {
                let entry: Entry = decode_row(&Some(row))?.unwrap_or_default();
                if key != keys::entry(&id, queue.head().first_seq) {
                    // The head was not that of the messages read: another core has moved the queue.
                    ctx.rows.forget(&keys::queue(&id));
                    return Ok(Step::rerun());
                }
                release(&mut change, &id, entry.body.as_ref())?;
                queue.remove_first(&mut change, &entry);
            }
            if more {
                queue.write(&mut change);
                return commit(change, move |ctx| next_page(ctx, id, then));
            }
            queue.remove(&mut change);
            commit(change, move |ctx| {
                next_queue(ctx, id.recipient, id.device, then)
            })
        })
    })
}

fn page(range: Range, items: usize) -> Scan {
    Scan {
        start: range.start,
        end: range.end,
        direction: Direction::Forward,
        items,
        bytes: PAGE_BYTES,
    }
}
