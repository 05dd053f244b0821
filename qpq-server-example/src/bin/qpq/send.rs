//! `qpq send`: one message, or each line of standard input.

use std::collections::BTreeMap;

use qpq_protocol::client::{
    Body, Conversation, Event, IntentId, Kept, Outcome, Sent, Waiting, intent,
};
use qpq_protocol::ids::MessageId;
use qpq_server_example::session::{Session, SessionError};
use tokio::io::BufReader;

use crate::act::act;
use crate::address::typed;
use crate::args::Keep;
use crate::failed::{Failed, Tally};
use crate::lines::Lines;
use crate::output::{Output, names};
use crate::stop::Stop;

/// Messages on their way at once; more lines are not read before one is confirmed.
const ON_THE_WAY: usize = 64;
/// Messages of the history that are looked through at once.
const PAGE: u64 = 100;

/// Sends one message and waits until the server has it.
pub async fn one(
    session: &mut Session,
    conversation: &Conversation,
    text: String,
    message_id: Option<MessageId>,
    keep: Keep,
    output: &Output,
) -> Result<(), Failed> {
    let id = conversation.id;
    let waiting = outbox(session).await?;
    if let Some(message_id) = message_id {
        let kept = waiting.iter().any(|one| one.message_id == message_id);
        if !kept && let Some(index) = sent_before(session, conversation, message_id, &text).await? {
            let sent = Sent {
                conversation: id,
                message_id,
                index,
                undelivered: Vec::new(),
            };
            return output.sent(1, &sent);
        }
    } else if let Some(like) = waiting.iter().rev().find(|one| is_like(one, id, &text)) {
        output.like_kept(like.message_id, 1)?;
    }
    // The same text, as another keyboard writes it: what is kept is sent as it is.
    let repeated = waiting
        .into_iter()
        .find(|one| Some(one.message_id) == message_id && is_like(one, id, &text));
    let text = match repeated.map(|one| one.body) {
        Some(Body::Text(kept)) => kept,
        _ => text,
    };
    let send = intent::Send {
        conversation: id,
        text,
        message_id,
    };
    let sent = act(session, keep, send).await?;
    output.sent(1, &sent)?;
    match sent.undelivered.as_slice() {
        [] => Ok(()),
        undelivered => Err(Failed::Undelivered(names(undelivered))),
    }
}

/// The messages that wait to be sent.
pub async fn outbox(session: &mut Session) -> Result<Vec<Waiting>, Failed> {
    Ok(session.ask(intent::Outbox).await?)
}

fn is_like(
    waiting: &Waiting,
    conversation: qpq_protocol::client::ConversationId,
    text: &str,
) -> bool {
    let is_text = |own: &str| typed(own) == typed(text);
    waiting.conversation == conversation && matches!(&waiting.body, Body::Text(own) if is_text(own))
}

/// The place in the history of an own message with this id, if there is one.
async fn sent_before(
    session: &mut Session,
    conversation: &Conversation,
    message_id: MessageId,
    text: &str,
) -> Result<Option<u64>, Failed> {
    let id = conversation.id;
    let mut end = conversation.messages;
    while end > 0 {
        let asked = session.ask(intent::History {
            conversation: id,
            before: Some(end),
            limit: PAGE,
        });
        let messages = asked.await?;
        let own = |one: &&qpq_protocol::client::Message| one.own && one.message_id == message_id;
        if let Some(message) = messages.iter().find(own) {
            return match &message.body {
                Body::Text(own) if typed(own) == typed(text) => Ok(Some(message.index)),
                // It was taken back: it may be sent after all.
                Body::TakenBack => Ok(None),
                _ => Err(Failed::OtherMessage),
            };
        }
        end = end.saturating_sub(PAGE);
    }
    Ok(None)
}

/// Sends each line of standard input, and says of each what became of it. After the last line waits
/// for those that are on their way.
pub async fn lines(
    session: &mut Session,
    conversation: &Conversation,
    keep: Keep,
    stop: &mut Stop,
    output: &Output,
) -> Result<(), Failed> {
    let waiting = outbox(session).await?;
    let mut sender = Sender {
        session,
        conversation,
        output,
        like: waiting,
        waiting: BTreeMap::new(),
        tally: Tally::default(),
    };
    let ended = sender.go_on(stop).await;
    sender.settle(ended, keep).await
}

/// Lines on their way.
struct Sender<'a> {
    session: &'a mut Session,
    conversation: &'a Conversation,
    output: &'a Output,
    /// What waited to be sent before the first line.
    like: Vec<Waiting>,
    /// Lines that have not come to their end.
    waiting: BTreeMap<IntentId, u64>,
    tally: Tally,
}

impl Sender<'_> {
    /// Until all lines have come to their end, or something keeps them from it.
    async fn go_on(&mut self, stop: &mut Stop) -> Result<(), Failed> {
        let mut lines = Lines::new(BufReader::new(tokio::io::stdin()));
        let mut more = true;
        while more || !self.waiting.is_empty() {
            tokio::select! {
                () = stop.asked() => return Err(Failed::Interrupted),
                line = lines.next(), if more && self.waiting.len() < ON_THE_WAY => {
                    match line.map_err(Failed::Input)? {
                        None => more = false,
                        Some(line) => self.take(line.map_err(Failed::BadLine)).await?,
                    }
                }
                event = self.session.next() => self.hear(event?)?,
            }
        }
        Ok(())
    }

    async fn take(&mut self, line: Result<String, Failed>) -> Result<(), Failed> {
        self.tally.all = self.tally.all.saturating_add(1);
        let number = self.tally.all;
        let text = match line {
            Ok(text) => text,
            Err(why) => return self.not_sent(number, why),
        };
        let id = self.conversation.id;
        if let Some(like) = self.like.iter().rev().find(|one| is_like(one, id, &text)) {
            self.output.like_kept(like.message_id, number)?;
        }
        let sent = self.session.begin(intent::Send::new(id, text));
        self.waiting.insert(sent.await?, number);
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), Failed> {
        match event {
            Event::Done {
                intent,
                outcome: Outcome::Sent(sent),
            } => {
                let Some(line) = self.waiting.remove(&intent) else {
                    return Ok(());
                };
                if !sent.undelivered.is_empty() {
                    self.tally.undelivered = self.tally.undelivered.saturating_add(1);
                    let why = || Box::new(Failed::Undelivered(names(&sent.undelivered)));
                    self.tally.why.get_or_insert_with(why);
                }
                self.output.sent(line, &sent)
            }
            Event::Failed { intent, error } => {
                let Some(line) = self.waiting.remove(&intent) else {
                    return Ok(());
                };
                match self.session.failure(intent, error) {
                    SessionError::Kept { kept, .. } => self.kept(line, kept),
                    why => self.not_sent(line, why.into()),
                }
            }
            Event::LoggedOut => Err(qpq_protocol::client::IntentError::NotLoggedIn.into()),
            Event::Disconnected { why, retry_in } => {
                let (why, seconds) = (why.to_string(), retry_in.as_secs());
                self.output.note(&format!("{why}; next try in {seconds} s"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn not_sent(&mut self, line: u64, why: Failed) -> Result<(), Failed> {
        self.output.not_sent(line, &why)?;
        self.tally.failed = self.tally.failed.saturating_add(1);
        // Those that were not sent matter more than those that reached only some.
        if self.tally.failed == 1 {
            self.tally.why = Some(Box::new(why));
        }
        Ok(())
    }

    fn kept(&mut self, line: u64, kept: Kept) -> Result<(), Failed> {
        self.tally.kept = self.tally.kept.saturating_add(1);
        self.output.kept(kept, Some(line))
    }

    /// Says what became of the lines that have not come to their end.
    async fn settle(mut self, ended: Result<(), Failed>, keep: Keep) -> Result<(), Failed> {
        let kept = match self.waiting.is_empty() {
            true => BTreeMap::new(),
            false => self.session.kept().await?,
        };
        // Some may have come to it meanwhile.
        while let Some(event) = self.session.next_if_there() {
            if matches!(event, Event::Done { .. } | Event::Failed { .. }) {
                self.hear(event)?;
            }
        }
        let why = ended.err();
        for (intent, line) in std::mem::take(&mut self.waiting) {
            let reason = || why.clone().unwrap_or(Failed::Interrupted);
            let Some(kept) = kept.get(&intent).copied() else {
                self.not_sent(line, reason())?;
                continue;
            };
            let taken_back = keep.no_keep && {
                let asked = self.session.ask(intent::TakeBack(kept));
                asked.await.is_ok()
            };
            match taken_back {
                true => self.not_sent(line, Failed::TakenBack(Box::new(reason())))?,
                false => self.kept(line, kept)?,
            }
        }
        if self.tally.why.is_none() {
            self.tally.why = why.clone().map(Box::new);
        }
        let tally = self.tally;
        match tally.failed == 0 && tally.kept == 0 && tally.undelivered == 0 {
            true => why.map_or(Ok(()), Err),
            false => Err(Failed::Lines(tally)),
        }
    }
}
