//! Asking a core for something and waiting for what comes of it, without knowing the core: what a handle needs.
//!
//! The kinds of things to ask a client for are in [`client::intent`](crate::client::intent).

use crate::ids::IntentId;
use crate::io::Core;
use crate::time::Time;

/// A core that takes intents; each comes to one end, which an event tells.
pub trait TakesIntents: Core {
    /// What it can be asked for.
    type Intent: Send + 'static;

    /// States an intent.
    fn begin(&mut self, now: Time, intent: Self::Intent) -> IntentId;

    /// The intent whose end this event tells.
    fn end_of(event: &Self::Event) -> Option<IntentId>;
}

/// A kind of things to ask for, which knows what comes of it.
pub trait Ask {
    /// Intents of all kinds.
    type Intent;
    /// What the core tells.
    type Event;
    /// What it gives if it goes well.
    type End;
    /// Why it comes to nothing.
    type Error;

    /// This, as one of all kinds.
    fn into_intent(self) -> Self::Intent;

    /// What the event says that told its end.
    ///
    /// # Errors
    /// Why it came to nothing.
    fn end(event: Self::Event) -> Result<Self::End, Self::Error>;
}
