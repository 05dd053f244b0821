//! Keys of channels, their members and their slots.

use bytes::Bytes;

use super::{Family, Fields, Key, KeyBuilder, Range};
use crate::ids::{ChannelId, IdentityKey};
use crate::storage::records::{Channel, Former, Given, Member, Metadata, Slot};

/// The state of a channel: every change of its slot or members changes this row.
///
/// Channel `cc…cc`: `c` `cc…cc`, 17 bytes.
#[must_use]
pub fn channel(channel: &ChannelId) -> Key<Channel> {
    KeyBuilder::new(Family::Channel)
        .fixed(channel.as_bytes())
        .key()
}

/// All channels, in order of their ids.
#[must_use]
pub fn channels() -> Range<Channel> {
    Range::of(KeyBuilder::new(Family::Channel).done())
}

/// The channel of a key made by [`channel`].
#[must_use]
pub fn parse_channel(key: &[u8]) -> Option<ChannelId> {
    let mut fields = Fields::of(key, Family::Channel)?;
    let channel = ChannelId(fields.array()?);
    fields.end(channel)
}

/// The sealed metadata of a channel.
///
/// Channel `cc…cc`: `C` `cc…cc`, 17 bytes.
#[must_use]
pub fn metadata(channel: &ChannelId) -> Key<Metadata> {
    KeyBuilder::new(Family::Metadata)
        .fixed(channel.as_bytes())
        .key()
}

/// A piece of the newest GroupInfo of a channel.
///
/// Channel `cc…cc`, piece 0: `G` `cc…cc` `0000`, 19 bytes.
#[must_use]
pub fn group_info(channel: &ChannelId, piece: u16) -> Key<Bytes> {
    let key = KeyBuilder::new(Family::GroupInfo).fixed(channel.as_bytes());
    key.fixed(&piece.to_be_bytes()).key()
}

/// A member of a channel.
///
/// Channel `cc…cc`, identity `aa…aa`: `M` `cc…cc` `aa…aa`, 49 bytes.
#[must_use]
pub fn member(channel: &ChannelId, identity: &IdentityKey) -> Key<Member> {
    let key = KeyBuilder::new(Family::Member).fixed(channel.as_bytes());
    key.fixed(identity.as_bytes()).key()
}

/// All members of a channel, in order of identity key.
#[must_use]
pub fn members(channel: &ChannelId) -> Range<Member> {
    Range::of(
        KeyBuilder::new(Family::Member)
            .fixed(channel.as_bytes())
            .done(),
    )
}

/// The channel and the identity of a key made by [`member`].
#[must_use]
pub fn parse_member(key: &[u8]) -> Option<(ChannelId, IdentityKey)> {
    let mut fields = Fields::of(key, Family::Member)?;
    let channel = ChannelId(fields.array()?);
    let identity = IdentityKey(fields.array()?);
    fields.end((channel, identity))
}

/// The other direction of [`member`]: a channel that an account is a member of.
///
/// Identity `aa…aa`, channel `cc…cc`: `A` `aa…aa` `cc…cc`, 49 bytes.
#[must_use]
pub fn membership(identity: &IdentityKey, channel: &ChannelId) -> Key<()> {
    let key = KeyBuilder::new(Family::Membership).fixed(identity.as_bytes());
    key.fixed(channel.as_bytes()).key()
}

/// All channels of an account, in order of channel id.
#[must_use]
pub fn memberships(identity: &IdentityKey) -> Range<()> {
    Range::of(
        KeyBuilder::new(Family::Membership)
            .fixed(identity.as_bytes())
            .done(),
    )
}

/// The identity and the channel of a key made by [`membership`].
#[must_use]
pub fn parse_membership(key: &[u8]) -> Option<(IdentityKey, ChannelId)> {
    let mut fields = Fields::of(key, Family::Membership)?;
    let identity = IdentityKey(fields.array()?);
    let channel = ChannelId(fields.array()?);
    fields.end((identity, channel))
}

/// The memberships that others gave an account.
///
/// Identity `aa…aa`: `y` `aa…aa`, 33 bytes.
#[must_use]
pub fn given(identity: &IdentityKey) -> Key<Given> {
    KeyBuilder::new(Family::Given)
        .fixed(identity.as_bytes())
        .key()
}

/// What all accounts were given.
#[must_use]
pub fn all_given() -> Range<Given> {
    Range::of(KeyBuilder::new(Family::Given).done())
}

/// An account that was a member of a channel.
///
/// Channel `cc…cc`, identity `aa…aa`: `F` `cc…cc` `aa…aa`, 49 bytes.
#[must_use]
pub fn former(channel: &ChannelId, identity: &IdentityKey) -> Key<Former> {
    let key = KeyBuilder::new(Family::Former).fixed(channel.as_bytes());
    key.fixed(identity.as_bytes()).key()
}

/// All former members of all channels.
#[must_use]
pub fn formers() -> Range<Former> {
    Range::of(KeyBuilder::new(Family::Former).done())
}

/// Which commit took a slot of a channel.
///
/// Channel `cc…cc`, slot 2: `s` `cc…cc` `0000000000000002`, 25 bytes.
#[must_use]
pub fn slot(channel: &ChannelId, slot: u64) -> Key<Slot> {
    let key = KeyBuilder::new(Family::Slot).fixed(channel.as_bytes());
    key.number(slot).key()
}

/// All slots taken, of all channels.
#[must_use]
pub fn slots() -> Range<Slot> {
    Range::of(KeyBuilder::new(Family::Slot).done())
}
