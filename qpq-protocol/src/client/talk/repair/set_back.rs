//! What follows when the data of this device, or those of the server, are of an earlier day
//! (protocol.md §5.31, §5.32).
//!
//! A device that was set back has keys that were used since, and does not know for what. It replaces its
//! key packages, comes back into each group by an external commit, and sends nothing there before.
//!
//! A server that was set back has lost what it had confirmed. A client reads every queue from its
//! beginning and sends again what the server no longer has: only its own, only once, and only to those
//! who were there when it was sent. The rest is told.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::client::event::{ConversationId, Event, RejoinReason, Unsent};
use crate::client::keep::keys::{self, Name};
use crate::client::keep::load::join_pieces;
use crate::client::keep::record::{self, HistoryRecord, MovesRecord, OutgoingRecord, SentRecord};
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::Timer;
use crate::client::talk::channel::Phase;
use crate::defect::seeded;
use crate::ids::Ticket;
use crate::io::{Lane, Output};
use crate::method::rpc;
use crate::proto;
use crate::status::Status;
use crate::storage::{Command, Direction, Reply, Scan};

/// A device acts on having been set back at most so often: two that share their data would go on for
/// ever.
const ACT_EVERY: Duration = Duration::from_secs(86_400);
/// Messages of a conversation that are sent again.
const SENT_AGAIN: usize = 200;
/// Pieces of one message in the history, more than there can be.
const PIECES: usize = 64;
/// Bytes of one message in the history, more than there can be.
const BYTES: usize = 1024 * 1024;

/// A server remembers for a day at least what it took; clocks differ.
const REMEMBERED_MS: u64 = 12 * 3_600_000;

/// Messages that are being read from the history to be sent again.
pub(in crate::client) type Resending = BTreeMap<Ticket, (ConversationId, u64)>;

impl Client {
    /// The server knows an opening that this data does not: a later state of it was at work.
    pub(in crate::client) fn device_set_back(&mut self) {
        if seeded!(self.config, SetBackUnheard) {
            return;
        }
        let now_ms = self.unix_ms();
        let last = self.state.openings.set_back_at_ms;
        let every = u64::try_from(ACT_EVERY.as_millis()).unwrap_or(u64::MAX);
        if last != 0 && now_ms.saturating_sub(last) < every {
            self.writer.emit(Event::SetBack);
            return self.rejoin_unseen();
        }
        self.state.openings.set_back_at_ms = now_ms.max(1);
        self.keep_openings();
        self.replace_packages();
        // What was encrypted may be sent already, and as something else.
        let encrypted = self.state.outgoing.iter();
        let encrypted = encrypted.filter(|(_, record)| !record.request.is_empty());
        for ((id, order), record) in encrypted.map(|(k, r)| (*k, r.clone())).collect::<Vec<_>>() {
            let record = OutgoingRecord {
                request: Bytes::new(),
                again: true,
                ..record
            };
            self.writer.put(&Name::Outgoing(id, order), &record);
            self.state.outgoing.insert((id, order), record);
        }
        self.writer.emit(Event::SetBack);
        let all: Vec<_> = self.state.conversations.keys().copied().collect();
        for id in all {
            let channel = self.state.conversations.get(&id);
            let is_begun = channel.is_some_and(|channel| channel.slot.next() > 0);
            match self.phase(id) {
                Some(Phase::Active | Phase::Leaving) if is_begun => {
                    self.rejoin(id, RejoinReason::SetBack);
                }
                // Its first commit may have been sent already, and as another one: the server says.
                Some(Phase::Founding | Phase::Active) => self.create_again(id),
                // What is listed and not known here is looked into: see `regain`.
                _ => {}
            }
        }
        if self.link.is_ready() {
            self.start_sync();
        }
    }

    /// Comes back into the groups of which no commit was seen: there, the next one does not show that others are
    /// missing. After that one was.
    fn rejoin_unseen(&mut self) {
        let all = self.state.conversations.iter();
        let unseen = all.filter(|(_, channel)| !channel.slot.is_seen() && channel.slot.next() > 0);
        for id in unseen.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.rejoin(id, RejoinReason::SetBack);
        }
    }

    /// The server knows nothing of what came after the opening with this number.
    pub(in crate::client) fn server_set_back(&mut self, since: u64) {
        if seeded!(self.config, ServerSetBackUnheard) {
            return;
        }
        let queues = self.state.cursors.keys().copied();
        for queue in queues.collect::<Vec<_>>() {
            self.forget_cursor(queue);
        }
        self.state.marks.clear();
        if self.link.is_ready() {
            // What is on its way over this connection was asked for in another past.
            self.disconnect(DisconnectReason::Lost);
        }
        let mut unsent = Vec::new();
        let conversations: Vec<_> = self.state.conversations.keys().copied().collect();
        for conversation in conversations {
            let moves = self.state.moves.get(&conversation).cloned();
            let moves = moves.unwrap_or_default();
            let sent = self
                .state
                .sent
                .range((conversation, 0)..=(conversation, u64::MAX));
            let lost = sent.filter(|(_, record)| record.opening >= since);
            let lost: Vec<_> = lost
                .map(|((_, index), record)| (*index, record.repeated))
                .collect();
            let is_active = self.phase(conversation) == Some(Phase::Active);
            for (index, repeated) in lost {
                let is_sent_again = is_active && !repeated && index >= moves.came;
                match is_sent_again {
                    true => self.mark_lost(conversation, index),
                    false => self.forget_sent(conversation, index),
                }
                if !is_sent_again || index < moves.went {
                    unsent.push(Unsent {
                        conversation,
                        index,
                    });
                }
            }
        }
        self.writer.emit(Event::ServerSetBack { unsent });
        self.doubt_all();
        self.forget_published_key();
        // Those that the server gives out now may have been used.
        self.replace_packages();
        self.read_what_was_lost();
    }

    /// Asks whether the server still has the message that it took last. A server that was set back to a moment
    /// after this device's last opening shows it by nothing else to who has only sent since then.
    ///
    /// The id with other content, for a channel of nobody's: the server refuses it if it knows it, before it looks
    /// at anything else, and for the channel if not, so that nothing is sent and the id stays free.
    pub(in crate::client) fn ask_for_last_sent(&mut self) {
        if !self.link.is_ready() || self.awaits_last_sent() {
            return;
        }
        let since = self.state.openings.sound;
        let sent = self.state.sent.iter();
        let sent = sent.filter(|(_, record)| record.opening >= since && !record.again);
        let last = sent.max_by_key(|(_, record)| &record.message_id);
        let Some(((id, _), record)) = last else {
            return;
        };
        let (Some(own), true) = (self.state.identity_key(), self.is_remembered(record)) else {
            return;
        };
        let then = Then::LastSent(*id, since);
        let message_id = record.message_id.clone().into();
        let nobodys = self.rng.child().uuid_v7(self.clock.unix());
        let request = proto::BatchEnqueueRequest {
            recipient_keys: vec![Bytes::copy_from_slice(own.as_bytes())],
            payload: Bytes::from_static(&[0]),
            channel_id: Bytes::copy_from_slice(&nobodys),
            message_id,
            channel_slot: Some(0),
            ..Default::default()
        };
        self.call::<rpc::BatchEnqueue>(&request, then);
    }

    /// Whether the server still has the id of a message, by either clock: by its own it forgets, and ours may be wrong.
    fn is_remembered(&self, record: &SentRecord) -> bool {
        let is_recent = |now_ms: u64, sent_ms: u64| now_ms.saturating_sub(sent_ms) < REMEMBERED_MS;
        let date_ms = date_of(&record.message_id);
        let server_ms = self.state.clocks.server_ms(self.clock.now());
        let by_own = date_ms.is_some_and(|date_ms| is_recent(self.unix_ms(), date_ms));
        let by_its = server_ms.filter(|_| record.server_ms > 0);
        by_own || by_its.is_some_and(|now_ms| is_recent(now_ms, record.server_ms))
    }

    pub(in crate::client) fn on_last_sent(
        &mut self,
        id: ConversationId,
        since: u64,
        answer: Answer<rpc::BatchEnqueue>,
    ) {
        let is_lost = match answer {
            Ok(answer) => !answer.duplicate,
            Err(fault) => matches!(
                fault.status,
                Status::Conflict | Status::NotFound | Status::Forbidden
            ),
        };
        let is_known = self.is_doubted(id) || self.is_logging_out();
        if is_lost && !is_known && self.link.is_ready() {
            return self.server_set_back(since);
        }
        self.note_sound();
        for id in self.state.conversations.keys().copied().collect::<Vec<_>>() {
            self.drive(id);
        }
    }

    /// The queues were found as they were left, and the message that the server took last: what was sent before this
    /// opening is not asked for again.
    pub(in crate::client) fn note_sound(&mut self) {
        if self.is_synced() && !self.awaits_last_sent() {
            // Stored with the next opening.
            self.state.openings.sound = self.state.openings.current();
        }
    }

    /// Whether it is still to be heard if the server has what it took last. What is sent before that would be what it
    /// took last the next time.
    pub(in crate::client) fn awaits_last_sent(&self) -> bool {
        self.timers.is_set(Timer::LastSent)
            || self
                .link
                .any_asked(|then| matches!(then, Then::LastSent(..)))
    }

    fn mark_lost(&mut self, id: ConversationId, index: u64) {
        if let Some(record) = self.state.sent.get_mut(&(id, index)) {
            record.again = true;
            self.writer.put(&Name::Sent(id, index), record);
        }
    }

    /// Reads what is to be sent again, the newest first.
    pub(in crate::client) fn read_what_was_lost(&mut self) {
        let lost = self
            .state
            .sent
            .iter()
            .rev()
            .filter(|(_, record)| record.again);
        for (id, index) in lost.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.read_to_send(id, index);
        }
    }

    /// The server has a message of ours: remembers that for as long as it may be asked for again.
    pub(in crate::client) fn note_sent(
        &mut self,
        id: ConversationId,
        index: u64,
        sent: &OutgoingRecord,
    ) {
        let record = SentRecord {
            message_id: sent.message_id.clone(),
            opening: self.state.openings.current(),
            again: false,
            repeated: sent.again,
            server_ms: self
                .state
                .clocks
                .server_ms(self.clock.now())
                .unwrap_or_default(),
        };
        self.writer.put(&Name::Sent(id, index), &record);
        self.state.sent.insert((id, index), record);
        let sent = self.state.sent.range((id, 0)..=(id, u64::MAX));
        let sent: Vec<u64> = sent.map(|((_, index), _)| *index).collect();
        for index in sent.iter().rev().skip(SENT_AGAIN) {
            self.forget_sent(id, *index);
        }
    }

    fn forget_sent(&mut self, id: ConversationId, index: u64) {
        self.state.sent.remove(&(id, index));
        self.writer.delete(&Name::Sent(id, index));
    }

    /// Somebody came into the conversation: what was said before is not for them.
    pub(in crate::client) fn note_addition(&mut self, id: ConversationId) {
        self.note_move(id, |moves, said| moves.came = said);
    }

    /// Somebody went: what was said before was for them, too.
    pub(in crate::client) fn note_removal(&mut self, id: ConversationId) {
        self.note_move(id, |moves, said| moves.went = said);
    }

    fn note_move(&mut self, id: ConversationId, note: impl FnOnce(&mut MovesRecord, u64)) {
        let said = self.state.conversations.get(&id);
        let said = said.map_or(0, |channel| channel.messages);
        let moves = self.state.moves.entry(id).or_default();
        note(moves, said);
        self.writer.put(&Name::Moves(id), moves);
    }

    fn read_to_send(&mut self, id: ConversationId, index: u64) {
        let ticket = self.writer.ticket();
        // Behind the commits before it, so it sees what they wrote.
        self.writer.effect(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command: Command::Scan(Scan {
                start: keys::history(id, index).into(),
                end: keys::history(id, index.saturating_add(1)).into(),
                direction: Direction::Forward,
                items: PIECES,
                bytes: BYTES,
            }),
        });
        self.resending.insert(ticket, (id, index));
    }

    /// A message that is to be sent again was read; whether this was one.
    pub(in crate::client) fn resend(&mut self, ticket: Ticket, reply: &Reply) -> bool {
        let Some((conversation, index)) = self.resending.remove(&ticket) else {
            return false;
        };
        let Some(sent) = self.state.sent.get(&(conversation, index)).cloned() else {
            return true;
        };
        self.forget_sent(conversation, index);
        match self.read_message(reply) {
            Some(message) if self.can_still_send(conversation) => {
                let record = OutgoingRecord {
                    message_id: sent.message_id,
                    app: message.app,
                    request: Bytes::new(),
                    index: Some(index),
                    again: true,
                };
                self.queue_message(conversation, record);
                self.drive(conversation);
            }
            // The conversation has ended meanwhile, or the message is gone.
            _ => self.say_unsent(conversation, index),
        }
        true
    }

    /// Not all are there any more who were when this was sent: what the server lost is sent again to the others.
    pub(super) fn say_not_for_all(&mut self, conversation: ConversationId) {
        let of_it = (conversation, 0)..=(conversation, u64::MAX);
        let read = self.state.outgoing.range(of_it.clone());
        let read = read.filter(|(_, record)| record.again);
        let read = read.filter_map(|(_, record)| record.index);
        let lost = self.state.sent.range(of_it);
        let lost = lost.filter(|(_, record)| record.again);
        let lost = lost.map(|((_, index), _)| *index);
        let unsent: BTreeSet<u64> = read.chain(lost).collect();
        if !unsent.is_empty() {
            let unsent = unsent.into_iter().map(|index| Unsent {
                conversation,
                index,
            });
            let unsent = unsent.collect();
            self.writer.emit(Event::ServerSetBack { unsent });
        }
    }

    fn can_still_send(&self, id: ConversationId) -> bool {
        self.phase(id).is_some_and(|phase| phase.error().is_none())
    }

    fn read_message(&mut self, reply: &Reply) -> Option<HistoryRecord> {
        let Reply::Rows { rows, .. } = reply else {
            return None;
        };
        let mut pieces = BTreeMap::new();
        for (key, sealed) in rows {
            let value = self.writer.sealer().open(key, sealed)?;
            pieces.insert(keys::split_piece(key)?.1, value);
        }
        (!pieces.is_empty()).then_some(())?;
        record::read(&join_pieces(&pieces)?)
    }
}

/// When the id of a message was made, a UUID v7, in milliseconds since 1970.
fn date_of(message_id: &[u8]) -> Option<u64> {
    let (date, _) = message_id.split_first_chunk::<6>()?;
    let [a, b, c, d, e, f] = *date;
    Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}
