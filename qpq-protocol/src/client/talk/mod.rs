//! Conversations: their members, commits and messages.
//!
//! Here is decided what goes into a group and what is believed of what comes out of its queue. How it gets to the
//! server is decided in `link`, how it becomes durable in `keep`.
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `conversation`, `channel`, `commits` | channels and their members; commits and their slots |
//! | `slot`, `slots` | where this device is in a channel, where the server says that is, and what follows |
//! | `generation` | the MLS groups that a channel has had |
//! | `kept` | what is done without being asked for again, and how it is taken back |
//! | `lists` | the server's member list beside the tree |
//! | `queue`, `inbox`, `intake`, `framing`, `known` | queues, listed, fetched and pushed; what their envelopes hold |
//! | `outbox`, `history` | messages out, and kept |
//! | `seen` | messages that were processed, so that a copy of a sender is noticed |
//! | `repair/` | what is done when a thread was lost: this device's, another's, or the server's |

pub(super) mod channel;
pub(super) mod commits;
pub(super) mod conversation;
pub(super) mod framing;
pub(super) mod generation;
pub(super) mod history;
pub(super) mod inbox;
pub(super) mod intake;
pub(super) mod kept;
pub(super) mod known;
pub(super) mod lists;
pub(super) mod outbox;
pub(super) mod queue;
pub(super) mod repair;
pub(super) mod seen;
pub(super) mod slot;
pub(super) mod slots;
