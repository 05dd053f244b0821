//! How much an account may have stored for others in a day (protocol.md §5.27).
//!
//! Each account has a bucket that fills with time alone, in a row that all cores share. A core takes a
//! block out of it and gives that out in small, so that few requests ask storage. What a core forgets
//! or takes down with it is lost to the account until it has come back with time.

use core::time::Duration;

use bytes::Bytes;

use super::ctx::Ctx;
use super::fault::Fault;
use super::step::Next;
use super::txn::{Change, commit, load};
use crate::ids::IdentityKey;
use crate::limits::Limits;
use crate::storage::keys;
use crate::storage::records::Allowance;
use crate::time::UnixTime;

/// How long an empty bucket takes to be full.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Takes `cost` bytes off the account's allowance, then goes on; RateLimited if they are not there. A
/// request that runs again has paid already for what it has not [`used`], and gets that back at its end: who
/// is refused, or repeats what is known, has stored nothing.
pub(super) fn pay<R: 'static>(
    ctx: &mut Ctx<'_>,
    account: IdentityKey,
    cost: usize,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    match is_paid(ctx, account, as_u64(cost)) {
        true => then(ctx),
        false => pay_later(ctx, account, as_u64(cost), Box::new(then)),
    }
}

/// What it costs to store these payloads for this many queues. Nothing is stored for no queue.
pub(super) fn cost(payloads: &[&Bytes], queues: usize, limits: &Limits) -> usize {
    if queues == 0 {
        return 0;
    }
    let bytes = payloads.iter().map(|payload| payload.len());
    let bytes = bytes.fold(0, usize::saturating_add);
    bytes.saturating_add(queues.saturating_mul(limits.stored_queue))
}

/// What was paid has been used: a further part of the same request pays for itself.
pub(super) fn used(ctx: &mut Ctx<'_>, cost: usize) {
    ctx.notes.paid = ctx.notes.paid.saturating_sub(as_u64(cost));
}

type Paid<R> = Box<dyn FnOnce(&mut Ctx<'_>) -> Next<R> + Send>;

/// Pays with what the core has of this account's, if that is enough.
fn is_paid(ctx: &mut Ctx<'_>, account: IdentityKey, cost: u64) -> bool {
    let owed = cost.saturating_sub(ctx.notes.paid);
    let is_there = ctx.allowances.spend(&account, owed);
    if is_there {
        ctx.notes.paid = ctx.notes.paid.max(cost);
    }
    is_there
}

/// Takes a block, then pays.
fn pay_later<R: 'static>(
    ctx: &mut Ctx<'_>,
    account: IdentityKey,
    cost: u64,
    then: Paid<R>,
) -> Next<R> {
    if is_paid(ctx, account, cost) {
        return then(ctx);
    }
    let owed = cost.saturating_sub(ctx.notes.paid);
    load(ctx, keys::allowance(&account), move |ctx, bucket| {
        // Another request may have taken a block since.
        let missing = owed.saturating_sub(ctx.allowances.left(&account));
        if missing == 0 {
            ctx.notes.reads.let_go(bucket.key());
            return pay_later(ctx, account, cost, then);
        }
        let limits = &ctx.config.limits;
        let taken = take(&bucket.unwrap_or_default(), ctx.date, missing, limits)
            .map_err(|retry_after_ms| Fault::rate_limited("stored_a_day", retry_after_ms))?;
        let mut change = Change::default();
        change.put(&bucket, &taken.bucket);
        commit(ctx, change, move |ctx| {
            // Whatever others take out of it meanwhile.
            ctx.notes.reads.let_go(bucket.key());
            ctx.allowances.add(account, taken.bytes);
            pay_later(ctx, account, cost, then)
        })
    })
}

/// What was taken out of a bucket, and what it then is.
struct Taken {
    bytes: u64,
    bucket: Allowance,
}

/// Takes a block, or what is missing if that is more, or what there is if that is enough. If it is not,
/// after how many milliseconds to ask again.
fn take(bucket: &Allowance, now: UnixTime, missing: u64, limits: &Limits) -> Result<Taken, u32> {
    let (whole, day) = (as_u64(limits.stored_a_day).max(1), millis(DAY));
    let now = now.as_millis();
    // Never emptier than empty: a clock that was ahead once costs a day at most.
    let filling = bucket.full_at_ms.saturating_sub(now).min(day);
    let there = scaled(day.saturating_sub(filling), whole, day);
    if missing > there {
        let wait = scaled_up(missing.saturating_sub(there), day, whole);
        return Err(u32::try_from(wait).unwrap_or(u32::MAX).max(1));
    }
    let bytes = missing.max(as_u64(limits.stored_block)).min(there);
    let full_at_ms = now
        .saturating_add(filling)
        .saturating_add(scaled_up(bytes, day, whole));
    Ok(Taken {
        bytes,
        bucket: Allowance { full_at_ms },
    })
}

/// Whether the row of a bucket may go: it is full.
pub(super) fn is_full(bucket: &Allowance, now: UnixTime) -> bool {
    bucket.full_at_ms <= now.as_millis()
}

/// `number * by / of`, rounded down.
fn scaled(number: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(by) / u128::from(of);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// `number * by / of`, rounded up.
fn scaled_up(number: u64, by: u64, of: u64) -> u64 {
    let scaled = (u128::from(number) * u128::from(by)).div_ceil(u128::from(of));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_767_225_600_000;

    fn limits() -> Limits {
        let mut limits = Limits::default();
        (limits.stored_a_day, limits.stored_block) = (86_400, 100);
        limits
    }

    /// A byte a second.
    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_millis(NOW + 1000 * seconds)
    }

    fn taken(bucket: &Allowance, seconds: u64, missing: u64) -> Result<(u64, Allowance), u32> {
        let taken = take(bucket, at(seconds), missing, &limits());
        taken.map(|taken| (taken.bytes, taken.bucket))
    }

    #[test]
    fn a_bucket_gives_blocks_until_it_is_empty_and_fills_with_time() {
        let full = Allowance::default();
        let (bytes, after) = taken(&full, 0, 1).unwrap_or_default();
        assert_eq!((bytes, after.full_at_ms), (100, NOW + 100_000));
        let (bytes, after) = taken(&after, 0, 86_290).unwrap_or_default();
        assert_eq!(bytes, 86_290, "more than a block");
        let (bytes, after) = taken(&after, 0, 5).unwrap_or_default();
        assert_eq!(bytes, 10, "what there is");
        assert!(taken(&after, 0, 1).is_err_and(|wait| wait == 1000));
        let (bytes, _) = taken(&after, 7, 1).unwrap_or_default();
        assert_eq!(bytes, 7);
        assert!(is_full(&after, at(86_400)) && !is_full(&after, at(86_399)));
    }

    #[test]
    fn a_clock_that_was_ahead_costs_a_day_at_most() {
        let ahead = Allowance {
            full_at_ms: NOW + 400 * 86_400_000,
        };
        assert!(taken(&ahead, 0, 1).is_err());
        let (_, after) = take(&ahead, at(0), 0, &limits())
            .map(|taken| (taken.bytes, taken.bucket))
            .unwrap_or_default();
        assert_eq!(after.full_at_ms, NOW + 86_400_000);
    }

    proptest! {
        /// Whatever is asked when, on however many cores: no day gives more than two, and what is refused is there
        /// once the wait that was told is over.
        #[test]
        fn a_bucket_gives_what_it_had_and_what_came_since(
            asked in vec((0..20_000_u64, 0..40_000_u64), 1..60),
        ) {
            let (mut bucket, mut now, mut given) = (Allowance::default(), NOW, 0);
            for (seconds, missing) in asked {
                now += 1000 * seconds;
                let take = |bucket: &Allowance, now| {
                    take(bucket, UnixTime::from_millis(now), missing, &limits())
                };
                let taken = match take(&bucket, now) {
                    Ok(taken) => taken,
                    Err(wait) => {
                        prop_assert!(take(&bucket, now + u64::from(wait) - 1001).is_err());
                        now += u64::from(wait);
                        let taken = take(&bucket, now);
                        prop_assert!(taken.is_ok());
                        let Ok(taken) = taken else { continue };
                        taken
                    }
                };
                prop_assert!(taken.bytes >= missing);
                (bucket, given) = (taken.bucket, given + taken.bytes);
                // A byte a second, and all that was there at the beginning.
                prop_assert!(given <= 86_400 + (now - NOW) / 1000);
            }
        }
    }

    #[test]
    fn more_than_a_day_gives_is_refused() {
        assert!(taken(&Allowance::default(), 0, 86_401).is_err());
    }
}
