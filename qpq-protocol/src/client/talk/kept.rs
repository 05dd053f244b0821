//! What is kept: acts of the user that are durable, and done without being asked for again. They
//! are told as soon as that is so, and can be taken back until the server may know of them.

use bytes::Bytes;
use prost::Message as _;

use super::channel::{Change, Phase};
use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{Body, ConversationId, Event, Kept, Waiting};
use crate::client::intents::Progress;
use crate::client::keep::keys;
use crate::client::keep::keys::Name;
use crate::client::keep::record::HistoryRecord;
use crate::client::link::rpc::Then;
use crate::client::outcome::Outcome;
use crate::ids::{IdentityKey, IntentId, MessageId};
use crate::proto;
use crate::wire;

/// Pieces that the row of an own message may have, whichever process wrote it.
const MAX_PIECES: u16 = 2;

impl Client {
    /// Says once of an intent that it is kept, as soon as what this step changed is durable.
    pub(in crate::client) fn keep(&mut self, intent: IntentId, kept: Kept) {
        if self.intents.kept.insert(intent) {
            self.writer.emit(Event::Kept { intent, kept });
        }
    }

    pub(in crate::client) fn read_outbox(&self) -> Progress {
        let places = self.state.outgoing.keys();
        let waiting = places.filter_map(|(id, order)| self.waiting(*id, *order));
        Progress::Done(Outcome::Outbox(waiting.collect()))
    }

    /// A message in the outbox, as it is shown.
    pub(super) fn waiting(&self, conversation: ConversationId, order: u64) -> Option<Waiting> {
        let record = self.state.outgoing.get(&(conversation, order))?;
        // Without a place in the history it is nothing that the user wrote.
        record.index?;
        let app = wire::decode_app(record.app.clone()).ok()?;
        Some(Waiting {
            conversation,
            message_id: MessageId::try_from(record.message_id.as_slice()).ok()?,
            body: Body::of(app.body),
            on_its_way: self.is_on_its_way(conversation, order, &record.request),
        })
    }

    /// The place in the outbox of the message with this id.
    pub(super) fn waiting_message(&self, id: MessageId) -> Option<(ConversationId, u64)> {
        let mut waiting = self.state.outgoing.iter();
        waiting
            .find(|(_, record)| record.message_id == id.0)
            .map(|(place, _)| *place)
    }

    pub(in crate::client) fn advance_taking_back(&mut self, kept: Kept) -> Progress {
        let taken = match kept {
            Kept::Message {
                conversation,
                message_id,
            } => self.take_message_back(conversation, message_id),
            Kept::Conversation(id) => self.take_conversation_back(id),
            Kept::Change {
                conversation,
                identity_key,
            } => self.take_change_back(conversation, identity_key),
            Kept::Leaving(_) => Err(IntentError::OnItsWay),
        };
        match taken {
            Ok(()) => Progress::Done(Outcome::TakenBack),
            Err(error) => Progress::Failed(error),
        }
    }

    fn take_message_back(
        &mut self,
        id: ConversationId,
        message_id: MessageId,
    ) -> Result<(), IntentError> {
        let place = self.waiting_message(message_id);
        let Some(place) = place.filter(|(conversation, _)| *conversation == id) else {
            return Err(IntentError::NotKept);
        };
        let Some(record) = self.state.outgoing.get(&place) else {
            return Err(IntentError::NotKept);
        };
        if self.is_on_its_way(id, place.1, &record.request) {
            return Err(IntentError::OnItsWay);
        }
        let index = record.index;
        self.writer.delete(&Name::Outgoing(id, place.1));
        self.state.outgoing.remove(&place);
        if let Some(index) = index {
            self.strike_out(id, index, message_id);
        }
        if let Some((intent, _)) = self.intents.sending.remove(&place) {
            self.fail(intent, IntentError::TakenBack);
        }
        Ok(())
    }

    /// Once it is encrypted nobody knows whether it reached the server, until that has answered.
    fn is_on_its_way(&self, id: ConversationId, order: u64, request: &Bytes) -> bool {
        !request.is_empty() || self.link.is_asked(&Then::Send(id, order))
    }

    /// Takes a message out of the history. An index once given stays with what it was given to, so
    /// only the last one goes without a trace.
    fn strike_out(&mut self, id: ConversationId, index: u64, message_id: MessageId) {
        let is_last = self.change_channel(id, |channel| {
            let is_last = channel.messages == index.saturating_add(1);
            if is_last {
                channel.messages = index;
                channel.read = channel.read.min(index);
            }
            is_last
        });
        let key = keys::history(id, index);
        self.writer.note_pieces(key.clone(), MAX_PIECES);
        match (is_last, self.state.identity_key()) {
            (Some(false), Some(own)) => {
                let body = proto::app_message::Body::Delete(proto::Delete {
                    message_id: Bytes::copy_from_slice(message_id.as_bytes()),
                });
                let app = super::history::app_message(message_id, self.clock.unix(), body);
                let record = HistoryRecord {
                    sender: own.as_bytes().to_vec(),
                    app: crate::client::encoded(&app),
                    stored_at_ms: self.unix_ms(),
                };
                self.writer.put_bytes(key, record.encode_to_vec());
            }
            _ => self.writer.delete_bytes(key),
        }
    }

    fn take_conversation_back(&mut self, id: ConversationId) -> Result<(), IntentError> {
        match self.phase(id) {
            // The server may have made the channel: alone in it, this account is nobody's concern.
            Some(Phase::Creating) if !self.link.is_asked(&Then::CreateChannel(id)) => {
                self.abandon_channel(id, &IntentError::TakenBack);
                Ok(())
            }
            Some(_) => Err(IntentError::OnItsWay),
            None => Err(IntentError::NotKept),
        }
    }

    fn take_change_back(
        &mut self,
        id: ConversationId,
        identity_key: IdentityKey,
    ) -> Result<(), IntentError> {
        let is_it = |change: &Change| change.identity_key == identity_key;
        let Some(channel) = self.state.conversations.get(&id) else {
            return Err(IntentError::NotKept);
        };
        if !channel.wanted.iter().any(is_it) {
            return Err(IntentError::NotKept);
        }
        if self.state.drafts.contains_key(&id) {
            return Err(IntentError::OnItsWay);
        }
        self.change_channel(id, |channel| channel.wanted.retain(|one| !is_it(one)));
        _ = self.change_failed(id, identity_key, &IntentError::TakenBack);
        Ok(())
    }
}
