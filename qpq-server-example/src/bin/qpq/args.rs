//! The command line of `qpq`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use qpq_protocol::client::ConversationId;
use qpq_protocol::ids::MessageId;
use qpq_server_example::hex::unhex;

/// A qpq client for the terminal: end-to-end encrypted messages between two people and in groups.
///
/// A CONVERSATION is `@name` of a person, `#name` of a group, or an id or the start of one, as
/// `conversations` shows them. A bare name is a person's; a group needs its `#`, since anyone may call
/// a group anything.
///
/// Exit codes: 0 done; 1 failed, and it will not happen; 2 wrong usage; 3 not done yet, but kept, and
/// done when the server is reached next; 4 done, but not for everybody. Unless it is 0 one sentence on
/// standard error says why; with --json that is an object with `type` "error", `code` and `message`.
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
        /// What the server's operator gave you to be let in
        #[arg(long, value_name = "CODE")]
        invitation: Option<String>,
    },
    /// Log in to an account; makes this data directory one of its devices
    Login {
        /// Name of the account
        name: String,
        /// Where the account has as many devices as it may have: remove this one to make room. Its id,
        /// or the start of it
        #[arg(long, value_name = "DEVICE")]
        remove: Option<String>,
    },
    /// End the session at the server; this device and its history stay, and `login` takes them up
    Logout,
    /// Say who this client is
    Whoami,
    /// Open the conversation with a user
    Dm {
        /// Name of the user
        user: String,
        #[command(flatten)]
        keep: Keep,
    },
    /// List the devices of this account, and remove those that are lost
    Devices,
    /// Change the devices of this account
    #[command(subcommand)]
    Device(Device),
    /// Show the safety number that this client and a person's must have in common
    ///
    /// Compare it by another way than this server: face to face, or by a call. Where it differs,
    /// someone sits between you.
    Verify {
        /// Name of the user
        user: String,
        /// What the QR code on the other's screen says: compares it
        #[arg(long, value_name = "TEXT")]
        scanned: Option<String>,
    },
    /// Make groups and change their members
    #[command(subcommand)]
    Group(Group),
    /// List the conversations
    Conversations,
    /// Send a message and wait until the server has stored it
    ///
    /// The text is never taken for an option, whatever it is: options come before the conversation
    /// or behind the text. The same text again is a second message.
    Send {
        /// Name or id
        conversation: String,
        /// What to say; `-` sends each line of standard input as a message
        #[arg(allow_hyphen_values = true)]
        text: String,
        /// Send the message of this id: if it is kept, that one is waited for, and if it was sent,
        /// nothing is sent. 32 hexadecimal digits, as they were printed
        #[arg(long, value_name = "ID", value_parser = message_id)]
        id: Option<MessageId>,
        #[command(flatten)]
        keep: Keep,
    },
    /// List the messages that are kept until the server is reached; needs no server
    Outbox,
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
}

#[derive(Subcommand, Debug)]
pub enum Group {
    /// Make a group
    Create {
        /// Its name
        name: String,
        /// Users to invite at once
        members: Vec<String>,
        /// Make the group of this id: if it is kept, that one is waited for. 32 hexadecimal digits, as
        /// they were printed
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        id: Option<ConversationId>,
        #[command(flatten)]
        keep: Keep,
    },
    /// Add a user to a group
    Invite {
        /// Name or id
        conversation: String,
        /// Name of the user
        user: String,
        #[command(flatten)]
        keep: Keep,
    },
    /// Remove a user from a group
    Remove {
        /// Name or id
        conversation: String,
        /// Name of the user
        user: String,
        #[command(flatten)]
        keep: Keep,
    },
    /// List the members of a conversation
    Members {
        /// Name or id
        conversation: String,
    },
    /// Take a conversation as it is, where `recv` asks for that: with people who had gone from it, or although no
    /// member has shown yet that it holds the same
    Accept {
        /// Name or id
        conversation: String,
    },
    /// Leave a conversation
    Leave {
        /// Name or id
        conversation: String,
    },
}

#[derive(Subcommand, Debug)]
pub enum Device {
    /// Log a device out for good: it gets nothing more
    Remove {
        /// Its id, or the start of it, as `devices` shows it
        device: String,
    },
}

/// What becomes of an act that cannot be done at once.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Do it now or not at all: what cannot be done at once is taken back instead of kept
    #[arg(long)]
    pub no_keep: bool,
}

fn message_id(digits: &str) -> Result<MessageId, &'static str> {
    uuid(digits).map(MessageId)
}

fn channel_id(digits: &str) -> Result<ConversationId, &'static str> {
    uuid(digits).map(qpq_protocol::ids::ChannelId)
}

/// A UUID v7, with or without hyphens.
fn uuid(digits: &str) -> Result<[u8; 16], &'static str> {
    unhex(&digits.replace('-', ""))
        .filter(|id: &[u8; 16]| id[6] >> 4 == 7 && id[8] >> 6 == 0b10)
        .ok_or("an id is a UUID v7: 32 hexadecimal digits, as they were printed")
}

/// The arguments with the text of `send` behind a `--`, where nothing is taken for an option.
pub fn with_text_apart(args: Vec<OsString>) -> Vec<OsString> {
    let is_option = |arg: &OsString| arg.as_encoded_bytes().starts_with(b"-") && arg != "-";
    let takes_value = |arg: &OsString| {
        ["--server", "--data-dir", "--ca-cert", "--id"]
            .iter()
            .any(|own| arg == own)
    };
    let mut operands = Vec::new();
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        match operands.as_slice() {
            // All before it are options; the one behind it is the text, unless that is a `--` which
            // only says so.
            [send, _] if args.get(*send).is_some_and(|arg| arg == "send") => break,
            [first] if args.get(*first).is_some_and(|arg| arg != "send") => return args,
            _ if arg == "--" => {}
            _ if is_option(arg) => at += usize::from(takes_value(arg)),
            _ => operands.push(at),
        }
        at += 1;
    }
    let says_so = |at: usize| args.get(at).is_some_and(|arg| arg == "--");
    if says_so(at) && args.get(at + 1).is_some() {
        at += 1;
    }
    let ([_, _], Some(text)) = (operands.as_slice(), args.get(at)) else {
        return args;
    };
    let others = args
        .iter()
        .enumerate()
        .filter(|(own, arg)| *own != at && *arg != "--");
    let mut apart: Vec<OsString> = others.map(|(_, arg)| arg.clone()).collect();
    apart.extend(["--".into(), text.clone()]);
    apart
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Qpq::command().debug_assert();
    }

    fn sent(args: &[&str]) -> (String, String, bool) {
        let args = ["qpq"].iter().chain(args).map(OsString::from).collect();
        let parsed = Qpq::try_parse_from(with_text_apart(args)).unwrap();
        match parsed.command {
            Command::Send {
                conversation, text, ..
            } => (conversation, text, parsed.common.json),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_is_never_an_option() {
        let texts = [
            "--help", "-h", "--json", "--", "-", "--id", "", "--server", "-x", "send",
        ];
        for text in texts {
            let to = |json| ("@bob".to_owned(), text.to_owned(), json);
            assert_eq!(sent(&["send", "@bob", text]), to(false));
            assert_eq!(sent(&["--json", "send", "@bob", text]), to(true));
            assert_eq!(
                sent(&["--server", "a:1", "send", "--", "@bob", text]),
                to(false)
            );
            if text != "--" {
                assert_eq!(sent(&["send", "@bob", "--", text]), to(false));
                assert_eq!(
                    sent(&["send", "--no-keep", "@bob", text, "--json"]),
                    to(true)
                );
            }
        }
        assert_eq!(sent(&["send", "@bob", "--", "--"]).1, "--");
    }

    #[test]
    fn other_commands_are_as_they_were() {
        for args in [
            &["qpq", "dm", "bob", "--json"][..],
            &["qpq", "--server", "send", "dm", "bob"],
            &["qpq", "send", "--help"],
            &["qpq", "send", "bob"],
            &["qpq"],
        ] {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            assert_eq!(with_text_apart(args.clone()), args);
        }
    }
}
