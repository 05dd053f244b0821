//! Intents and their results, without knowing the core: what a handle such as the adapters' `Node` builds on.
//!
//! The kinds of things to ask a client for are in [`client::intent`](crate::client::intent).

use crate::ids::IntentId;
use crate::io::Core;
use crate::time::Time;

/// A core that takes intents. Each intent ends once, and an event tells how.
pub trait TakesIntents: Core {
    /// All kinds of intents that it takes.
    type Intent: Send + 'static;

    /// States an intent.
    fn begin(&mut self, now: Time, intent: Self::Intent) -> IntentId;

    /// The intent whose end this event tells.
    fn end_of(event: &Self::Event) -> Option<IntentId>;
}

/// One kind of intent, with the type of its result.
pub trait Ask {
    /// The core's type for intents of all kinds.
    type Intent;
    /// The core's events.
    type Event;
    /// The result if the intent succeeds.
    type End;
    /// Why the intent failed.
    type Error;

    /// Converts this intent into the core's type.
    fn into_intent(self) -> Self::Intent;

    /// The result, from the event that told the end of this intent.
    ///
    /// # Errors
    /// Why the intent failed.
    fn end(event: Self::Event) -> Result<Self::End, Self::Error>;
}
