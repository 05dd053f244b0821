//! What an app was about to be told when storage failed: looked for when the state is loaded again.

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event};
use crate::client::outcome::{Outcome, Sent};
use crate::ids::IntentId;
use crate::io::Output;
use crate::storage::Failure;

/// What was promised of steps that did not become durable.
#[derive(Default)]
pub(in crate::client) struct Promises {
    /// Messages that the server took.
    sent: Vec<(IntentId, Sent)>,
    /// Messages that came in.
    came: Vec<crate::client::event::Message>,
    failure: Option<Failure>,
}

impl Client {
    /// Storage failed while these effects were held: says so where an intent had ended, and
    /// remembers what may have become durable all the same.
    pub(in crate::client) fn keep_promises(&mut self, held: Vec<Output<Event>>, failure: Failure) {
        self.promises.failure = Some(failure);
        for effect in held {
            match effect {
                Output::Event(Event::Done {
                    intent,
                    outcome: Outcome::Sent(sent),
                }) => {
                    self.intents.revive(intent);
                    self.promises.sent.push((intent, sent));
                }
                Output::Event(Event::Done { intent, .. }) => {
                    self.intents.revive(intent);
                    self.fail(intent, IntentError::Storage(failure));
                }
                Output::Event(event @ Event::Failed { .. }) => self.writer.emit(event),
                Output::Event(Event::Message(message)) => self.promises.came.push(message),
                _ => {}
            }
        }
    }

    /// The state was loaded again: messages that are durable are done or go on, others have failed.
    pub(in crate::client) fn settle_sent_messages(&mut self) {
        let promises = core::mem::take(&mut self.promises);
        let failure = promises.failure.unwrap_or(Failure::Unknown);
        for message in promises.came {
            if self.holds_message(message.conversation, message.index) {
                self.writer.emit(Event::Message(message));
            }
        }
        for (intent, sent) in promises.sent {
            let message_id = sent.message_id;
            let waiting = self.state.outgoing.iter();
            let mut waiting = waiting.filter(|(_, record)| record.message_id == message_id.0);
            match waiting.next() {
                Some((key, _)) => {
                    let waits = (intent, message_id);
                    // The place was free again, and given to one that was not stored.
                    if let Some((other, _)) = self.intents.sending.insert(*key, waits) {
                        self.fail(other, IntentError::Storage(failure));
                    }
                }
                // It may have been taken and sent in one step, which is undone.
                None if !self.holds_message(sent.conversation, sent.index) => {
                    self.fail(intent, IntentError::Storage(failure));
                }
                None => self.done(intent, Outcome::Sent(sent)),
            }
        }
        let error = IntentError::Storage(failure);
        for (key, (intent, message_id)) in core::mem::take(&mut self.intents.sending) {
            let stored = self.state.outgoing.get(&key);
            if stored.is_some_and(|record| record.message_id == message_id.0) {
                self.intents.sending.insert(key, (intent, message_id));
            } else {
                self.fail(intent, error.clone());
            }
        }
    }

    fn holds_message(&self, id: ConversationId, index: u64) -> bool {
        let known = self.state.conversations.get(&id);
        known.is_some_and(|channel| channel.messages > index)
    }
}
