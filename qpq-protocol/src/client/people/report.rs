//! Fork reports: what this device holds of a group, told to a few of its members, so that a server or a
//! member that splits a group is found out (protocol.md §5.13, §5.31).
//!
//! ```text
//!   came back by an external commit -> to members of the tree of before
//!   a generation met twice ---------+
//!   two commits proven for a slot --+-> to members      owed --> key fetched --> sealed --> sent
//!   a member's report --------------> an answer to it        ^--- another slot --+
//! ```
//!
//! Nothing waits for a report, and what the server refuses ends nothing. The server takes one for the
//! channel's slot only, so anyone who reads it has read all commits before that, and none after.

use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_crypto::hybrid::{HybridPublicKey, seal_authenticated};

use crate::client::event::{CommitProof, ConversationId};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{ForksRecord, OwedRecord, SaidRecord};
use crate::client::link::fault::Fault;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::{Pause, Timer};
use crate::client::{Client, encoded};
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::proto::delivery_payload::Payload;
use crate::status::Status;

/// Members who are told of one event.
const RECIPIENTS: usize = 4;
/// Reports of one's own accord in an hour and conversation.
const HOURLY: usize = 12;
/// Answers in an hour and conversation.
const ANSWERS_HOURLY: usize = 12;
/// Of these to one member.
const ANSWERS_EACH: usize = 3;
/// An hour, in milliseconds.
const HOUR_MS: u64 = 3_600_000;
/// Reports that are remembered as sent: more than an hour can have.
const SAID: usize = 32;
/// A report is sealed again for a later slot so often.
const MISSES: u32 = 8;
/// The first words of what a report is sealed with; the channel's id follows.
const CONTEXT: &[u8] = b"qpq fork report v1";

/// What a report is sealed with and nobody sends: it opens in its channel alone.
pub(super) fn associated_data(id: ConversationId) -> Vec<u8> {
    [CONTEXT, id.as_bytes()].concat()
}

impl ForksRecord {
    /// Whether this member is told, or was, of the slot.
    fn knows(&self, who: &IdentityKey, slot: u64) -> bool {
        let mut owed = self.owed.iter();
        let mut said = self.said.iter();
        owed.any(|owed| owed.recipient == who.as_bytes())
            || said.any(|said| said.recipient == who.as_bytes() && said.slot == slot)
    }

    /// How many reports of these there were in the last hour, those to come included.
    fn hourly(&self, now_ms: u64, of: impl Fn(&[u8], bool) -> bool) -> usize {
        let said = self.said.iter();
        let recent = said.filter(|said| now_ms.abs_diff(said.said_at_ms) < HOUR_MS);
        let recent = recent.filter(|said| of(&said.recipient, said.answer));
        let owed = self.owed.iter();
        recent.count() + owed.filter(|owed| of(&owed.recipient, owed.answer)).count()
    }

    fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl Client {
    /// Something was odd, or this device has just come back: tells some of these what it holds of the group.
    pub(in crate::client) fn report(&mut self, id: ConversationId, to: &BTreeSet<IdentityKey>) {
        let now_ms = self.unix_ms();
        let (Some(slot), Some(own)) = (self.last_slot(id), self.state.identity_key()) else {
            return;
        };
        let forks = self.state.forks.entry(id).or_default();
        let is_open = |key: &&IdentityKey| **key != own && !forks.knows(key, slot);
        let mut open: Vec<IdentityKey> = to.iter().filter(is_open).copied().collect();
        let left = HOURLY.saturating_sub(forks.hourly(now_ms, |_, answer| !answer));
        if open.is_empty() || left == 0 {
            return;
        }
        for _ in 0..RECIPIENTS.min(left).min(open.len()) {
            let places = u64::try_from(open.len()).unwrap_or_default();
            let place = usize::try_from(self.rng.below(places)).unwrap_or_default();
            forks.owed.push(OwedRecord {
                recipient: open.swap_remove(place).as_bytes().to_vec(),
                ..OwedRecord::default()
            });
        }
        self.save_forks(id);
        self.drive_reports(id);
    }

    /// A member has told what it holds, and is told the same of this device.
    pub(super) fn answer_report(&mut self, id: ConversationId, to: IdentityKey) {
        let now_ms = self.unix_ms();
        let Some(slot) = self.last_slot(id) else {
            return;
        };
        let forks = self.state.forks.entry(id).or_default();
        let is_of = |key: &[u8]| key == to.as_bytes();
        if forks.knows(&to, slot)
            || forks.hourly(now_ms, |_, answer| answer) >= ANSWERS_HOURLY
            || forks.hourly(now_ms, |key, answer| answer && is_of(key)) >= ANSWERS_EACH
        {
            return;
        }
        forks.owed.push(OwedRecord {
            recipient: to.as_bytes().to_vec(),
            answer: true,
            ..OwedRecord::default()
        });
        self.save_forks(id);
        self.drive_reports(id);
    }

    /// Writes what there is of reports, or forgets it.
    pub(super) fn save_forks(&mut self, id: ConversationId) {
        match self.state.forks.get(&id) {
            Some(forks) if !forks.is_empty() => self.writer.put(&Name::Forks(id), forks),
            Some(_) => self.forget_reports(id),
            None => {}
        }
    }

    /// There is no group any more to tell of.
    pub(in crate::client) fn forget_reports(&mut self, id: ConversationId) {
        if self.state.forks.remove(&id).is_some() {
            self.writer.delete(&Name::Forks(id));
        }
    }

    /// Does what comes next for the reports that are owed.
    pub(in crate::client) fn drive_reports(&mut self, id: ConversationId) {
        if !self.link.is_ready() {
            return;
        }
        self.publish_hybrid_key();
        self.compare_waiting(id);
        let is_asked = |then: &Then| matches!(then, Then::HybridKeys(of, _) if *of == id);
        if !self.can_report(id) {
            return;
        }
        let owed = self.state.forks.get(&id).map(|forks| forks.owed.clone());
        let mut lacking = Vec::new();
        for owed in owed.unwrap_or_default() {
            let Ok(to) = IdentityKey::try_from(owed.recipient.as_slice()) else {
                continue;
            };
            let then = Then::Report(id, to);
            if owed.request.is_empty() {
                lacking.push(to);
            } else if !self.link.is_asked(&then) {
                self.call_kept::<rpc::Enqueue>(&owed.request, then);
            }
        }
        if !lacking.is_empty() && !self.link.any_asked(is_asked) {
            let bytes = |key: &IdentityKey| Bytes::copy_from_slice(key.as_bytes());
            let request = proto::FetchHybridKeysRequest {
                identity_keys: lacking.iter().map(bytes).collect(),
            };
            self.call::<rpc::FetchHybridKeys>(&request, Then::HybridKeys(id, lacking));
        }
    }

    /// Whether this device is where the channel is, as far as it knows.
    fn can_report(&self, id: ConversationId) -> bool {
        self.last_slot(id).is_some()
            && !self.state.drafts.contains_key(&id)
            && !self.timers.is_set(Timer::Conversation(id, Pause::Report))
            && !self.is_behind(id)
    }

    pub(in crate::client) fn on_hybrid_keys(
        &mut self,
        id: ConversationId,
        of: Vec<IdentityKey>,
        answer: Answer<rpc::FetchHybridKeys>,
    ) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) if fault.is_passing() => return self.wait_to_report(id, &fault),
            Err(_) => proto::FetchHybridKeysResponse::default(),
        };
        if !self.can_report(id) {
            // Asked for again when it can.
            return;
        }
        let (mut keys, mut signatures) = (answer.keys.iter(), answer.signatures.iter());
        let mut dates = answer.created_at_ms.iter();
        for who in of {
            let given = (keys.next(), signatures.next(), dates.next());
            let key = match given {
                (Some(key), Some(signature), Some(date)) => {
                    self.trusted_key(who, (key, signature, *date))
                }
                _ => None,
            };
            // Who has no key is passed over.
            match key.and_then(|key| self.seal_report(id, who, &key)) {
                Some((slot, request)) => self.change_owed(id, who, |owed| {
                    owed.slot = slot;
                    owed.request = request;
                }),
                None => self.drop_owed(id, who, false),
            }
        }
        self.save_forks(id);
        self.drive_reports(id);
    }

    /// What this device holds of the group, sealed to a member, and the slot that it is about; `None` where
    /// nothing can be told, or nothing new.
    fn seal_report(
        &mut self,
        id: ConversationId,
        to: IdentityKey,
        key: &HybridPublicKey,
    ) -> Option<(u64, Bytes)> {
        let slot = self.last_slot(id)?;
        let forks = self.state.forks.get(&id)?;
        let mut owed = forks.owed.iter();
        let answer = owed
            .find(|owed| owed.recipient == to.as_bytes() && owed.request.is_empty())?
            .answer;
        let mut said = forks.said.iter();
        if said.any(|said| said.recipient == to.as_bytes() && said.slot == slot) {
            return None;
        }
        let (_, group) = self.state.group(id)?;
        let (epoch, authenticator) = (group.epoch(), group.epoch_authenticator());
        let proof = self.state.proofs.get(&id).and_then(|held| held.of(slot));
        let bytes = |of: fn(&CommitProof) -> &[u8]| -> Bytes {
            proof.map_or_else(Bytes::new, |proof| Bytes::copy_from_slice(of(proof)))
        };
        let report = proto::ForkReport {
            channel_id: Bytes::copy_from_slice(id.as_bytes()),
            slot,
            commit_hash: bytes(|proof| &proof.commit_hash),
            commit_proof: bytes(|proof| &proof.proof),
            epoch,
            epoch_authenticator: authenticator.into(),
            sender_key: bytes(|proof| proof.sender.as_bytes()),
            answer,
        };
        let (seed, me) = (self.rng.seed(), self.state.me.as_ref()?);
        let sealed = seal_authenticated(
            &me.identity,
            key,
            &associated_data(id),
            &encoded(&report),
            &seed,
        );
        let payload = proto::DeliveryPayload {
            payload: Some(Payload::ForkReport(sealed.ok()?.into())),
        };
        let request = proto::EnqueueRequest {
            recipient_key: Bytes::copy_from_slice(to.as_bytes()),
            payload: encoded(&payload),
            channel_id: Bytes::copy_from_slice(id.as_bytes()),
            message_id: Bytes::copy_from_slice(&self.rng.child().uuid_v7(self.clock.unix())),
            channel_slot: Some(slot.saturating_add(1)),
            ..Default::default()
        };
        Some((slot, encoded(&request)))
    }

    pub(in crate::client) fn on_reported(
        &mut self,
        id: ConversationId,
        to: IdentityKey,
        answer: Answer<rpc::Enqueue>,
    ) {
        match answer {
            Ok(_) => self.drop_owed(id, to, true),
            // It is about another slot than the channel's, which the server names.
            Err(fault)
                if fault.status == Status::Conflict
                    || fault.status == Status::BadRequest && fault.slot > 0 =>
            {
                let mut misses = 0;
                self.change_owed(id, to, |owed| {
                    owed.request.clear();
                    owed.misses = owed.misses.saturating_add(1);
                    misses = owed.misses;
                });
                if misses >= MISSES {
                    self.drop_owed(id, to, false);
                }
                let at = self.clock.now() + self.config.backoff_base + self.backoff(misses.min(6));
                self.timers.hold(Timer::Conversation(id, Pause::Report), at);
                if !self.know_slot(id, fault.slot) {
                    self.fetch(Some(id));
                }
            }
            Err(fault) if fault.is_passing() => self.wait_to_report(id, &fault),
            // Refused since the session had ended meanwhile: it is sent again in the next.
            Err(_) if self.session_missing().is_some() || self.is_logging_out() => {}
            // The member is not there any more, or has no room.
            Err(_) => self.drop_owed(id, to, false),
        }
        self.save_forks(id);
        self.drive_reports(id);
    }

    /// Nobody is in a hurry for a report.
    fn wait_to_report(&mut self, id: ConversationId, fault: &Fault) {
        let at = self.clock.now() + self.pause(fault) + self.backoff(8);
        self.timers.hold(Timer::Conversation(id, Pause::Report), at);
    }

    fn change_owed(
        &mut self,
        id: ConversationId,
        to: IdentityKey,
        change: impl FnOnce(&mut OwedRecord),
    ) {
        let forks = self.state.forks.get_mut(&id);
        let owed = forks.and_then(|forks| {
            let mut owed = forks.owed.iter_mut();
            owed.find(|owed| owed.recipient == to.as_bytes())
        });
        if let Some(owed) = owed {
            change(owed);
        }
    }

    /// The report to this member is done with; whether the server took it.
    fn drop_owed(&mut self, id: ConversationId, to: IdentityKey, is_said: bool) {
        let now_ms = self.unix_ms();
        let Some(forks) = self.state.forks.get_mut(&id) else {
            return;
        };
        let place = forks
            .owed
            .iter()
            .position(|owed| owed.recipient == to.as_bytes());
        let Some(owed) = place.map(|place| forks.owed.remove(place)) else {
            return;
        };
        if is_said {
            if forks.said.len() >= SAID {
                forks.said.remove(0);
            }
            forks.said.push(SaidRecord {
                recipient: owed.recipient,
                answer: owed.answer,
                slot: owed.slot,
                said_at_ms: now_ms,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each member once a slot, and so many in an hour, whichever way the clock jumps.
    #[test]
    fn what_was_said_counts_for_an_hour() {
        let said = |who: u8, answer, slot, said_at_ms| SaidRecord {
            recipient: vec![who; 32],
            answer,
            slot,
            said_at_ms,
        };
        let owed = OwedRecord {
            recipient: vec![3; 32],
            ..OwedRecord::default()
        };
        let forks = ForksRecord {
            owed: vec![owed],
            said: vec![said(1, false, 7, HOUR_MS), said(2, true, 8, 2 * HOUR_MS)],
            ..ForksRecord::default()
        };
        assert!(forks.knows(&IdentityKey([1; 32]), 7) && !forks.knows(&IdentityKey([1; 32]), 8));
        assert!(forks.knows(&IdentityKey([3; 32]), 9), "on its way");
        let own = |now_ms| forks.hourly(now_ms, |_, answer| !answer);
        assert_eq!(
            [own(HOUR_MS), own(2 * HOUR_MS - 1), own(2 * HOUR_MS)],
            [2, 2, 1]
        );
        assert_eq!(own(1), 2, "the clock fell");
        assert_eq!(forks.hourly(HOUR_MS + 1, |_, answer| answer), 1);
    }
}
