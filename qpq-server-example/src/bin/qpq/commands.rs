//! What each command of `qpq` does, but those that send and receive.

use std::path::PathBuf;

use qpq_protocol::client::{Conversation, ConversationId, IntentError, NewGroup, Standing, intent};
use qpq_server_example::session::{Options, Patience, Session};

use crate::act::act;
use crate::address::{self, conversations, find, find_here, typed, user};
use crate::args::{Command, Common, Group, Keep};
use crate::events::{Rest, Teller};
pub use crate::failed::Failed;
use crate::output::Output;
use crate::receive::Receiver;
use crate::stop::Stop;
use crate::{devices, password, send};

/// Messages that are counted at once.
const PAGE: u64 = 200;

/// Runs one command on its own session.
pub async fn run(command: Command, common: &Common, output: &Output) -> Result<(), Failed> {
    let options = Options {
        server: common.server.clone(),
        data_dir: data_dir(common)?,
        ca_cert: common.ca_cert.clone(),
        patience: patience(&command),
    };
    let rest = match command {
        Command::Recv { .. } => Rest::Said,
        _ => Rest::Noted,
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
        // Says of each line what became of it.
        Command::Send {
            conversation,
            text,
            keep,
            ..
        } if text == "-" => match with_session(&mut session, &conversation).await {
            Ok(found) => send::lines(&mut session, &found, keep, &mut stop, output).await,
            Err(failed) => Err(failed),
        },
        command => {
            let done = tokio::select! {
                done = one(command, &mut session, output) => done,
                () = stop.asked() => Err(Failed::Interrupted),
            };
            match done {
                Err(Failed::Interrupted) => interrupted(&mut session).await,
                done => done,
            }
        }
    };
    if let Err(Failed::Kept { kept, .. }) = &done {
        output.kept(*kept, None)?;
    }
    // Also after a failure: what was stated is stored, and the database closed in order.
    let told = Teller::new(output).close(session, rest).await;
    done.and(told)
}

/// What a command needs of the server.
fn patience(command: &Command) -> Patience {
    match command {
        Command::Whoami
        | Command::Conversations
        | Command::Outbox
        | Command::History { .. }
        | Command::Group(Group::Members { .. }) => Patience::Offline,
        // Those run for long, and go on by themselves once the server is back.
        Command::Recv { follow: true, .. } => Patience::Forever,
        Command::Send { text, .. } if text == "-" => Patience::Forever,
        _ => Patience::Once,
    }
}

/// Whether an interrupted command has left something that will be done all the same.
async fn interrupted(session: &mut Session) -> Result<(), Failed> {
    let kept = session.kept().await?;
    Err(match kept.into_values().next() {
        None => Failed::Interrupted,
        Some(kept) => Failed::Kept {
            kept,
            id: crate::failed::id(kept),
            why: Box::new(Failed::Interrupted),
        },
    })
}

async fn one(command: Command, session: &mut Session, output: &Output) -> Result<(), Failed> {
    match command {
        Command::Register { name, invitation } => {
            let password = password::get(&name, true).await?;
            let asked = session.ask_without_session(intent::Register {
                invitation: invitation.unwrap_or_default().into(),
                ..intent::Register::new(name, password)
            });
            output.account("registered", &asked.await?)
        }
        Command::Login { name, remove } => {
            let account = devices::log_in(session, &name, remove, output).await?;
            output.account("logged in as", &account)
        }
        Command::Logout => {
            session.ask(intent::Logout).await?;
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
        Command::Dm { user: name, keep } => {
            let opened = act(session, keep, intent::Dm(user(&name))).await?;
            show_again(&opened, session, output).await
        }
        Command::Devices => devices::list(session, output).await,
        Command::Device(crate::args::Device::Remove { device }) => {
            devices::remove(session, &device, output).await
        }
        Command::Verify {
            user: name,
            scanned,
        } => devices::verify(session, user(&name), scanned, output).await,
        Command::Group(group) => self::group(group, session, output).await,
        Command::Conversations => {
            let all = conversations(session).await?;
            for conversation in &all {
                show(conversation, &all, session, output).await?;
            }
            Ok(())
        }
        Command::Send {
            conversation,
            text,
            id,
            keep,
        } => {
            let found = with_session(session, &conversation).await?;
            send::one(session, &found, text, id, keep, output).await
        }
        Command::Outbox => {
            let all = conversations(session).await?;
            for waiting in send::outbox(session).await? {
                let of = all.iter().find(|one| one.id == waiting.conversation);
                let called = of.map_or_else(String::new, address::address);
                output.waiting(&waiting, &called)?;
            }
            Ok(())
        }
        Command::History {
            conversation,
            limit,
        } => {
            let found = find_here(session, &conversation).await?;
            let asked = session.ask(intent::History {
                conversation: found.id,
                before: None,
                limit: limit.into(),
            });
            let messages = asked.await?;
            messages
                .iter()
                .try_for_each(|message| output.message(message, &found))
        }
        Command::ServerInfo => {
            let server = session.ask_without_session(intent::ServerInfo).await?;
            output.server(&server, session.certificate())
        }
        // See `run` and `main`.
        Command::Recv { .. } | Command::Demo => Err(Failed::Unexpected),
    }
}

async fn group(group: Group, session: &mut Session, output: &Output) -> Result<(), Failed> {
    match group {
        Group::Create {
            name,
            members,
            id,
            keep,
        } => {
            let made = create_group(session, typed(&name), members, id, keep).await?;
            show_group(made, session, output).await
        }
        Group::Invite {
            conversation,
            user: name,
            keep,
        } => {
            let (id, name) = (with_session(session, &conversation).await?.id, user(&name));
            let changed = act(session, keep, intent::Invite::new(id, name)).await?;
            show_again(&changed, session, output).await
        }
        Group::Remove {
            conversation,
            user: name,
            keep,
        } => {
            let (id, name) = (with_session(session, &conversation).await?.id, user(&name));
            let changed = act(session, keep, intent::Remove::new(id, name)).await?;
            show_again(&changed, session, output).await
        }
        Group::Members { conversation } => {
            let id = find_here(session, &conversation).await?.id;
            let members = session.ask(intent::Members(id)).await?;
            members.iter().try_for_each(|member| output.member(member))
        }
        Group::Accept { conversation } => {
            let id = with_session(session, &conversation).await?.id;
            session
                .state(move |client, now| client.accept_group(now, id))
                .await?;
            Ok(session.sync().await?)
        }
        Group::Leave { conversation } => {
            let id = with_session(session, &conversation).await?.id;
            session.ask(intent::Leave(id)).await?;
            let machine = serde_json::json!({ "type": "left", "conversation": id.to_string() });
            output.line("left", &machine)
        }
    }
}

/// Makes a group, unless one of that name is being made: a command that is repeated because it failed
/// must not make a second one.
async fn create_group(
    session: &mut Session,
    name: String,
    members: Vec<String>,
    id: Option<ConversationId>,
    keep: Keep,
) -> Result<NewGroup, Failed> {
    let all = conversations(session).await?;
    let is_kept = |one: &&Conversation| {
        one.standing == Standing::Forming && Some(one.id) != id && typed(&one.name) == name
    };
    if let Some(kept) = all.iter().find(is_kept) {
        let id = kept.id.to_string();
        return Err(Failed::GroupIsKept { name, id });
    }
    let members = members.iter().map(|name| user(name)).collect();
    act(session, keep, intent::CreateGroup { id, name, members }).await
}

async fn show_group(made: NewGroup, session: &mut Session, output: &Output) -> Result<(), Failed> {
    show_again(&made.conversation, session, output).await?;
    let mut names = Vec::new();
    for one in made.missing {
        output.missing(made.conversation.id, &one)?;
        names.push(one.name);
    }
    match names.is_empty() {
        true => Ok(()),
        false => Err(Failed::NotWhole(names.join(", "))),
    }
}

/// Shows one whose name may have changed what the others are called by.
async fn show_again(
    conversation: &Conversation,
    session: &mut Session,
    output: &Output,
) -> Result<(), Failed> {
    let all = conversations(session).await?;
    show(conversation, &all, session, output).await
}

async fn show(
    conversation: &Conversation,
    all: &[Conversation],
    session: &mut Session,
    output: &Output,
) -> Result<(), Failed> {
    let unread = unread(conversation, session).await?;
    output.conversation(conversation, &address::short(conversation.id, all), unread)
}

/// Messages of others that were not read.
async fn unread(conversation: &Conversation, session: &mut Session) -> Result<u64, Failed> {
    let (id, mut count) = (conversation.id, 0u64);
    let mut end = conversation.messages.saturating_sub(conversation.unread);
    while end < conversation.messages {
        let start = end;
        end = start.saturating_add(PAGE).min(conversation.messages);
        let (before, limit) = (Some(end), end.saturating_sub(start));
        let asked = session.ask(intent::History {
            conversation: id,
            before,
            limit,
        });
        let messages = asked.await?;
        let others = messages.iter().filter(|message| !message.own).count();
        count = count.saturating_add(u64::try_from(others).unwrap_or(u64::MAX));
    }
    Ok(count)
}

/// The conversation that an act is about, which needs a session: without one nothing would ever end
/// it.
async fn with_session(session: &mut Session, wanted: &str) -> Result<Conversation, Failed> {
    match session.is_logged_out() {
        true => Err(IntentError::NotLoggedIn.into()),
        false => find(session, wanted).await,
    }
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
