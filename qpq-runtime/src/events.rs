//! Who hears what the core tells: streams of all events, and those who wait for the end of one thing they asked for.

use std::collections::BTreeMap;
use std::convert::Infallible;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::ids::IntentId;
use qpq_protocol::io::Core;

use crate::node::Message;

/// Events that may wait in a stream.
const WAITING: usize = 256;

/// Everyone who hears events of the type `E`.
pub(crate) struct Audience<E> {
    streams: Vec<Sender<E>>,
    asked: BTreeMap<IntentId, Sender<E>>,
    /// Those who wait until nothing more is sent; they hear of it when these are gone.
    listeners: Vec<Sender<Infallible>>,
    /// Given by the one who asks: a core of which nothing is asked has no such events.
    end_of: fn(&E) -> Option<IntentId>,
}

impl<E: Clone> Audience<E> {
    pub(crate) const fn new() -> Self {
        Self {
            streams: Vec::new(),
            asked: BTreeMap::new(),
            listeners: Vec::new(),
            end_of: |_| None,
        }
    }

    /// One more stream, of all that is told from now on.
    pub(crate) fn join(&mut self) -> Receiver<E> {
        let (stream, events) = bounded(WAITING);
        self.streams.push(stream);
        events
    }

    /// Hands the event that tells the end of an intent to the one who asked for it.
    pub(crate) fn await_end(
        &mut self,
        intent: IntentId,
        end_of: fn(&E) -> Option<IntentId>,
        asker: Sender<E>,
    ) {
        self.end_of = end_of;
        self.asked.insert(intent, asker);
    }

    /// Keeps this until nothing more is sent.
    pub(crate) fn await_quiet(&mut self, listener: Sender<Infallible>) {
        self.listeners.push(listener);
    }

    pub(crate) fn tell_quiet(&mut self) {
        self.listeners.clear();
    }

    /// Whether every stream has room for one more event.
    pub(crate) fn has_room(&mut self) -> bool {
        self.streams.retain(|stream| !stream.is_closed());
        !self.streams.iter().any(Sender::is_full)
    }

    pub(crate) fn tell(&mut self, event: E) {
        // Anyone who does not wait any more is none the worse for what can't be handed over.
        if let Some(asker) = (self.end_of)(&event).and_then(|intent| self.asked.remove(&intent)) {
            let _ = asker.try_send(event.clone());
        }
        if let Some((last, others)) = self.streams.split_last() {
            for stream in others {
                let _ = stream.try_send(event.clone());
            }
            let _ = last.try_send(event);
        }
    }
}

/// A stream of all that the core tells, from where it begins on. Drop it if you take no more of it: while one stream
/// is full, nobody is told anything.
pub struct Events<C: Core + 'static> {
    pub(crate) events: Receiver<C::Event>,
    pub(crate) inbox: Sender<Message<C>>,
}

impl<C: Core + 'static> Events<C> {
    /// The next event; `None` when the node has stopped. If the future is dropped, no event is lost. For a second
    /// stream see [`Node::events`](crate::Node::events).
    ///
    /// A client whose events are not taken stops reading from its server after about a thousand of them; a server
    /// drops those that do not fit.
    pub async fn next(&mut self) -> Option<C::Event> {
        let event = self.events.recv().await.ok();
        // It was full until now, perhaps only while this was waited for: the driver may have more and not know that
        // there is room.
        if self.events.len() + 1 >= WAITING {
            crate::node::wake(&self.inbox);
        }
        event
    }
}

impl<C: Core + 'static> Drop for Events<C> {
    fn drop(&mut self) {
        self.events.close();
        // If this one was full, others may hear more now.
        crate::node::wake(&self.inbox);
    }
}

impl<C: Core + 'static> core::fmt::Debug for Events<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Events").field(&self.events.len()).finish()
    }
}
