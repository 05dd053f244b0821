//! Accounts and sessions (methods 100 to 105).

/// The state between the two requests of a login, one a connection.
pub(in crate::server) struct LoginSlot {
    /// When it is forgotten.
    pub(in crate::server) expires: crate::time::Time,
}
