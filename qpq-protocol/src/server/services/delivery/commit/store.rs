//! The one storage Commit of a submission.

use bytes::Bytes;

use super::reset::Reset;
use super::{After, Found, Submission};
use crate::proto::{self, MembershipChange};
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::services::delivery::payload::{Payload, piece_count, pieces};
use crate::server::services::delivery::queue::Queue;
use crate::server::services::delivery::recipient::{Mailbox, news};
use crate::server::services::membership::membership_push;
use crate::server::services::standing::{By, End, Standing};
use crate::server::step::Next;
use crate::server::txn::{Change, Seen, commit};
use crate::storage::keys;
use crate::storage::records::{CommitMark, Dedupe, Entry, QueueHead, Slot};

impl Submission {
    /// Makes the one Commit of the submission.
    pub(super) fn store(
        self,
        ctx: &mut Ctx<'_>,
        mut after: After,
        mut change: Change,
        deliveries: Vec<(Mailbox, Option<usize>)>,
        heads: Vec<Seen<QueueHead>>,
    ) -> Next<proto::SubmitCommitResponse> {
        let proof = self.proof(ctx);
        let mut effects = core::mem::take(&mut after.effects);
        let mark = CommitMark {
            slot: self.slot,
            sender_key: Bytes::copy_from_slice(self.sender.as_bytes()),
            commit_proof: proof.clone(),
        };
        let count = |welcome: Option<usize>| {
            deliveries
                .iter()
                .filter(|(_, payload)| *payload == welcome)
                .count()
        };
        let commit_copies = count(None);
        let welcome_copies: Vec<usize> = (0..self.welcome_payloads.len())
            .map(|number| count(Some(number)))
            .collect();
        let mut commit_payload = Payload::new(ctx, self.commit.clone(), commit_copies);
        let mut welcomes = Vec::new();
        for (payload, copies) in self.welcome_payloads.iter().zip(&welcome_copies) {
            welcomes.push(Payload::new(ctx, payload.clone(), *copies));
        }
        let limits = &ctx.config.limits;
        let expires_at_ms = (ctx.lasting + limits.ttl_max).as_millis();
        for ((mailbox, welcome), head) in deliveries.into_iter().zip(heads) {
            let mut queue = Queue::new(mailbox.stored, head);
            let (payload, mark) = match welcome.and_then(|number| welcomes.get_mut(number)) {
                Some(payload) => (payload, None),
                None => (&mut commit_payload, Some(mark.clone())),
            };
            let length = payload.bytes().len();
            if queue.has_room(length, limits) {
                let entry = Entry {
                    body: Some(payload.body(&mut change, queue.id())),
                    expires_at_ms,
                    commit: mark.clone(),
                    share: 0,
                };
                let seq = queue.append(&mut change, &entry, length);
                let envelope = envelope(seq, payload.bytes().clone(), mark);
                let news = news(Some(self.channel), envelope, limits.pushed_envelope);
                effects.notify.push((mailbox.named, news));
            } else {
                queue.close();
            }
            queue.write(&mut change);
        }
        for payload in welcomes.iter().chain([&commit_payload]) {
            payload.store(&mut change);
        }
        self.change_members(ctx, &mut change, &mut effects, &after.changed);
        self.change_channel(ctx, &mut change, after, proof.clone())?;
        ctx.leave_untidy();
        commit(ctx, change, move |ctx| {
            ctx.notes.all_used();
            self.answer(proof, false, effects)
        })
    }

    fn change_members(
        &self,
        ctx: &Ctx<'_>,
        change: &mut Change,
        effects: &mut Effects,
        changed: &[Standing],
    ) {
        for standing in changed {
            let member = standing.identity();
            let news = if self.add.contains(member) {
                let by = match standing.is_put_back() {
                    true => By::PutBack,
                    false => By::Other,
                };
                standing.list(change, ctx.date, by);
                MembershipChange::Added
            } else {
                standing.unlist(change, ctx.date, End::Removed { slot: self.slot });
                MembershipChange::Removed
            };
            let push = membership_push(&self.channel, member, news);
            effects.live.push((vec![*member], push));
        }
    }

    fn change_channel(
        &self,
        ctx: &Ctx<'_>,
        change: &mut Change,
        after: After,
        proof: Bytes,
    ) -> Result<(), Fault> {
        let Found {
            mut state,
            dedupe,
            slot,
            channel,
            standing,
        } = after.found;
        state.slot = state.slot.saturating_add(1);
        if !after.changed.is_empty() {
            state.members_version = state.members_version.saturating_add(1);
            state.member_count = u32::try_from(after.count).unwrap_or(u32::MAX);
        }
        if !self.channel_key_hash.is_empty() {
            state.channel_key_hash = self.channel_key_hash.clone();
        }
        if !self.group_info.is_empty() {
            let before = usize::try_from(state.group_info_length).unwrap_or(usize::MAX);
            let parts = piece_count(self.group_info.len());
            for piece in parts..piece_count(before) {
                change.erase(keys::group_info(&self.channel, piece));
            }
            for (piece, bytes) in pieces(&self.group_info) {
                change.write(keys::group_info(&self.channel, piece), &bytes);
            }
            state.group_info_length = u32::try_from(self.group_info.len()).unwrap_or(u32::MAX);
        }
        if self.reset && self.original.is_none() {
            let limits = &ctx.config.limits;
            let mut member = standing.member().cloned().unwrap_or_default();
            let allowed = Reset::of(&state, &member, ctx.date, limits)?;
            allowed.note(&mut state, &mut member, ctx.date, limits);
            change.put(standing.listed(), &member);
        }
        change.put(&channel, &state);
        let accepted_at_ms = ctx.date.as_millis();
        let taken = Slot {
            commit_hash: Bytes::copy_from_slice(&self.commit_hash),
            commit_proof: proof,
            sender_key: Bytes::copy_from_slice(self.sender.as_bytes()),
            accepted_at_ms,
        };
        change.put(&slot, &taken);
        let done = Dedupe {
            content_hash: Bytes::copy_from_slice(&self.content_hash),
            accepted_at_ms,
            keep_until_ms: (ctx.lasting + ctx.config.limits.ttl_max).as_millis(),
            ..Dedupe::default()
        };
        change.put(&dedupe, &done);
        Ok(())
    }
}

fn envelope(seq: u64, data: Bytes, mark: Option<CommitMark>) -> proto::Envelope {
    let slot = mark.as_ref().map(|mark| mark.slot);
    let mark = mark.unwrap_or_default();
    proto::Envelope {
        seq,
        data,
        slot,
        sender_key: mark.sender_key,
        expired: false,
        commit_proof: mark.commit_proof,
    }
}
