//! Telling an account's channels that its devices have changed (protocol.md §5.19): the version of
//! the member list rises, and members get the push DEVICES_CHANGED.

use crate::ids::{ChannelId, IdentityKey};
use crate::proto::MembershipChange;
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::services::membership::membership_push;
use crate::server::step::Next;
use crate::server::txn::{Change, load_fresh, scan, try_commit};
use crate::storage::keys::{self, Range};

/// Memberships read at once.
const PAGE: usize = 100;
/// Members told at most in all channels together. A push is a hint: anyone who misses it sees the
/// version of the list with the next ListQueues.
const TOLD: usize = 10_000;

/// Tells the channels, then goes on with the pushes for their members.
pub(in crate::server) fn tell<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    then: impl FnOnce(&mut Ctx<'_>, Effects) -> Next<R> + Send + 'static,
) -> Next<R> {
    let telling = Telling {
        identity,
        rest: Some(keys::memberships(&identity)),
        channels: Vec::new(),
        effects: Effects::default(),
        told: 0,
    };
    telling.next(ctx, Box::new(then))
}

type Then<R> = Box<dyn FnOnce(&mut Ctx<'_>, Effects) -> Next<R> + Send>;

/// How far the telling is.
struct Telling {
    identity: IdentityKey,
    /// Memberships not yet read, if there are any.
    rest: Option<Range<()>>,
    /// Channels read and not yet told.
    channels: Vec<ChannelId>,
    effects: Effects,
    /// Members told in all channels so far.
    told: usize,
}

impl Telling {
    fn next<R: 'static>(mut self, ctx: &mut Ctx<'_>, then: Then<R>) -> Next<R> {
        ctx.notes.reads.begin_anew();
        if let Some(channel) = self.channels.pop() {
            return self.raise(ctx, channel, 0, then);
        }
        let Some(rest) = self.rest.take() else {
            return then(ctx, self.effects);
        };
        scan(rest.clone(), PAGE.into(), move |ctx, found, more| {
            if let (Some(last), true) = (found.last(), more) {
                self.rest = Some(rest.after(last.key()));
            }
            let parsed = found
                .iter()
                .filter_map(|row| keys::parse_membership(row.key()));
            self.channels = parsed.map(|(_, channel)| channel).collect();
            self.next(ctx, then)
        })
    }

    /// Raises the version of one channel's member list. What is remembered of the channel may be that it
    /// does not exist: another core may have made it since.
    fn raise<R: 'static>(
        self,
        ctx: &mut Ctx<'_>,
        channel: ChannelId,
        attempt: u32,
        then: Then<R>,
    ) -> Next<R> {
        load_fresh(ctx, keys::channel(&channel), move |ctx, seen| {
            let Some(mut state) = seen.value() else {
                return self.next(ctx, then);
            };
            state.members_version = state.members_version.saturating_add(1);
            let mut change = Change::default();
            change.put(&seen, &state);
            try_commit(ctx, change, move |ctx, made| match made {
                true => self.collect(ctx, channel, then),
                false if attempt < ctx.config.limits.conflicts => {
                    self.raise(ctx, channel, attempt + 1, then)
                }
                false => Err(Fault::unavailable(
                    "too much is changing at once: try again",
                )),
            })
        })
    }

    /// Adds the pushes for one channel's members.
    fn collect<R: 'static>(
        mut self,
        ctx: &mut Ctx<'_>,
        channel: ChannelId,
        then: Then<R>,
    ) -> Next<R> {
        let room = TOLD.saturating_sub(self.told);
        if room == 0 {
            return self.next(ctx, then);
        }
        scan(
            keys::members(&channel),
            room.into(),
            move |ctx, found, _| {
                let push =
                    membership_push(&channel, &self.identity, MembershipChange::DevicesChanged);
                let members = found.iter().filter_map(|row| keys::parse_member(row.key()));
                let members: Vec<_> = members.map(|(_, member)| member).collect();
                self.told = self.told.saturating_add(members.len());
                self.effects.live.push((members, push));
                self.next(ctx, then)
            },
        )
    }
}
