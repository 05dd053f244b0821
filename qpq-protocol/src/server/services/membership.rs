//! Whether an account is a member of a channel: asked in one place, by all methods that are for members. And the push
//! that tells of a change.

use bytes::Bytes;

use crate::ids::{ChannelId, IdentityKey};
use crate::proto::{self, MembershipChange, MembershipPush, push_event};
use crate::server::fault::Fault;
use crate::server::txn::{Keys, Row, Seen};
use crate::storage::keys::{self, Key};
use crate::storage::records::{Channel, Member};

/// The rows that say it.
pub(in crate::server) struct MembershipKeys {
    channel: Key<Channel>,
    member: Key<Member>,
}

/// A channel and the place of an account in it, as they were read.
pub(in crate::server) struct Membership {
    /// The channel's row.
    pub(in crate::server) channel: Seen<Channel>,
    /// The account's row in the member list.
    pub(in crate::server) member: Seen<Member>,
}

impl Membership {
    /// The rows that it is read from.
    pub(in crate::server) fn keys(channel: &ChannelId, identity: &IdentityKey) -> MembershipKeys {
        MembershipKeys {
            channel: keys::channel(channel),
            member: keys::member(channel, identity),
        }
    }

    /// The channel, if the account is a member.
    pub(in crate::server) fn require_member(&self) -> Result<(&Channel, &Member), Fault> {
        let channel = existing(&self.channel)?;
        match &*self.member {
            Some(member) => Ok((channel, member)),
            None => Err(Fault::forbidden("only members of this channel may do this")),
        }
    }
}

impl Keys for MembershipKeys {
    type Seen = Membership;

    fn each(&self, visit: &mut impl FnMut(&Bytes)) {
        visit(&self.channel);
        visit(&self.member);
    }

    fn seen(self, rows: &mut impl Iterator<Item = Row>) -> Result<Membership, Fault> {
        Ok(Membership {
            channel: self.channel.seen(rows)?,
            member: self.member.seen(rows)?,
        })
    }
}

/// The channel, if there is one.
pub(in crate::server) fn existing(channel: &Seen<Channel>) -> Result<&Channel, Fault> {
    channel
        .as_ref()
        .ok_or_else(|| Fault::not_found("there is no such channel"))
}

/// The push Membership.
pub(in crate::server) fn membership_push(
    channel: &ChannelId,
    member: &IdentityKey,
    change: MembershipChange,
) -> proto::PushEvent {
    proto::PushEvent {
        event: Some(push_event::Event::Membership(MembershipPush {
            channel_id: Bytes::copy_from_slice(channel.as_bytes()),
            member_key: Bytes::copy_from_slice(member.as_bytes()),
            change: change.into(),
        })),
    }
}
