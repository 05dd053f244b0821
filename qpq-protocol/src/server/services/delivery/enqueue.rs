//! Enqueue and BatchEnqueue: a payload into the queues of its recipients' devices, once.
//!
//! The common case is one Commit and no read: devices, members and queue heads are remembered, and
//! the message id is taken to be new. When that turns out to be otherwise, or when what is remembered
//! would mean a refusal, the request runs again: it reads afresh, and looks the message id up before
//! anything else (protocol.md §5.3).

mod store;

use core::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::payload::{self, as_u64};
use super::recipient::{mailboxes, parse_channel, parse_identity};
use crate::defect::seeded;
use crate::ids::{ChannelId, IdentityKey, MessageId};
use crate::limits::RateClass;
use crate::method::Method;
use crate::proto;
use crate::server::allowance;
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::policy::Question;
use crate::server::policy_check;
use crate::server::services::given;
use crate::server::services::membership::Membership;
use crate::server::step::{Next, Step};
use crate::server::txn::{Seen, load};
use crate::status::Status;
use crate::storage::MAX_COMMIT_OPS;
use crate::storage::keys::{self, Key};
use crate::storage::records::{Channel, Dedupe, DeviceSet, Member};

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
    send.look_up(ctx)
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
    Send::new(ctx, caller, recipients, request)?.look_up(ctx)
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
    /// Where it is kept that this was done.
    dedupe: Key<Dedupe>,
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
        count_enqueue(ctx, &session, recipients.len())?;
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
            dedupe: keys::dedupe(&message_id, &session.identity_key, A::METHOD.id()),
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

    /// The first time, takes the message id to be new: the commit checks that. Later, looks it up, and before the
    /// policy is asked, which allows a repeat as it has allowed the first.
    fn look_up(mut self: Box<Self>, ctx: &mut Ctx<'_>) -> Next<A> {
        if seeded!(ctx.config, DedupeOff) {
            return self.load_part(ctx);
        }
        let question = ctx.question(|| Question::Enqueue {
            sender: self.session.identity_key,
            recipients: self.recipients.clone(),
            channel: self.channel,
            length: self.payload.len(),
        });
        if ctx.attempt == 0 && question.is_none() {
            ctx.assume(&self.dedupe, None);
            return self.load_part(ctx);
        }
        load(ctx, self.dedupe.clone(), move |ctx, known| {
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
            policy_check::check_policy(ctx, question, |ctx| self.load_part(ctx))
        })
    }

    /// Reads what is to be known of channel and recipients not yet done.
    fn load_part(self: Box<Self>, ctx: &mut Ctx<'_>) -> Next<A> {
        let channel = self.channel.as_ref();
        let place = channel.map(|id| Membership::keys(id, &self.session.identity_key));
        let recipients = self.left().map(|recipient| {
            let member = channel.map(|id| keys::member(id, recipient));
            (keys::device_set(recipient), member)
        });
        let wanted = (place, recipients.collect::<Vec<_>>());
        load(ctx, wanted, move |ctx, (place, recipients)| {
            self.find_queues(ctx, place, recipients)
        })
    }

    fn left(&self) -> impl Iterator<Item = &IdentityKey> {
        self.recipients.iter().skip(self.done.statuses.len())
    }

    /// Finds the queues of as many recipients as fit one Commit, and reads their heads.
    fn find_queues(
        self: Box<Self>,
        ctx: &mut Ctx<'_>,
        place: Option<Membership>,
        recipients: Vec<Recipient>,
    ) -> Next<A> {
        if let Some(place) = &place {
            let (channel, member) = place.require_member()?;
            self.check_slot(channel)?;
            if let Some(channel) = self.channel
                && member.open
            {
                let sender = self.session.identity_key;
                return given::take_up(ctx, sender, channel, move |ctx| self.load_part(ctx));
            }
        }
        let mut reached = Vec::with_capacity(recipients.len());
        let mut mailboxes_found = 0;
        let mut operations = 6 + usize::from(payload::piece_count(self.payload.len()));
        for (recipient, (devices, member)) in self.left().zip(&recipients) {
            let is_admitted = member.as_ref().is_none_or(|member| member.is_some());
            let session = Some(&self.session);
            let found = mailboxes(*recipient, devices.as_ref(), self.channel, session)?;
            let one = match found {
                _ if !is_admitted => Err(Status::Forbidden),
                None => Err(Status::NotFound),
                Some(mailboxes) => Ok(mailboxes),
            };
            // Device set and member; head twice, entry, claim and two expiry rows a queue.
            let queues = one.as_ref().map_or(0, Vec::len);
            let more = 2 + queues * 6;
            if operations + more > MAX_COMMIT_OPS {
                break;
            }
            operations += more;
            mailboxes_found += queues;
            reached.push(one);
        }
        if reached.len() < recipients.len() {
            // The others come with the next part, which reads them again.
            let others = recipients
                .iter()
                .skip(reached.len())
                .map(|(devices, member)| {
                    let member = member.as_ref().map(|member| member.key().clone());
                    (devices.key().clone(), member)
                });
            ctx.notes.reads.let_go(&others.collect::<Vec<_>>());
        }
        let found = reached.iter().flatten().flatten();
        let mut heads = Vec::with_capacity(mailboxes_found);
        heads.extend(found.map(|mailbox| keys::queue(&mailbox.stored)));
        load(ctx, heads, move |ctx, heads| {
            let cost = allowance::cost(&[&self.payload], heads.len(), &ctx.config.limits);
            let sender = self.session.identity_key;
            allowance::pay(ctx, sender, cost, move |ctx| {
                self.store(ctx, reached, heads)
            })
        })
    }

    /// Whether a message may go into the channel, for the slot it was encrypted for.
    fn check_slot(&self, channel: &Channel) -> Result<(), Fault> {
        match self.channel_slot {
            None => Err(Fault::bad_request(
                "a message in a channel names its channel_slot",
            )),
            Some(slot) if slot < channel.slot => Err(Fault::slot_taken(channel.slot, Bytes::new())),
            Some(slot) if slot > channel.slot => Err(Fault::slot_ahead(channel.slot)),
            Some(_) => Ok(()),
        }
    }

    /// The rest of the recipients, or the answer.
    fn next_part(self: Box<Self>, ctx: &mut Ctx<'_>) -> Next<A> {
        if self.done.statuses.len() < self.recipients.len() {
            ctx.notes.reads.begin_anew();
            return load(ctx, self.dedupe.clone(), |ctx, _| self.load_part(ctx));
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
fn count_enqueue(ctx: &mut Ctx<'_>, session: &Session, recipients: usize) -> Result<(), Fault> {
    let account: &[&[u8]] = &[session.identity_key.as_bytes()];
    ctx.limit(RateClass::Enqueues, account, 1)?;
    let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
    ctx.limit(RateClass::EnqueueRecipients, account, recipients)
}
