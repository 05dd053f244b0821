//! The handlers, one file a category of protocol.md §3.

pub(super) mod auth;
pub(super) mod channel;
pub(super) mod delivery;
pub(super) mod devices;
mod given;
pub(super) mod group;
pub(super) mod hybrid_keys;
pub(super) mod info;
pub(super) mod key_packages;
mod membership;
mod standing;
pub(super) mod user;
