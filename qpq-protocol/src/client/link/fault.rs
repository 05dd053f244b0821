//! Answers that are not Ok.

use core::time::Duration;

use bytes::Bytes;

use crate::ids::IdentityKey;
use crate::proto;
use crate::status::Status;

/// An answer that is not Ok.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::client) struct Fault {
    pub(in crate::client) status: Status,
    pub(in crate::client) message: String,
    pub(in crate::client) retry_after: Duration,
    pub(in crate::client) slot: u64,
    pub(in crate::client) commit_hash: Bytes,
    /// Because of whom a member list could not be changed, as far as the server says.
    pub(in crate::client) members: Vec<IdentityKey>,
}

impl Fault {
    pub(in crate::client) fn new(status: Status, detail: proto::ErrorDetail) -> Self {
        let members = detail.member_keys.iter();
        let members = members.filter_map(|key| IdentityKey::try_from(key.as_ref()).ok());
        Self {
            members: members.collect(),
            status,
            message: detail.message,
            retry_after: Duration::from_millis(detail.retry_after_ms.into()),
            slot: detail.slot,
            commit_hash: detail.commit_hash,
        }
    }

    /// The server gave up the stream without an answer.
    pub(in crate::client) fn reset() -> Self {
        Self::new(Status::Unavailable, proto::ErrorDetail::default())
    }

    /// The request does not fit a frame.
    pub(super) fn too_large() -> Self {
        let message = "the request is longer than a frame may be".to_owned();
        let detail = proto::ErrorDetail {
            message,
            ..proto::ErrorDetail::default()
        };
        Self::new(Status::BadRequest, detail)
    }

    /// Whether the same request may succeed later.
    pub(in crate::client) fn is_passing(&self) -> bool {
        matches!(
            self.status,
            Status::RateLimited | Status::DeadlineExceeded | Status::Unavailable | Status::Internal
        )
    }
}
