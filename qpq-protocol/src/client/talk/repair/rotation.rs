//! Fresh GroupInfos for members that cannot come back by the one there is: asked for, owed, and given with a commit.

use core::time::Duration;

use crate::client::Client;
use crate::client::event::ConversationId;
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::Phase;

/// Requests for a fresh GroupInfo are answered at most so often.
const ANSWER_EVERY: Duration = Duration::from_secs(10);

impl Client {
    /// A member asks for a fresh GroupInfo: the first leaf commits at once, the others after a random
    /// pause, if nobody has by then.
    pub(in crate::client) fn rotation_requested(&mut self, id: ConversationId) {
        if self.phase(id) != Some(Phase::Active) || self.is_rejoining(id) {
            return;
        }
        if !self.is_rotation_wanted(id) {
            self.change_channel(id, |channel| channel.owes_rotation = true);
        }
        if let Some(last) = self.rejoins.rotated.get(&id).copied() {
            let courtesy = Timer::Conversation(id, Pause::Courtesy);
            self.timers.hold(courtesy, last + ANSWER_EVERY);
        }
        self.give_way(id, None);
        self.drive(id);
    }

    /// Whether a commit is wanted for the GroupInfo that comes with it.
    pub(in crate::client) fn is_rotation_wanted(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| channel.owes_rotation)
    }

    /// A valid commit came, and with it a GroupInfo.
    pub(in crate::client) fn rotated(&mut self, id: ConversationId) {
        let now = self.clock.now();
        if self.is_rotation_wanted(id) {
            self.change_channel(id, |channel| channel.owes_rotation = false);
            self.rejoins.rotated.insert(id, now);
        }
    }
}
