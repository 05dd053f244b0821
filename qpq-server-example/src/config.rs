//! The flags of `qpq-server` and their environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::limits::{Limits, Rate};

use crate::hex::unhex;

/// A qpq server on one machine: messages for groups, end-to-end encrypted, over QUIC.
///
/// Everything is kept in the data directory, which belongs together: the database `server.db`, the
/// certificate `server-cert.der` that clients pin, its key, and the server's name. SIGTERM and SIGINT
/// finish what runs and stop.
///
/// Exit codes: 0 stopped, 1 failed (one sentence on standard error says why), 2 wrong usage.
#[derive(Parser, Clone, Debug)]
#[command(name = "qpq-server", version)]
pub struct ServerArgs {
    /// UDP address to listen on; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "QPQ_LISTEN",
        default_value = "127.0.0.1:5001"
    )]
    pub listen: SocketAddr,

    /// Directory of everything the server keeps; made if it is not there
    #[arg(
        long,
        value_name = "DIR",
        env = "QPQ_SERVER_DATA_DIR",
        default_value = "./qpq-data",
        global = true
    )]
    pub data_dir: PathBuf,

    /// Name of the server, which users' passwords and signatures are bound to: never change it
    #[arg(
        long,
        value_name = "NAME",
        env = "QPQ_DOMAIN",
        default_value = "localhost",
        value_parser = domain
    )]
    pub domain: String,

    /// Identity key of an administrator, 64 hexadecimal digits; may be given several times
    #[arg(long = "admin", value_name = "KEY", env = "QPQ_ADMINS", value_delimiter = ',', value_parser = identity_key)]
    pub admins: Vec<IdentityKey>,

    /// Largest size of the database in MiB; without it, the disk decides
    #[arg(long, value_name = "MIB", env = "QPQ_MAX_DATABASE", value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    pub max_database: Option<u32>,

    /// Messages a minute that an account may send
    #[arg(long, value_name = "N", env = "QPQ_ENQUEUES_PER_MINUTE", default_value_t = Limits::default().enqueues.count)]
    pub enqueues_per_minute: u32,

    /// Requests a second that an address and an account may make
    #[arg(long, value_name = "N", env = "QPQ_REQUESTS_PER_SECOND", default_value_t = Limits::default().address_requests.count)]
    pub requests_per_second: u32,

    /// Registrations an hour that an address may make; 5, and 500 from this machine
    #[arg(long, value_name = "N", env = "QPQ_REGISTRATIONS_PER_HOUR")]
    pub registrations_per_hour: Option<u32>,

    /// Make a new certificate if the old one or its key is lost. Clients refuse it until the old one is
    /// removed from what they know
    #[arg(long)]
    pub new_certificate: bool,

    /// The clock is right, though it says more than a day beyond the last date that was stored. Without
    /// it nothing expires by such a clock before the server has run for a day
    #[arg(long)]
    pub accept_clock: bool,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<ServerCommand>,
}

/// What to do instead of serving.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum ServerCommand {
    /// Put a backup of the database in the place of the one that is there, which is kept beside it
    ///
    /// Clients learn that the server was set back, and send again what it has forgotten. The server
    /// must not run meanwhile. Certificate and domain stay as they are.
    Restore {
        /// The backup: a copy of `server.db` as a stopped server has left it, or one that SQLite made
        backup: PathBuf,
    },
}

impl ServerArgs {
    /// The table of limits with those that were given.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let count = |rate: Rate, count| Rate { count, ..rate };
        limits.enqueues = count(limits.enqueues, self.enqueues_per_minute);
        limits.address_requests = count(limits.address_requests, self.requests_per_second);
        limits.account_requests = count(limits.account_requests, self.requests_per_second);
        if let Some(registrations) = self.registrations_per_hour {
            for rate in [
                &mut limits.registrations,
                &mut limits.loopback_registrations,
            ] {
                *rate = count(*rate, registrations);
            }
        }
        limits
    }

    /// [`ServerArgs::max_database`] in pages of 4,096 bytes.
    #[must_use]
    pub fn max_pages(&self) -> Option<u32> {
        self.max_database.map(|mib| mib.saturating_mul(256))
    }
}

fn domain(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=255 if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err("a domain has 1 to 255 visible ASCII characters"),
    }
}

fn identity_key(text: &str) -> Result<IdentityKey, &'static str> {
    let wrong = "an identity key has 64 hexadecimal digits";
    let key = unhex::<32>(text).ok_or(wrong)?;
    IdentityKey::try_from(&key[..]).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_sound() {
        ServerArgs::command().debug_assert();
    }

    #[test]
    fn limits_and_keys_are_taken_from_the_flags() {
        let key = "0123456789abcdef".repeat(4);
        let args = ServerArgs::try_parse_from([
            "qpq-server",
            "--enqueues-per-minute=7",
            "--max-database=2",
            "--admin",
            &key,
        ])
        .unwrap();
        assert_eq!(args.limits().enqueues, Rate::per_secs(7, 60));
        assert_eq!(args.limits().registrations, Limits::default().registrations);
        let given = ["qpq-server", "--registrations-per-hour=3"];
        let given = ServerArgs::try_parse_from(given).unwrap().limits();
        assert_eq!(given.registrations, Rate::per_secs(3, 3600));
        assert_eq!(given.loopback_registrations, Rate::per_secs(3, 3600));
        assert_eq!(args.max_pages(), Some(512));
        assert_eq!(args.admins.first().unwrap().as_bytes()[1], 0x23);
        for wrong in ["", "a b", &"x".repeat(256)] {
            let args = ["qpq-server", "--domain", wrong];
            assert!(ServerArgs::try_parse_from(args).is_err(), "{wrong}");
        }
        for wrong in ["", "xyz", &key[1..], &key.replace('0', "+")] {
            let args = ["qpq-server", "--admin", wrong];
            assert!(ServerArgs::try_parse_from(args).is_err(), "{wrong}");
        }
    }
}
