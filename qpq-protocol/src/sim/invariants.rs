//! What must hold after every step, checked where it can be seen: at the disks, on the wire, and in
//! what apps are told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::app::App;
use crate::client::{self, ConversationId, DisconnectReason, UnreadableReason};
use crate::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use crate::method::Method;
use crate::proto;
use crate::server;
use crate::status::Status;
use crate::storage::keys::{self, QueueId};
use crate::storage::records::{Dedupe, Entry, QueueHead, Slot};
use crate::storage::{Commit, Memory};
use crate::time::Time;

/// What can be violated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// No core panics.
    NoPanic,
    /// What a server answered, and what an app was told, is on durable storage at that moment and
    /// stays there until it is acknowledged.
    AcknowledgedIsDurable,
    /// In each queue every seq is given once, without holes, and means one message.
    SeqsWithoutHoles,
    /// Each slot has one commit, and each epoch one set of changes.
    OneWinner,
    /// No nonce is used twice with a key.
    NonceOnce,
    /// A message id stands for one message, however often that was sent.
    OneMeaning,
    /// A single-use key package is given to one.
    PackageOnce,
    /// What a server pushes is on durable storage at that moment.
    PushedIsDurable,
    /// A message reaches an app once.
    OnceInApp,
    /// `footprint` stays below what the limits add up to.
    Footprint,
    /// Our own cores never break the protocol, and nobody's conversation or client breaks.
    NothingBreaks,
    /// Time goes on: no core wants to be called again and again at the same moment.
    Progress,
    /// When the faults stop, everyone is logged in, all that was asked for has ended, members
    /// agree, and every message is where it belongs.
    Settles,
}

impl Invariant {
    /// Its name, as reports print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPanic => "no panic",
            Self::AcknowledgedIsDurable => "acknowledged is durable",
            Self::SeqsWithoutHoles => "seqs once and without holes",
            Self::OneWinner => "one winner",
            Self::NonceOnce => "nonce once",
            Self::OneMeaning => "one meaning",
            Self::PackageOnce => "key package once",
            Self::PushedIsDurable => "pushed is durable",
            Self::OnceInApp => "once in the app",
            Self::Footprint => "footprint",
            Self::NothingBreaks => "nothing breaks",
            Self::Progress => "progress",
            Self::Settles => "settles",
        }
    }
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When, in virtual time.
    pub at: Time,
    /// What was seen.
    pub detail: String,
}

/// The most that a client holds in memory for its peer and its disk, in bytes.
const CLIENT_FOOTPRINT: usize = 32 * 1024 * 1024;

/// A message that a server took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Accepted {
    pub(super) channel: ChannelId,
    /// Who is to get it.
    pub(super) recipients: Vec<IdentityKey>,
    payload: [u8; 32],
}

/// Watches everything; remembers the first violation.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) violation: Option<Violation>,
    /// The seq that each queue gives next.
    queues: BTreeMap<QueueId, u64>,
    /// Up to where each account's queue of a channel was acknowledged.
    acked: BTreeMap<(IdentityKey, Option<ChannelId>), u64>,
    /// What each seq means.
    envelopes: BTreeMap<(Vec<u8>, Vec<u8>, u64), [u8; 32]>,
    slots: BTreeMap<(ChannelId, u64), Vec<u8>>,
    /// Changes of members, by the epoch that they led to.
    epochs: BTreeMap<(ConversationId, u64), String>,
    /// Nonces of sealed rows, by client, with what they sealed.
    nonces: BTreeMap<(usize, Vec<u8>), [u8; 32]>,
    pub(super) accepted: BTreeMap<MessageId, Accepted>,
    /// Where the queues have each message, by the row that remembers it.
    places: BTreeMap<Bytes, Vec<u64>>,
    /// Single-use key packages that were given out.
    packages: BTreeSet<[u8; 32]>,
}

impl Checker {
    /// Something does not hold. Only the first counts: others often follow from it.
    pub(super) fn fail(&mut self, at: Time, invariant: Invariant, detail: String) {
        self.violation.get_or_insert(Violation {
            invariant,
            at,
            detail,
        });
    }

    fn need(
        &mut self,
        now: Time,
        holds: bool,
        invariant: Invariant,
        detail: impl FnOnce() -> String,
    ) {
        if !holds {
            self.fail(now, invariant, detail());
        }
    }

    /// The servers' store has carried this out.
    pub(super) fn server_stored(&mut self, now: Time, commit: &Commit, memory: &Memory) {
        use Invariant::{AcknowledgedIsDurable, OneMeaning, OneWinner, SeqsWithoutHoles};
        for (key, value) in &commit.puts {
            if let Some((queue, seq)) = keys::parse_entry(key) {
                let next = self.queues.entry(queue).or_insert(1);
                let next_was = *next;
                if seq == next_was {
                    *next += 1;
                }
                let is_tombstone = Entry::decode(value.clone()).is_ok_and(|e| e.body.is_none());
                let fits = seq == next_was || (seq < next_was && is_tombstone);
                self.need(now, fits, SeqsWithoutHoles, || {
                    format!("{queue:?} was at {next_was} and got {seq}")
                });
            }
            if let Some((channel, slot)) = parse_slot(key) {
                let hash = Slot::decode(value.clone()).unwrap_or_default().commit_hash;
                let is_next = slot == 0 || self.slots.contains_key(&(channel, slot - 1));
                let known = self
                    .slots
                    .entry((channel, slot))
                    .or_insert_with(|| hash.to_vec());
                let fits = is_next && *known == hash;
                self.need(now, fits, OneWinner, || {
                    format!("slot {slot} of {channel} was taken twice, or out of order")
                });
            }
            if key.first() == Some(&(keys::Family::Dedupe as u8)) {
                let seqs = Dedupe::decode(value.clone()).unwrap_or_default().seqs;
                let known = self.places.entry(key.clone()).or_default();
                // Many recipients take more than one commit.
                let fits = seqs.starts_with(known);
                *known = seqs;
                self.need(now, fits, OneMeaning, || {
                    "one message was put into queues twice".to_owned()
                });
            }
        }
        for (key, value) in &commit.puts {
            if let Some(queue) = keys::parse_queue(key) {
                let head = QueueHead::decode(value.clone()).unwrap_or_default();
                let next = self.queues.get(&queue).copied().unwrap_or(1);
                let fits = head.next_seq == next && head.first_seq <= next;
                self.need(now, fits, SeqsWithoutHoles, || {
                    format!(
                        "{queue:?} gives {next} next, its head says {}",
                        head.next_seq
                    )
                });
            }
        }
        for key in &commit.deletes {
            if let Some((queue, seq)) = keys::parse_entry(key)
                && memory.get(&keys::queue(&queue)).is_some()
            {
                let acked = self.acked.get(&(queue.recipient, queue.channel));
                let fits = acked.is_some_and(|acked| seq <= *acked);
                self.need(now, fits, AcknowledgedIsDurable, || {
                    format!("seq {seq} of {queue:?} is gone, and nobody acknowledged it")
                });
            }
        }
    }

    /// A client's disk has carried this out.
    pub(super) fn client_stored(&mut self, now: Time, client: usize, commit: &Commit) {
        for (key, value) in &commit.puts {
            if key.starts_with(b"meta/") {
                continue;
            }
            let Some(nonce) = value.get(..24) else {
                continue;
            };
            let mut sealed = Sha256::new_with_prefix(key);
            sealed.update(value);
            let sealed: [u8; 32] = sealed.finalize().into();
            let first = self
                .nonces
                .entry((client, nonce.to_vec()))
                .or_insert(sealed);
            let fits = *first == sealed;
            self.need(now, fits, Invariant::NonceOnce, || {
                format!("c{client} sealed two rows with one nonce")
            });
        }
    }

    /// A client sends this request.
    pub(super) fn asked(&mut self, method: Method, request: &Bytes) {
        if method == Method::Ack
            && let Ok(ack) = proto::AckRequest::decode(request.clone())
            && let Ok(recipient) = IdentityKey::try_from(ack.recipient_key.as_ref())
        {
            let channel = ChannelId::try_from(ack.channel_id.as_ref()).ok();
            let acked = self.acked.entry((recipient, channel)).or_default();
            *acked = ack.seq_up_to.max(*acked);
        }
    }

    /// A server answers: what it says has to be durable by now.
    pub(super) fn answered(
        &mut self,
        now: Time,
        (method, request, response): (Method, &Bytes, &Bytes),
        memory: &Memory,
        accounts: &[IdentityKey],
    ) {
        use Invariant::AcknowledgedIsDurable;
        let holds = match method {
            Method::BatchEnqueue => self.took(now, request, response, memory, accounts),
            Method::SubmitCommit => {
                let request =
                    proto::SubmitCommitRequest::decode(request.clone()).unwrap_or_default();
                let channel = ChannelId::try_from(request.channel_id.as_ref());
                let row = channel
                    .ok()
                    .and_then(|id| memory.get(&keys::slot(&id, request.slot)));
                row.is_some_and(|row| {
                    let slot = Slot::decode(row.clone()).unwrap_or_default();
                    *slot.commit_hash == *Sha256::digest(&request.commit)
                })
            }
            Method::UploadKeyPackage => {
                let request =
                    proto::UploadKeyPackageRequest::decode(request.clone()).unwrap_or_default();
                let hash: [u8; 32] = Sha256::digest(&request.package).into();
                let device = DeviceId::try_from(request.device_id.as_ref());
                let identity = IdentityKey::try_from(request.identity_key.as_ref());
                match (identity, device) {
                    (Ok(identity), Ok(device)) => memory
                        .get(&keys::package_seen(&identity, &device, &hash))
                        .is_some(),
                    _ => false,
                }
            }
            Method::OpaqueRegisterFinish => {
                let request =
                    proto::OpaqueRegisterFinishRequest::decode(request.clone()).unwrap_or_default();
                memory.get(&keys::name(&request.username)).is_some()
            }
            Method::OpaqueLoginFinish => {
                let response =
                    proto::OpaqueLoginFinishResponse::decode(response.clone()).unwrap_or_default();
                let hash: [u8; 32] = Sha256::digest(&response.session_token).into();
                memory.get(&keys::session(&hash)).is_some()
            }
            Method::CreateChannel => {
                let response =
                    proto::CreateChannelResponse::decode(response.clone()).unwrap_or_default();
                let channel = ChannelId::try_from(response.channel_id.as_ref());
                channel.is_ok_and(|id| memory.get(&keys::channel(&id)).is_some())
            }
            Method::Fetch => {
                self.fetched(now, request, response);
                true
            }
            Method::FetchKeyPackages => {
                self.gave_packages(now, response);
                true
            }
            _ => true,
        };
        self.need(now, holds, AcknowledgedIsDurable, || {
            format!(
                "{} was answered with Ok before it was stored",
                method.name()
            )
        });
    }

    fn took(
        &mut self,
        now: Time,
        request: &Bytes,
        response: &Bytes,
        memory: &Memory,
        accounts: &[IdentityKey],
    ) -> bool {
        let request = proto::BatchEnqueueRequest::decode(request.clone()).unwrap_or_default();
        let response = proto::BatchEnqueueResponse::decode(response.clone()).unwrap_or_default();
        let (Ok(message), Ok(channel)) = (
            MessageId::try_from(request.message_id.as_ref()),
            ChannelId::try_from(request.channel_id.as_ref()),
        ) else {
            return true;
        };
        let recipients = request.recipient_keys.iter().zip(&response.statuses);
        let recipients = recipients.filter(|(_, status)| **status == u32::from(Status::Ok.code()));
        let accepted = Accepted {
            channel,
            recipients: recipients
                .filter_map(|(key, _)| IdentityKey::try_from(key.as_ref()).ok())
                .collect(),
            payload: Sha256::digest(&request.payload).into(),
        };
        let known = self
            .accepted
            .entry(message)
            .or_insert_with(|| accepted.clone());
        let fits = known.payload == accepted.payload;
        self.need(now, fits, Invariant::OneMeaning, || {
            format!("{message} was taken twice with two meanings")
        });
        let method = Method::BatchEnqueue.id();
        let row = |caller: &IdentityKey| memory.get(&keys::dedupe(&message, caller, method));
        accounts.iter().any(|caller| row(caller).is_some())
    }

    fn fetched(&mut self, now: Time, request: &Bytes, response: &Bytes) {
        let request = proto::FetchRequest::decode(request.clone()).unwrap_or_default();
        let response = proto::FetchResponse::decode(response.clone()).unwrap_or_default();
        let mut last = None;
        for envelope in response.payloads {
            let follows = last.is_none_or(|last| envelope.seq == last + 1);
            last = Some(envelope.seq);
            let mut hash = Sha256::new_with_prefix(&envelope.data);
            hash.update([u8::from(envelope.slot.is_some())]);
            hash.update(envelope.slot.unwrap_or_default().to_be_bytes());
            let hash: [u8; 32] = hash.finalize().into();
            let queue = (
                request.recipient_key.to_vec(),
                request.channel_id.to_vec(),
                envelope.seq,
            );
            let fits = envelope.expired || *self.envelopes.entry(queue).or_insert(hash) == hash;
            self.need(now, follows && fits, Invariant::SeqsWithoutHoles, || {
                format!(
                    "seq {} was fetched with two meanings, or after a hole",
                    envelope.seq
                )
            });
        }
    }

    fn gave_packages(&mut self, now: Time, response: &Bytes) {
        let response =
            proto::FetchKeyPackagesResponse::decode(response.clone()).unwrap_or_default();
        let unix_ms = super::BEGIN.as_millis() + now.as_micros() / 1000;
        for given in response.packages {
            let info = qpq_crypto::mls::inspect_key_package(&given.package, unix_ms);
            let is_first = self.packages.insert(Sha256::digest(&given.package).into());
            let fits = is_first || info.is_ok_and(|info| info.last_resort);
            self.need(now, fits, Invariant::PackageOnce, || {
                "a single-use key package was given out twice".to_owned()
            });
        }
    }

    /// A server pushes; which device hears it can't be seen here.
    pub(super) fn pushed(&mut self, now: Time, event: &proto::PushEvent) {
        if let Some(proto::push_event::Event::NewMessage(news)) = &event.event {
            let channel = ChannelId::try_from(news.channel_id.as_ref()).ok();
            let mut queues = self.queues.iter();
            let fits = queues.any(|(queue, next)| queue.channel == channel && news.seq < *next);
            self.need(now, fits, Invariant::PushedIsDurable, || {
                format!(
                    "seq {} of {channel:?} was pushed before it was stored",
                    news.seq
                )
            });
        }
    }

    /// A server told its embedder something.
    pub(super) fn server_told(&mut self, now: Time, server: usize, event: &server::Event) {
        match event {
            server::Event::PeerFault { .. } | server::Event::Refused(_) => {
                self.fail(
                    now,
                    Invariant::NothingBreaks,
                    format!("s{server}: {event:?}"),
                );
            }
            _ => {}
        }
    }

    /// An app was told something; `memory` is its client's disk.
    pub(super) fn app_told(
        &mut self,
        now: Time,
        client: usize,
        app: &mut App,
        event: &client::Event,
        memory: &Memory,
    ) {
        use client::Event;
        match event {
            Event::Message(message) => {
                let (id, index) = (message.conversation, message.index);
                let stored = memory.get(&client::history_row(id, index)).is_some();
                self.need(now, stored, Invariant::AcknowledgedIsDurable, || {
                    format!("c{client} was told of message {index} of {id} before it was stored")
                });
                let first = app.told.insert((id, index), message.message_id).is_none();
                let once = app.told_ids.insert((id, message.message_id));
                self.need(now, first && once, Invariant::OnceInApp, || {
                    format!("c{client} was told twice of message {index} of {id}")
                });
            }
            Event::Membership {
                conversation,
                by,
                added,
                removed,
                epoch,
            } => {
                let names = |people: &[client::Person]| -> BTreeSet<IdentityKey> {
                    people.iter().map(|person| person.identity_key).collect()
                };
                let change = format!(
                    "{:?} {:?} {:?}",
                    by.identity_key,
                    names(added),
                    names(removed)
                );
                let known = self.epochs.entry((*conversation, *epoch));
                let fits = *known.or_insert_with(|| change.clone()) == change;
                self.need(now, fits, Invariant::OneWinner, || {
                    format!("epoch {epoch} of {conversation} came about in two ways")
                });
            }
            Event::Opened { account } => {
                let key = account.as_ref().map(|account| account.identity_key);
                let fits = app.account.is_none() || key == app.account;
                self.need(now, fits, Invariant::AcknowledgedIsDurable, || {
                    format!("c{client} lost its account")
                });
            }
            Event::Broken { .. } | Event::Fatal(_) | Event::KeyChanged { .. } => {
                self.fail(
                    now,
                    Invariant::NothingBreaks,
                    format!("c{client}: {event:?}"),
                );
            }
            Event::Unreadable { why, .. } => {
                let fits = matches!(
                    why,
                    UnreadableReason::NoConversation | UnreadableReason::TooOld
                );
                self.need(now, fits, Invariant::NothingBreaks, || {
                    format!("c{client}: {event:?}")
                });
            }
            Event::Disconnected {
                why: DisconnectReason::Protocol,
                ..
            } => self.fail(
                now,
                Invariant::NothingBreaks,
                format!("c{client}: {event:?}"),
            ),
            _ => {}
        }
    }

    /// How much a core holds.
    pub(super) fn holds(
        &mut self,
        now: Time,
        who: super::host::Who,
        bytes: usize,
        server_most: usize,
    ) {
        let most = match who {
            super::host::Who::Client(_) => CLIENT_FOOTPRINT,
            super::host::Who::Server(_) => server_most,
        };
        self.need(now, bytes <= most, Invariant::Footprint, || {
            format!("{who} holds {bytes} bytes of at most {most}")
        });
    }
}

/// The channel and slot of a key made by [`keys::slot`].
fn parse_slot(key: &[u8]) -> Option<(ChannelId, u64)> {
    let rest = key.strip_prefix(b"s")?;
    let (channel, slot) = rest.split_first_chunk::<16>()?;
    Some((
        ChannelId(*channel),
        u64::from_be_bytes(slot.try_into().ok()?),
    ))
}
