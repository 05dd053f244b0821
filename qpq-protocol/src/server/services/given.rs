//! Memberships that one account gives another (protocol.md §5.27): how many, and what becomes of those
//! that are not taken up.
//!
//! Whoever is put on a list by somebody else gets mail that it has not asked for. So each gift is noted
//! with the account that gets it, in one row that every gift to it checks and changes, and it is open until
//! the member has sent or committed something there, or has left.

use core::time::Duration;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::group::membership_push;
use super::standing::{End, Standing, one_less};
use crate::ids::{ChannelId, IdentityKey};
use crate::limits::Limits;
use crate::proto::MembershipChange;
use crate::server::rows::Row;
use crate::server::step::{
    Ctx, Effects, Fault, Next, commit, decode_row, doubt, encode_row, load, load_all, unchanged,
};
use crate::storage::Commit;
use crate::storage::keys;
use crate::storage::records::{Channel, Gift, Given, Member};
use crate::time::UnixTime;

/// How long a gift counts after it was made.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Gifts that are noted though they are open no more, the newest: the row stays a short one.
const CLOSED: usize = 200;

/// Notes that `giver` puts these accounts on the list of the channel: `then` gets the checks and puts to
/// be made with it. Refused with those named who have too many memberships of this giver.
pub(in crate::server) fn give<R: 'static>(
    ctx: &mut Ctx<'_>,
    giver: IdentityKey,
    channel: ChannelId,
    members: Vec<IdentityKey>,
    then: impl FnOnce(&mut Ctx<'_>, Commit, Effects) -> Next<R> + Send + 'static,
) -> Next<R> {
    let giving = Giving {
        giver,
        channel,
        members,
        effects: Effects::default(),
    };
    giving.run(ctx, Box::new(then))
}

type Then<R> = Box<dyn FnOnce(&mut Ctx<'_>, Commit, Effects) -> Next<R> + Send>;

struct Giving {
    giver: IdentityKey,
    channel: ChannelId,
    members: Vec<IdentityKey>,
    /// The news of memberships that had to go.
    effects: Effects,
}

impl Giving {
    fn run<R: 'static>(self, ctx: &mut Ctx<'_>, then: Then<R>) -> Next<R> {
        if self.members.is_empty() {
            return then(ctx, Commit::default(), self.effects);
        }
        let keys = self.members.iter().map(keys::given).collect();
        load_all(ctx, keys, move |ctx, rows| {
            let limits = &ctx.config.limits;
            let mut change = Commit::default();
            let mut full = Vec::new();
            let mut pushed_out = None;
            for (member, (key, row)) in self.members.iter().zip(&rows) {
                let mut given = read_given(row, ctx.date)?;
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
                change.checks.push(unchanged(key, row));
                change.puts.push((key.clone(), encode_row(&given)));
            }
            if !full.is_empty() {
                let fault = Fault::quota(
                    "`memberships_a_day` or `memberships_open` is reached: somebody was put into too many \
                     channels by you",
                );
                return doubt(ctx, rows.iter().map(|(key, _)| key), fault.about(&full));
            }
            match pushed_out {
                Some((member, channel)) => self.push_out(ctx, member, channel, then),
                None => then(ctx, change, self.effects),
            }
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
        let [listed, former] = Standing::keys(&channel, &member);
        let keys = [
            keys::channel(&channel),
            listed,
            former,
            keys::given(&member),
        ];
        load(ctx, keys, move |ctx, [row, listed, former, gifts]| {
            let standing = Standing::new(channel, member, [listed, former])?;
            let mut change = Commit::default();
            standing.check(&mut change);
            close(&mut change, &member, &channel, &gifts, ctx.date)?;
            let key = keys::channel(&channel);
            change.checks.push(unchanged(&key, &row));
            if let Some(mut state) = decode_row::<Channel>(&row)?
                && standing.member().is_some()
            {
                standing.unlist(&mut change, ctx.date, End::PushedOut);
                one_less(&mut state, ctx.date, End::PushedOut);
                change.puts.push((key, encode_row(&state)));
                let push = membership_push(&channel, &member, MembershipChange::Removed);
                self.effects.live.push((member, push));
            }
            commit(change, move |ctx| self.run(ctx, then))
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
    let keys = [keys::member(&channel, &member), keys::given(&member)];
    load(ctx, keys, move |ctx, [row, gifts]| {
        let key = keys::member(&channel, &member);
        let mut change = Commit {
            checks: vec![unchanged(&key, &row)],
            ..Commit::default()
        };
        if let Some(mut listed) = decode_row::<Member>(&row)? {
            listed.open = false;
            change.puts.push((key, encode_row(&listed)));
        }
        close(&mut change, &member, &channel, &gifts, ctx.date)?;
        commit(change, then)
    })
}

/// These members go: what they were given there is open no more. `then` gets the change with it.
pub(in crate::server) fn take_back<R: 'static>(
    ctx: &mut Ctx<'_>,
    channel: ChannelId,
    members: Vec<IdentityKey>,
    mut change: Commit,
    then: impl FnOnce(&mut Ctx<'_>, Commit) -> Next<R> + Send + 'static,
) -> Next<R> {
    let keys = members.iter().map(keys::given).collect();
    load_all(ctx, keys, move |ctx, rows| {
        for (member, (_, row)) in members.iter().zip(&rows) {
            close(&mut change, member, &channel, row, ctx.date)?;
        }
        then(ctx, change)
    })
}

/// Adds to the change that a gift is open no more. `row` is what the member was given.
fn close(
    change: &mut Commit,
    member: &IdentityKey,
    channel: &ChannelId,
    row: &Row,
    now: UnixTime,
) -> Result<(), Fault> {
    let mut given = read_given(row, now)?;
    for gift in &mut given.gifts {
        gift.open &= gift.channel_id != channel.as_bytes().as_slice();
    }
    forget_old(&mut given, now);
    let key = keys::given(member);
    change.checks.push(unchanged(&key, row));
    if !given.gifts.is_empty() {
        change.puts.push((key, encode_row(&given)));
    } else if row.is_some() {
        change.deletes.push(key);
    }
    Ok(())
}

/// Adds the checks and puts of [`give`] to a change.
pub(in crate::server) fn merge(change: &mut Commit, gifts: Commit) {
    change.checks.extend(gifts.checks);
    change.puts.extend(gifts.puts);
    change.deletes.extend(gifts.deletes);
}

/// Whether what an account was given may be forgotten.
pub(in crate::server) fn is_forgotten(mut given: Given, now: UnixTime) -> bool {
    forget_old(&mut given, now);
    given.gifts.is_empty()
}

fn read_given(row: &Row, now: UnixTime) -> Result<Given, Fault> {
    let mut given = decode_row::<Given>(row)?.unwrap_or_default();
    forget_old(&mut given, now);
    Ok(given)
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
