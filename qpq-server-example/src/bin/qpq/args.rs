//! The command line of `qpq`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A qpq client for the terminal: end-to-end encrypted messages between two people and in groups.
///
/// A CONVERSATION is named by its name (the peer's, or the group's) or by its id, which may be cut
/// short while it stays unique.
///
/// Exit codes: 0 done, 1 failed (one sentence on standard error says why), 2 wrong usage. With
/// --json that is an object with `type` "error", `code` and `message`.
#[derive(Parser, Debug)]
#[command(name = "qpq", version)]
pub struct Qpq {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Address of the server
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "QPQ_SERVER",
        default_value = "127.0.0.1:5001"
    )]
    pub server: String,

    /// Directory of everything this client keeps; made if it is not there. Without it:
    /// $XDG_DATA_HOME/qpq, or ~/.local/share/qpq
    #[arg(long, global = true, value_name = "DIR", env = "QPQ_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Certificate of the server or of the authority that signed it, in DER. Without it, the
    /// certificate seen first is kept and every other one is refused
    #[arg(long, global = true, value_name = "FILE", env = "QPQ_CA_CERT")]
    pub ca_cert: Option<PathBuf>,

    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make an account. The password comes from QPQ_PASSWORD or a hidden prompt
    Register {
        /// 1 to 32 of a-z, 0-9, dot, underscore and hyphen
        name: String,
    },
    /// Log in to an account; makes this data directory one of its devices
    Login {
        /// Name of the account
        name: String,
    },
    /// End the session at the server; this device and its history stay, and `login` takes them up
    Logout,
    /// Say who this client is
    Whoami,
    /// Open the conversation with a user
    Dm {
        /// Name of the user
        user: String,
    },
    /// Make groups and change their members
    #[command(subcommand)]
    Group(Group),
    /// List the conversations
    Conversations,
    /// Send a message and wait until the server has stored it
    Send {
        /// Name or id
        conversation: String,
        /// What to say; `-` sends each line of standard input as a message
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// Print the messages that came since the last time
    ///
    /// A message is marked read after it was printed. If the process is killed in between, at most
    /// the last 20 are printed again: with --json, `conversation` and `index` together are the id
    /// of a message by which a reader knows it again. With --output each message is written once,
    /// whatever happens.
    Recv {
        /// Go on with what comes, until interrupted
        #[arg(long)]
        follow: bool,
        /// Append the messages to FILE instead, one JSON object a line, each exactly once, also
        /// after a kill or a power loss
        ///
        /// A new or emptied FILE begins with what is unread. After that FILE itself says what is in
        /// it: each conversation goes on after its last line there, even if later messages were
        /// read elsewhere, and lines that were removed from the end are written again.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the messages of a conversation that are kept here; needs no server
    History {
        /// Name or id
        conversation: String,
        /// The most messages, the newest ones
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Say what the server says of itself
    ServerInfo,
    /// Show a server and three clients at work in this process, and check that nothing is lost
    ///
    /// With --data-dir everything is kept there, otherwise in a temporary directory.
    Demo,
    /// Replay the golden vectors of this project, or write them again
    #[command(subcommand)]
    Vectors(Vectors),
    /// Run clients, servers, network and disks in virtual time from seeds, and check that all holds
    ///
    /// Ends with a line that begins with `ok`, or with the first seed that fails and the command that
    /// runs it again with a log.
    Sim(crate::sim::Seeds),
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

#[derive(Subcommand, Debug)]
pub enum Group {
    /// Make a group
    Create {
        /// Its name
        name: String,
        /// Users to invite at once
        members: Vec<String>,
    },
    /// Add a user to a group
    Invite {
        /// Name or id
        conversation: String,
        /// Name of the user
        user: String,
    },
    /// List the members of a conversation
    Members {
        /// Name or id
        conversation: String,
    },
    /// Leave a group
    Leave {
        /// Name or id
        conversation: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Qpq::command().debug_assert();
    }
}
