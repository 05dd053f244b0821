//! Conversations: their members, commits and messages.
//!
//! Here is decided what goes into a group and what is believed of what comes out of its queue. How it gets to the
//! server is decided in `link`, how it becomes durable in `keep`.
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `conversation`, `channel`, `leaving` | what is kept of a conversation, how it begins, and how one leaves |
//! | `commits`, `submit` | changes of members: wanted, drafted, submitted, merged |
//! | `slot`, `slots` | where this device is in a channel, where the server says that is, and what follows |
//! | `generation` | the MLS groups that a channel has had |
//! | `kept` | what is done without being asked for again, and how it is taken back |
//! | `lists`, `ousted` | the server's member list beside the tree; whether this account is off it |
//! | `queue`, `listing`, `inbox` | queues: how far they were taken in, listed, fetched and pushed |
//! | `intake`, `welcome`, `framing`, `known` | what their envelopes hold: commits, messages, Welcomes |
//! | `outbox`, `history`, `promises` | messages out, and kept; what storage may have lost of them |
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
pub(super) mod leaving;
pub(super) mod listing;
pub(super) mod lists;
pub(super) mod ousted;
pub(super) mod outbox;
pub(super) mod promises;
pub(super) mod queue;
pub(super) mod repair;
pub(super) mod seen;
pub(super) mod slot;
pub(super) mod slots;
pub(super) mod submit;
pub(super) mod welcome;
