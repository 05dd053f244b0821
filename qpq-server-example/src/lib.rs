//! What the binaries `qpq-server` and `qpq` are made of: certificates, configuration, how a server is started and stopped, and
//! what a terminal shows.

pub mod certificate;
pub mod client_data;
pub mod config;
pub mod hex;
pub mod printable;
pub mod printer;
pub mod restore;
pub mod scratch;
pub mod serve;
pub mod server_data;
pub mod session;
pub mod time;
pub mod trust;
