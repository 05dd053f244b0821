//! What clients ask, and what servers answer and push.

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{Accepted, Checker, Invariant};
use crate::client;
use crate::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use crate::method::Method;
use crate::proto;
use crate::sim::{BEGIN, storage_key};
use crate::status::Status;
use crate::storage::records::Slot;
use crate::storage::{Memory, keys};
use crate::time::Time;

impl Checker {
    /// A client sends this request; `memory` is its disk.
    pub(in crate::sim) fn asked(
        &mut self,
        now: Time,
        client: usize,
        (method, request): (Method, &Bytes),
        memory: &Memory,
    ) {
        // Anyone who means ill may use and acknowledge what it likes, to its own harm.
        let means_well = !self.plan.is_any() || self.honest > client;
        if means_well {
            self.keys_are_fresh(now, method, request);
        }
        if method == Method::Ack
            && let Ok(ack) = proto::AckRequest::decode(request.clone())
            && let Ok(recipient) = IdentityKey::try_from(ack.recipient_key.as_ref())
        {
            let channel = ChannelId::try_from(ack.channel_id.as_ref()).ok();
            let stored = client::stored_cursor(memory, storage_key(client), channel);
            let fits = ack.seq_up_to <= stored || !means_well;
            self.need(now, fits, Invariant::AcknowledgedIsDurable, || {
                let seq = ack.seq_up_to;
                format!("c{client} acknowledged seq {seq} of {channel:?} and has stored {stored}")
            });
            let acked = self.acked.entry((recipient, channel)).or_default();
            *acked = ack.seq_up_to.max(*acked);
        }
    }

    /// A server answers: what it says has to be durable by now.
    pub(in crate::sim) fn answered(
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
                if request.last_resort {
                    self.last_resorts.insert(hash);
                }
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
        self.promised
            .entry(message)
            .or_insert_with(|| accepted.clone());
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
        let unix_ms = BEGIN.as_millis() + now.as_micros() / 1000;
        for given in response.packages {
            let hash: [u8; 32] = Sha256::digest(&given.package).into();
            // Made by a clock that is wrong it can't be inspected; the answer to its upload may have been another one.
            let info = qpq_crypto::mls::inspect_key_package(&given.package, unix_ms);
            let is_last_resort =
                self.last_resorts.contains(&hash) || info.is_ok_and(|info| info.last_resort);
            let fits = self.packages.insert(hash) || is_last_resort;
            self.need(now, fits, Invariant::PackageOnce, || {
                "a single-use key package was given out twice".to_owned()
            });
        }
    }

    /// A server pushes; which device hears it can't be seen here.
    pub(in crate::sim) fn pushed(&mut self, now: Time, event: &proto::PushEvent) {
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
}
