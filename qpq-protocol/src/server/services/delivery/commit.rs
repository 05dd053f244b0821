//! SubmitCommit: who gets the current slot of a channel (protocol.md §5.7).
//!
//! All that a commit means for the server is one storage Commit: the slot advances, the commit lies
//! in the queues of the members' devices, the welcomes in those of the joiners, the member list,
//! GroupInfo and channel key hash are the new ones. It checks the channel's row, which everyone
//! changes who changes its slot, its members or their devices: two commits never have one slot.

mod store;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qpq_crypto::proof::CommitSlot;
use sha2::{Digest, Sha256};

use super::recipient::{Mailbox, mailboxes, parse_identity};
use crate::defect::seeded;
use crate::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use crate::method::Method;
use crate::proto;
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Fault, Next, Session, Step, decode_row, doubt, load, load_all,
    scan_ordered, unchanged,
};
use crate::storage::keys;
use crate::storage::records::{Channel, Dedupe, Member, Slot};
use crate::storage::{Direction, Expect, Scan};

/// Method 206.
pub(in crate::server) fn submit_commit(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::SubmitCommitRequest,
) -> Next {
    let submission = Submission::new(ctx, caller.session()?, request)?;
    let keys = submission.first_keys();
    load(ctx, keys, move |ctx, [dedupe, taken, channel, member]| {
        if let Some(done) = decode_row::<Dedupe>(&dedupe)? {
            if *done.content_hash != submission.content_hash {
                return Err(Fault::bad_request(
                    "the message id was used for something else",
                ));
            }
            return submission.answer(ctx, true, Effects::default());
        }
        let taken = decode_row::<Slot>(&taken)?;
        if let Some(taken) = &taken
            && *taken.commit_hash == submission.commit_hash
        {
            return submission.answer(ctx, true, Effects::default());
        }
        match submission.admit(ctx, taken, &channel, &member) {
            Ok(state) => submission.list_members(ctx, state, channel, member),
            Err(fault) => doubt(ctx, &submission.first_keys(), fault),
        }
    })
}

/// A request, read.
struct Submission {
    session: Session,
    channel: ChannelId,
    slot: u64,
    commit: Bytes,
    commit_hash: [u8; 32],
    content_hash: [u8; 32],
    message_id: MessageId,
    welcomes: BTreeMap<(IdentityKey, DeviceId), usize>,
    welcome_payloads: Vec<Bytes>,
    add: BTreeSet<IdentityKey>,
    remove: BTreeSet<IdentityKey>,
    group_info: Bytes,
    channel_key_hash: Bytes,
    reset: bool,
}

impl Submission {
    fn new(
        ctx: &Ctx<'_>,
        session: Session,
        request: proto::SubmitCommitRequest,
    ) -> Result<Self, Fault> {
        let channel = ChannelId::try_from(request.channel_id.as_ref())
            .map_err(|_| Fault::bad_request("channel_id has 16 bytes"))?;
        let message_id = MessageId::try_from(request.message_id.as_ref())
            .map_err(|_| Fault::bad_request("message_id has 16 bytes"))?;
        let add = identities(&request.add_members)?;
        let remove = identities(&request.remove_members)?;
        if !add.is_disjoint(&remove) {
            return Err(Fault::bad_request("a member is both added and removed"));
        }
        if remove.contains(&session.identity_key) {
            return Err(Fault::bad_request("nobody commits their own removal"));
        }
        let mut welcomes = BTreeMap::new();
        let mut welcome_payloads: Vec<Bytes> = Vec::new();
        for welcome in request.welcomes {
            if !welcome.payload.is_empty() {
                welcome_payloads.push(welcome.payload);
            }
            let payload = welcome_payloads
                .len()
                .checked_sub(1)
                .ok_or_else(|| Fault::bad_request("the first welcome has no payload"))?;
            let device = DeviceId::from_wire(&welcome.device_id)
                .map_err(|_| Fault::bad_request("device_id has 16 bytes or none"))?;
            let joiner = (parse_identity(&welcome.recipient_key)?, device);
            if welcomes.insert(joiner, payload).is_some() {
                return Err(Fault::bad_request("a device is welcomed twice"));
            }
        }
        let longest = ctx.config.limits.welcome;
        if welcome_payloads
            .iter()
            .any(|payload| payload.len() > longest)
        {
            return Err(Fault::bad_request(
                "a welcome is too long: send its tree as a blob",
            ));
        }
        let commit_hash: [u8; 32] = Sha256::digest(&request.commit).into();
        let mut content = Sha256::new_with_prefix(channel.as_bytes());
        content.update(request.slot.to_be_bytes());
        content.update(commit_hash);
        Ok(Self {
            session,
            channel,
            slot: request.slot,
            commit: request.commit,
            commit_hash,
            content_hash: content.finalize().into(),
            message_id,
            welcomes,
            welcome_payloads,
            add,
            remove,
            group_info: request.group_info,
            channel_key_hash: request.channel_key_hash,
            reset: request.reset,
        })
    }

    fn first_keys(&self) -> [Bytes; 4] {
        let sender = &self.session.identity_key;
        [
            keys::dedupe(&self.message_id, sender, Method::SubmitCommit.id()),
            keys::slot(&self.channel, self.slot),
            keys::channel(&self.channel),
            keys::member(&self.channel, sender),
        ]
    }

    /// Whether the caller may have this slot now.
    fn admit(
        &self,
        ctx: &Ctx<'_>,
        taken: Option<Slot>,
        channel: &Row,
        member: &Row,
    ) -> Result<Channel, Fault> {
        let state = decode_row::<Channel>(channel)?
            .ok_or_else(|| Fault::not_found("there is no such channel"))?;
        let member = decode_row::<Member>(member)?
            .ok_or_else(|| Fault::forbidden("only members may commit to this channel"))?;
        if self.slot != state.slot && !seeded!(ctx.config, SlotCheckOff) {
            let winner = taken.map(|taken| taken.commit_hash).unwrap_or_default();
            return Err(Fault::slot_taken(state.slot, winner));
        }
        if state.dm && !self.remove.is_empty() {
            return Err(Fault::forbidden("in a DM one can only remove oneself"));
        }
        if self.reset && member.reset_at_ms != 0 {
            let window = ctx.config.limits.reset.window;
            let next = crate::time::UnixTime::from_millis(member.reset_at_ms) + window;
            let left = next.as_millis().saturating_sub(ctx.unix.as_millis());
            if left > 0 {
                return Err(Fault::rate_limited(u32::try_from(left).unwrap_or(u32::MAX)));
            }
        }
        Ok(state)
    }

    /// Reads the member list.
    fn list_members(self, ctx: &mut Ctx<'_>, state: Channel, channel: Row, member: Row) -> Next {
        let range = keys::members(&self.channel);
        let range = Scan {
            start: range.start,
            end: range.end,
            direction: Direction::Forward,
            items: ctx.config.limits.members.saturating_add(1),
            bytes: usize::MAX,
        };
        scan_ordered(range, move |ctx, rows, _| {
            let members = rows.iter().map(|(key, _)| match keys::parse_member(key) {
                Some((_, member)) => Ok(member),
                None => Err(Fault::internal("a stored row cannot be read")),
            });
            let members = members.collect::<Result<BTreeSet<IdentityKey>, Fault>>()?;
            self.list_devices(ctx, state, channel, member, members)
        })
    }

    /// Reads the devices of all members, old and new.
    fn list_devices(
        mut self,
        ctx: &mut Ctx<'_>,
        state: Channel,
        channel: Row,
        member: Row,
        before: BTreeSet<IdentityKey>,
    ) -> Next {
        if state.dm
            && !self
                .add
                .iter()
                .all(|key| is_party(&self.channel, &before, key))
        {
            return Err(Fault::forbidden("a DM has two members"));
        }
        self.add.retain(|key| !before.contains(key));
        self.remove.retain(|key| before.contains(key));
        let after: BTreeSet<IdentityKey> = before
            .union(&self.add)
            .filter(|key| !self.remove.contains(*key))
            .copied()
            .collect();
        if after.len() > ctx.config.limits.members {
            return Err(Fault::quota(
                "the channel has as many members as it may have",
            ));
        }
        if !self
            .welcomes
            .keys()
            .all(|(joiner, _)| after.contains(joiner))
        {
            return Err(Fault::bad_request("somebody who is no member is welcomed"));
        }
        let everyone: Vec<IdentityKey> = before.union(&self.add).copied().collect();
        let sets: Vec<Bytes> = everyone.iter().map(keys::device_set).collect();
        load_all(ctx, sets, move |ctx, sets| {
            let [_, _, channel_key, member_key] = self.first_keys();
            let mut checks = vec![
                unchanged(&channel_key, &channel),
                unchanged(&member_key, &member),
            ];
            checks.extend(sets.iter().map(|(key, set)| unchanged(key, set)));
            let deliveries = match self.deliveries(ctx, &everyone, &sets, &before) {
                Ok(deliveries) => deliveries,
                Err(fault) => return doubt(ctx, sets.iter().map(|(key, _)| key), fault),
            };
            let heads = deliveries
                .iter()
                .map(|(mailbox, _)| keys::queue(&mailbox.stored));
            let heads = heads.collect();
            let list = After {
                state,
                member,
                count: after.len(),
                checks,
            };
            load_all(ctx, heads, move |ctx, heads| {
                self.store(ctx, list, deliveries, heads)
            })
        })
    }

    /// What goes where: a welcome (its number) to the devices that join, the commit to all other
    /// devices of who was a member before, but not to the one that sends it.
    fn deliveries(
        &self,
        ctx: &Ctx<'_>,
        everyone: &[IdentityKey],
        sets: &[(Bytes, Row)],
        before: &BTreeSet<IdentityKey>,
    ) -> Result<Vec<(Mailbox, Option<usize>)>, Fault> {
        let mut welcomed = 0;
        let mut devices = 0;
        let mut deliveries = Vec::new();
        for (identity, (_, set)) in everyone.iter().zip(sets) {
            let mailboxes = mailboxes(*identity, set, Some(self.channel), None)?;
            let Some(mailboxes) = mailboxes else {
                if self.add.contains(identity) {
                    return Err(Fault::not_found("an added member has no account"));
                }
                continue;
            };
            if !self.remove.contains(identity) {
                devices += mailboxes.len();
            }
            for mailbox in mailboxes {
                let device = (*identity, mailbox.named.device);
                if let Some(payload) = self.welcomes.get(&device) {
                    welcomed += 1;
                    deliveries.push((mailbox, Some(*payload)));
                } else if before.contains(identity) && !self.sends(&device) {
                    deliveries.push((mailbox, None));
                }
            }
        }
        if welcomed < self.welcomes.len() {
            return Err(Fault::not_found(
                "a device that is welcomed is not registered",
            ));
        }
        if devices > ctx.config.limits.channel_devices {
            return Err(Fault::quota(
                "the channel has as many devices as it may have",
            ));
        }
        Ok(deliveries)
    }

    fn sends(&self, (identity, device): &(IdentityKey, DeviceId)) -> bool {
        *identity == self.session.identity_key && *device == self.session.device_id
    }

    /// The server's word that this commit has the slot (protocol.md §5.13).
    fn proof(&self, ctx: &Ctx<'_>) -> Bytes {
        let taken = CommitSlot {
            channel_id: self.channel.as_bytes(),
            slot: self.slot,
            commit_hash: &self.commit_hash,
            sender: &self.session.identity_key,
        };
        let proof = qpq_crypto::proof::commit(&ctx.keys.signing, ctx.keys.epoch, &taken);
        Bytes::copy_from_slice(&proof)
    }

    fn answer(&self, ctx: &Ctx<'_>, duplicate: bool, effects: Effects) -> Next {
        let response = proto::SubmitCommitResponse {
            next_slot: self.slot.saturating_add(1),
            duplicate,
            commit_proof: self.proof(ctx),
        };
        Ok(Step::ok_with(&response, effects))
    }
}

/// The channel as the submission found it, and what must still hold.
struct After {
    state: Channel,
    /// The row of the member that commits.
    member: Row,
    /// Members after the commit.
    count: usize,
    checks: Vec<(Bytes, Expect)>,
}

fn identities(keys: &[Bytes]) -> Result<BTreeSet<IdentityKey>, Fault> {
    keys.iter().map(parse_identity).collect()
}

/// Whether `key` is one of the two parties of a DM, whoever of them has left.
fn is_party(channel: &ChannelId, members: &BTreeSet<IdentityKey>, key: &IdentityKey) -> bool {
    let mut members = members.iter();
    members.any(|member| {
        member == key || crate::server::services::channel::dm_id(member, key) == *channel
    })
}
