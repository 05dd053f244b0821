//! What time takes: messages that expire, payloads that nobody claims, answers that nobody will ask
//! for again, and the rest of what every request leaves. All in pages, so that requests come in between.

use bytes::Bytes;

use super::payload::release;
use super::queue::Queue;
use crate::limits::Limits;
use crate::server::allowance::is_full;
use crate::server::services::given::is_forgotten;
use crate::server::step::{
    Ctx, Fault, Next, Step, commit, decode_row, load, scan_ordered, unchanged,
};
use crate::storage::keys::{self, PayloadId, QueueId, Range};
use crate::storage::records::{Dedupe, Entry, Former, Slot};
use crate::storage::{Commit, Direction, Expect, Scan};
use crate::time::UnixTime;

/// Rows of a page.
pub(super) const PAGE: usize = 500;
/// Bytes of a page.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Pages of a family that are gone over though little was written there, before the rest is left for the
/// next time.
const PATIENCE: u32 = 20;

/// Turns expired messages into tombstones, and removes those at the front of their queue.
pub(in crate::server) fn expire_queues(ctx: &mut Ctx<'_>) -> Next {
    let due = keys::expired(ctx.date.as_millis());
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
            let queue = expire_page(ctx.date, queue, &mut state, &mut change, rows)?;
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
        return Ok(Step::rerun());
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
    sweep(ctx, "swept answers", keys::dedupes(), |row, now, _| {
        let answer: Dedupe = decode_row(&Some(row))?.unwrap_or_default();
        Ok(answer.keep_until_ms <= now.as_millis())
    })
}

/// Removes slots whose commits lie in no queue any more.
pub(in crate::server) fn drop_slots(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept slots", keys::slots(), |row, now, limits| {
        let slot: Slot = decode_row(&Some(row))?.unwrap_or_default();
        Ok(UnixTime::from_millis(slot.accepted_at_ms) + limits.ttl_max <= now)
    })
}

/// Removes what is known of former members, when nothing rests on it any more.
pub(in crate::server) fn drop_formers(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept formers", keys::formers(), |row, now, limits| {
        let former: Former = decode_row(&Some(row))?.unwrap_or_default();
        Ok(UnixTime::from_millis(former.written_at_ms) + limits.ttl_max <= now)
    })
}

/// Removes what is known of memberships that were given, when all of them are old and none is open.
pub(in crate::server) fn drop_given(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept given", keys::all_given(), |row, now, _| {
        Ok(is_forgotten(
            decode_row(&Some(row))?.unwrap_or_default(),
            now,
        ))
    })
}

/// Removes allowances that are whole again.
pub(in crate::server) fn drop_allowances(ctx: &mut Ctx<'_>) -> Next {
    sweep(
        ctx,
        "swept allowances",
        keys::allowances(),
        |row, now, _| Ok(is_full(&decode_row(&Some(row))?.unwrap_or_default(), now)),
    )
}

/// Says of a row whether it may go.
type IsOver = fn(Bytes, UnixTime, &Limits) -> Result<bool, Fault>;

/// Goes through a family of rows that each carry their date, and removes those that are over. How
/// far it is lies in the row `meta(name)`, so that all cores together go round and round.
pub(in crate::server) fn sweep(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    family: Range,
    is_over: IsOver,
) -> Next {
    let pages = ctx.notes.pages;
    sweep_page(ctx, name, family, is_over, pages)
}

/// One page, then the next one, as long as there are `pages` left: those of which more than half goes
/// are not counted.
fn sweep_page(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    family: Range,
    is_over: IsOver,
    pages: u32,
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
                if is_over(row.clone(), ctx.date, &ctx.config.limits)? {
                    change.checks.push((key.clone(), Expect::Equals(row)));
                    change.deletes.push(key);
                }
            }
            let counted = u32::from(change.deletes.len() * 2 < read);
            match last {
                Some(last) if more => change.puts.push((place, last)),
                // Once round.
                _ if at.is_some() => change.deletes.push(place),
                _ if change.deletes.is_empty() => return done(),
                _ => {}
            }
            commit(change, move |ctx| match pages.checked_sub(counted) {
                Some(pages) if more => sweep_page(ctx, name, family, is_over, pages),
                _ => done(),
            })
        })
    })
}

/// How many pages of a family are gone over, when so many requests have left something there since the
/// last time. Twice as many rows as were written: so however much comes in, and however long it stays,
/// what is over is never more than what is not.
pub(in crate::server) fn pages(requests: u64) -> u32 {
    let page = u64::try_from(PAGE).unwrap_or(u64::MAX);
    let pages = requests.saturating_mul(2).div_ceil(page);
    u32::try_from(pages)
        .unwrap_or(u32::MAX)
        .saturating_add(PATIENCE)
}

pub(super) fn page(range: Range, items: usize) -> Scan {
    Scan {
        start: range.start,
        end: range.end,
        direction: Direction::Forward,
        items,
        bytes: PAGE_BYTES,
    }
}

pub(super) fn done() -> Next {
    Ok(Step::none())
}

pub(super) fn unreadable() -> Fault {
    Fault::internal("a stored row cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rows_are_gone_over_than_were_written() {
        for requests in [0, 1, 499, 500, 1_000_000] {
            let page = u64::try_from(PAGE).unwrap_or(u64::MAX);
            assert!(u64::from(pages(requests)) * page > 2 * requests);
        }
        assert_eq!(pages(0), PATIENCE);
    }
}
