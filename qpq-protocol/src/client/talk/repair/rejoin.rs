//! Coming back into a group whose thread was lost, by external commit (protocol.md §5.31).
//!
//! The group that is held stays until the server has given the external commit its slot, so that a
//! GroupInfo of before is known as such. Until then nothing is sent and commits of others are counted,
//! not judged: they are of epochs that this device does not have.
//!
//! ```text
//!   a commit fits the others only --> ask the members for a fresh GroupInfo (RotateKeys), wait
//!   commits missing, set back ------------------------------> GetGroupInfo, external commit
//!             it does not fit: ask, wait, again -- for 60 s --> a new group of those on the list
//! ```

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::reset::RESET_AFTER;
use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event, RejoinReason};
use crate::client::keep::keys::Name;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::talk::channel::{LONG_AGO, Phase};
use crate::client::talk::slot::Slot;
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;
use crate::time::Time;

/// Random waiting before an attempt, for each device in the tree.
const WAIT_PER_DEVICE: Duration = Duration::from_secs(1);
/// What is under way for groups that this device lost, and for other members' that lost theirs.
#[derive(Default)]
pub(in crate::client) struct Rejoins {
    pub(super) attempts: BTreeMap<ConversationId, Attempt>,
    /// When a fresh GroupInfo that members had asked for came last.
    pub(super) rotated: BTreeMap<ConversationId, Time>,
    /// The seq of the last commit of a later epoch that is void here.
    pub(super) later: BTreeMap<ConversationId, u64>,
    /// The slot of an own commit that is said to have lost against another, which was not seen yet.
    pub(super) denied: BTreeMap<ConversationId, u64>,
}

/// How this device comes back into a group.
pub(super) struct Attempt {
    pub(super) began: Time,
    /// The members are to be asked before the next attempt.
    asks: bool,
    misfits: u32,
    /// The server did not list this account, and was asked to do so again.
    listed_again: bool,
    /// GroupInfos of the group, no older than what is held, whose tree this account is not in.
    pub(super) without: u32,
    /// Whom the app was told of that it would meet again.
    pub(super) returned: BTreeSet<IdentityKey>,
    /// Who is to be in a new group, once there is no other way.
    pub(super) reset: Option<BTreeSet<IdentityKey>>,
}

impl Attempt {
    fn new(began: Time, asks: bool) -> Self {
        Self {
            began,
            asks,
            misfits: 0,
            listed_again: false,
            without: 0,
            returned: BTreeSet::new(),
            reset: None,
        }
    }
}

impl Client {
    /// Follows the group no more, and comes back into it. Other groups are not held up.
    pub(in crate::client) fn rejoin(&mut self, id: ConversationId, why: RejoinReason) {
        match self.phase(id) {
            // Who leaves says so in the epoch that the others are in.
            Some(Phase::Active | Phase::Leaving) if !self.is_rejoining(id) => {}
            _ => return,
        }
        if self.state.drafts.remove(&id).is_some() {
            self.writer.delete(&Name::Draft(id));
            if let Some((device, group)) = self.state.group(id) {
                // Without a pending commit there is nothing to drop.
                _ = group.clear_pending(device);
            }
        }
        self.change_channel(id, |channel| channel.rejoin = Some(why));
        let event = Event::Rejoining {
            conversation: id,
            why,
        };
        self.tell(id, event);
        self.drive(id);
    }

    /// Whether this device lost the thread of the group and is not back in it.
    pub(in crate::client) fn is_rejoining(&self, id: ConversationId) -> bool {
        let channel = self.state.conversations.get(&id);
        channel.is_some_and(|channel| channel.rejoin.is_some())
    }

    /// Does what comes next on the way back, unless it is under way or has to wait.
    pub(in crate::client) fn drive_rejoin(&mut self, id: ConversationId) {
        if self.state.drafts.contains_key(&id) {
            return self.submit(id);
        }
        let waits = [Pause::Rejoin, Pause::Listing]
            .iter()
            .any(|pause| self.timers.is_set(Timer::Conversation(id, *pause)));
        let Some(why) = self
            .state
            .conversations
            .get(&id)
            .and_then(|channel| channel.rejoin)
            .filter(|_| !waits && !self.is_behind(id))
        else {
            return;
        };
        // Others may have lost it by the same commit.
        let new = Attempt::new(self.clock.now(), why == RejoinReason::Unfit);
        let attempt = self.rejoins.attempts.entry(id).or_insert(new);
        if attempt.reset.is_some() {
            return self.drive_reset(id);
        }
        let channel_id = Bytes::copy_from_slice(id.as_bytes());
        let (asks, ask, get) = (attempt.asks, Then::RotateKeys(id), Then::GetGroupInfo(id));
        if self.link.is_asked(&ask) || self.link.is_asked(&get) {
            return;
        }
        match asks {
            true => self.call::<rpc::RotateKeys>(&proto::RotateKeysRequest { channel_id }, ask),
            false => {
                self.call::<rpc::GetGroupInfo>(&proto::GetGroupInfoRequest { channel_id }, get);
            }
        }
    }

    /// The members were asked, or can't be: the one who is in may answer before the next attempt.
    pub(in crate::client) fn on_rotation_asked(
        &mut self,
        id: ConversationId,
        _: Answer<rpc::RotateKeys>,
    ) {
        if self.is_looked_for(id) {
            return self.on_searched_rotation(id);
        }
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
            attempt.asks = false;
        }
        self.wait_to_rejoin(id);
    }

    /// Many may come back at once: each at a moment of its own.
    pub(super) fn wait_to_rejoin(&mut self, id: ConversationId) {
        let devices = match self.state.group(id) {
            Some((_, group)) => group.members().len(),
            None => 1,
        };
        let most =
            WAIT_PER_DEVICE.saturating_mul(u32::try_from(devices.max(1)).unwrap_or(u32::MAX));
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(self.rng.below(micros));
        let at = self.clock.now() + wait;
        self.timers.hold(Timer::Conversation(id, Pause::Rejoin), at);
    }

    pub(in crate::client) fn on_group_info(
        &mut self,
        id: ConversationId,
        answer: Answer<rpc::GetGroupInfo>,
    ) {
        if self.is_looked_for(id) {
            return self.on_searched_info(id, answer);
        }
        if !self.is_rejoining(id) {
            return;
        }
        match answer {
            Err(fault) if fault.status == Status::Forbidden && self.has_left(id) => self.end(id),
            Err(fault) if fault.status == Status::Forbidden => self.shut_out(id),
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Conversation(id, Pause::Rejoin), &fault);
            }
            Err(_) => self.misfit(id),
            Ok(answer) if answer.slot == 0 && self.is_unbegun(id) => self.lost_nothing(id),
            Ok(answer) => self.draft_rejoin(id, answer.group_info, answer.slot),
        }
    }

    /// Whether this device is alone in a group that has had no commit.
    fn is_unbegun(&mut self, id: ConversationId) -> bool {
        let group = self.state.group(id);
        group.is_some_and(|(_, group)| group.epoch() == 0)
    }

    /// There was no commit that this device could have missed.
    fn lost_nothing(&mut self, id: ConversationId) {
        self.change_channel(id, |channel| channel.slot = Slot::FIRST);
        self.is_at_slot(id, 0);
        let before = self.identities(id);
        self.came_back(id, &before);
    }

    /// It may be that this account is out.
    pub(super) fn shut_out(&mut self, id: ConversationId) {
        if self.phase(id) == Some(Phase::Leaving) {
            return self.end(id);
        }
        if self.is_out(id, 1) {
            return self.ended_meanwhile(id);
        }
        self.look_for_the_end(id);
        self.wait_to_rejoin(id);
    }

    /// Comes back by a GroupInfo that is here already.
    pub(super) fn begin_rejoin(&mut self, id: ConversationId, group_info: Bytes, slot: u64) {
        let attempt = Attempt::new(self.clock.now(), false);
        self.rejoins.attempts.insert(id, attempt);
        self.draft_rejoin(id, group_info, slot);
    }

    /// This account was not on the list, asked to be put there again, and is not in the tree: so many
    /// GroupInfos have said that.
    pub(in crate::client) fn is_out(&self, id: ConversationId, without: u32) -> bool {
        let attempt = self.rejoins.attempts.get(&id);
        attempt.is_some_and(|attempt| attempt.listed_again && attempt.without >= without)
    }

    /// While this device could not follow the group, its account was taken out of it, or left.
    pub(in crate::client) fn ended_meanwhile(&mut self, id: ConversationId) {
        self.rejoins.attempts.remove(&id);
        self.is_back(id);
        self.tell(id, Event::Removed { conversation: id });
        self.end(id);
    }

    /// The server was asked to list this account again.
    pub(in crate::client) fn note_listed_again(&mut self, id: ConversationId) {
        if let Some(attempt) = self.rejoins.attempts.get_mut(&id) {
            attempt.listed_again = true;
        }
    }

    /// The GroupInfo does not lead into the group: somebody who is in has to give a fresh one.
    pub(super) fn misfit(&mut self, id: ConversationId) {
        if self.has_left(id) && self.phase(id) != Some(Phase::Leaving) {
            // The others know it, or nobody can be told.
            return self.end(id);
        }
        let now = self.clock.now();
        let Some(attempt) = self.rejoins.attempts.get_mut(&id) else {
            return self.wait_to_rejoin(id);
        };
        attempt.asks = true;
        attempt.misfits = attempt.misfits.saturating_add(1);
        let (misfits, waited) = (attempt.misfits, now.since(attempt.began));
        if waited >= RESET_AFTER {
            return match self.phase(id) {
                Some(Phase::Leaving) => self.leave_unheard(id),
                _ => self.want_reset(id),
            };
        }
        let at = now + self.config.backoff_base + self.backoff(misfits.min(6));
        self.timers.hold(Timer::Conversation(id, Pause::Rejoin), at);
    }

    /// There is no way back in to say that this account leaves: off the list, without a word.
    fn leave_unheard(&mut self, id: ConversationId) {
        self.rejoins.attempts.remove(&id);
        self.fail_messages(id, &IntentError::NotAMember);
        self.change_channel(id, |channel| {
            channel.rejoin = None;
            channel.left_ms = LONG_AGO;
        });
        self.drive(id);
    }

    /// The connection is gone, and with it what was under way over it.
    pub(in crate::client) fn forget_rejoins(&mut self) {
        self.rejoins = Rejoins::default();
        self.forget_searches();
    }
}
