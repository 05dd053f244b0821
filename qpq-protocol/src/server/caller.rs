//! Who asks.

use core::net::IpAddr;
use core::time::Duration;

use super::fault::Fault;
use super::shares::Holder;
use crate::ids::{ConnId, DeviceId, IdentityKey};
use crate::limits::Limits;
use crate::site::site;
use crate::time::{Time, UnixTime};

/// Who uses a connection, since login or resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    /// The account.
    pub(super) identity_key: IdentityKey,
    /// The device.
    pub(super) device_id: DeviceId,
    /// SHA-256 of the session's token: its key in storage.
    pub(super) token_hash: [u8; 32],
    /// Whether the device is registered; if not, few methods are open to it (protocol.md §5.18).
    pub(super) registered: bool,
    /// When the password was last shown.
    pub(super) login_at: UnixTime,
    /// When storage last said that it is not over.
    pub(super) checked_at: Time,
}

impl Session {
    /// Whether the password was shown a short time ago. A login of a later date was under a clock that was ahead: it would
    /// be fresh until that date.
    pub(super) fn is_fresh(&self, date: UnixTime, limits: &Limits) -> bool {
        let apart = date.as_millis().abs_diff(self.login_at.as_millis());
        Duration::from_millis(apart) <= limits.fresh_login
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The connection.
    pub(super) conn: ConnId,
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// Its session.
    pub(super) session: Option<Session>,
}

impl Caller {
    /// The session, or the fault Unauthorized.
    pub(super) fn session(&self) -> Result<Session, Fault> {
        self.session.ok_or_else(Fault::no_session)
    }

    /// Whose share counts what the request holds.
    pub(super) fn holder(&self) -> Holder {
        match self.session {
            Some(session) => Holder::Account(session.identity_key),
            None => Holder::Address(site(self.address)),
        }
    }

    /// The account, or the fault Unauthorized.
    pub(super) fn identity(&self) -> Result<IdentityKey, Fault> {
        Ok(self.session()?.identity_key)
    }
}
