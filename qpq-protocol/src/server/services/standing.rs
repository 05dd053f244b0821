//! What a channel knows of one account: a member, a former member, or neither (protocol.md §5.10).
//!
//! The member list says who gets mail. What must outlast it lies in a row beside it: that somebody left,
//! or was taken off by another's commit, and the dates that may not begin anew with each return.

use bytes::Bytes;

use crate::ids::{ChannelId, IdentityKey};
use crate::server::rows::Row;
use crate::server::step::{Ctx, Fault, Next, decode_row, encode_row, load_all, unchanged};
use crate::storage::Commit;
use crate::storage::keys;
use crate::storage::records::{Channel, Former, Member, former};
use crate::time::UnixTime;

/// An account in a channel, as it was read.
pub(in crate::server) struct Standing {
    channel: ChannelId,
    identity: IdentityKey,
    rows: [Row; 2],
    member: Option<Member>,
    former: Former,
}

/// How a membership ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum End {
    /// The member leaves.
    Left,
    /// Somebody else's commit takes it off the list, in this slot.
    Removed { slot: u64 },
    /// It is taken off before the group has begun, so there is nothing to come back to.
    Unbegun,
    /// It had too many memberships that it did not use.
    PushedOut,
}

/// Who puts an account on the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum By {
    /// The account itself, which another's commit had taken off.
    Itself,
    /// The account itself, which opens the channel.
    Opener,
    /// Somebody else: it is open until the account has used it.
    Other,
    /// Somebody else, where it had been until another took it off.
    PutBack,
}

impl Standing {
    /// The rows that it is read from.
    pub(in crate::server) fn keys(channel: &ChannelId, identity: &IdentityKey) -> [Bytes; 2] {
        [
            keys::member(channel, identity),
            keys::former(channel, identity),
        ]
    }

    /// The rows that this one was read from.
    pub(in crate::server) fn own_keys(&self) -> [Bytes; 2] {
        Self::keys(&self.channel, &self.identity)
    }

    /// Reads it.
    pub(in crate::server) fn new(
        channel: ChannelId,
        identity: IdentityKey,
        rows: [Row; 2],
    ) -> Result<Self, Fault> {
        let [member, former] = &rows;
        let (member, former) = (decode_row(member)?, decode_row(former)?.unwrap_or_default());
        Ok(Self {
            channel,
            identity,
            rows,
            member,
            former,
        })
    }

    /// Whose it is.
    pub(in crate::server) fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// The row of the member list, if it is on it.
    pub(in crate::server) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// Whether it is on the list because of somebody else, and has not used it so far.
    pub(in crate::server) fn is_open(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.open)
    }

    /// Whether the account left by itself and has not been back since.
    pub(in crate::server) fn has_left(&self) -> bool {
        self.member.is_none() && matches!(self.former.end, Some(former::End::Left(_)))
    }

    /// Whether the commit of another that took this slot took the account off the list.
    pub(in crate::server) fn was_removed_in(&self, slot: u64) -> bool {
        self.member.is_none() && self.former.end == Some(former::End::RemovedInSlot(slot))
    }

    /// Whether whoever puts the account on the list only puts it back: it used its membership until
    /// somebody's commit took it off.
    pub(in crate::server) fn is_put_back(&self) -> bool {
        let removed = matches!(self.former.end, Some(former::End::RemovedInSlot(_)));
        removed && !self.former.open
    }

    /// When the account last put itself back on the list, long ago if never; `None` if it may not now: it left,
    /// or never was on it.
    pub(in crate::server) fn last_return(&self) -> Option<UnixTime> {
        let ended = self.former.end.as_ref()?;
        let thrown_off = matches!(
            ended,
            former::End::RemovedInSlot(_) | former::End::PushedOut(_)
        );
        let may = thrown_off && self.member.is_none();
        may.then_some(UnixTime::from_millis(self.former.returned_at_ms))
    }

    /// Adds to the change that both rows still are what was read.
    pub(in crate::server) fn check(&self, change: &mut Commit) {
        let keys = self.own_keys();
        let checks = keys.iter().zip(&self.rows);
        change
            .checks
            .extend(checks.map(|(key, row)| unchanged(key, row)));
    }

    /// Puts the account on the list; the caller changes the channel's row.
    pub(in crate::server) fn list(&self, change: &mut Commit, now: UnixTime, by: By) {
        let row = Member {
            joined_at_ms: now.as_millis(),
            reset_at_ms: self.former.reset_at_ms,
            open: by == By::Other,
        };
        let [member, former] = self.own_keys();
        change.puts.push((member, encode_row(&row)));
        let membership = keys::membership(&self.identity, &self.channel);
        change.puts.push((membership, Bytes::new()));
        if self.former.end.is_some() {
            let returned_at_ms = match by {
                By::Itself => now.as_millis(),
                By::Opener | By::Other | By::PutBack => self.former.returned_at_ms,
            };
            let row = Former {
                end: None,
                returned_at_ms,
                written_at_ms: now.as_millis(),
                ..self.former
            };
            change.puts.push((former, encode_row(&row)));
        }
    }

    /// Takes the account off the list; the caller changes the channel's row.
    pub(in crate::server) fn unlist(&self, change: &mut Commit, now: UnixTime, end: End) {
        let [member, former] = self.own_keys();
        change.deletes.push(member);
        change
            .deletes
            .push(keys::membership(&self.identity, &self.channel));
        let end = match end {
            End::Left => Some(former::End::Left(true)),
            End::Removed { slot } => Some(former::End::RemovedInSlot(slot)),
            End::PushedOut => Some(former::End::PushedOut(true)),
            End::Unbegun => None,
        };
        let row = Former {
            end,
            reset_at_ms: self.member.as_ref().map_or(0, |row| row.reset_at_ms),
            open: self.is_open(),
            written_at_ms: now.as_millis(),
            ..self.former
        };
        if row.end.is_some() || row.reset_at_ms > 0 || row.returned_at_ms > 0 {
            change.puts.push((former, encode_row(&row)));
        }
    }
}

/// The list of the channel is shorter by one.
pub(in crate::server) fn one_less(state: &mut Channel, now: UnixTime, end: End) {
    state.member_count = state.member_count.saturating_sub(1);
    state.members_version = state.members_version.saturating_add(1);
    if state.member_count == 0 {
        state.empty_since_ms = now.as_millis();
    }
    state.left_since_reset |= state.dm && end == End::Left;
}

/// The list of the channel is longer by one.
pub(in crate::server) fn one_more(state: &mut Channel) {
    state.member_count = state.member_count.saturating_add(1);
    state.members_version = state.members_version.saturating_add(1);
    state.empty_since_ms = 0;
}

/// Reads several accounts in a channel, in this order.
pub(in crate::server) fn load_standings<R: 'static>(
    ctx: &mut Ctx<'_>,
    channel: ChannelId,
    identities: Vec<IdentityKey>,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Standing>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let keys = identities.iter();
    let keys = keys.flat_map(|identity| Standing::keys(&channel, identity));
    load_all(ctx, keys.collect(), move |ctx, rows| {
        let mut rows = rows.into_iter().map(|(_, row)| row);
        let mut standings = Vec::with_capacity(identities.len());
        for identity in identities {
            let pair = [rows.next().flatten(), rows.next().flatten()];
            standings.push(Standing::new(channel, identity, pair)?);
        }
        then(ctx, standings)
    })
}
