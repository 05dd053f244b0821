//! What follows from a request beside its answer.

use super::caller::Session;
use super::event::Event;
use crate::ids::{DeviceId, IdentityKey};
use crate::proto;
use crate::storage::keys::QueueId;

/// What follows from a request beside its answer. It leaves with the answer, after everything it
/// rests on is durable.
#[derive(Default)]
pub(super) struct Effects {
    /// News in queues: pushed to subscribers, ends waits, told to other cores.
    pub(super) notify: Vec<(QueueId, proto::NewMessagePush)>,
    /// A push to every connection of these accounts, here and on other cores; at most 1 KiB.
    pub(super) live: Vec<(Vec<IdentityKey>, proto::PushEvent)>,
    /// What the embedder is told.
    pub(super) events: Vec<Event>,
    /// Sessions that ended: their connections are closed, here and on other cores.
    pub(super) ended: Vec<Ended>,
    /// What becomes of the caller's own session.
    pub(super) session: SessionChange,
}

impl Effects {
    /// What the embedder is told, and nothing else.
    pub(super) fn event(event: Event) -> Self {
        Self {
            events: vec![event],
            ..Self::default()
        }
    }
}

/// Sessions that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// All of an account.
    Account(IdentityKey),
    /// All of a device.
    Device(IdentityKey, DeviceId),
    /// One, by the SHA-256 of its token.
    Session(IdentityKey, [u8; 32]),
}

/// What becomes of the session of the caller's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum SessionChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// The connection has this session from now on.
    Bind(Session),
    /// The connection has none any more.
    End,
}
