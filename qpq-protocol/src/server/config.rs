//! What an operator decides.

use crate::ids::IdentityKey;
use crate::limits::Limits;

/// What an operator decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// The server's domain: OPAQUE's server identity, and part of what accounts sign. It must never
    /// change while there are accounts.
    pub domain: String,
    /// The version that Health tells.
    pub version: String,
    /// MLS cipher suites that key packages may have, by their IANA numbers.
    pub ciphersuites: Vec<u16>,
    /// What new OPAQUE records are made with.
    pub opaque_suite: qpq_crypto::opaque::Suite,
    /// Who may call the methods for administrators.
    pub admins: Vec<IdentityKey>,
    /// How many cores serve the same store. Rates that protect passwords and registrations are
    /// divided by it, each core allowing at least one; all others hold for each core by itself.
    pub cores: u32,
    /// Every number that bounds the core.
    pub limits: Limits,
    /// The operator says that the clock is right, however far it is from the date that was stored.
    pub accept_clock: bool,
    /// What it does wrong, for tests of tests.
    #[cfg(qpq_defects)]
    pub defect: Option<crate::defect::Defect>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            domain: "localhost".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ciphersuites: vec![0x004f, 0x004e, 0x0001],
            opaque_suite: qpq_crypto::opaque::Suite::DEFAULT,
            admins: Vec::new(),
            cores: 1,
            accept_clock: false,
            limits: Limits::default(),
            #[cfg(qpq_defects)]
            defect: None,
        }
    }
}
