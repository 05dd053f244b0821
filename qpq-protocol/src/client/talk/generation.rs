//! Generations of a channel: the MLS groups that it has had, one after the other (protocol.md §5.8).

use crate::ids::ChannelId;

/// Generations that a group may be ahead of what is known.
pub(in crate::client) const MAX_GENERATIONS: u32 = 1000;

/// The generation that an MLS group of the channel is; `None` for a group that is none of its.
pub(in crate::client) fn generation_of(channel: ChannelId, group_id: &[u8]) -> Option<u32> {
    let generation = group_id.strip_prefix(&channel.0)?;
    Some(u32::from_be_bytes(generation.try_into().ok()?))
}

/// The id of the MLS group of a channel: `channel_id || generation` (protocol.md §5.8).
pub(in crate::client) fn group_id(channel: ChannelId, generation: u32) -> Vec<u8> {
    [&channel.0[..], &generation.to_be_bytes()].concat()
}
