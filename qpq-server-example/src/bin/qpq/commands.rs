//! What each command of `qpq` does, but those that send and receive.

use std::path::PathBuf;

use qpq_protocol::client::{Conversation, ConversationId, IntentError, Outcome};
use qpq_server_example::session::{Options, Session};

use crate::args::{Command, Common, Group};
pub use crate::failed::Failed;
use crate::output::Output;
use crate::receive::{Names, Receiver};
use crate::stop::Stop;
use crate::{password, send};

/// Runs one command on its own session.
pub async fn run(command: Command, common: &Common, output: &Output) -> Result<(), Failed> {
    let options = Options {
        server: common.server.clone(),
        data_dir: data_dir(common)?,
        ca_cert: common.ca_cert.clone(),
        // Those run for long, and go on by themselves once the server is back.
        patient: match &command {
            Command::Recv { follow, .. } => *follow,
            Command::Send { text, .. } => text == "-",
            _ => false,
        },
    };
    let mut stop = match command {
        // While a password is typed an interrupt must end the process as the shell expects it, or
        // the terminal is left without echo.
        Command::Register { .. } | Command::Login { .. } => Stop::never(),
        _ => Stop::new()?,
    };
    let mut session = Session::open(&options).await?;
    let done = match command {
        // Stops between two pages, not in one.
        Command::Recv { follow, output: to } => {
            match Receiver::new(&mut session, &mut stop, output, to.as_deref()) {
                Ok(receiver) if follow => receiver.follow().await,
                Ok(receiver) => receiver.once().await,
                Err(failed) => Err(failed),
            }
        }
        command => tokio::select! {
            done = one(command, &mut session, output) => done,
            () = stop.asked() => Err(Failed::Interrupted),
        },
    };
    // Also after a failure: what was stated is stored, and the database closed in order.
    session.close().await;
    done
}

async fn one(command: Command, session: &mut Session, output: &Output) -> Result<(), Failed> {
    match command {
        Command::Register { name } => {
            let password = password::get(&name, true).await?;
            let asked = session.ask(move |client, now| client.register(now, &name, password));
            show_account("registered", asked.await?, output)
        }
        Command::Login { name } => {
            let password = password::get(&name, false).await?;
            let asked = session.ask(move |client, now| client.login(now, &name, password));
            show_account("logged in as", asked.await?, output)
        }
        Command::Logout => {
            session.ask(qpq_protocol::client::Client::logout).await?;
            let machine = serde_json::json!({ "type": "logged_out" });
            output.line(
                "logged out; `qpq login` takes this device up again",
                &machine,
            )
        }
        Command::Whoami => match session.account() {
            Some(account) if account.logged_in => output.account("you are", account),
            Some(account) => output.account("logged out, you were", account),
            None => Err(IntentError::NotLoggedIn.into()),
        },
        Command::Dm { user } => {
            let asked = session.ask(move |client, now| client.dm(now, &user));
            show_conversation(asked.await?, output)
        }
        Command::Group(group) => self::group(group, session, output).await,
        Command::Conversations => {
            for conversation in conversations(session).await? {
                output.conversation(&conversation)?;
            }
            Ok(())
        }
        Command::Send { conversation, text } => {
            let id = find(session, &conversation).await?;
            match text.as_str() {
                "-" => send::lines(session, id, output).await,
                _ => send::one(session, id, text, output).await,
            }
        }
        Command::History {
            conversation,
            limit,
        } => {
            let id = find(session, &conversation).await?;
            let limit = u64::from(limit);
            let asked = session.ask(move |client, now| client.history(now, id, None, limit));
            let Outcome::Messages(messages) = asked.await? else {
                return Err(Failed::Unexpected);
            };
            let names = Names::load(session).await?;
            for message in &messages {
                output.message(message, names.of(message.conversation))?;
            }
            Ok(())
        }
        Command::ServerInfo => {
            let asked = session.ask(qpq_protocol::client::Client::server_info);
            let Outcome::Server(server) = asked.await? else {
                return Err(Failed::Unexpected);
            };
            output.server(&server, session.watch().certificate())
        }
        // See `run` and `main`.
        Command::Recv { .. } | Command::Demo | Command::Vectors(_) | Command::Sim(_) => {
            Err(Failed::Unexpected)
        }
        #[cfg(feature = "bench")]
        Command::Bench(_) => Err(Failed::Unexpected),
    }
}

async fn group(group: Group, session: &mut Session, output: &Output) -> Result<(), Failed> {
    match group {
        Group::Create { name, members } => {
            let asked = session.ask(move |client, now| {
                let members: Vec<&str> = members.iter().map(String::as_str).collect();
                client.create_group(now, &name, &members)
            });
            show_conversation(asked.await?, output)
        }
        Group::Invite { conversation, user } => {
            let id = find(session, &conversation).await?;
            let asked = session.ask(move |client, now| client.invite(now, id, &user));
            show_conversation(asked.await?, output)
        }
        Group::Members { conversation } => {
            let id = find(session, &conversation).await?;
            let asked = session.ask(move |client, now| client.members(now, id));
            let Outcome::Members(members) = asked.await? else {
                return Err(Failed::Unexpected);
            };
            members.iter().try_for_each(|member| output.member(member))
        }
        Group::Leave { conversation } => {
            let id = find(session, &conversation).await?;
            let asked = session.ask(move |client, now| client.leave(now, id));
            asked.await?;
            let machine = serde_json::json!({ "type": "left", "conversation": id.to_string() });
            output.line("left", &machine)
        }
    }
}

fn show_account(verb: &str, outcome: Outcome, output: &Output) -> Result<(), Failed> {
    match outcome {
        Outcome::LoggedIn(account) => output.account(verb, &account),
        _ => Err(Failed::Unexpected),
    }
}

fn show_conversation(outcome: Outcome, output: &Output) -> Result<(), Failed> {
    match outcome {
        Outcome::Conversation(conversation) | Outcome::Changed(conversation) => {
            output.conversation(&conversation)
        }
        _ => Err(Failed::Unexpected),
    }
}

/// All conversations of this client.
pub async fn conversations(session: &mut Session) -> Result<Vec<Conversation>, Failed> {
    match session
        .ask(qpq_protocol::client::Client::conversations)
        .await?
    {
        Outcome::Conversations(conversations) => Ok(conversations),
        _ => Err(Failed::Unexpected),
    }
}

/// The conversation that a user means by `wanted`.
async fn find(session: &mut Session, wanted: &str) -> Result<ConversationId, Failed> {
    let all = conversations(session).await?;
    match pick(wanted, &all) {
        Err(Failed::NoConversation(_)) if session.account().is_some_and(|me| me.logged_in) => {}
        other => return other,
    }
    // It may be one that this client was invited to and has not heard of yet.
    session.sync().await?;
    pick(wanted, &conversations(session).await?)
}

/// The one whose name is `wanted`, else the one whose id starts or ends with it.
fn pick(wanted: &str, all: &[Conversation]) -> Result<ConversationId, Failed> {
    let only = |of: Vec<&Conversation>| match of.as_slice() {
        [] => None,
        [one] => Some(Ok(one.id)),
        _ => Some(Err(Failed::Ambiguous(wanted.to_owned()))),
    };
    let named = all.iter().filter(|one| one.name == wanted).collect();
    let digits = wanted.to_ascii_lowercase();
    let with_id = |one: &&Conversation| {
        let id = one.id.to_string();
        digits.len() >= 4 && (id.starts_with(&digits) || id.ends_with(&digits))
    };
    only(named)
        .or_else(|| only(all.iter().filter(with_id).collect()))
        .unwrap_or_else(|| Err(Failed::NoConversation(wanted.to_owned())))
}

fn data_dir(common: &Common) -> Result<PathBuf, Failed> {
    if let Some(dir) = &common.data_dir {
        return Ok(dir.clone());
    }
    let variable = |name| std::env::var_os(name).filter(|dir| !dir.is_empty());
    variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/share")))
        .map(|dir| dir.join("qpq"))
        .ok_or(Failed::NoDataDir)
}
