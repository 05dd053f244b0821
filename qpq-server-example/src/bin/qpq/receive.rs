//! `qpq recv`: hands each message on once, then marks it read.
//!
//! Into a file that is exact: the file says itself what is in it (see [`Journal`]). What was printed
//! is printed again only if this process died between printing and marking: at most one page, whose
//! lines a reader of a pipe recognises by conversation and index.

use std::collections::BTreeMap;
use std::future::ready;
use std::mem;
use std::path::Path;

use qpq_protocol::client::{
    CommitProof, Conversation, ConversationId, Event, IntentError, Message, Outcome, Person,
};
use qpq_server_example::hex::hex;
use qpq_server_example::session::Session;
use serde_json::{Value, json};

use crate::commands::conversations;
use crate::failed::Failed;
use crate::journal::Journal;
use crate::output::{Output, message_line, name, person};
use crate::stop::Stop;

/// Messages that are printed before they are marked read, with one commit: what a kill repeats is
/// less than a screen, and a backlog is not slowed to one commit a message.
const PRINTED: u64 = 20;
/// Messages that are written to a file at once.
const WRITTEN: u64 = 100;

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

/// Messages on their way to standard output or into a file.
pub struct Receiver<'a> {
    session: &'a mut Session,
    stop: &'a mut Stop,
    output: &'a Output,
    journal: Option<Journal>,
    /// The index to go on from, of conversations that were looked at.
    next: BTreeMap<ConversationId, u64>,
}

impl<'a> Receiver<'a> {
    /// With `file`, messages are appended there, else printed.
    pub fn new(
        session: &'a mut Session,
        stop: &'a mut Stop,
        output: &'a Output,
        file: Option<&Path>,
    ) -> Result<Self, Failed> {
        Ok(Self {
            session,
            stop,
            output,
            journal: file.map(Journal::open).transpose()?,
            next: BTreeMap::new(),
        })
    }

    /// Fetches what waits at the server, hands on what is unread, and ends.
    pub async fn once(mut self) -> Result<(), Failed> {
        tokio::select! {
            synced = self.session.sync() => synced?,
            () = self.stop.asked() => return Err(Failed::Interrupted),
        }
        self.catch_up().await
    }

    /// Hands on what is unread, then what comes, until interrupted.
    pub async fn follow(mut self) -> Result<(), Failed> {
        match self.go_on().await {
            Err(Failed::Interrupted) => Ok(()),
            ended => ended,
        }
    }

    async fn go_on(&mut self) -> Result<(), Failed> {
        let mut has_news = true;
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.asked() => return Err(Failed::Interrupted),
                event = self.session.next() => Some(event?),
                // Everything that had come goes out together.
                () = ready(()), if has_news => None,
            };
            if let Some(Event::Message(_)) = event {
                has_news = true;
                continue;
            }
            if mem::take(&mut has_news) {
                self.catch_up().await?;
            }
            match event {
                Some(Event::LoggedOut) => return Err(IntentError::NotLoggedIn.into()),
                Some(event) => tell(&event, self.session, self.output).await?,
                None => {}
            }
        }
    }

    /// Hands on all that is stored and was not handed on. Stops between two pages.
    async fn catch_up(&mut self) -> Result<(), Failed> {
        let page = self.journal.as_ref().map_or(PRINTED, |_| WRITTEN);
        for conversation in conversations(self.session).await? {
            let id = conversation.id;
            let mut read = conversation.messages.saturating_sub(conversation.unread);
            let mut next = self.start(&conversation, read).await?;
            loop {
                if read < next {
                    self.mark_read(id, next).await?;
                    read = next;
                }
                self.next.insert(id, next);
                if next >= conversation.messages {
                    break;
                }
                if self.stop.was_asked().await {
                    return Err(Failed::Interrupted);
                }
                let end = next.saturating_add(page).min(conversation.messages);
                let messages = self.messages(id, next, end).await?;
                self.hand_on(&conversation, &messages).await?;
                next = end;
            }
        }
        Ok(())
    }

    /// The index to go on from: behind the last one in the file, whatever is marked read. Where the
    /// file has none, and on standard output, the first unread one.
    async fn start(&mut self, conversation: &Conversation, read: u64) -> Result<u64, Failed> {
        let id = conversation.id;
        if let Some(next) = self.next.get(&id) {
            return Ok(*next);
        }
        let Some(journal) = &self.journal else {
            return Ok(read);
        };
        let Some(last) = journal.last(&id.to_string()).cloned() else {
            return Ok(read);
        };
        // Another client's file has other messages there: going on behind them would leave out ours.
        let other_client = journal.other_client();
        let next = last.index.saturating_add(1);
        let there = self.messages(id, last.index, next).await?;
        let is_last = |message: &Message| {
            let message_id = message.message_id.to_string();
            !message.own && message.index == last.index && message_id == last.message_id
        };
        match there.iter().any(is_last) {
            true => Ok(next),
            false => Err(other_client.into()),
        }
    }

    /// The messages from index `start` to before `end`.
    async fn messages(
        &mut self,
        id: ConversationId,
        start: u64,
        end: u64,
    ) -> Result<Vec<Message>, Failed> {
        let count = end.saturating_sub(start);
        let asked = self
            .session
            .ask(move |client, now| client.history(now, id, Some(end), count));
        match asked.await? {
            Outcome::Messages(messages) => Ok(messages),
            _ => Err(Failed::Unexpected),
        }
    }

    async fn hand_on(
        &mut self,
        conversation: &Conversation,
        messages: &[Message],
    ) -> Result<(), Failed> {
        let others = messages.iter().filter(|message| !message.own);
        if let Some(journal) = &mut self.journal {
            let line = |message| message_line(message, &conversation.name);
            let lines: Vec<Value> = others.map(line).collect();
            return Ok(journal.append(&lines)?);
        }
        for message in others {
            if let Err(failed) = self.output.message(message, &conversation.name) {
                // Those before it were printed.
                self.mark_read(conversation.id, message.index).await?;
                return Err(failed);
            }
        }
        Ok(())
    }

    async fn mark_read(&mut self, id: ConversationId, up_to: u64) -> Result<(), Failed> {
        let asked = self
            .session
            .ask(move |client, now| client.mark_read(now, id, up_to));
        asked.await?;
        Ok(())
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
        Event::ServerKeyChanged { known, claimed } => {
            let machine = json!({
                "type": "server_key_changed",
                "known": hex(known),
                "claimed": hex(claimed),
            });
            let human = "the server's signing key has changed: ask who runs it";
            output.line(human, &machine)
        }
        Event::Unproven { conversation, slot } => {
            let machine = json!({
                "type": "unproven",
                "conversation": conversation.to_string(),
                "slot": slot,
            });
            let human =
                "the server gave no valid proof of a change of members: compare safety numbers";
            output.line(human, &machine)
        }
        Event::Forked {
            conversation,
            slot,
            proofs,
        } => {
            let proof = |proof: &CommitProof| {
                json!({
                    "commit_hash": hex(&proof.commit_hash),
                    "sender": hex(proof.sender.as_bytes()),
                    "server_epoch": proof.server_epoch.to_string(),
                    "proof": hex(&proof.proof),
                })
            };
            let machine = json!({
                "type": "forked",
                "conversation": conversation.to_string(),
                "slot": slot,
                "proofs": proofs.iter().map(proof).collect::<Vec<_>>(),
            });
            let human = "the server has shown members different changes: do not trust this conversation, compare safety numbers";
            output.line(human, &machine)
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
