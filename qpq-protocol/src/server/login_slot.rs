//! The state between the two requests of a login, one a connection.

use qpq_crypto::opaque::LoginState;

use crate::ids::{DeviceId, IdentityKey};
use crate::storage::records::Name;
use crate::time::Time;

/// A login that was begun on a connection.
pub(super) struct LoginSlot {
    /// When it is forgotten.
    pub(super) expires: Time,
    /// Whom it counts for until it has succeeded, and since when.
    pub(super) counted: Counted,
    pub(super) counted_at: Time,
    pub(super) username: String,
    /// The stored name as it was when the login started.
    pub(super) name: Option<Name>,
    pub(super) proof: Proof,
}

/// How far a login is.
pub(super) enum Proof {
    /// The client has to show that it knows the password.
    Asked(LoginState),
    /// It has, with the finalization of this SHA-256; the session is being stored. A request that
    /// runs again finds this.
    Shown([u8; 32]),
}

/// Whom a login counts for (protocol.md §5.27).
pub(super) enum Counted {
    /// Its name, and its name from this address.
    Name([u8; 16]),
    /// A device of the account.
    Device(IdentityKey, DeviceId),
}
