//! The handlers, one file a category of protocol.md §3.

pub(super) mod auth;
pub(super) mod channel;
pub(super) mod delivery;
pub(super) mod devices;
pub(super) mod group;
pub(super) mod hybrid_keys;
pub(super) mod info;
pub(super) mod keys;
pub(super) mod user;
