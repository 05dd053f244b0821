//! SubmitCommit: who gets the current slot of a channel (protocol.md §5.7).
//!
//! All that a commit means for the server is one storage Commit: the slot advances, the commit lies
//! in the queues of the members' devices, the welcomes in those of the joiners, the member list,
//! GroupInfo and channel key hash are the new ones. It checks the channel's row, which everyone
//! changes who changes its slot, its members or their devices: two commits never have one slot.

mod list;
mod reset;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use qpq_crypto::proof::CommitSlot;
use sha2::{Digest, Sha256};

use list::List;
use reset::Reset;

use super::recipient::{Mailbox, mailboxes, parse_identity};
use crate::defect::seeded;
use crate::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use crate::limits::Limits;
use crate::method::Method;
use crate::proto;
use crate::server::allowance;
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::services::given;
use crate::server::services::membership::existing;
use crate::server::services::standing::Standing;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, load};
use crate::storage::keys::{self, Key};
use crate::storage::records::{Channel, Dedupe, Slot};

/// Method 206.
pub(in crate::server) fn submit_commit(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::SubmitCommitRequest,
) -> Next<proto::SubmitCommitResponse> {
    let submission = Submission::new(ctx, caller.session()?, request)?;
    let identity = submission.session.identity_key;
    let wanted = (
        submission.dedupe_key(),
        keys::slot(&submission.channel, submission.slot),
        keys::channel(&submission.channel),
        Standing::keys(&submission.channel, &identity),
    );
    load(
        ctx,
        wanted,
        move |ctx, (dedupe, slot, channel, standing)| {
            let same = slot.as_ref();
            let same = same.filter(|taken| *taken.commit_hash == submission.commit_hash);
            if let Some(done) = &*dedupe {
                if *done.content_hash != submission.content_hash {
                    return Err(Fault::bad_request(
                        "the message id was used for something else",
                    ));
                }
                let proof = same.map(|taken| taken.commit_proof.clone());
                return submission.answer_again(ctx, proof);
            }
            if let Some(taken) = same
                && submission.may_know(taken, &standing)
            {
                return submission.answer_again(ctx, Some(taken.commit_proof.clone()));
            }
            let state = submission.may_take(ctx, slot.as_ref(), &channel, &standing)?;
            if standing.is_open() {
                let channel = submission.channel;
                return given::take_up(ctx, identity, channel, |_| Ok(Step::rerun()));
            }
            let found = Found {
                state,
                dedupe,
                slot,
                channel,
                standing,
            };
            submission.list_members(ctx, found)
        },
    )
}

/// A request, read.
struct Submission {
    session: Session,
    /// Whose commit it is.
    sender: IdentityKey,
    /// That it was another's, by the server's own word (protocol.md §5.32).
    original: Option<Bytes>,
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
        let limits = &ctx.config.limits;
        let longest = welcome_payloads.iter().map(Bytes::len).max();
        if longest.is_some_and(|longest| longest > limits.welcome) {
            return Err(Fault::bad_request(
                "a welcome is longer than `welcome`: send its tree as a blob",
            ));
        }
        if request.commit.len() > limits.payload {
            return Err(Fault::bad_request("the commit is longer than `payload`"));
        }
        if request.group_info.len() > limits.group_info {
            return Err(Fault::bad_request(
                "the GroupInfo is longer than `group_info`",
            ));
        }
        if add.len() > limits.commit_adds {
            return Err(Fault::bad_request(
                "a commit adds no more than `commit_adds`",
            ));
        }
        let commit_hash: [u8; 32] = Sha256::digest(&request.commit).into();
        let mut content = Sha256::new_with_prefix(channel.as_bytes());
        content.update(request.slot.to_be_bytes());
        content.update(commit_hash);
        let (sender, original) = match request.original {
            None => (session.identity_key, None),
            Some(original) => {
                content.update(&original.sender_key);
                let sender = parse_identity(&original.sender_key)?;
                (sender, Some(original.commit_proof))
            }
        };
        Ok(Self {
            session,
            sender,
            original,
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

    fn dedupe_key(&self) -> Key<Dedupe> {
        let (sender, method) = (&self.session.identity_key, Method::SubmitCommit.id());
        keys::dedupe(&self.message_id, sender, method)
    }

    /// Whether the caller may hear what became of a commit that has its slot: members, who made it, and
    /// whom it removed, since it lies in the queues of all of them.
    fn may_know(&self, taken: &Slot, standing: &Standing) -> bool {
        standing.member().is_some()
            || taken.sender_key == self.session.identity_key.as_bytes().as_slice()
            || standing.was_removed_in(self.slot)
    }

    /// Whether the caller may have this slot now.
    fn may_take(
        &self,
        ctx: &Ctx<'_>,
        taken: Option<&Slot>,
        channel: &Seen<Channel>,
        standing: &Standing,
    ) -> Result<Channel, Fault> {
        let state = existing(channel)?;
        let member = standing
            .member()
            .ok_or_else(|| Fault::forbidden("only members may commit to this channel"))?;
        if self.remove.contains(standing.identity()) {
            return Err(Fault::bad_request("nobody commits their own removal"));
        }
        if self.slot != state.slot && !seeded!(ctx.config, SlotCheckOff) {
            let winner = taken.map(|taken| taken.commit_hash.clone());
            let winner = winner.unwrap_or_default();
            return Err(Fault::slot_taken(state.slot, winner));
        }
        if let Some(proof) = &self.original {
            let server = ctx.keys.public.as_bytes();
            qpq_crypto::proof::verify_commit(server, &self.taken(), proof).map_err(|_| {
                Fault::bad_request("that is not this server's word on whose commit it is")
            })?;
        }
        if state.dm && !self.remove.is_empty() {
            return Err(Fault::forbidden("in a DM one can only remove oneself"));
        }
        if self.reset && self.original.is_none() {
            Reset::of(state, member, ctx.date, &ctx.config.limits)?;
        }
        Ok(state.clone())
    }

    /// Reads the heads of the queues that it reaches.
    fn load_heads(
        self,
        ctx: &mut Ctx<'_>,
        list: List,
        changed: Vec<Standing>,
        count: usize,
        change: Change,
        effects: Effects,
    ) -> Next<proto::SubmitCommitResponse> {
        let deliveries = self.deliveries(ctx, &list)?;
        let heads = deliveries.iter();
        let heads = heads.map(|(mailbox, _)| keys::queue(&mailbox.stored));
        let heads: Vec<_> = heads.collect();
        let after = After {
            found: list.found,
            changed,
            count,
            effects,
        };
        load(ctx, heads, move |ctx, heads| {
            let sender = self.session.identity_key;
            let cost = self.cost(heads.len(), &ctx.config.limits);
            allowance::pay(ctx, sender, cost, move |ctx| {
                self.store(ctx, after, change, deliveries, heads)
            })
        })
    }

    /// What goes where: a welcome (its number) to the devices that join, the commit to all other
    /// devices of who was a member before, but not to the one that sends it. Who is put on the list
    /// without any welcome gets the commit too: it was in the group all the time.
    fn deliveries(
        &self,
        ctx: &Ctx<'_>,
        list: &List,
    ) -> Result<Vec<(Mailbox, Option<usize>)>, Fault> {
        let mut welcomed = 0;
        let mut devices = 0;
        let mut deliveries = Vec::new();
        for (identity, set) in list.everyone.iter().zip(&list.sets) {
            let mailboxes = mailboxes(*identity, set.as_ref(), Some(self.channel), None)?;
            let Some(mailboxes) = mailboxes else {
                continue;
            };
            if !self.remove.contains(identity) {
                devices += mailboxes.len();
            }
            let follows = list.before.contains(identity) || !self.is_welcomed(identity);
            for mailbox in mailboxes {
                let device = (*identity, mailbox.named.device);
                if let Some(payload) = self.welcomes.get(&device) {
                    welcomed += 1;
                    deliveries.push((mailbox, Some(*payload)));
                } else if follows && !self.sends(&device) {
                    deliveries.push((mailbox, None));
                }
            }
        }
        if welcomed < self.welcomes.len() {
            return Err(Fault::not_found(
                "a device that is welcomed is not registered",
            ));
        }
        // Members who register more devices stop nobody's commits, only what makes the channel larger.
        if devices > ctx.config.limits.channel_devices && !self.add.is_empty() {
            return Err(Fault::full(
                "channel_devices",
                "the channel has as many as it may have",
            ));
        }
        Ok(deliveries)
    }

    /// What it has stored: its own bytes, the welcomes', those of the GroupInfo, for this many queues. Slot and
    /// answer stay where it reaches nobody: that costs as much as one queue.
    fn cost(&self, queues: usize, limits: &Limits) -> usize {
        let payloads = self.welcome_payloads.iter();
        let payloads: Vec<&Bytes> = payloads.chain([&self.commit]).collect();
        let delivered = allowance::cost(&payloads, queues, limits).max(limits.stored_queue);
        delivered.saturating_add(self.group_info.len())
    }

    /// Whether any device of this account is welcomed.
    fn is_welcomed(&self, identity: &IdentityKey) -> bool {
        let mut joiners = self.welcomes.keys();
        joiners.any(|(joiner, _)| joiner == identity)
    }

    fn sends(&self, (identity, device): &(IdentityKey, DeviceId)) -> bool {
        *identity == self.session.identity_key && *device == self.session.device_id
    }

    /// What the server says of it.
    const fn taken(&self) -> CommitSlot<'_> {
        CommitSlot {
            channel_id: self.channel.as_bytes(),
            slot: self.slot,
            commit_hash: &self.commit_hash,
            sender: &self.sender,
        }
    }

    /// The server's word that this commit has the slot (protocol.md §5.13).
    fn proof(&self, ctx: &Ctx<'_>) -> Bytes {
        let keys = ctx.keys;
        let proof = qpq_crypto::proof::commit(&keys.signing, keys.epoch, &self.taken());
        Bytes::copy_from_slice(&proof)
    }

    /// The answer to what was answered before.
    fn answer_again(
        &self,
        ctx: &Ctx<'_>,
        proof: Option<Bytes>,
    ) -> Next<proto::SubmitCommitResponse> {
        let proof = proof.unwrap_or_else(|| self.proof(ctx));
        self.answer(proof, true, Effects::default())
    }

    fn answer(
        &self,
        commit_proof: Bytes,
        duplicate: bool,
        effects: Effects,
    ) -> Next<proto::SubmitCommitResponse> {
        let response = proto::SubmitCommitResponse {
            next_slot: self.slot.saturating_add(1),
            duplicate,
            commit_proof,
        };
        Ok(Step::ok_with(&response, effects))
    }
}

/// The channel and the caller in it, as the submission found them, and the rows of message id and slot.
struct Found {
    state: Channel,
    dedupe: Seen<Dedupe>,
    slot: Seen<Slot>,
    channel: Seen<Channel>,
    standing: Standing,
}

/// What the submission makes of the channel.
struct After {
    found: Found,
    /// Those who come and go.
    changed: Vec<Standing>,
    /// Members after the commit.
    count: usize,
    /// What else is to be told.
    effects: Effects,
}

fn identities(keys: &[Bytes]) -> Result<BTreeSet<IdentityKey>, Fault> {
    keys.iter().map(parse_identity).collect()
}
