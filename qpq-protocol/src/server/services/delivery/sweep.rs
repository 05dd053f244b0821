//! What time takes: messages that expire, payloads that nobody claims, answers that nobody will ask
//! for again. All in pages, so that requests come in between.

use bytes::Bytes;

use super::payload::release;
use super::queue::Queue;
use crate::server::step::{
    Ctx, Fault, Next, Outcome, Step, commit, decode_row, load, scan_ordered, unchanged,
};
use crate::storage::keys::{self, PayloadId, QueueId, Range};
use crate::storage::records::{Dedupe, Entry};
use crate::storage::{Commit, Direction, Expect, Scan};
use crate::time::UnixTime;

/// Rows of a page.
const PAGE: usize = 500;
/// Bytes of a page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Pages of a family that are read although there is little to remove, before the rest is left for
/// the next time.
const PATIENCE: u32 = 20;

/// Turns expired messages into tombstones, and removes those at the front of their queue.
pub(in crate::server) fn expire_queues(ctx: &mut Ctx<'_>) -> Next {
    let due = keys::expired(ctx.unix.as_millis());
    scan_ordered(page(due, 1), |ctx, rows, _| {
        let Some((key, _)) = rows.into_iter().next() else {
            return done();
        };
        let (at_ms, id) = keys::parse_expiry(&key).ok_or_else(unreadable)?;
        expire(
            ctx,
            Expiring {
                id,
                at_ms,
                next_seq: 0,
                first_left_ms: 0,
            },
        )
    })
}

/// A queue on its way through its expiry.
#[derive(Clone, Copy)]
struct Expiring {
    id: QueueId,
    /// The date of its expiry row.
    at_ms: u64,
    /// The first message not looked at.
    next_seq: u64,
    /// When the first message left expires; 0: none was left so far.
    first_left_ms: u64,
}

/// One page of a queue, then the next one, then the next queue.
fn expire(ctx: &mut Ctx<'_>, mut state: Expiring) -> Next {
    let id = state.id;
    load(ctx, [keys::queue(&id)], move |ctx, [row]| {
        let queue = Queue::new(id, row)?;
        let head = queue.head();
        if head.expires_at_ms != state.at_ms {
            return drop_stray(ctx, &state, &queue);
        }
        state.next_seq = state.next_seq.max(head.first_seq);
        let entries = keys::entries(&id, state.next_seq, head.next_seq);
        scan_ordered(page(entries, PAGE), move |ctx, rows, _| {
            let mut change = Commit::default();
            let queue = expire_page(ctx.unix, queue, &mut state, &mut change, rows)?;
            let more = state.next_seq < queue.head().next_seq;
            queue.write(&mut change);
            commit(change, move |ctx| {
                if more {
                    expire(ctx, state)
                } else {
                    expire_queues(ctx)
                }
            })
        })
    })
}

/// The queue's head knows nothing of this expiry row: another core has changed the queue since it
/// was remembered, or else the row is a stray one, which would be found first for ever.
fn drop_stray(ctx: &mut Ctx<'_>, state: &Expiring, queue: &Queue) -> Next {
    let check = queue.unchanged();
    if !ctx.is_sure_of([&check.0]) {
        return Ok(Step::Rerun);
    }
    let change = Commit {
        checks: vec![check],
        puts: Vec::new(),
        deletes: vec![keys::expiry(state.at_ms, &state.id)],
    };
    commit(change, expire_queues)
}

/// What becomes of the messages of a page. On the last one the queue gets its next expiry date.
fn expire_page(
    now: UnixTime,
    mut queue: Queue,
    state: &mut Expiring,
    change: &mut Commit,
    rows: Vec<(Bytes, Bytes)>,
) -> Result<Queue, Fault> {
    let id = state.id;
    if rows.is_empty() {
        // Nothing is left to look at.
        state.next_seq = queue.head().next_seq;
    }
    for (key, row) in rows {
        let (_, seq) = keys::parse_entry(&key).ok_or_else(unreadable)?;
        state.next_seq = seq.saturating_add(1);
        let entry: Entry = decode_row(&Some(row))?.unwrap_or_default();
        if entry.body.is_some() && entry.expires_at_ms > now.as_millis() {
            if state.first_left_ms == 0 || entry.expires_at_ms < state.first_left_ms {
                state.first_left_ms = entry.expires_at_ms;
            }
            continue;
        }
        release(change, &id, entry.body.as_ref())?;
        if seq == queue.head().first_seq {
            queue.remove_first(change, &entry);
        } else if entry.body.is_some() {
            queue.bury(change, key, &entry);
        }
    }
    if state.next_seq >= queue.head().next_seq {
        queue.set_expiry(state.first_left_ms);
    }
    Ok(queue)
}

/// Removes shared payloads that have lost their last claim.
pub(in crate::server) fn drop_payloads(ctx: &mut Ctx<'_>) -> Next {
    look_at_payloads(ctx, keys::payload_checks())
}

fn look_at_payloads(_: &mut Ctx<'_>, marks: Range) -> Next {
    scan_ordered(page(marks.clone(), 1), |_, rows, _| {
        let Some((mark, by)) = rows.into_iter().next() else {
            return done();
        };
        let id = keys::parse_payload_check(&mark).ok_or_else(unreadable)?;
        let rest = marks.after(&mark);
        scan_ordered(page(keys::payload_claims(&id), 1), move |_, claims, _| {
            // Whoever gives up a claim later marks the payload again.
            let change = Commit {
                checks: vec![(mark.clone(), Expect::Equals(by))],
                puts: Vec::new(),
                deletes: vec![mark],
            };
            if claims.is_empty() {
                drop_payload(&id, change, rest)
            } else {
                commit(change, move |ctx| look_at_payloads(ctx, rest))
            }
        })
    })
}

/// Removes the pieces of a payload and its mark: there are no claims, and there will be none.
fn drop_payload(id: &PayloadId, mut change: Commit, rest: Range) -> Next {
    let pieces = keys::payload_pieces(id);
    scan_ordered(page(pieces, PAGE), move |_, rows, _| {
        change.deletes.extend(rows.into_iter().map(|(key, _)| key));
        commit(change, move |ctx| look_at_payloads(ctx, rest))
    })
}

/// Removes answers to requests that need not be known any more.
pub(in crate::server) fn drop_answers(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept answers", keys::dedupes(), |row, now| {
        let answer: Dedupe = decode_row(&Some(row))?.unwrap_or_default();
        Ok(answer.keep_until_ms <= now.as_millis())
    })
}

/// Says of a row whether it may go.
type IsOver = fn(Bytes, UnixTime) -> Result<bool, Fault>;

/// Goes through a family of rows that each carry their date, and removes those that are over. How
/// far it is lies in the row `meta(name)`, so that all cores together go round and round.
pub(in crate::server) fn sweep(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    family: Range,
    is_over: IsOver,
) -> Next {
    sweep_page(ctx, name, family, is_over, 0)
}

fn sweep_page(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    family: Range,
    is_over: IsOver,
    idle_pages: u32,
) -> Next {
    let place = keys::meta(name);
    load(ctx, [place.clone()], move |_, [at]| {
        let rest = match &at {
            Some(at) => family.clone().after(at),
            None => family.clone(),
        };
        scan_ordered(page(rest, PAGE), move |ctx, rows, more| {
            let mut change = Commit {
                checks: vec![unchanged(&place, &at)],
                ..Commit::default()
            };
            let last = rows.last().map(|(key, _)| key.clone());
            let read = rows.len();
            for (key, row) in rows {
                if is_over(row.clone(), ctx.unix)? {
                    change.checks.push((key.clone(), Expect::Equals(row)));
                    change.deletes.push(key);
                }
            }
            let idle_pages = if change.deletes.len() * 2 < read {
                idle_pages + 1
            } else {
                idle_pages
            };
            match last {
                Some(last) if more => change.puts.push((place, last)),
                // Once round.
                _ if at.is_some() => change.deletes.push(place),
                _ if change.deletes.is_empty() => return done(),
                _ => {}
            }
            commit(change, move |ctx| {
                if more && idle_pages < PATIENCE {
                    sweep_page(ctx, name, family, is_over, idle_pages)
                } else {
                    done()
                }
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

fn done() -> Next {
    Ok(Step::Done(Outcome::none()))
}

fn unreadable() -> Fault {
    Fault::internal("a stored row cannot be read")
}
