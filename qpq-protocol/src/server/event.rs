//! What the core tells its embedder.

use core::net::IpAddr;

use super::policy::Question;
use super::startup::StartError;
use crate::ids::{ConnId, DeviceId, IdentityKey};
use crate::status::AppCode;
use crate::storage::Failure;
use crate::time::UnixTime;

/// Names a question that the core has asked: given back to [`Server::decide`](super::Server::decide).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub(super) u64);

/// What the core tells its embedder. What happened to an account is told once it is durable; none of these holds what
/// somebody wrote, a password or a token.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// It serves from now on.
    Started {
        /// The Ed25519 key of all the server's signatures.
        signing_key: IdentityKey,
    },
    /// It cannot serve this data and answers everything with Unavailable: stop it.
    Refused(StartError),
    /// Storage did not carry out a command.
    StorageFailed(Failure),
    /// The clock is more than a day away from where it should be. Nothing ends by it until it comes
    /// back, has run on for 24 hours, or the server is started with [`ServerConfig::accept_clock`](super::ServerConfig::accept_clock).
    ClockDoubted {
        /// What the clock says.
        says: UnixTime,
        /// The date that the core goes on from.
        believed: UnixTime,
    },
    /// A clock that was doubted is believed.
    ClockBelieved {
        /// What it says.
        says: UnixTime,
    },
    /// A peer sent what no client sends.
    PeerFault {
        /// The connection.
        conn: ConnId,
        /// The application error code that its stream was reset with.
        code: AppCode,
    },
    /// The policy cannot say by itself: the request waits for [`Server::decide`](super::Server::decide), at most
    /// [`Limits::request_time`](crate::limits::Limits::request_time).
    Asked {
        /// To be given back.
        ask: AskId,
        /// What is to be decided.
        question: Question,
    },
    /// An account was made.
    Registered {
        /// Whose.
        identity_key: IdentityKey,
        /// Its name.
        username: String,
    },
    /// An account has a new password; all its sessions have ended.
    PasswordChanged {
        /// Whose.
        identity_key: IdentityKey,
    },
    /// A device has a new session.
    LoggedIn {
        /// Whose.
        identity_key: IdentityKey,
        /// The device, registered or not.
        device_id: DeviceId,
    },
    /// An account has one more device.
    DeviceRegistered {
        /// Whose.
        identity_key: IdentityKey,
        /// The device.
        device_id: DeviceId,
    },
    /// An account has one device less.
    DeviceRevoked {
        /// Whose.
        identity_key: IdentityKey,
        /// The device.
        device_id: DeviceId,
    },
    /// Something waits for a device that has no connection to this core: what a push service is for. Told once, until
    /// the device has been back. Where several cores serve one store, it may be connected to another one.
    Waiting {
        /// Whose.
        identity_key: IdentityKey,
        /// The device.
        device_id: DeviceId,
    },
    /// A request was refused by a limit: told at most once a minute for each.
    LimitHit {
        /// The name of the limit, as in [`Limits`](crate::limits::Limits) and in the answer.
        limit: &'static str,
        /// Whose request it was, if it had a session.
        identity_key: Option<IdentityKey>,
        /// Where it came from.
        address: IpAddr,
    },
}
