//! Enqueue and BatchEnqueue: a payload into the queues of its recipients' devices, once.
//!
//! The common case is one Commit and no read: devices, members and queue heads are remembered, and
//! the message id is taken to be new. When that turns out to be otherwise, or when what is remembered
//! would mean a refusal, the request runs again: it reads afresh, and looks the message id up before
//! anything else (protocol.md §5.3).

use core::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::payload::{self, Payload};
use super::queue::{Queue, as_u64};
use super::recipient::{Mailbox, mailboxes, news, parse_channel, parse_identity};
use super::share::Share;
use crate::defect::seeded;
use crate::ids::{ChannelId, IdentityKey, MessageId};
use crate::limits::RateClass;
use crate::method::Method;
use crate::proto;
use crate::server::allowance;
use crate::server::asking;
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::policy::Question;
use crate::server::services::given;
use crate::server::services::membership::Membership;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load};
use crate::status::Status;
use crate::storage::MAX_COMMIT_OPS;
use crate::storage::keys::{self, Key, QueueId};
use crate::storage::records::{Channel, Dedupe, DeviceSet, Entry, Member, QueueHead};

/// Method 200.
pub(in crate::server) fn enqueue(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::EnqueueRequest,
) -> Next<proto::EnqueueResponse> {
    let recipients = vec![parse_identity(&request.recipient_key)?];
    let send = Send::new(
        ctx,
        caller,
        recipients,
        proto::BatchEnqueueRequest {
            recipient_keys: Vec::new(),
            payload: request.payload,
            channel_id: request.channel_id,
            ttl_secs: request.ttl_secs,
            message_id: request.message_id,
            access_keys: Vec::new(),
            channel_slot: request.channel_slot,
            channel_key: request.channel_key,
            want_proof: request.want_proof,
        },
    )?;
    send.start(ctx)
}

/// Method 205.
pub(in crate::server) fn batch_enqueue(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::BatchEnqueueRequest,
) -> Next<proto::BatchEnqueueResponse> {
    let recipients = request.recipient_keys.iter().map(parse_identity);
    let recipients = recipients.collect::<Result<Vec<IdentityKey>, Fault>>()?;
    let mut sorted = recipients.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Fault::bad_request("recipient_keys names a recipient twice"));
    }
    if recipients.is_empty() {
        return Err(Fault::bad_request("recipient_keys is empty"));
    }
    Send::new(ctx, caller, recipients, request)?.start(ctx)
}

/// What each of the two methods answers.
trait Answer: Message + 'static {
    /// The method.
    const METHOD: Method;

    /// What was done, once a recipient.
    fn new(done: Dedupe, proofs: Vec<Bytes>, duplicate: bool) -> Self;
}

impl Answer for proto::EnqueueResponse {
    const METHOD: Method = Method::Enqueue;

    fn new(done: Dedupe, mut proofs: Vec<Bytes>, duplicate: bool) -> Self {
        Self {
            seq: done.seqs.first().copied().unwrap_or_default(),
            delivery_proof: proofs.pop().unwrap_or_default(),
            duplicate,
        }
    }
}

impl Answer for proto::BatchEnqueueResponse {
    const METHOD: Method = Method::BatchEnqueue;

    fn new(done: Dedupe, delivery_proofs: Vec<Bytes>, duplicate: bool) -> Self {
        let statuses = done.statuses.iter();
        Self {
            statuses: statuses.map(|&code| code.into()).collect(),
            seqs: done.seqs,
            delivery_proofs,
            duplicate,
        }
    }
}

/// A request of either method, read.
struct Send<A> {
    session: Session,
    recipients: Vec<IdentityKey>,
    channel: Option<ChannelId>,
    channel_slot: Option<u64>,
    payload: Bytes,
    payload_hash: [u8; 32],
    content_hash: [u8; 32],
    message_id: MessageId,
    expires_at_ms: u64,
    want_proof: bool,
    /// What was done so far.
    done: Dedupe,
    /// What follows from what was done.
    effects: Effects,
    answer: PhantomData<fn() -> A>,
}

/// The devices of a recipient, and its place in the channel if there is one.
type Recipient = (Seen<DeviceSet>, Option<Seen<Member>>);

/// What one part of a request does: as many recipients as fit one Commit.
struct Part {
    change: Change,
    done: Dedupe,
    notify: Vec<(QueueId, proto::NewMessagePush)>,
    /// Whether it changes anything.
    stored: bool,
}

impl<A: Answer> Send<A> {
    fn new(
        ctx: &mut Ctx<'_>,
        caller: &Caller,
        recipients: Vec<IdentityKey>,
        request: proto::BatchEnqueueRequest,
    ) -> Result<Box<Self>, Fault> {
        let Some(session) = caller.session else {
            return Err(Fault::forbidden(
                "this recipient or channel takes nothing from you",
            ));
        };
        limit(ctx, &session, recipients.len())?;
        let channel = parse_channel(&request.channel_id)?;
        let message_id = MessageId::try_from(request.message_id.as_ref())
            .map_err(|_| Fault::bad_request("message_id has 16 bytes"))?;
        let limits = &ctx.config.limits;
        if request.payload.len() > limits.payload {
            return Err(Fault::bad_request("the payload is longer than `payload`"));
        }
        if recipients.len() > limits.recipients {
            return Err(Fault::bad_request(
                "a request names no more than `recipients`",
            ));
        }
        let ttl = match request.ttl_secs {
            0 => limits.ttl_default,
            secs => core::time::Duration::from_secs(secs.into()).min(limits.ttl_max),
        };
        let payload_hash: [u8; 32] = Sha256::digest(&request.payload).into();
        let mut content = Sha256::new_with_prefix(payload_hash);
        content.update(as_u64(request.channel_id.len()).to_be_bytes());
        content.update(&request.channel_id);
        for recipient in &recipients {
            content.update(recipient.as_bytes());
        }
        let expires_at_ms = (ctx.lasting + ttl).as_millis();
        let keep_until_ms = (ctx.lasting + limits.message_id).as_millis();
        let content_hash: [u8; 32] = content.finalize().into();
        Ok(Box::new(Self {
            session,
            recipients,
            channel,
            channel_slot: request.channel_slot,
            payload: request.payload,
            payload_hash,
            content_hash,
            message_id,
            expires_at_ms,
            want_proof: request.want_proof,
            done: Dedupe {
                content_hash: Bytes::from_owner(content_hash),
                accepted_at_ms: ctx.date.as_millis(),
                keep_until_ms: keep_until_ms.max(expires_at_ms),
                ..Dedupe::default()
            },
            effects: Effects::default(),
            answer: PhantomData,
        }))
    }

    fn dedupe_key(&self) -> Key<Dedupe> {
        keys::dedupe(&self.message_id, &self.session.identity_key, A::METHOD.id())
    }

    /// The first time, takes the message id to be new: the commit checks that. Later, looks it up, and before the
    /// policy is asked, which allows a repeat as it has allowed the first.
    fn start(mut self: Box<Self>, ctx: &mut Ctx<'_>) -> Next<A> {
        if seeded!(ctx.config, DedupeOff) {
            return self.part(ctx);
        }
        let question = ctx.question(|| Question::Enqueue {
            sender: self.session.identity_key,
            recipients: self.recipients.clone(),
            channel: self.channel,
            length: self.payload.len(),
        });
        if ctx.attempt == 0 && question.is_none() {
            ctx.assume(&self.dedupe_key(), None);
            return self.part(ctx);
        }
        load(ctx, self.dedupe_key(), move |ctx, known| {
            if let Some(done) = known.into_value() {
                if *done.content_hash != self.content_hash {
                    return Err(Fault::bad_request(
                        "the message id was used for something else",
                    ));
                }
                self.done = done;
                if self.done.statuses.len() >= self.recipients.len() {
                    return self.answer(ctx, true);
                }
            }
            asking::ask(ctx, question, |ctx| self.part(ctx))
        })
    }

    /// Reads what is to be known of channel and recipients not yet done.
    fn part(self: Box<Self>, ctx: &mut Ctx<'_>) -> Next<A> {
        let channel = self.channel.as_ref();
        let place = channel.map(|id| Membership::keys(id, &self.session.identity_key));
        let recipients = self.left().map(|recipient| {
            let member = channel.map(|id| keys::member(id, recipient));
            (keys::device_set(recipient), member)
        });
        let wanted = (place, recipients.collect::<Vec<_>>());
        load(ctx, wanted, move |ctx, (place, recipients)| {
            self.route(ctx, place, recipients)
        })
    }

    fn left(&self) -> impl Iterator<Item = &IdentityKey> {
        self.recipients.iter().skip(self.done.statuses.len())
    }

    /// Finds the queues of as many recipients as fit one Commit, and reads their heads.
    fn route(
        self: Box<Self>,
        ctx: &mut Ctx<'_>,
        place: Option<Membership>,
        recipients: Vec<Recipient>,
    ) -> Next<A> {
        if let Some(place) = &place {
            let (channel, member) = place.admit()?;
            self.admit(channel)?;
            if let Some(channel) = self.channel
                && member.open
            {
                let sender = self.session.identity_key;
                return given::take_up(ctx, sender, channel, move |ctx| self.part(ctx));
            }
        }
        let mut routes = Vec::with_capacity(recipients.len());
        let mut mailboxes_found = 0;
        let mut operations = 6 + usize::from(payload::piece_count(self.payload.len()));
        for (recipient, (devices, member)) in self.left().zip(&recipients) {
            let is_admitted = member.as_ref().is_none_or(|member| member.is_some());
            let session = Some(&self.session);
            let found = mailboxes(*recipient, devices.as_ref(), self.channel, session)?;
            let route = match found {
                _ if !is_admitted => Err(Status::Forbidden),
                None => Err(Status::NotFound),
                Some(mailboxes) => Ok(mailboxes),
            };
            // Device set and member; head twice, entry, claim and two expiry rows a queue.
            let queues = route.as_ref().map_or(0, Vec::len);
            let more = 2 + queues * 6;
            if operations + more > MAX_COMMIT_OPS {
                break;
            }
            operations += more;
            mailboxes_found += queues;
            routes.push(route);
        }
        if routes.len() < recipients.len() {
            // The others come with the next part, which reads them again.
            let others = recipients
                .iter()
                .skip(routes.len())
                .map(|(devices, member)| {
                    let member = member.as_ref().map(|member| member.key().clone());
                    (devices.key().clone(), member)
                });
            ctx.notes.reads.let_go(&others.collect::<Vec<_>>());
        }
        let found = routes.iter().flatten().flatten();
        let mut heads = Vec::with_capacity(mailboxes_found);
        heads.extend(found.map(|mailbox| keys::queue(&mailbox.stored)));
        load(ctx, heads, move |ctx, heads| {
            let cost = allowance::cost(&[&self.payload], heads.len(), &ctx.config.limits);
            let sender = self.session.identity_key;
            allowance::pay(ctx, sender, cost, move |ctx| self.store(ctx, routes, heads))
        })
    }

    /// Whether a message may go into the channel, for the slot it was encrypted for.
    fn admit(&self, channel: &Channel) -> Result<(), Fault> {
        match self.channel_slot {
            None => Err(Fault::bad_request(
                "a message in a channel names its channel_slot",
            )),
            Some(slot) if slot < channel.slot => Err(Fault::slot_taken(channel.slot, Bytes::new())),
            Some(slot) if slot > channel.slot => Err(Fault::slot_ahead(channel.slot)),
            Some(_) => Ok(()),
        }
    }

    /// Puts the payload into the queues.
    fn store(
        mut self: Box<Self>,
        ctx: &mut Ctx<'_>,
        routes: Vec<Result<Vec<Mailbox>, Status>>,
        heads: Vec<Seen<QueueHead>>,
    ) -> Next<A> {
        let queues = heads.len();
        let mut part = Part {
            // Entry, head and expiry row of each queue, pieces, message id.
            change: Change::with_capacity(3 * queues + 2),
            done: core::mem::take(&mut self.done),
            notify: core::mem::take(&mut self.effects.notify),
            stored: false,
        };
        part.notify.reserve_exact(queues);
        let told = part.notify.len();
        let mut payload = Payload::new(ctx, self.payload.clone(), queues);
        let mut statuses = Vec::with_capacity(part.done.statuses.len() + routes.len());
        statuses.extend_from_slice(&part.done.statuses);
        part.done.seqs.reserve_exact(routes.len());
        let mut heads = heads.into_iter();
        for route in routes {
            let (seq, status) = match route {
                Err(status) => (0, status),
                Ok(mailboxes) => {
                    // Not collected: a queue is large, and room would be made for four of them.
                    let mut queues = Vec::with_capacity(mailboxes.len());
                    for (mailbox, head) in mailboxes.into_iter().zip(heads.by_ref()) {
                        let queue = Queue::new(mailbox.stored, head);
                        let room = self.room(ctx, &queue, payload.bytes().len());
                        queues.push((mailbox, queue, room));
                    }
                    self.fan_out(ctx, &mut part, &mut payload, queues)
                }
            };
            part.done.seqs.push(seq);
            statuses.push(status.code());
        }
        let refused = statuses
            .iter()
            .find(|code| **code != Status::Ok.code())
            .copied();
        part.done.statuses = statuses.into();
        if let Some(status) = refused {
            if A::METHOD == Method::Enqueue {
                return Err(refusal(status));
            }
            // What others are sent says that these were refused.
            if !ctx.is_sure() {
                return Ok(Step::rerun());
            }
        }
        if !part.stored {
            // Every recipient was refused: there is nothing to remember either.
            self.done = part.done;
            return self.go_on(ctx);
        }
        payload.store(&mut part.change);
        // Queues that had no room cost nothing.
        let filled = part.notify.len().saturating_sub(told);
        let cost = allowance::cost(&[&self.payload], filled, &ctx.config.limits);
        ctx.leave_untidy();
        #[cfg(qpq_defects)]
        if seeded!(ctx.config, PushBeforeCommit) {
            ctx.notes.early.clone_from(&part.notify);
        }
        part.change.write(self.dedupe_key(), &part.done);
        commit(ctx, part.change, move |ctx| {
            allowance::used(ctx, cost);
            self.done = part.done;
            self.effects.notify = part.notify;
            self.go_on(ctx)
        })
    }

    /// The sender's share of a queue, if that has room for a payload of `length` bytes from it.
    fn room(&self, ctx: &Ctx<'_>, queue: &Queue, length: usize) -> Option<Share> {
        let share = Share::of(&ctx.keys.shares, queue.key(), &self.session.identity_key);
        let has_room = queue.has_room_for(share, length, &ctx.config.limits);
        has_room.then_some(share)
    }

    /// Puts the payload into the queues of one recipient that have room for this sender. The seq in
    /// the first of them, and the status.
    fn fan_out(
        &self,
        ctx: &Ctx<'_>,
        part: &mut Part,
        payload: &mut Payload,
        queues: Vec<(Mailbox, Queue, Option<Share>)>,
    ) -> (u64, Status) {
        if !queues.is_empty() && queues.iter().all(|(_, _, room)| room.is_none()) {
            return (0, Status::QuotaExceeded);
        }
        let (limits, length) = (&ctx.config.limits, payload.bytes().len());
        let mut first = 0;
        part.stored = true;
        for (mailbox, mut queue, room) in queues {
            if let Some(share) = room {
                let entry = Entry {
                    body: Some(payload.body(&mut part.change, queue.id())),
                    expires_at_ms: self.expires_at_ms,
                    commit: None,
                    share: share.number(),
                };
                let seq = queue.append(&mut part.change, &entry, length);
                first = if first == 0 { seq } else { first };
                let envelope = proto::Envelope {
                    seq,
                    data: payload.bytes().clone(),
                    ..proto::Envelope::default()
                };
                let news = news(self.channel, envelope, limits.pushed_envelope);
                part.notify.push((mailbox.named, news));
            } else {
                queue.close();
            }
            queue.write(&mut part.change);
        }
        (first, Status::Ok)
    }

    /// The rest of the recipients, or the answer.
    fn go_on(self: Box<Self>, ctx: &mut Ctx<'_>) -> Next<A> {
        if self.done.statuses.len() < self.recipients.len() {
            ctx.notes.reads.begin();
            return load(ctx, self.dedupe_key(), |ctx, _| self.part(ctx));
        }
        self.answer(ctx, false)
    }

    fn answer(self: Box<Self>, ctx: &mut Ctx<'_>, duplicate: bool) -> Next<A> {
        let accepted = self
            .done
            .statuses
            .iter()
            .map(|&code| code == Status::Ok.code());
        let recipients = self.recipients.iter().zip(&self.done.seqs).zip(accepted);
        let mut proofs = Vec::new();
        if self.want_proof {
            proofs.extend(recipients.map(|((recipient, seq), accepted)| {
                if accepted {
                    self.proof(ctx, recipient, *seq)
                } else {
                    Bytes::new()
                }
            }));
        }
        let response = A::new(self.done, proofs, duplicate);
        Ok(Step::ok_with(&response, self.effects))
    }

    /// The server's word that it accepted the message (protocol.md §5.26).
    fn proof(&self, ctx: &Ctx<'_>, recipient: &IdentityKey, seq: u64) -> Bytes {
        let channel = self
            .channel
            .as_ref()
            .map_or(&[][..], |channel| channel.as_bytes());
        let proof = qpq_crypto::proof::delivery(
            &ctx.keys.signing,
            self.done.accepted_at_ms,
            self.message_id.as_bytes(),
            recipient,
            channel,
            &self.payload_hash,
            seq,
        );
        Bytes::copy_from_slice(&proof)
    }
}

/// Counts an enqueue, and whom it is to reach.
fn limit(ctx: &mut Ctx<'_>, session: &Session, recipients: usize) -> Result<(), Fault> {
    let account: &[&[u8]] = &[session.identity_key.as_bytes()];
    ctx.limit(RateClass::Enqueues, account, 1)?;
    let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
    ctx.limit(RateClass::EnqueueRecipients, account, recipients)
}

fn refusal(status: u8) -> Fault {
    match Status::from_wire(status) {
        Status::NotFound => Fault::not_found("there is no such recipient"),
        Status::Forbidden => Fault::forbidden("the recipient is not a member of this channel"),
        _ => Fault::quota(
            "the recipient's queue is full: `queue_messages` or `queue_bytes` is reached, or your part of it, \
             one in `queue_sender_share`",
        ),
    }
}
