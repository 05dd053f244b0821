//! What members tell of the group they hold, compared with what this device holds (protocol.md §5.13).
//!
//! It is shown, and never acted upon: anyone who is in the group can say anything of it, and only two valid
//! proofs by the server are evidence of anything.

use bytes::Bytes;
use qpq_crypto::hybrid::{AUTHENTICATED_OVERHEAD, open_authenticated};
use sha2::{Digest as _, Sha256};

use super::report::associated_data;
use crate::client::Client;
use crate::client::error::UnreadableReason;
use crate::client::event::{CommitProof, Comparison, ConversationId, Event};
use crate::client::keep::record::WaitingRecord;
use crate::client::talk::channel::Phase;
use crate::ids::IdentityKey;
use crate::proto;
use crate::wire;

/// Longest report, in bytes: it has some 300.
const MAX_REPORT: usize = 1024;
/// Longest epoch authenticator, in bytes.
const MAX_AUTHENTICATOR: usize = 64;
/// Reports that wait for their slot, of a conversation.
const WAITING: usize = 4;
/// A report is waited for over this many slots.
const AHEAD: u64 = 16;
/// Reports that are known again.
const HEARD: usize = 16;

/// A report whose parts are what they should be.
struct Report {
    slot: u64,
    /// `None` where the member came in by the Welcome of that commit.
    proof: Option<CommitProof>,
    epoch: u64,
    authenticator: Bytes,
    answer: bool,
}

impl Client {
    /// Takes in a sealed report.
    pub(in crate::client) fn take_report(
        &mut self,
        id: ConversationId,
        sealed: &[u8],
    ) -> Result<(), UnreadableReason> {
        match self.phase(id) {
            Some(Phase::Active) => {}
            // What its members hold is nothing any more to who leaves.
            Some(Phase::Leaving) => return Ok(()),
            _ => return Err(UnreadableReason::NoConversation),
        }
        let bad = UnreadableReason::BadReport;
        if sealed.len() > AUTHENTICATED_OVERHEAD + MAX_REPORT {
            return Err(bad);
        }
        let secret = self.hybrid_secret().ok_or(bad)?;
        let opened = open_authenticated(&secret, &associated_data(id), sealed);
        let (by, content) = opened.map_err(|_| bad)?;
        let content = Bytes::from(content);
        if !self.is_or_was_in(id, by) {
            return Err(bad);
        }
        let report = self.read_report(id, content.clone()).ok_or(bad)?;
        if !self.is_new(id, by, &content) {
            return Ok(());
        }
        match self.compare(id, &report) {
            Some(result) => self.compared(id, by, &report, result),
            None => self.keep_waiting(id, by, report.slot, content),
        }
        self.save_forks(id);
        Ok(())
    }

    /// Whether this account is in the tree, or went from one that this device was in.
    fn is_or_was_in(&mut self, id: ConversationId, who: IdentityKey) -> bool {
        let channel = self.state.conversations.get(&id);
        let was_in = channel.is_some_and(|channel| channel.gone.contains(&who));
        was_in || self.identities(id).contains(&who)
    }

    /// `None` if it is of another channel, ill-formed, or names a proof that the server did not sign.
    fn read_report(&self, id: ConversationId, content: Bytes) -> Option<Report> {
        let report: proto::ForkReport = wire::decode_fork_report(content).ok()?;
        let authenticator = report.epoch_authenticator;
        if report.channel_id != id.as_bytes().as_slice()
            || !(1..=MAX_AUTHENTICATOR).contains(&authenticator.len())
        {
            return None;
        }
        let (hash, proof, sender) = (report.commit_hash, report.commit_proof, report.sender_key);
        let proof = match hash.is_empty() && proof.is_empty() && sender.is_empty() {
            true => None,
            false => {
                let hash: [u8; 32] = hash.as_ref().try_into().ok()?;
                Some(self.verified(id, report.slot, (&hash, &sender), &proof)?)
            }
        };
        Some(Report {
            slot: report.slot,
            proof,
            epoch: report.epoch,
            authenticator,
            answer: report.answer,
        })
    }

    /// Whether the same was not told before by the same member; from now on it was.
    fn is_new(&mut self, id: ConversationId, by: IdentityKey, content: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(by.as_bytes())
            .chain_update(content)
            .finalize()
            .into();
        let mark = hash.first_chunk::<16>().map_or_else(Vec::new, Vec::from);
        let heard = &mut self.state.forks.entry(id).or_default().heard;
        if heard.contains(&mark) {
            return false;
        }
        if heard.len() >= HEARD {
            heard.remove(0);
        }
        heard.push(mark);
        true
    }

    /// What comes of a report; `None` while this device is not yet where it can tell.
    fn compare(&mut self, id: ConversationId, report: &Report) -> Option<Comparison> {
        let held = self.state.proofs.get(&id);
        let held = held.and_then(|held| held.of(report.slot));
        if let (Some(held), Some(theirs)) = (held, &report.proof)
            && held.server_epoch == theirs.server_epoch
            && (held.commit_hash, held.sender) != (theirs.commit_hash, theirs.sender)
        {
            let event = Event::Forked {
                conversation: id,
                slot: report.slot,
                proofs: [held.clone(), theirs.clone()],
            };
            self.tell(id, event);
            return Some(Comparison::OtherCommit);
        }
        let Some(last) = self.last_slot(id) else {
            // On its way back into the group, this device will be in a later slot than it has seen.
            let next = self.state.conversations.get(&id)?.slot.next();
            let waits = (next..=next.saturating_add(AHEAD)).contains(&report.slot);
            return (!waits).then_some(Comparison::NotComparable);
        };
        let is_seen = self.state.conversations.get(&id)?.slot.is_seen();
        let (_, group) = self.state.group(id)?;
        if group.epoch() == report.epoch {
            return Some(match group.epoch_authenticator() == report.authenticator {
                true => Comparison::Agrees,
                false => Comparison::OtherTree,
            });
        }
        match report.slot {
            // After the same commits, two in one tree are in the same epoch.
            slot if slot == last && is_seen => Some(Comparison::OtherTree),
            slot if slot > last && slot - last <= AHEAD => None,
            _ => Some(Comparison::NotComparable),
        }
    }

    fn compared(
        &mut self,
        id: ConversationId,
        by: IdentityKey,
        report: &Report,
        result: Comparison,
    ) {
        let event = Event::Compared {
            conversation: id,
            with: self.state.person(by),
            slot: report.slot,
            result,
        };
        self.tell(id, event);
        if result == Comparison::Agrees {
            self.agrees(id, by);
        }
        if !report.answer && result != Comparison::NotComparable {
            self.answer_report(id, by);
        }
    }

    /// Keeps a report until its slot is reached, one a member. The oldest makes room.
    fn keep_waiting(&mut self, id: ConversationId, by: IdentityKey, slot: u64, report: Bytes) {
        let waiting = &mut self.state.forks.entry(id).or_default().waiting;
        let own = waiting.iter().position(|early| early.by == by.as_bytes());
        let place = own.or_else(|| (waiting.len() >= WAITING).then_some(0));
        let gone = place.map(|place| waiting.remove(place));
        waiting.push(WaitingRecord {
            by: by.as_bytes().to_vec(),
            slot,
            report,
        });
        if let Some(gone) = gone {
            self.compare_early(id, &gone);
        }
    }

    /// This device may be further than it was: compares the reports whose slot is reached.
    pub(in crate::client) fn compare_waiting(&mut self, id: ConversationId) {
        let (Some(last), Some(forks)) = (self.last_slot(id), self.state.forks.get_mut(&id)) else {
            return;
        };
        let due = |early: &mut WaitingRecord| early.slot <= last;
        let due: Vec<_> = forks.waiting.extract_if(.., due).collect();
        if due.is_empty() {
            return;
        }
        for early in due {
            self.compare_early(id, &early);
        }
        self.save_forks(id);
    }

    /// Compares a report that has waited, for the last time.
    fn compare_early(&mut self, id: ConversationId, early: &WaitingRecord) {
        let by = IdentityKey::try_from(early.by.as_slice());
        let report = self.read_report(id, early.report.clone());
        if let (Ok(by), Some(report)) = (by, report) {
            let result = self.compare(id, &report);
            let result = result.unwrap_or(Comparison::NotComparable);
            self.compared(id, by, &report, result);
        }
    }
}
