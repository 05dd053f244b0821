//! What the binaries `qpq-server` and `qpq` are made of: certificates, configuration, and how a server is started and stopped.

pub mod certificate;
pub mod client_data;
pub mod config;
pub mod hex;
pub mod restore;
pub mod scratch;
pub mod serve;
pub mod server_data;
pub mod session;
pub mod time;
pub mod trust;
pub mod vectors;
pub mod watch;
