//! Telling an account's channels that its devices have changed (protocol.md §5.19): the version of
//! the member list rises, and members get the push DEVICES_CHANGED.

use bytes::Bytes;

use crate::ids::{ChannelId, IdentityKey};
use crate::proto::MembershipChange;
use crate::server::services::group::membership_push;
use crate::server::step::{
    Ctx, Effects, Fault, Next, decode_row, encode_row, load_fresh, scan, try_commit, unchanged,
};
use crate::storage::keys::{self, Range};
use crate::storage::records::Channel;
use crate::storage::{Commit, Direction, Scan};

/// Memberships read at once.
const PAGE: usize = 100;
/// Members told at most in all channels together. A push is a hint: whoever misses it sees the
/// version of the list with the next ListQueues.
const TOLD: usize = 10_000;

/// Tells the channels, then goes on with the pushes for their members.
pub(super) fn tell<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    then: impl FnOnce(&mut Ctx<'_>, Effects) -> Next<R> + Send + 'static,
) -> Next<R> {
    let Range { start, end } = keys::memberships(&identity);
    let telling = Telling {
        identity,
        start,
        end,
        channels: Vec::new(),
        effects: Effects::default(),
    };
    telling.next(ctx, Box::new(then))
}

type Then<R> = Box<dyn FnOnce(&mut Ctx<'_>, Effects) -> Next<R> + Send>;

/// How far the telling is.
struct Telling {
    identity: IdentityKey,
    /// Memberships not yet read.
    start: Bytes,
    end: Bytes,
    /// Channels read and not yet told.
    channels: Vec<ChannelId>,
    effects: Effects,
}

impl Telling {
    fn next<R: 'static>(mut self, ctx: &mut Ctx<'_>, then: Then<R>) -> Next<R> {
        match self.channels.pop() {
            Some(channel) => self.raise(ctx, channel, 0, then),
            None if self.start >= self.end => then(ctx, self.effects),
            None => {
                let page = Scan {
                    start: self.start.clone(),
                    end: self.end.clone(),
                    direction: Direction::Forward,
                    items: PAGE,
                    bytes: usize::MAX,
                };
                scan(page, move |ctx, rows, more| {
                    let last = rows.last().map(|(key, _)| key.clone());
                    self.start = match last {
                        Some(last) if more => {
                            Range {
                                start: Bytes::new(),
                                end: self.end.clone(),
                            }
                            .after(&last)
                            .start
                        }
                        _ => self.end.clone(),
                    };
                    let parsed = rows
                        .iter()
                        .filter_map(|(key, _)| keys::parse_membership(key));
                    self.channels = parsed.map(|(_, channel)| channel).collect();
                    self.next(ctx, then)
                })
            }
        }
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
        let key = keys::channel(&channel);
        load_fresh(ctx, [key.clone()], move |ctx, [row]| {
            let Some(mut state) = decode_row::<Channel>(&row)? else {
                return self.next(ctx, then);
            };
            state.members_version = state.members_version.saturating_add(1);
            let change = Commit {
                checks: vec![unchanged(&key, &row)],
                puts: vec![(key, encode_row(&state))],
                deletes: Vec::new(),
            };
            try_commit(change, move |ctx, made| match made {
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
        let room = TOLD.saturating_sub(self.effects.live.len());
        if room == 0 {
            return self.next(ctx, then);
        }
        let Range { start, end } = keys::members(&channel);
        let members = Scan {
            start,
            end,
            direction: Direction::Forward,
            items: room,
            bytes: usize::MAX,
        };
        scan(members, move |ctx, rows, _| {
            let push = membership_push(&channel, &self.identity, MembershipChange::DevicesChanged);
            let members = rows.iter().filter_map(|(key, _)| keys::parse_member(key));
            let live = members.map(|(_, member)| (member, push.clone()));
            self.effects.live.extend(live);
            self.next(ctx, then)
        })
    }
}
