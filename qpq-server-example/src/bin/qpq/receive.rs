//! `qpq recv`: hands each message on once, then marks it read.
//!
//! Into a file that is exact: the file says itself what is in it (see [`Journal`]). What was printed
//! is printed again only if this process died between printing and marking: at most one page, whose
//! lines a reader of a pipe recognises by conversation and index.

use std::collections::{BTreeMap, VecDeque};
use std::future::ready;
use std::mem;
use std::path::Path;
use std::time::Duration;

use qpq_protocol::client::{Conversation, ConversationId, Event, IntentError, Message, intent};
use qpq_server_example::session::Session;
use serde_json::Value;
use tokio::time::sleep;

use crate::address::conversations;
use crate::events::Teller;
use crate::failed::Failed;
use crate::journal::Journal;
use crate::output::{Output, message_line};
use crate::stop::Stop;

/// Messages that are printed before they are marked read, with one commit: what a kill repeats is
/// less than a screen, and a backlog is not slowed to one commit a message.
const PRINTED: u64 = 20;
/// Messages that are written to a file at once.
const WRITTEN: u64 = 100;

/// How long the name of a conversation that was joined is waited for.
const NAME: Duration = Duration::from_secs(2);

/// A conversation with messages to hand on.
struct Source {
    conversation: Conversation,
    /// The index before which all is marked read.
    read: u64,
    /// The index of the next message to hand on.
    next: u64,
    /// The index behind those of `page`.
    loaded: u64,
    /// The next messages.
    page: VecDeque<Message>,
}

/// A message to hand on.
struct Handed {
    message: Message,
    conversation: Conversation,
}

/// Messages on their way to standard output or into a file.
pub struct Receiver<'a> {
    session: &'a mut Session,
    stop: &'a mut Stop,
    output: &'a Output,
    teller: Teller<'a>,
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
            teller: Teller::new(output),
            journal: file.map(Journal::open).transpose()?,
            next: BTreeMap::new(),
        })
    }

    /// Fetches what waits at the server, says what happened, hands on what is unread, and ends.
    pub async fn once(mut self) -> Result<(), Failed> {
        tokio::select! {
            synced = self.session.sync() => synced?,
            () = self.stop.asked() => return Err(Failed::Interrupted),
        }
        while let Some(event) = self.session.next_if_there() {
            self.teller.tell(&event, self.session).await?;
        }
        self.teller.tell_waiting(None, self.session).await?;
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
                // A group's name comes from its maker, or never.
                () = sleep(NAME), if self.teller.is_waiting() => {
                    self.teller.tell_waiting(None, self.session).await?;
                    continue;
                }
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
                Some(event) => self.teller.tell(&event, self.session).await?,
                None => {}
            }
        }
    }

    /// Hands on all that is stored and was not handed on, in the order of time, but for what a writer
    /// who dates a message wrongly puts out of order: within a conversation it stays as it came.
    /// Stops between two pages.
    async fn catch_up(&mut self) -> Result<(), Failed> {
        let mut sources = Vec::new();
        for conversation in conversations(self.session).await? {
            let read = conversation.messages.saturating_sub(conversation.unread);
            let next = self.start(&conversation, read).await?;
            sources.push(Source {
                conversation,
                read,
                next,
                loaded: next,
                page: VecDeque::new(),
            });
        }
        self.note_read(&mut sources).await?;
        while !sources.is_empty() {
            if self.stop.was_asked().await {
                return Err(Failed::Interrupted);
            }
            let batch = self.batch(&mut sources).await?;
            for source in &sources {
                self.teller
                    .tell_waiting(Some(source.conversation.id), self.session)
                    .await?;
            }
            self.hand_on(&batch).await?;
            self.note_read(&mut sources).await?;
        }
        Ok(())
    }

    /// Remembers how far conversations were handed on; leaves those that have more.
    async fn note_read(&mut self, sources: &mut Vec<Source>) -> Result<(), Failed> {
        for source in &mut *sources {
            let id = source.conversation.id;
            if source.read < source.next {
                self.mark_read(id, source.next).await?;
                source.read = source.next;
            }
            self.next.insert(id, source.next);
        }
        sources.retain(|source| source.next < source.conversation.messages);
        Ok(())
    }

    /// The next messages of all conversations, and own ones are passed over.
    async fn batch(&mut self, sources: &mut [Source]) -> Result<Vec<Handed>, Failed> {
        let page = self.journal.as_ref().map_or(PRINTED, |_| WRITTEN);
        let mut batch = Vec::new();
        for _ in 0..page {
            for source in &mut *sources {
                let end = source
                    .loaded
                    .saturating_add(page)
                    .min(source.conversation.messages);
                if source.page.is_empty() && source.loaded < end {
                    let messages = self
                        .messages(source.conversation.id, source.loaded, end)
                        .await?;
                    source.page = messages.into();
                    source.loaded = end;
                }
            }
            let waiting = sources.iter_mut().filter_map(|source| {
                let at = source.page.front()?.sent_at;
                Some((at, source))
            });
            let Some((_, source)) = waiting.min_by_key(|(at, _)| *at) else {
                break;
            };
            if let Some(message) = source.page.pop_front() {
                source.next = message.index.saturating_add(1);
                if !message.own {
                    batch.push(Handed {
                        message,
                        conversation: source.conversation.clone(),
                    });
                }
            }
        }
        Ok(batch)
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
        let asked = self.session.ask(intent::History {
            conversation: id,
            before: Some(end),
            limit: count,
        });
        Ok(asked.await?)
    }

    async fn hand_on(&mut self, batch: &[Handed]) -> Result<(), Failed> {
        if let Some(journal) = &mut self.journal {
            let line = |one: &Handed| message_line(&one.message, &one.conversation.name);
            let lines: Vec<Value> = batch.iter().map(line).collect();
            return Ok(journal.append(&lines)?);
        }
        let mut printed = BTreeMap::new();
        for one in batch {
            if let Err(failed) = self.output.message(&one.message, &one.conversation) {
                // Those before it were printed.
                for (id, up_to) in printed {
                    self.mark_read(id, up_to).await?;
                }
                return Err(failed);
            }
            printed.insert(one.conversation.id, one.message.index.saturating_add(1));
        }
        Ok(())
    }

    async fn mark_read(&mut self, id: ConversationId, up_to: u64) -> Result<(), Failed> {
        let asked = self.session.ask(intent::MarkRead {
            conversation: id,
            up_to,
        });
        Ok(asked.await?)
    }
}
