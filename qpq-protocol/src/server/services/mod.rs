//! The handlers, one file a category of protocol.md §3.

pub(super) mod auth;
pub(super) mod devices;
pub(super) mod info;
pub(super) mod user;
