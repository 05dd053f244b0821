//! What an operator allows beyond the rules of the protocol.

use core::net::IpAddr;

use crate::ids::{ChannelId, DeviceId, IdentityKey};
pub use crate::invitation::Invitation;
use crate::status::Status;

/// An operator's own rules, beyond those of the protocol: given by [`Server::with_policy`](super::Server::with_policy).
///
/// It is asked once a request at four doors: before a new account is made, before a login has a session, before
/// something is put into queues, before a channel is made. It decides by what the core knows, never by content, and at
/// once; what takes longer it leaves to the embedder ([`Verdict::Ask`], [`Event::Asked`](super::Event::Asked)), whose
/// word comes in by [`Server::decide`](super::Server::decide) like every other input, so that a run can be replayed.
///
/// ```
/// use qpq_protocol::server::{Policy, Question, Refusal, Verdict};
///
/// /// Accounts are made by who was invited.
/// struct ByInvitation(Vec<u8>);
///
/// impl Policy for ByInvitation {
///     fn decide(&self, question: &Question) -> Verdict {
///         match question {
///             Question::Registration { invitation, .. } if invitation.as_bytes() != self.0 => {
///                 Verdict::Refuse(Refusal::forbidden("ask the operator for an invitation"))
///             }
///             _ => Verdict::Allow,
///         }
///     }
/// }
/// ```
///
/// A function is a policy, too.
pub trait Policy: Send {
    /// Whether this may be done. Called while the request runs: it must be quick, and the same question always has the
    /// same answer.
    fn decide(&self, question: &Question) -> Verdict;
}

impl<F: Fn(&Question) -> Verdict + Send> Policy for F {
    fn decide(&self, question: &Question) -> Verdict {
        self(question)
    }
}

/// What a policy is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Question {
    /// Somebody makes an account; a change of the password is none.
    Registration {
        /// The name, which nobody has.
        username: String,
        /// The account's identity key.
        identity_key: IdentityKey,
        /// What the client was given to show.
        invitation: Invitation,
        /// Where it comes from.
        address: IpAddr,
    },
    /// Somebody who has shown the password wants a session.
    Login {
        /// The name.
        username: String,
        /// The account.
        identity_key: IdentityKey,
        /// The device, registered or not.
        device_id: DeviceId,
        /// Where it comes from.
        address: IpAddr,
    },
    /// Somebody puts something into queues.
    Enqueue {
        /// Who.
        sender: IdentityKey,
        /// For whom.
        recipients: Vec<IdentityKey>,
        /// In which channel, `None` for the default one.
        channel: Option<ChannelId>,
        /// Bytes of the payload, which is encrypted.
        length: usize,
    },
    /// Somebody makes a channel, or opens a DM again that was left.
    Channel {
        /// Who.
        creator: IdentityKey,
        /// All members, the creator too.
        members: Vec<IdentityKey>,
        /// Whether it is a DM.
        is_dm: bool,
    },
}

/// What a policy says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may be done, if the protocol allows it.
    Allow,
    /// It may not.
    Refuse(Refusal),
    /// The embedder will say. As an answer to [`Event::Asked`](super::Event::Asked) it refuses for now.
    Ask,
}

/// How a request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub(super) status: Status,
    pub(super) message: String,
    pub(super) retry_after_ms: u32,
}

impl Refusal {
    /// It is not allowed. The message is for people.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Status::Forbidden, message, 0)
    }

    /// So much is not allowed.
    pub fn quota(message: impl Into<String>) -> Self {
        Self::new(Status::QuotaExceeded, message, 0)
    }

    /// Not now: ask again after this many milliseconds.
    pub fn later(message: impl Into<String>, retry_after_ms: u32) -> Self {
        Self::new(Status::RateLimited, message, retry_after_ms)
    }

    fn new(status: Status, message: impl Into<String>, retry_after_ms: u32) -> Self {
        let message = message.into();
        Self {
            status,
            message,
            retry_after_ms,
        }
    }
}
