//! What time takes: messages that expire, payloads that nobody claims, answers that nobody will ask
//! for again, and the rest of what every request leaves. All in pages, so that requests come in between.

use core::ops::Deref as _;

use bytes::Bytes;

use super::payload::release;
use super::queue::Queue;
use crate::limits::Limits;
use crate::server::allowance::is_full;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::services::given::is_forgotten;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Found, Page, Seen, commit, load, scan_ordered};
use crate::storage::keys::{self, PayloadId, QueueId, Range};
use crate::storage::records::{Entry, Record};
use crate::time::UnixTime;

/// Rows and bytes that are gone over at once.
pub(super) const PAGE: Page = Page {
    items: 500,
    bytes: 4 * 1024 * 1024,
};
/// Pages of a family that are gone over though little was written there, before the rest is left for the
/// next time.
const PATIENCE: u32 = 20;

/// LongAnswers expired messages into tombstones, and removes those at the front of their queue.
pub(in crate::server) fn expire_queues(ctx: &mut Ctx<'_>) -> Next {
    ctx.notes.reads.begin_anew();
    let due = keys::expired(ctx.date.as_millis());
    scan_ordered(due, 1.into(), |ctx, found, _| {
        let Some(found) = found.first() else {
            return done();
        };
        let (at_ms, id) = keys::parse_expiry(found.key()).ok_or_else(unreadable)?;
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
    load(ctx, keys::queue(&id), move |ctx, head| {
        let queue = Queue::new(id, head);
        let head = queue.head();
        if head.expires_at_ms != state.at_ms {
            // It knows nothing of this expiry row: the queue has changed since it was remembered, or else the row
            // is a stray one, which would be found first for ever.
            let mut change = Change::default();
            change.erase(keys::expiry(state.at_ms, &id));
            return commit(ctx, change, expire_queues);
        }
        state.next_seq = state.next_seq.max(head.first_seq);
        let entries = keys::entries(&id, state.next_seq, head.next_seq);
        scan_ordered(entries, PAGE, move |ctx, found, _| {
            let mut change = Change::default();
            let queue = expire_page(ctx.date, queue, &mut state, &mut change, found)?;
            let more = state.next_seq < queue.head().next_seq;
            queue.write(&mut change);
            commit(ctx, change, move |ctx| match more {
                true => expire(ctx, state),
                false => expire_queues(ctx),
            })
        })
    })
}

/// What becomes of the messages of a page. On the last one the queue gets its next expiry date.
fn expire_page(
    now: UnixTime,
    mut queue: Queue,
    state: &mut Expiring,
    change: &mut Change,
    found: Vec<Found<Entry>>,
) -> Result<Queue, Fault> {
    let id = state.id;
    if found.is_empty() {
        // Nothing is left to look at.
        state.next_seq = queue.head().next_seq;
    }
    for found in found {
        let (_, seq) = keys::parse_entry(found.key()).ok_or_else(unreadable)?;
        state.next_seq = seq.saturating_add(1);
        let entry = found.value()?;
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
            queue.bury(change, found.key().clone(), &entry);
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

fn look_at_payloads(_: &mut Ctx<'_>, marks: Range<Bytes>) -> Next {
    scan_ordered(marks.clone(), 1.into(), |_, found, _| {
        let Some(mark) = found.into_iter().next() else {
            return done();
        };
        let id = keys::parse_payload_check(mark.key()).ok_or_else(unreadable)?;
        let rest = marks.after(mark.key());
        scan_ordered(
            keys::payload_claims(&id),
            1.into(),
            move |ctx, claims, _| {
                // Anyone who gives up a claim later marks the payload again.
                let mut change = Change::default();
                change.delete_found(&mark);
                match claims.is_empty() {
                    true => drop_payload(&id, change, rest),
                    false => commit(ctx, change, move |ctx| look_at_payloads(ctx, rest)),
                }
            },
        )
    })
}

/// Removes the pieces of a payload and its mark: there are no claims, and there will be none.
fn drop_payload(id: &PayloadId, mut change: Change, rest: Range<Bytes>) -> Next {
    scan_ordered(keys::payload_pieces(id), PAGE, move |ctx, pieces, _| {
        for piece in pieces {
            change.erase(piece.key().clone());
        }
        commit(ctx, change, move |ctx| look_at_payloads(ctx, rest))
    })
}

/// Removes answers to requests that need not be known any more.
pub(in crate::server) fn drop_answers(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept answers", keys::dedupes(), |answer, now, _| {
        answer.keep_until_ms <= now.as_millis()
    })
}

/// Removes slots whose commits lie in no queue any more.
pub(in crate::server) fn drop_slots(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept slots", keys::slots(), |slot, now, limits| {
        UnixTime::from_millis(slot.accepted_at_ms) + limits.ttl_max <= now
    })
}

/// Removes what is known of former members, when nothing rests on it any more.
pub(in crate::server) fn drop_formers(ctx: &mut Ctx<'_>) -> Next {
    sweep(
        ctx,
        "swept formers",
        keys::formers(),
        |former, now, limits| UnixTime::from_millis(former.written_at_ms) + limits.ttl_max <= now,
    )
}

/// Removes what is known of memberships that were given, when all of them are old and none is open.
pub(in crate::server) fn drop_given(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept given", keys::all_given(), |given, now, _| {
        is_forgotten(given, now)
    })
}

/// Removes allowances that are whole again.
pub(in crate::server) fn drop_allowances(ctx: &mut Ctx<'_>) -> Next {
    sweep(
        ctx,
        "swept allowances",
        keys::allowances(),
        |bucket, now, _| is_full(&bucket, now),
    )
}

/// Says of a row whether it may go.
type IsOver<T> = fn(T, UnixTime, &Limits) -> bool;

/// Goes through a family of rows that each carry their date, and removes those that are over. How
/// far it is lies in the row `meta(name)`, so that all cores together go round and round.
pub(in crate::server) fn sweep<T: Record>(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    family: Range<T>,
    is_over: IsOver<T>,
) -> Next {
    let pages = ctx.notes.pages;
    sweep_page(ctx, name, family, is_over, pages)
}

/// One page, then the next one, as long as there are `pages` left: those of which more than half goes
/// are not counted.
fn sweep_page<T: Record>(
    ctx: &mut Ctx<'_>,
    name: &'static str,
    family: Range<T>,
    is_over: IsOver<T>,
    pages: u32,
) -> Next {
    ctx.notes.reads.begin_anew();
    load(ctx, keys::meta(name), move |_, place| {
        let rest = rest(&family, &place);
        scan_ordered(rest, PAGE, move |ctx, found, more| {
            let mut change = Change::default();
            for row in &found {
                if is_over(row.value()?, ctx.date, &ctx.config.limits) {
                    change.delete_found(row);
                }
            }
            let gone = change.erased();
            let counted = u32::from(gone * 2 < found.len());
            let last = found.last().map(|last| last.key().deref());
            if !go_round(&mut change, &place, last.filter(|_| more)) && gone == 0 {
                return done();
            }
            commit(ctx, change, move |ctx| match pages.checked_sub(counted) {
                Some(pages) if more => sweep_page(ctx, name, family, is_over, pages),
                _ => done(),
            })
        })
    })
}

/// The part of a family that comes after the place where it was left.
pub(super) fn rest<T>(family: &Range<T>, place: &Seen<Bytes>) -> Range<T> {
    match &**place {
        Some(place) => family.clone().after(place),
        None => family.clone(),
    }
}

/// Notes in a change where a family is left: after this key, or at its end, from where it begins again. Whether there
/// was anything to note.
pub(super) fn go_round(change: &mut Change, place: &Seen<Bytes>, last: Option<&Bytes>) -> bool {
    match last {
        Some(last) => change.put(place, last),
        None if place.is_some() => change.delete(place),
        None => return false,
    }
    true
}

/// How many pages of a family are gone over, when so many requests have left something there since the
/// last time. Twice as many rows as were written: so however much comes in, and however long it stays,
/// what is over is never more than what is not.
pub(in crate::server) fn pages(requests: u64) -> u32 {
    let page = u64::try_from(PAGE.items).unwrap_or(u64::MAX);
    let pages = requests.saturating_mul(2).div_ceil(page);
    u32::try_from(pages)
        .unwrap_or(u32::MAX)
        .saturating_add(PATIENCE)
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
            let page = u64::try_from(PAGE.items).unwrap_or(u64::MAX);
            assert!(u64::from(pages(requests)) * page > 2 * requests);
        }
        assert_eq!(pages(0), PATIENCE);
    }
}
