//! Fetch, FetchWait, Peek and ListQueues: what lies in a queue. Nothing here changes anything.

use core::time::Duration;

use bytes::Bytes;

use super::payload;
use super::queue::empty;
use super::recipient::{Mailbox, own_mailbox, parse_channel, wire_channel};
use crate::frame::MAX_PAYLOAD;
use crate::ids::ChannelId;
use crate::proto;
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step, Woken};
use crate::server::txn::{Found, Page, Seen, load, read, scan, wait};
use crate::storage::keys::{self, QueueId};
use crate::storage::records::{Channel, Entry, QueueHead};
use crate::time::{Time, UnixTime};

/// Bytes of a frame kept for what is not payload.
const MARGIN: usize = 4096;
/// Queues in an answer when the request does not say.
const QUEUES: usize = 100;
/// Most queues in an answer.
const MAX_QUEUES: usize = 1000;

/// Method 201.
pub(in crate::server) fn fetch(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::FetchRequest,
) -> Next<proto::FetchResponse> {
    read_queue(ctx, caller, request, |response| Ok(Step::ok(&response)))
}

/// Method 203.
pub(in crate::server) fn peek(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::PeekRequest,
) -> Next<proto::PeekResponse> {
    let request = proto::FetchRequest {
        recipient_key: request.recipient_key,
        channel_id: request.channel_id,
        limit: request.limit,
        device_id: request.device_id,
        after_seq: request.after_seq,
    };
    read_queue(ctx, caller, request, |response| {
        Ok(Step::ok(&proto::PeekResponse::from(response)))
    })
}

/// Method 202.
pub(in crate::server) fn fetch_wait(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::FetchWaitRequest,
) -> Next<proto::FetchWaitResponse> {
    let longest = ctx.config.limits.fetch_wait;
    let until = ctx.now + Duration::from_millis(request.timeout_ms.into()).min(longest);
    let read = Read::new(
        caller.session()?,
        proto::FetchRequest {
            recipient_key: request.recipient_key,
            channel_id: request.channel_id,
            limit: request.limit,
            device_id: request.device_id,
            after_seq: request.after_seq,
        },
    )?;
    fetch_or_wait(ctx, read, until)
}

/// Answers as soon as there is something, or at `until` with what there is.
fn fetch_or_wait(ctx: &mut Ctx<'_>, read: Read, until: Time) -> Next<proto::FetchWaitResponse> {
    read.find(ctx, move |ctx, read, mailbox| {
        ctx.watch(mailbox.named);
        let again = read.clone();
        read.go(mailbox, move |ctx, response| {
            if !response.payloads.is_empty() || ctx.now >= until {
                return Ok(Step::ok(&proto::FetchWaitResponse::from(response)));
            }
            wait(until, move |ctx, woken| match woken {
                Woken::News => fetch_or_wait(ctx, again, until),
                Woken::Deadline => fetch_or_wait(ctx, again, Time::ZERO),
            })
        })
    })
}

fn read_queue<R: 'static>(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::FetchRequest,
    answer: fn(proto::FetchResponse) -> Next<R>,
) -> Next<R> {
    let read = Read::new(caller.session()?, request)?;
    read.find(ctx, move |_, read, mailbox| {
        read.go(mailbox, move |_, response| answer(response))
    })
}

/// A request to read a queue of the session's device.
#[derive(Clone)]
struct Read {
    session: Session,
    device: Bytes,
    channel: Option<ChannelId>,
    limit: usize,
    after_seq: u64,
}

impl Read {
    fn new(session: Session, request: proto::FetchRequest) -> Result<Self, Fault> {
        let limit = match request.limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        Ok(Self {
            session,
            device: request.device_id,
            channel: parse_channel(&request.channel_id)?,
            limit,
            after_seq: request.after_seq,
        })
    }

    /// Finds the queue, and goes on with it.
    fn find<R: 'static>(
        self,
        ctx: &mut Ctx<'_>,
        then: impl FnOnce(&mut Ctx<'_>, Self, Mailbox) -> Next<R> + Send + 'static,
    ) -> Next<R> {
        let devices = keys::device_set(&self.session.identity_key);
        load(ctx, devices, move |ctx, devices| {
            let devices = devices.as_ref();
            let mailbox = own_mailbox(&self.session, &self.device, self.channel, devices)?;
            then(ctx, self, mailbox)
        })
    }

    /// Reads head and entries, in this order: what is acked in between is just not there any more. The
    /// devices, which say where the queue is, are read again with the head: they were only remembered.
    fn go<R: 'static>(
        self,
        mailbox: Mailbox,
        answer: impl FnOnce(&mut Ctx<'_>, proto::FetchResponse) -> Next<R> + Send + 'static,
    ) -> Next<R> {
        let stored = mailbox.stored;
        let wanted = (keys::queue(&stored), keys::device_set(&stored.recipient));
        read(wanted, move |ctx, (head, _)| {
            let head = head.into_value().unwrap_or_else(empty);
            let start = head.first_seq.max(self.after_seq.saturating_add(1));
            if start >= head.next_seq {
                return answer(ctx, page(&head, Vec::new()));
            }
            let entries = keys::entries(&stored, start, head.next_seq);
            let most = Page {
                items: self.limit.min(ctx.config.limits.queue_messages),
                bytes: MAX_PAYLOAD,
            };
            scan(entries, most, move |ctx, found, _| {
                let mut entries = Vec::with_capacity(found.len());
                for found in found {
                    let (_, seq) = keys::parse_entry(found.key()).ok_or_else(unreadable)?;
                    entries.push((seq, found.value()?));
                }
                let (head, entries) = select(head, entries, ctx.date, ctx.config.limits.answer);
                let bodies = entries
                    .iter()
                    .map(|(_, entry)| entry.body.clone())
                    .collect();
                let then = move |ctx: &mut Ctx<'_>, payloads: Vec<Option<Bytes>>| {
                    let envelopes = entries.into_iter().zip(payloads).filter_map(envelope);
                    answer(ctx, page(&head, envelopes.collect()))
                };
                payload::fetch(ctx, bodies, then)
            })
        })
    }
}

fn unreadable() -> Fault {
    Fault::internal("a stored row cannot be read")
}

/// The entries that fit an answer of `most` bytes, at least one; expired ones as tombstones. The first messages of
/// a queue are gone when they have expired: then `first_seq` is that of the first one left.
fn select(
    mut head: QueueHead,
    found: Vec<(u64, Entry)>,
    now: UnixTime,
    most: usize,
) -> (QueueHead, Vec<(u64, Entry)>) {
    let mut entries = Vec::new();
    let mut size = 0;
    for (seq, mut entry) in found {
        if entry.expires_at_ms <= now.as_millis() {
            entry.body = None;
        }
        if entry.body.is_none() && seq == head.first_seq {
            head.first_seq = seq.saturating_add(1);
            continue;
        }
        size += payload::length(entry.body.as_ref()) + ENVELOPE;
        if size > most.saturating_sub(MARGIN) && !entries.is_empty() {
            break;
        }
        entries.push((seq, entry));
    }
    (head, entries)
}

/// The most that an envelope adds to its payload, in bytes.
const ENVELOPE: usize = 160;

/// The envelope of an entry; `None` if its payload has gone since the entry was read.
fn envelope(((seq, entry), payload): ((u64, Entry), Option<Bytes>)) -> Option<proto::Envelope> {
    if entry.body.is_none() {
        return Some(proto::Envelope {
            seq,
            expired: true,
            ..proto::Envelope::default()
        });
    }
    let commit = entry.commit.unwrap_or_default();
    Some(proto::Envelope {
        seq,
        data: payload?,
        slot: (!commit.sender_key.is_empty()).then_some(commit.slot),
        sender_key: commit.sender_key,
        expired: false,
        commit_proof: commit.commit_proof,
    })
}

fn page(head: &QueueHead, payloads: Vec<proto::Envelope>) -> proto::FetchResponse {
    proto::FetchResponse {
        payloads,
        first_seq: head.first_seq,
        next_seq: head.next_seq,
        overrun: head.overrun,
    }
}

/// Method 207: the queues of the session's device, and the channels of its account that have sent
/// it nothing yet, in order of channel id.
pub(in crate::server) fn list_queues(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::ListQueuesRequest,
) -> Next<proto::ListQueuesResponse> {
    let session = caller.session()?;
    let after = parse_channel(&request.after)?;
    let limit = match request.limit {
        0 => QUEUES,
        // The default channel's id is empty, as is a request to start: a page of it alone would lead
        // nowhere.
        limit => usize::try_from(limit)
            .unwrap_or(MAX_QUEUES)
            .clamp(2, MAX_QUEUES),
    };
    let devices = keys::device_set(&session.identity_key);
    load(ctx, devices.clone(), move |_, seen| {
        let mailbox = own_mailbox(&session, &Bytes::new(), after, seen.as_ref())?;
        let QueueId {
            recipient, device, ..
        } = mailbox.stored;
        let mut queues = keys::queues(&recipient, &device);
        let mut channels = keys::memberships(&recipient);
        if let Some(after) = &after {
            queues = queues.after(&keys::queue(&mailbox.stored));
            channels = channels.after(&keys::membership(&recipient, after));
        }
        let most = Page {
            items: limit,
            bytes: MAX_PAYLOAD,
        };
        scan(queues, most, move |_, queues, _| {
            scan(channels, most, move |_, channels, _| {
                let listed = merge(queues, &channels, limit)?;
                let channels = listed.iter().filter_map(|(channel, _)| channel.as_ref());
                let channels: Vec<_> = channels.map(keys::channel).collect();
                // The devices are read again: they were only remembered.
                read((channels, devices), move |_, (channels, _)| {
                    Ok(describe(listed, channels))
                })
            })
        })
    })
}

type Listed = (Option<ChannelId>, QueueHead);

/// Queues and channels, in order of channel id, each once.
fn merge(
    queues: Vec<Found<QueueHead>>,
    channels: &[Found<()>],
    limit: usize,
) -> Result<Vec<Listed>, Fault> {
    let mut listed = Vec::with_capacity(queues.len() + channels.len());
    for found in queues {
        let queue = keys::parse_queue(found.key()).ok_or_else(unreadable)?;
        listed.push((queue.channel, found.value()?));
    }
    for found in channels {
        let (_, channel) = keys::parse_membership(found.key()).ok_or_else(unreadable)?;
        listed.push((Some(channel), empty()));
    }
    // Stable: of a channel that stands twice, the queue comes first and stays.
    listed.sort_by_key(|(channel, _)| *channel);
    listed.dedup_by_key(|(channel, _)| *channel);
    listed.truncate(limit);
    Ok(listed)
}

fn describe(listed: Vec<Listed>, channels: Vec<Seen<Channel>>) -> Step<proto::ListQueuesResponse> {
    let mut channels = channels.into_iter();
    let queues = listed.into_iter().map(|(channel, head)| {
        let state = channel.and_then(|_| channels.next()?.into_value());
        let state = state.unwrap_or_default();
        proto::Queue {
            channel_id: wire_channel(channel),
            first_seq: head.first_seq,
            next_seq: head.next_seq,
            slot: state.slot,
            members_version: state.members_version,
        }
    });
    Step::ok(&proto::ListQueuesResponse {
        queues: queues.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::records::entry;
    use prost::Message as _;

    fn entries(entries: &[(u64, &'static [u8], u64)]) -> Vec<(u64, Entry)> {
        let entry = |&(seq, data, expires_at_ms): &(u64, &'static [u8], u64)| {
            let entry = Entry {
                body: Some(entry::Body::Inline(Bytes::from_static(data))),
                expires_at_ms,
                ..Entry::default()
            };
            (seq, entry)
        };
        entries.iter().map(entry).collect()
    }

    fn head(first_seq: u64) -> QueueHead {
        QueueHead {
            first_seq,
            next_seq: 9,
            ..QueueHead::default()
        }
    }

    #[test]
    fn expired_messages_are_gone_in_front_and_tombstones_behind() {
        let found = entries(&[(3, b"a", 10), (4, b"b", 10), (5, b"c", 99), (6, b"d", 10)]);
        let (head, entries) = select(head(3), found, UnixTime::from_millis(10), MAX_PAYLOAD);
        assert_eq!(head.first_seq, 5);
        let shown: Vec<(u64, bool)> = entries
            .iter()
            .map(|(seq, entry)| (*seq, entry.body.is_none()))
            .collect();
        assert_eq!(shown, [(5, false), (6, true)]);
    }

    #[test]
    fn a_page_has_at_least_one_envelope_and_fits_a_frame() {
        static LONG: [u8; MAX_PAYLOAD] = [0; MAX_PAYLOAD];
        let found = entries(&[(1, &LONG, 99), (2, b"b", 99)]);
        let (_, entries) = select(head(1), found, UnixTime::from_millis(1), MAX_PAYLOAD);
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn an_envelope_adds_no_more_than_is_counted() {
        let envelope = proto::Envelope {
            seq: u64::MAX,
            data: Bytes::from(vec![0; 3 << 20]),
            slot: Some(u64::MAX),
            sender_key: Bytes::from_static(&[0; 32]),
            expired: true,
            commit_proof: Bytes::from_static(&[0; 72]),
        };
        assert!(envelope.encoded_len() + 8 <= envelope.data.len() + ENVELOPE);
    }
}
