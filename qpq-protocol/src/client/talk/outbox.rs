//! Messages on their way out: taken durably, encrypted when their turn comes, stored, then sent.
//!
//! One at a time in each conversation, so they arrive in their order. A repeat sends the same bytes
//! under the same message id; only when the server says that the slot is old, and so that it took
//! nothing, is a message encrypted again.

use bytes::Bytes;
use core::time::Duration;

use super::channel::Phase;
use super::history::app_message;
use crate::client::Client;
use crate::client::encoded;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event, Kept, Person, RejoinReason, Unsent};
use crate::client::intent;
use crate::client::intents::{MAX_TEXT, Progress};
use crate::client::keep::keys::Name;
use crate::client::keep::record::OutgoingRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::outcome::{Outcome, Sent};
use crate::ids::{IdentityKey, IntentId, MessageId};
use crate::method::rpc;
use crate::proto;
use crate::proto::app_message::Body;
use crate::proto::delivery_payload::Payload;
use crate::status::Status;
use crate::wire;

/// How long after its proposal one who leaves a DM stays on the server's list: a commit that was on its way
/// then still comes, and the proposal can be made again.
const LEAVING: Duration = Duration::from_secs(5);
/// Somebody has no room to hear that this account leaves: it is said again after so long.
const FULL: Duration = Duration::from_secs(300);

impl Client {
    /// Takes a message into outbox and history.
    pub(in crate::client) fn take_message(
        &mut self,
        intent: IntentId,
        asked: &intent::Send,
    ) -> Progress {
        let (id, text) = (asked.conversation, asked.text.as_str());
        if text.len() > MAX_TEXT {
            return Progress::Failed(IntentError::BadLength { limit: MAX_TEXT });
        }
        let Some(phase) = self.phase(id) else {
            return Progress::Failed(IntentError::UnknownConversation);
        };
        if let Some(error) = phase.error() {
            return Progress::Failed(error);
        }
        let Some(own) = self.state.identity_key() else {
            return Progress::Failed(IntentError::NotLoggedIn);
        };
        if let Some(place) = asked.message_id.and_then(|own| self.waiting_message(own)) {
            return self.wait_for_message(intent, id, place, text);
        }
        let new = || MessageId(self.rng.child().uuid_v7(self.clock.unix()));
        let message_id = asked.message_id.unwrap_or_else(new);
        let chat = proto::Chat {
            text: text.to_owned(),
        };
        let app = app_message(message_id, self.clock.unix(), Body::Chat(chat));
        let app = encoded(&app);
        let index = self.keep_message(id, own, app.clone());
        let record = OutgoingRecord {
            message_id: message_id.0.to_vec(),
            app,
            request: Bytes::new(),
            index,
            again: false,
        };
        let order = self.queue_message(id, record);
        let kept = Kept::Message {
            conversation: id,
            message_id,
        };
        self.keep(intent, kept);
        if self.awaits_agreement(id) {
            return Progress::Failed(IntentError::Unconfirmed);
        }
        self.intents
            .sending
            .insert((id, order), (intent, message_id));
        self.drive(id);
        Progress::Handed
    }

    /// Waits for a message that is in the outbox, in the place of the intent that waited for it before.
    fn wait_for_message(
        &mut self,
        intent: IntentId,
        id: ConversationId,
        place: (ConversationId, u64),
        text: &str,
    ) -> Progress {
        let kept = self.state.outgoing.get(&place);
        let app = kept.and_then(|record| wire::decode_app(record.app.clone()).ok());
        let same = app
            .and_then(|app| app.body)
            .is_some_and(|body| matches!(body, Body::Chat(chat) if chat.text == text));
        let message_id =
            kept.and_then(|record| MessageId::try_from(record.message_id.as_slice()).ok());
        let Some(message_id) = message_id.filter(|_| same && place.0 == id) else {
            return Progress::Failed(IntentError::OtherId);
        };
        let kept = Kept::Message {
            conversation: id,
            message_id,
        };
        if self.awaits_agreement(id) {
            self.keep(intent, kept);
            return Progress::Failed(IntentError::Unconfirmed);
        }
        if let Some((before, _)) = self.intents.sending.insert(place, (intent, message_id)) {
            self.fail(before, IntentError::Busy);
        }
        self.keep(intent, kept);
        self.drive(id);
        Progress::Handed
    }

    /// Tells the members what the group is called.
    pub(super) fn tell_name(&mut self, id: ConversationId) {
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        if id.is_dm() || channel.name.is_empty() {
            return;
        }
        let name = proto::GroupName {
            name: channel.name.clone(),
        };
        let message_id = MessageId(self.rng.child().uuid_v7(self.clock.unix()));
        let app = app_message(message_id, self.clock.unix(), Body::GroupName(name));
        let record = OutgoingRecord {
            message_id: message_id.0.to_vec(),
            app: encoded(&app),
            ..OutgoingRecord::default()
        };
        self.queue_message(id, record);
    }

    /// Puts a message at the end of the conversation's outbox.
    pub(in crate::client) fn queue_message(
        &mut self,
        id: ConversationId,
        record: OutgoingRecord,
    ) -> u64 {
        let last = self
            .state
            .outgoing
            .range((id, 0)..=(id, u64::MAX))
            .next_back();
        let order = last.map_or(0, |((_, order), _)| order.saturating_add(1));
        self.writer.put(&Name::Outgoing(id, order), &record);
        self.state.outgoing.insert((id, order), record);
        order
    }

    /// Whether a proposal to leave is still to be made, for the epoch that there is then.
    pub(super) fn will_propose(&self, id: ConversationId) -> bool {
        let mut waiting = self.state.outgoing.range((id, 0)..=(id, u64::MAX));
        waiting.any(|(_, record)| record.app.is_empty() && record.request.is_empty())
    }

    /// Whether something waits that may be sent.
    pub(super) fn has_messages(&self, id: ConversationId) -> bool {
        self.first_message(id).is_some()
    }

    /// What is to be sent next, and its place. While agreement is awaited, that this account leaves.
    fn first_message(&self, id: ConversationId) -> Option<(u64, &OutgoingRecord)> {
        let waits = self.awaits_agreement(id);
        let mut all = self.state.outgoing.range((id, 0)..=(id, u64::MAX));
        let first = all.find(|(_, record)| !waits || record.app.is_empty());
        first.map(|((_, order), record)| (*order, record))
    }

    /// Sends the first message that waits, if nothing is in its way.
    pub(super) fn drive_outbox(&mut self, id: ConversationId) {
        let Some((order, record)) = self.first_message(id) else {
            return;
        };
        let then = Then::Send(id, order);
        if self.link.is_asked(&then)
            || self.timers.is_set(Timer::Conversation(id, Pause::Server))
            || self.state.drafts.contains_key(&id)
            || self.awaits_last_sent()
        {
            return;
        }
        let record = record.clone();
        if record.app.is_empty() && self.timers.is_set(Timer::Conversation(id, Pause::Listing)) {
            // Off the list, nobody would hear it.
            return;
        }
        if record.request.is_empty() && self.is_behind(id) || !self.may_send(id) {
            return;
        }
        if !record.request.is_empty() {
            return self.send_bytes(id, order, record.request);
        }
        self.encrypt(id, order, record);
    }

    fn send_bytes(&mut self, id: ConversationId, order: u64, request: Bytes) {
        self.call_kept::<rpc::BatchEnqueue>(&request, Then::Send(id, order));
    }

    fn encrypt(&mut self, id: ConversationId, order: u64, mut record: OutgoingRecord) {
        let recipients = self.identities(id);
        if recipients.len() < 2 {
            // Nobody else is there to send it to.
            return self.message_sent(id, order, Vec::new());
        }
        let seed = self.rng.seed();
        let slot = self
            .state
            .conversations
            .get(&id)
            .map_or(0, |channel| channel.slot.next());
        #[cfg(qpq_defects)]
        let is_forgetting = {
            self.state.keep_mls(&mut self.writer);
            crate::defect::seeded!(self.config, GenerationReused)
        };
        let Some((device, group)) = self.state.group(id) else {
            return self.rejoin(id, RejoinReason::State);
        };
        let made = match record.app.is_empty() {
            true => group.leave(device, &seed),
            false => group.encrypt(device, &seed, &record.app),
        };
        #[cfg(qpq_defects)]
        if is_forgetting {
            drop(device.take_batch());
        }
        let message = match made {
            Ok(message) => message,
            Err(_) => return self.rejoin(id, RejoinReason::State),
        };
        let payload = proto::DeliveryPayload {
            payload: Some(Payload::MlsMessage(message.into())),
        };
        let bytes = |key: &IdentityKey| Bytes::copy_from_slice(key.as_bytes());
        let request = proto::BatchEnqueueRequest {
            recipient_keys: recipients.iter().map(bytes).collect(),
            payload: encoded(&payload),
            channel_id: Bytes::copy_from_slice(id.as_bytes()),
            message_id: record.message_id.clone().into(),
            channel_slot: Some(slot),
            ..Default::default()
        };
        record.request = encoded(&request);
        self.writer.put(&Name::Outgoing(id, order), &record);
        let request = record.request.clone();
        self.state.outgoing.insert((id, order), record);
        self.send_bytes(id, order, request);
    }

    pub(in crate::client) fn on_sent(
        &mut self,
        id: ConversationId,
        order: u64,
        answer: Answer<rpc::BatchEnqueue>,
    ) {
        let Some(record) = self.state.outgoing.get(&(id, order)) else {
            return;
        };
        match answer {
            Ok(answer) => {
                let request = wire::decode_request::<rpc::BatchEnqueue>(record.request.clone());
                let keys = request
                    .map(|request| request.recipient_keys)
                    .unwrap_or_default();
                let own = self.state.identity_key();
                let is_proposal = record.app.is_empty() && !id.is_dm();
                let has_no_room = answer
                    .statuses
                    .contains(&u32::from(Status::QuotaExceeded.code()));
                let undelivered: Vec<Person> = keys
                    .iter()
                    .zip(&answer.statuses)
                    .filter(|(_, status)| **status != u32::from(Status::Ok.code()))
                    .filter_map(|(key, _)| IdentityKey::try_from(key.as_ref()).ok())
                    .filter(|key| Some(*key) != own)
                    .map(|key| self.state.person(key))
                    .collect();
                let is_heard = undelivered.len().saturating_add(1) < keys.len();
                if is_proposal && has_no_room {
                    return self.propose_later(id, order, is_heard);
                }
                if record.app.is_empty() && id.is_dm() {
                    let at = self.clock.now() + LEAVING;
                    self.timers
                        .hold(Timer::Conversation(id, Pause::Courtesy), at);
                }
                self.message_sent(id, order, undelivered);
            }
            Err(_) if matches!(self.phase(id), None | Some(Phase::Over)) => {
                self.message_failed(id, order, IntentError::NotAMember);
            }
            // Of another slot than the channel's, which the server names.
            Err(fault)
                if fault.status == Status::Conflict
                    || fault.status == Status::BadRequest && fault.slot > 0 =>
            {
                let mut record = record.clone();
                let request = wire::decode_request::<rpc::BatchEnqueue>(record.request.clone());
                let own = request.ok().and_then(|request| request.channel_slot);
                self.wait_for_server(id, own.unwrap_or_default(), fault.slot);
                record.request.clear();
                self.writer.put(&Name::Outgoing(id, order), &record);
                self.state.outgoing.insert((id, order), record);
                if !self.know_slot(id, fault.slot) {
                    self.fetch(Some(id));
                }
            }
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Server), &fault);
            }
            // Refused since the session had ended meanwhile: it is sent again in the next.
            Err(_) if self.session_missing().is_some() || self.is_logging_out() => {}
            // It took this message when it was encrypted otherwise: the same id may not say two things.
            Err(fault) if fault.status == Status::BadRequest && record.again => {
                self.message_sent(id, order, Vec::new());
            }
            // Thrown off the list, nobody hears that one leaves.
            Err(fault) if fault.status == Status::Forbidden && record.app.is_empty() => {
                self.list_self(id);
            }
            // No channel goes while somebody is in it: the server was set back to before it was made.
            Err(fault) if fault.status == Status::NotFound && self.goes_on(id) => {
                let at = self.clock.now() + self.config.backoff_base + self.backoff(8);
                self.timers.hold(Timer::Conversation(id, Pause::Server), at);
                self.server_set_back(self.state.openings.sound);
            }
            Err(fault) => self.message_failed(id, order, Self::refusal(fault)),
        }
    }

    /// Some of those who could carry it out have no room for it now. Whether others have heard it, it is said again:
    /// they may not mean to.
    fn propose_later(&mut self, id: ConversationId, order: u64, is_heard: bool) {
        let record = OutgoingRecord {
            message_id: self.rng.child().uuid_v7(self.clock.unix()).to_vec(),
            again: is_heard,
            ..OutgoingRecord::default()
        };
        self.writer.put(&Name::Outgoing(id, order), &record);
        self.state.outgoing.insert((id, order), record);
        let at = self.clock.now() + FULL;
        self.timers.hold(Timer::Conversation(id, Pause::Server), at);
        self.drive(id);
    }

    /// Whether others have still to hear that this account leaves.
    pub(super) fn is_leaving_unsaid(&self, id: ConversationId) -> bool {
        let waits = self.awaits_agreement(id);
        let mut waiting = self.state.outgoing.range((id, 0)..=(id, u64::MAX));
        // What is not to be said any more is not waited for.
        waiting.any(|(_, record)| !record.again && (!waits || record.app.is_empty()))
    }

    fn message_sent(&mut self, id: ConversationId, order: u64, undelivered: Vec<Person>) {
        let record = self.drop_message(id, order).unwrap_or_default();
        if let Some(index) = record.index {
            // Where nobody else is there, it was sent to nobody.
            let was_sent = !record.request.is_empty();
            if was_sent {
                self.note_sent(id, index, &record);
            }
            if record.again && !(was_sent && undelivered.is_empty()) {
                // The first time it had reached them, and nobody waits for this answer.
                self.say_unsent(id, index);
            }
        }
        if let Some((intent, message_id)) = self.intents.sending.remove(&(id, order)) {
            let index = record.index.unwrap_or_default();
            let sent = Sent {
                conversation: id,
                message_id,
                index,
                undelivered,
            };
            self.done(intent, Outcome::Sent(sent));
        }
        self.drive(id);
    }

    fn message_failed(&mut self, id: ConversationId, order: u64, error: IntentError) {
        self.give_up(id, order, error);
        self.drive(id);
    }

    /// Nothing can be sent any more.
    pub(in crate::client) fn fail_messages(&mut self, id: ConversationId, error: &IntentError) {
        let orders = self.state.outgoing.range((id, 0)..=(id, u64::MAX));
        let orders: Vec<u64> = orders.map(|((_, order), _)| *order).collect();
        for order in orders {
            self.give_up(id, order, error.clone());
        }
    }

    /// This account is out. Of a message that is on its way the server says whether it took it.
    pub(super) fn fail_unsent(&mut self, id: ConversationId) {
        let orders = self.state.outgoing.range((id, 0)..=(id, u64::MAX));
        let is_on_its_way = |order: u64, record: &OutgoingRecord| {
            record.index.is_some() && self.link.is_asked(&Then::Send(id, order))
        };
        let orders = orders.filter(|((_, order), record)| !is_on_its_way(*order, record));
        let orders: Vec<u64> = orders.map(|((_, order), _)| *order).collect();
        for order in orders {
            self.give_up(id, order, IntentError::NotAMember);
        }
    }

    /// A message is not sent. Where no intent waits to hear that, an event says so.
    fn give_up(&mut self, id: ConversationId, order: u64, error: IntentError) {
        let waiting = self.waiting(id, order);
        let record = self.drop_message(id, order).unwrap_or_default();
        if let Some((intent, _)) = self.intents.sending.remove(&(id, order)) {
            return self.fail(intent, error);
        }
        match (record.index.filter(|_| record.again), waiting) {
            (Some(index), _) => self.say_unsent(id, index),
            (None, Some(message)) if error != IntentError::TakenBack => {
                self.writer.emit(Event::NotSent { message, error });
            }
            _ => {}
        }
    }

    /// A message that the server lost is not sent again.
    pub(in crate::client) fn say_unsent(&mut self, conversation: ConversationId, index: u64) {
        let unsent = vec![Unsent {
            conversation,
            index,
        }];
        self.writer.emit(Event::ServerSetBack { unsent });
    }

    fn drop_message(&mut self, id: ConversationId, order: u64) -> Option<OutgoingRecord> {
        self.writer.delete(&Name::Outgoing(id, order));
        self.state.outgoing.remove(&(id, order))
    }

    /// Whether messages and commits of the conversation have to wait for the queue: who commits twice
    /// without looking into it can't read any more what came before the first.
    pub(in crate::client) fn is_behind(&self, id: ConversationId) -> bool {
        let active = matches!(
            self.phase(id),
            Some(Phase::Active | Phase::Leaving | Phase::Founding)
        );
        let fetches_later = self.timers.is_set(Timer::Queue(Some(id)));
        active && (self.is_fetching(id) || fetches_later || !self.is_listed())
    }
}
