//! Messages that are kept: stored sealed, read in ranges by their index.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{self, ConversationId};
use crate::client::intent;
use crate::client::intents::{Progress, Task};
use crate::client::keep::keys;
use crate::client::keep::load::join_pieces;
use crate::client::keep::record;
use crate::client::keep::record::HistoryRecord;
use crate::client::outcome::Outcome;
use crate::ids::{IdentityKey, IntentId, MessageId, Ticket};
use crate::io::{Lane, Output};
use crate::proto;
use crate::proto::app_message::Body;
use crate::storage::{Command, Direction, Failure, Reply, Scan};
use crate::time::UnixTime;
use crate::wire;

/// Messages that one intent may read.
const MAX_READ: u64 = 10_000;
/// Rows of one page.
const PAGE_ROWS: usize = 512;
/// Bytes of one page.
const PAGE_BYTES: usize = 1024 * 1024;

/// Pages that are being read, by the ticket of the one that is awaited.
pub(in crate::client) type Readings = BTreeMap<Ticket, Reading>;

/// A range that is being read.
pub(in crate::client) struct Reading {
    intent: IntentId,
    conversation: ConversationId,
    end: Vec<u8>,
    rows: BTreeMap<Vec<u8>, BTreeMap<u16, Zeroizing<Vec<u8>>>>,
}

impl Client {
    /// Keeps a message, and returns its index; `None` if there is no such conversation.
    pub(super) fn keep_message(
        &mut self,
        id: ConversationId,
        sender: IdentityKey,
        app: Bytes,
    ) -> Option<u64> {
        let index = self.change_channel(id, |channel| {
            let index = channel.messages;
            channel.messages = index.saturating_add(1);
            index
        })?;
        let record = HistoryRecord {
            sender: sender.as_bytes().to_vec(),
            app,
            stored_at_ms: self.unix_ms(),
        };
        self.writer
            .put_bytes(keys::history(id, index), record.encode_to_vec());
        Some(index)
    }

    /// The message as an app sees it.
    pub(in crate::client) fn message(
        &self,
        conversation: ConversationId,
        index: u64,
        sender: IdentityKey,
        app: Bytes,
    ) -> event::Message {
        // What does not decode is kept and shown as something unknown.
        let app = wire::decode_app(app).unwrap_or_default();
        event::Message {
            conversation,
            index,
            sender: self.state.person(sender),
            own: self.state.identity_key() == Some(sender),
            message_id: MessageId::try_from(app.message_id.as_ref()).unwrap_or(MessageId([0; 16])),
            sent_at: UnixTime::from_millis(app.sent_at_ms),
            body: match app.body {
                // Only this client itself keeps one in the place of the message that it names.
                Some(Body::Delete(delete)) if delete.message_id == app.message_id => {
                    event::Body::TakenBack
                }
                body => event::Body::of(body),
            },
        }
    }

    pub(in crate::client) fn read_history(
        &mut self,
        intent: IntentId,
        asked: intent::History,
    ) -> Progress {
        let id = asked.conversation;
        let Some(channel) = self.state.conversations.get(&id) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        let end = asked.before.unwrap_or(u64::MAX).min(channel.messages);
        let start = end.saturating_sub(asked.limit.min(MAX_READ));
        self.read_messages(intent, id, start, end)
    }

    pub(in crate::client) fn read_unread(
        &mut self,
        intent: IntentId,
        asked: intent::Unread,
    ) -> Progress {
        let id = asked.conversation;
        let Some(channel) = self.state.conversations.get(&id) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        let start = channel.read;
        let end = start
            .saturating_add(asked.limit.min(MAX_READ))
            .min(channel.messages);
        self.read_messages(intent, id, start, end)
    }

    pub(in crate::client) fn take_read_mark(&mut self, asked: intent::MarkRead) -> Progress {
        let marked = self.change_channel(asked.conversation, |channel| {
            channel.read = channel.read.max(asked.up_to.min(channel.messages));
        });
        match marked {
            Some(()) => Progress::Done(Outcome::Read),
            None => Progress::Failed(IntentError::UnknownConversation),
        }
    }

    fn read_messages(
        &mut self,
        intent: IntentId,
        conversation: ConversationId,
        start: u64,
        end: u64,
    ) -> Progress {
        if start >= end {
            return Progress::Done(Outcome::Messages(Vec::new()));
        }
        let reading = Reading {
            intent,
            conversation,
            end: keys::history(conversation, end),
            rows: BTreeMap::new(),
        };
        self.read_on(keys::history(conversation, start), reading);
        Progress::WaitFor(Task::Reading)
    }

    fn read_on(&mut self, start: Vec<u8>, reading: Reading) {
        let ticket = self.writer.ticket();
        // Behind the commits before it, so it sees what they wrote.
        self.writer.effect(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command: Command::Scan(Scan {
                start: start.into(),
                end: reading.end.clone().into(),
                direction: Direction::Forward,
                items: PAGE_ROWS,
                bytes: PAGE_BYTES,
            }),
        });
        self.readings.insert(ticket, reading);
    }

    /// A page of a range.
    pub(in crate::client) fn history_read(&mut self, ticket: Ticket, reply: Reply) {
        let Some(mut reading) = self.readings.remove(&ticket) else {
            return;
        };
        let (rows, more) = match reply {
            Reply::Rows { rows, more } => (rows, more),
            Reply::Failed(failure) => {
                return self.fail(reading.intent, IntentError::Storage(failure));
            }
            _ => return self.fail(reading.intent, IntentError::Storage(Failure::Unknown)),
        };
        let next = rows.last().map(|(key, _)| [key.as_ref(), &[0]].concat());
        for (key, sealed) in rows {
            let opened = self.writer.sealer().open(&key, &sealed);
            let (Some(value), Some((name, piece))) = (opened, keys::split_piece(&key)) else {
                return self.fail(reading.intent, IntentError::State);
            };
            reading
                .rows
                .entry(name.to_vec())
                .or_default()
                .insert(piece, value);
        }
        match next {
            Some(next) if more => self.read_on(next, reading),
            _ => {
                let messages = self.messages_of(&reading);
                self.done(reading.intent, Outcome::Messages(messages));
            }
        }
    }

    fn messages_of(&self, reading: &Reading) -> Vec<event::Message> {
        let decode = |key: &Vec<u8>, pieces| {
            let (_, index) = keys::parse_history(key)?;
            let record: HistoryRecord = record::read(&join_pieces(pieces)?)?;
            let sender = IdentityKey::try_from(record.sender.as_slice()).ok()?;
            Some(self.message(reading.conversation, index, sender, record.app))
        };
        reading
            .rows
            .iter()
            .filter_map(|(key, pieces)| decode(key, pieces))
            .collect()
    }

    /// Storage failed: what is being read has failed with its intents.
    pub(in crate::client) fn forget_readings(&mut self) {
        self.readings.clear();
        self.resending.clear();
    }
}

/// The message with this body.
pub(in crate::client) fn app_message(
    message_id: MessageId,
    now: UnixTime,
    body: Body,
) -> proto::AppMessage {
    proto::AppMessage {
        body: Some(body),
        message_id: Bytes::copy_from_slice(message_id.as_bytes()),
        sent_at_ms: now.as_millis(),
        expires_after_secs: 0,
    }
}
