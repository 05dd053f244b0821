//! What a channel knows of one account: a member, a former member, or neither (protocol.md §5.10).
//!
//! The member list says who gets mail. What must outlast it lies in a row beside it: that somebody left,
//! or was taken off by another's commit, and the dates that may not begin anew with each return.

use bytes::Bytes;

use crate::ids::{ChannelId, IdentityKey};
use crate::server::fault::Fault;
use crate::server::txn::{Change, Keys, Row, Seen};
use crate::storage::keys::{self, Key};
use crate::storage::records::{Channel, Former, Member, former};
use crate::time::UnixTime;

/// The rows that say it.
pub(in crate::server) struct StandingKeys {
    channel: ChannelId,
    identity: IdentityKey,
    member: Key<Member>,
    former: Key<Former>,
}

/// An account in a channel, as it was read.
pub(in crate::server) struct Standing {
    channel: ChannelId,
    identity: IdentityKey,
    listed: Seen<Member>,
    known: Seen<Former>,
    former: Former,
}

impl Keys for StandingKeys {
    type Seen = Standing;

    fn each(&self, visit: &mut impl FnMut(&Bytes)) {
        visit(&self.member);
        visit(&self.former);
    }

    fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Standing, Fault> {
        let (listed, known) = (self.member.seen(rows)?, self.former.seen(rows)?);
        Ok(Standing {
            channel: self.channel,
            identity: self.identity,
            former: known.unwrap_or_default(),
            listed,
            known,
        })
    }
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
    pub(in crate::server) fn keys(channel: &ChannelId, identity: &IdentityKey) -> StandingKeys {
        StandingKeys {
            channel: *channel,
            identity: *identity,
            member: keys::member(channel, identity),
            former: keys::former(channel, identity),
        }
    }

    /// Whose it is.
    pub(in crate::server) fn identity(&self) -> &IdentityKey {
        &self.identity
    }

    /// The row of the member list.
    pub(in crate::server) const fn listed(&self) -> &Seen<Member> {
        &self.listed
    }

    /// Its place on the member list, if it is on it.
    pub(in crate::server) fn member(&self) -> Option<&Member> {
        self.listed.as_ref()
    }

    /// Whether nothing is known of the account there.
    pub(in crate::server) fn is_nobody(&self) -> bool {
        self.listed.is_none() && self.known.is_none()
    }

    /// Whether it is on the list because of somebody else, and has not used it so far.
    pub(in crate::server) fn is_open(&self) -> bool {
        self.listed.as_ref().is_some_and(|member| member.open)
    }

    /// Whether the account left by itself and has not been back since.
    pub(in crate::server) fn has_left(&self) -> bool {
        self.listed.is_none() && matches!(self.former.end, Some(former::End::Left(_)))
    }

    /// Whether the commit of another that took this slot took the account off the list.
    pub(in crate::server) fn was_removed_in(&self, slot: u64) -> bool {
        self.listed.is_none() && self.former.end == Some(former::End::RemovedInSlot(slot))
    }

    /// Whether putting the account on the list only puts it back: it used its membership until
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
        let may = thrown_off && self.listed.is_none();
        may.then_some(UnixTime::from_millis(self.former.returned_at_ms))
    }

    /// Puts the account on the list; the caller changes the channel's row.
    pub(in crate::server) fn list(&self, change: &mut Change, now: UnixTime, by: By) {
        let row = Member {
            joined_at_ms: now.as_millis(),
            reset_at_ms: self.former.reset_at_ms,
            open: by == By::Other,
        };
        change.put(&self.listed, &row);
        change.write(keys::membership(&self.identity, &self.channel), &());
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
            change.put(&self.known, &row);
        }
    }

    /// Takes the account off the list; the caller changes the channel's row.
    pub(in crate::server) fn unlist(&self, change: &mut Change, now: UnixTime, end: End) {
        change.delete(&self.listed);
        change.erase(keys::membership(&self.identity, &self.channel));
        let end = match end {
            End::Left => Some(former::End::Left(true)),
            End::Removed { slot } => Some(former::End::RemovedInSlot(slot)),
            End::PushedOut => Some(former::End::PushedOut(true)),
            End::Unbegun => None,
        };
        let row = Former {
            end,
            reset_at_ms: self.listed.as_ref().map_or(0, |row| row.reset_at_ms),
            open: self.is_open(),
            written_at_ms: now.as_millis(),
            ..self.former
        };
        if row.end.is_some() || row.reset_at_ms > 0 || row.returned_at_ms > 0 {
            change.put(&self.known, &row);
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
