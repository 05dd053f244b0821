//! Memberships that one account gives another (protocol.md §5.27): how many, and what becomes of those
//! that are not taken up.
//!
//! Anyone who is put on a list by somebody else gets mail that it has not asked for. So each gift is noted
//! with the account that gets it, in one row that every gift to it checks and changes, and it is open until
//! the member has sent or committed something there, or has left.

use core::time::Duration;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::membership::membership_push;
use super::standing::{End, Standing, one_less};
use crate::ids::{ChannelId, IdentityKey};
use crate::limits::Limits;
use crate::proto::MembershipChange;
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::step::Next;
use crate::server::txn::{Change, Seen, commit, load};
use crate::storage::keys;
use crate::storage::records::{Gift, Given};
use crate::time::UnixTime;

/// How long a gift counts after it was made.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Gifts that are noted though they are open no more, the newest: the row stays a short one.
const CLOSED: usize = 200;

/// Notes in a change that `giver` puts these accounts on the list of the channel. Refused with those named who have
/// too many memberships of this giver.
pub(in crate::server) fn give<R: 'static>(
    ctx: &mut Ctx<'_>,
    giver: IdentityKey,
    channel: ChannelId,
    members: Vec<IdentityKey>,
    change: Change,
    then: impl FnOnce(&mut Ctx<'_>, Change, Effects) -> Next<R> + Send + 'static,
) -> Next<R> {
    let giving = Giving {
        giver,
        channel,
        members,
        change,
        effects: Effects::default(),
    };
    giving.note(ctx, Box::new(then))
}

type Then<R> = Box<dyn FnOnce(&mut Ctx<'_>, Change, Effects) -> Next<R> + Send>;

struct Giving {
    giver: IdentityKey,
    channel: ChannelId,
    members: Vec<IdentityKey>,
    change: Change,
    /// The news of memberships that had to go.
    effects: Effects,
}

impl Giving {
    fn note<R: 'static>(mut self, ctx: &mut Ctx<'_>, then: Then<R>) -> Next<R> {
        if self.members.is_empty() {
            return then(ctx, self.change, self.effects);
        }
        let wanted: Vec<_> = self.members.iter().map(keys::given).collect();
        load(ctx, wanted, move |ctx, seen| {
            let limits = &ctx.config.limits;
            let (mut full, mut pushed_out) = (Vec::new(), None);
            let mut updated = Vec::with_capacity(seen.len());
            for (member, seen) in self.members.iter().zip(&seen) {
                let mut given = recent(seen, ctx.date);
                if is_full(&given, &self.giver, ctx.date, limits) {
                    full.push(*member);
                }
                if pushed_out.is_none() {
                    pushed_out = one_too_many(&given, limits).map(|channel| (*member, channel));
                }
                given.gifts.push(Gift {
                    channel_id: Bytes::copy_from_slice(self.channel.as_bytes()),
                    giver_key: Bytes::copy_from_slice(self.giver.as_bytes()),
                    given_at_ms: ctx.date.as_millis(),
                    open: true,
                });
                updated.push(given);
            }
            if !full.is_empty() {
                let fault = Fault::quota(
                    "`memberships_a_day` or `memberships_open` is reached: somebody was put into too many \
                     channels by you",
                );
                return Err(fault.about(&full));
            }
            if let Some((member, channel)) = pushed_out {
                return self.push_out(ctx, member, channel, then);
            }
            for (seen, given) in seen.iter().zip(&updated) {
                self.change.put(seen, given);
            }
            then(ctx, self.change, self.effects)
        })
    }

    /// Takes `member` off the list of a channel that it has never used, then goes on.
    fn push_out<R: 'static>(
        mut self,
        ctx: &mut Ctx<'_>,
        member: IdentityKey,
        channel: ChannelId,
        then: Then<R>,
    ) -> Next<R> {
        let wanted = (
            keys::channel(&channel),
            Standing::keys(&channel, &member),
            keys::given(&member),
        );
        load(ctx, wanted, move |ctx, (seen, standing, gifts)| {
            let mut change = Change::default();
            close_gift(&mut change, &channel, &gifts, ctx.date);
            if let Some(mut state) = seen.value()
                && standing.member().is_some()
            {
                standing.unlist(&mut change, ctx.date, End::PushedOut);
                one_less(&mut state, ctx.date, End::PushedOut);
                change.put(&seen, &state);
                let push = membership_push(&channel, &member, MembershipChange::Removed);
                self.effects.live.push((vec![member], push));
            }
            commit(ctx, change, move |ctx| {
                // Nothing rests on that other channel.
                let over = (keys::channel(&channel), Standing::keys(&channel, &member));
                ctx.notes.reads.let_go(&over);
                self.note(ctx, then)
            })
        })
    }
}

/// The member does something in the channel: its membership is open no more. Then goes on.
pub(in crate::server) fn take_up<R: 'static>(
    ctx: &mut Ctx<'_>,
    member: IdentityKey,
    channel: ChannelId,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let wanted = (keys::member(&channel, &member), keys::given(&member));
    load(ctx, wanted, move |ctx, (seen, gifts)| {
        let mut change = Change::default();
        if let Some(mut listed) = *seen {
            listed.open = false;
            change.put(&seen, &listed);
        }
        close_gift(&mut change, &channel, &gifts, ctx.date);
        commit(ctx, change, then)
    })
}

/// These members go: what they were given there is open no more. `then` gets the change with it.
pub(in crate::server) fn take_back<R: 'static>(
    ctx: &mut Ctx<'_>,
    channel: ChannelId,
    members: &[IdentityKey],
    mut change: Change,
    then: impl FnOnce(&mut Ctx<'_>, Change) -> Next<R> + Send + 'static,
) -> Next<R> {
    let wanted: Vec<_> = members.iter().map(keys::given).collect();
    load(ctx, wanted, move |ctx, seen| {
        for gifts in &seen {
            close_gift(&mut change, &channel, gifts, ctx.date);
        }
        then(ctx, change)
    })
}

/// Adds to the change that a gift is open no more. `seen` is what the member was given.
fn close_gift(change: &mut Change, channel: &ChannelId, seen: &Seen<Given>, now: UnixTime) {
    let mut given = recent(seen, now);
    for gift in &mut given.gifts {
        gift.open &= gift.channel_id != channel.as_bytes().as_slice();
    }
    forget_old(&mut given, now);
    if !given.gifts.is_empty() {
        change.put(seen, &given);
    } else if seen.is_some() {
        change.delete(seen);
    }
}

/// Whether what an account was given may be forgotten.
pub(in crate::server) fn is_forgotten(mut given: Given, now: UnixTime) -> bool {
    forget_old(&mut given, now);
    given.gifts.is_empty()
}

/// What an account was given and still counts.
fn recent(seen: &Seen<Given>, now: UnixTime) -> Given {
    let mut given = seen.value().unwrap_or_default();
    forget_old(&mut given, now);
    given
}

/// Forgets what is neither open nor of the last day.
fn forget_old(given: &mut Given, now: UnixTime) {
    given.gifts.retain(|gift| gift.open || is_recent(gift, now));
    let closed = given.gifts.iter().filter(|gift| !gift.open).count();
    let mut surplus = closed.saturating_sub(CLOSED);
    given.gifts.retain(|gift| {
        let goes = !gift.open && surplus > 0;
        surplus = surplus.saturating_sub(usize::from(goes));
        !goes
    });
}

/// A date that is more than a day ahead was written by a clock that was wrong; one that is less, by another
/// core's.
fn is_recent(gift: &Gift, now: UnixTime) -> bool {
    let at = UnixTime::from_millis(gift.given_at_ms);
    at <= now + DAY && now < at + DAY
}

fn is_full(given: &Given, giver: &IdentityKey, now: UnixTime, limits: &Limits) -> bool {
    let theirs = given.gifts.iter();
    let theirs = theirs.filter(|gift| gift.giver_key == giver.as_bytes().as_slice());
    let recent = theirs.clone().filter(|gift| is_recent(gift, now)).count();
    recent >= limits.memberships_a_day
        || theirs.filter(|gift| gift.open).count() >= limits.memberships_open
}

/// The channel that has to go for one more: the oldest of who has given most that is open.
fn one_too_many(given: &Given, limits: &Limits) -> Option<ChannelId> {
    let open = || given.gifts.iter().filter(|gift| gift.open);
    if open().count() < limits.memberships {
        return None;
    }
    let mut counts = BTreeMap::<&Bytes, usize>::new();
    for gift in open() {
        *counts.entry(&gift.giver_key).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let givers: BTreeSet<&Bytes> = counts
        .into_iter()
        .filter(|(_, count)| *count == most)
        .map(|(giver, _)| giver)
        .collect();
    let oldest = open().find(|gift| givers.contains(&gift.giver_key))?;
    ChannelId::try_from(oldest.channel_id.as_ref()).ok()
}
