//! The command line of `qpq-lab`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Golden vectors, simulated worlds, raw bytes and load, for researchers and for CI.
///
/// Exit codes: 0 all holds; 1 something does not, or it could not be tried; 2 wrong usage. Unless it is 0 one
/// sentence on standard error says why; with --json that is an object with `type` "error", `code` and `message`.
#[derive(Parser, Debug)]
#[command(name = "qpq-lab", version)]
pub struct Lab {
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Replay the golden vectors of this project, or write them again
    #[command(subcommand)]
    Vectors(Vectors),
    /// Run clients, servers, network and disks in virtual time from seeds, and check that all holds
    ///
    /// Ends with a line that begins with `ok`, or with the first seed that fails and the command that
    /// runs it again with a log.
    Sim(crate::sim::Seeds),
    /// Feed raw bytes to a core and say what it does with them, a line for each file
    ///
    /// Every file is the bytes of one stream of a peer and meets a new core, with nothing stored, in virtual time.
    /// Ends with a line that begins with `ok`, unless a core panicked.
    Feed(crate::feed::Feed),
    #[cfg(feature = "bench")]
    #[command(flatten)]
    Bench(crate::bench::Bench),
}

#[derive(Subcommand, Debug)]
pub enum Vectors {
    /// Replay every vector and print a table; exit code 1 on any difference
    Check {
        /// The folder of the vectors
        #[arg(default_value = "tests/vectors")]
        dir: PathBuf,
    },
    /// Write the vectors again: byte for byte the same, unless something was changed
    Make {
        /// The folder of the vectors
        #[arg(default_value = "tests/vectors")]
        dir: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Lab::command().debug_assert();
    }
}
