//! Deadlines by name: each has at most one, and the earliest is found without looking at the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::event::ConversationId;
use crate::ids::{IntentId, OwnStream};
use crate::io::Reason;
use crate::time::Time;

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::client) enum Timer {
    /// Connect again.
    Reconnect,
    /// The connection asked for could not be established.
    Connecting,
    /// Load the state again.
    Reload,
    /// The server does not answer this request.
    Request(OwnStream),
    /// Go on with a conversation after a pause.
    Conversation(ConversationId, Pause),
    /// Go on with a queue after the server asked for a pause.
    Queue(Option<ConversationId>),
    /// Go on with key packages after the server asked for a pause.
    Packages,
    /// Go on with registering the device after the server asked for a pause.
    Device,
    /// Show the next opening after the server asked for a pause.
    Chain,
    /// Ask again whether the server has what it took last.
    LastSent,
    /// Ask for names again.
    Names,
    /// List the queues again, in case the word of something new was lost.
    Look,
    /// An intent waited long enough.
    Intent(IntentId),
    /// The requests that run at a shutdown had their time.
    Shutdown,
}

/// Why a conversation waits. Each reason has an end of its own, so that none shortens another, and
/// holds back only what it is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::client) enum Pause {
    /// The server asked for it, or fell behind: nothing is asked of it.
    Server,
    /// Another member may do first what all see is to be done: no commit is begun.
    Courtesy,
    /// Before the next attempt to come back into the group.
    Rejoin,
    /// Before the server is asked again how it has the conversation.
    Doubt,
    /// Before the server is asked again to list this account.
    Listing,
    /// Before fork reports are tried again.
    Report,
    /// Before it is looked again where the others are.
    Ahead,
}

impl Timer {
    fn reason(self) -> Reason {
        match self {
            Self::Reconnect => "connect again",
            Self::Connecting => "connection attempt",
            Self::Reload => "load state again",
            Self::Request(_) => "request",
            Self::Conversation(_, Pause::Server) => "conversation",
            Self::Conversation(_, Pause::Courtesy) => "let others commit first",
            Self::Conversation(_, Pause::Rejoin) => "come back into a group",
            Self::Conversation(_, Pause::Listing) => "ask again to be on a member list",
            Self::Conversation(_, Pause::Report) => "tell members what is held of a group",
            Self::Conversation(_, Pause::Ahead) => "look where the others are",
            Self::Conversation(_, Pause::Doubt) => "ask again how the server has a conversation",
            Self::Queue(_) => "queue",
            Self::Packages => "key packages",
            Self::Device => "device",
            Self::Chain => "chain of openings",
            Self::LastSent => "ask for the message sent last",
            Self::Names => "names",
            Self::Look => "look for news",
            Self::Intent(_) => "intent",
            Self::Shutdown => "shutdown",
        }
    }
}

/// See the page of this module.
#[derive(Default)]
pub(in crate::client) struct Timers {
    by_time: BTreeSet<(Time, Timer)>,
    by_name: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(in crate::client) fn set(&mut self, timer: Timer, at: Time) {
        self.cancel(timer);
        self.by_name.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    /// Sets a deadline, or moves one to later.
    pub(in crate::client) fn hold(&mut self, timer: Timer, at: Time) {
        let later = self.by_name.get(&timer).map_or(at, |set| at.max(*set));
        self.set(timer, later);
    }

    /// Moves a deadline that is set to earlier; whether it was moved.
    pub(super) fn hasten(&mut self, timer: Timer, at: Time) -> bool {
        let moves = self.by_name.get(&timer).is_some_and(|set| at < *set);
        if moves {
            self.set(timer, at);
        }
        moves
    }

    pub(in crate::client) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.by_name.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(in crate::client) fn is_set(&self, timer: Timer) -> bool {
        self.by_name.contains_key(&timer)
    }

    /// Forgets every deadline for which `keep` is false.
    pub(in crate::client) fn retain(&mut self, keep: impl Fn(Timer) -> bool) {
        self.by_name.retain(|timer, _| keep(*timer));
        self.by_time.retain(|(_, timer)| keep(*timer));
    }

    pub(in crate::client) fn next(&self) -> Option<(Time, Reason)> {
        self.by_time
            .first()
            .map(|(at, timer)| (*at, timer.reason()))
    }

    /// Takes out a deadline that is due.
    pub(in crate::client) fn due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_moves_and_fires_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Reconnect, Time::from_micros(5));
        timers.set(Timer::Reload, Time::from_micros(7));
        timers.set(Timer::Reconnect, Time::from_micros(9));
        assert_eq!(
            timers.next(),
            Some((Time::from_micros(7), "load state again"))
        );
        assert_eq!(timers.due(Time::from_micros(6)), None);
        assert_eq!(timers.due(Time::from_micros(9)), Some(Timer::Reload));
        assert_eq!(timers.due(Time::from_micros(9)), Some(Timer::Reconnect));
        assert_eq!(timers.due(Time::MAX), None);
        timers.hold(Timer::Look, Time::from_micros(9));
        timers.hold(Timer::Look, Time::from_micros(5));
        assert_eq!(timers.due(Time::from_micros(8)), None);
        assert_eq!(timers.due(Time::from_micros(9)), Some(Timer::Look));
        assert!(!timers.hasten(Timer::Look, Time::from_micros(9)), "not set");
        timers.set(Timer::Look, Time::from_micros(9));
        assert!(!timers.hasten(Timer::Look, Time::from_micros(9)));
        assert!(timers.hasten(Timer::Look, Time::from_micros(8)));
        assert_eq!(timers.due(Time::from_micros(8)), Some(Timer::Look));
        timers.set(Timer::Names, Time::ZERO);
        timers.retain(|timer| timer != Timer::Names);
        assert!(!timers.is_set(Timer::Names) && timers.next().is_none());
    }
}
