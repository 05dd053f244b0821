//! Why a request is refused.

use bytes::Bytes;

use crate::ids::IdentityKey;
use crate::proto;
use crate::status::Status;
use crate::storage::Failure;

/// A refusal: status and [`proto::ErrorDetail`]. The message is for people and never holds secrets
/// or another user's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// Never [`Status::Ok`].
    pub(super) status: Status,
    /// What is sent with it.
    pub(super) detail: proto::ErrorDetail,
    /// Whether it may be otherwise in a moment, whatever the rows say that were read.
    is_for_now: bool,
    /// The limit that is reached, if it is that.
    limit: Option<&'static str>,
}

/// Declares one constructor a status.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $status:ident,)*) => {
        impl Fault {
            $(
                $(#[$doc])*
                pub(super) fn $name(message: impl Into<String>) -> Self {
                    Self::new(Status::$status, message)
                }
            )*
        }
    };
}

faults! {
    /// The request breaks a rule.
    bad_request BadRequest,
    /// It needs a session.
    unauthorized Unauthorized,
    /// The caller may not.
    forbidden Forbidden,
    /// What it names does not exist.
    not_found NotFound,
    /// Taken or stale.
    conflict Conflict,
    /// A quota is used up.
    quota QuotaExceeded,
    /// It took too long.
    deadline DeadlineExceeded,
    /// Not now.
    unavailable Unavailable,
    /// The server failed.
    internal Internal,
}

impl Fault {
    /// A refusal with this status.
    pub(super) fn new(status: Status, message: impl Into<String>) -> Self {
        let detail = proto::ErrorDetail {
            message: message.into(),
            ..proto::ErrorDetail::default()
        };
        Self {
            status,
            detail,
            is_for_now: matches!(status, Status::Unavailable | Status::Internal),
            limit: None,
        }
    }

    /// It rests on nothing that was read: the caller has only to ask again.
    pub(super) fn for_now(mut self) -> Self {
        self.is_for_now = true;
        self
    }

    /// The limit that is reached, if it is that.
    pub(super) const fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    fn of(mut self, limit: &'static str) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Whether it may be otherwise in a moment, whatever the rows say that were read.
    pub(super) const fn is_for_now(&self) -> bool {
        self.is_for_now
    }

    /// The caller has no session.
    pub(super) fn no_session() -> Self {
        Self::unauthorized("this method needs a session: log in first")
    }

    /// Over the limit of this name, until something goes.
    pub(super) fn full(name: &'static str, message: &str) -> Self {
        Self::quota(format!("the limit `{name}` is reached: {message}")).of(name)
    }

    /// Over the limit of this name: ask again after this many milliseconds.
    pub(super) fn rate_limited(name: &'static str, retry_after_ms: u32) -> Self {
        let seconds = retry_after_ms.div_ceil(1000);
        let message = format!("the limit `{name}` is reached: ask again in {seconds} s");
        let fault = Self::new(Status::RateLimited, message).of(name);
        fault.retry_after(retry_after_ms)
    }

    /// The slot is taken: by whom, and which one is free.
    pub(super) fn slot_taken(slot: u64, commit_hash: Bytes) -> Self {
        let mut fault = Self::conflict("the slot is taken");
        fault.detail.slot = slot;
        fault.detail.commit_hash = commit_hash;
        fault
    }

    /// The slot is later than the one that the channel is at.
    pub(super) fn slot_ahead(slot: u64) -> Self {
        let mut fault = Self::bad_request("channel_slot is ahead of the channel");
        fault.detail.slot = slot;
        fault
    }

    /// Names whom it is about: so few that the answer stays short.
    pub(super) fn about<'a>(mut self, members: impl IntoIterator<Item = &'a IdentityKey>) -> Self {
        const NAMED: usize = 16;
        let members = members.into_iter().take(NAMED);
        let members = members.map(|member| Bytes::copy_from_slice(member.as_bytes()));
        self.detail.member_keys = members.collect();
        self
    }

    /// Adds how long not to ask again, in milliseconds.
    pub(super) fn retry_after(mut self, retry_after_ms: u32) -> Self {
        self.detail.retry_after_ms = retry_after_ms;
        self
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::unavailable("the server's storage is full"),
            Failure::Unavailable => Self::unavailable("the server's storage cannot be used now"),
            Failure::Unknown => {
                Self::unavailable("it is not known whether this was stored: ask again")
            }
        }
        .retry_after(1000)
    }
}
