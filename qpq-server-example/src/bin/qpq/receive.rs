//! `qpq recv`: prints each message that was not printed before, then marks it read: one that was
//! printed is printed again only if this process died right between the two.

use std::collections::BTreeMap;

use qpq_protocol::client::{ConversationId, Event, Outcome, Person};
use qpq_server_example::session::Session;
use serde_json::json;

use crate::commands::{Failed, conversations};
use crate::output::{Output, name, person};
use crate::stop::Stop;

/// Messages that are read from storage at once.
const PAGE: u64 = 100;

/// Names of conversations, for people.
pub struct Names(BTreeMap<ConversationId, String>);

impl Names {
    pub async fn load(session: &mut Session) -> Result<Self, Failed> {
        let all = conversations(session).await?;
        Ok(Self(
            all.into_iter().map(|one| (one.id, one.name)).collect(),
        ))
    }

    pub fn of(&self, conversation: ConversationId) -> &str {
        self.0.get(&conversation).map_or("", String::as_str)
    }
}

/// Fetches what waits at the server, prints what is unread, and ends.
pub async fn once(session: &mut Session, output: &Output) -> Result<(), Failed> {
    session.sync().await?;
    print_all(session, output).await
}

/// Prints what is unread, then what comes, until interrupted.
pub async fn follow(session: &mut Session, stop: &mut Stop, output: &Output) -> Result<(), Failed> {
    print_all(session, output).await?;
    loop {
        let event = tokio::select! {
            event = session.next() => event?,
            () = stop.asked() => return Ok(()),
        };
        match event {
            Event::Message(message) => {
                print_unread(session, message.conversation, output).await?;
            }
            Event::LoggedOut => {
                return Err(qpq_protocol::client::IntentError::NotLoggedIn.into());
            }
            other => tell(&other, session, output).await?,
        }
    }
}

async fn print_all(session: &mut Session, output: &Output) -> Result<(), Failed> {
    for conversation in conversations(session).await? {
        if conversation.unread > 0 {
            print_unread(session, conversation.id, output).await?;
        }
    }
    Ok(())
}

async fn print_unread(
    session: &mut Session,
    conversation: ConversationId,
    output: &Output,
) -> Result<(), Failed> {
    let names = Names::load(session).await?;
    loop {
        let asked = session.ask(move |client, now| client.unread(now, conversation, PAGE));
        let Outcome::Messages(messages) = asked.await? else {
            return Err(Failed::Unexpected);
        };
        if messages.is_empty() {
            return Ok(());
        }
        for message in messages {
            if !message.own {
                output.message(&message, names.of(conversation))?;
            }
            let read = message.index.saturating_add(1);
            session
                .ask(move |client, now| client.mark_read(now, conversation, read))
                .await?;
        }
    }
}

/// Says what else happened.
async fn tell(event: &Event, session: &mut Session, output: &Output) -> Result<(), Failed> {
    match event {
        Event::Joined { conversation } => {
            let human = format!(
                "you are in {}",
                crate::output::printable(&conversation.name)
            );
            let machine = json!({
                "type": "joined",
                "conversation": conversation.id.to_string(),
                "name": conversation.name,
                "epoch": conversation.epoch,
            });
            output.line(&human, &machine)
        }
        Event::Membership {
            conversation,
            by,
            added,
            removed,
            epoch,
        } => {
            let names = Names::load(session).await?;
            let list = |people: &[Person]| people.iter().map(name).collect::<Vec<_>>().join(", ");
            let mut human = format!("{}: ", crate::output::printable(names.of(*conversation)));
            human.push_str(&match (added.is_empty(), removed.is_empty()) {
                (false, true) => format!("{} added {}", name(by), list(added)),
                (true, false) => format!("{} removed {}", name(by), list(removed)),
                (false, false) => format!(
                    "{} added {} and removed {}",
                    name(by),
                    list(added),
                    list(removed)
                ),
                (true, true) => format!("{} renewed the keys", name(by)),
            });
            let machine = json!({
                "type": "membership",
                "conversation": conversation.to_string(),
                "by": person(by),
                "added": added.iter().map(person).collect::<Vec<_>>(),
                "removed": removed.iter().map(person).collect::<Vec<_>>(),
                "epoch": epoch,
            });
            output.line(&human, &machine)
        }
        Event::Removed { conversation } => {
            let names = Names::load(session).await?;
            let human = format!(
                "you are not in {} any more",
                crate::output::printable(names.of(*conversation))
            );
            let machine = json!({ "type": "removed", "conversation": conversation.to_string() });
            output.line(&human, &machine)
        }
        Event::Unreadable {
            conversation,
            seq,
            why,
        } => {
            let machine = json!({
                "type": "unreadable",
                "conversation": conversation.to_string(),
                "seq": seq,
                "why": why.to_string(),
            });
            output.line(&format!("a message was lost: {why}"), &machine)
        }
        Event::KeyChanged { name, .. } => {
            let machine = json!({ "type": "key_changed", "name": name });
            let human = format!("the key of {name} has changed: compare safety numbers");
            output.line(&human, &machine)
        }
        Event::Disconnected { why, retry_in } => {
            output.note(&format!("{why}; next try in {} s", retry_in.as_secs()));
            Ok(())
        }
        Event::Connected => {
            output.note("connected");
            Ok(())
        }
        _ => Ok(()),
    }
}
