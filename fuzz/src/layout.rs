//! Where both cores keep what: the keys of their rows.

use bytes::Bytes;
use qpq_protocol::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use qpq_protocol::storage::keys::{self, PayloadId, QueueId, Range};
use qpq_protocol::storage::{MAX_KEY, prefix_end};

use crate::choices::Choices;
use crate::client_keys::{self, Name};

/// Two sets of fields, and bytes that may be a key. Input: the choices of the fields, then the bytes.
///
/// Keys sort as their fields do; what a key is made of is read from it; what reads as a key is written
/// as the same bytes; a range holds the keys that it is for and no others.
pub fn key_layout(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (one, other) = (Fields::of(&mut choices), Fields::of(&mut choices));
    server_order(&one, &other);
    server_parts(&one);
    ranges(&one, &other);
    client_order(&one, &other);
    let bytes = choices.bytes();
    server_bytes(bytes);
    client_bytes(bytes);
    if let Some(end) = prefix_end(bytes) {
        assert!(bytes < &end[..] && !end.starts_with(bytes));
    }
}

/// What keys are made of. Few different values, so that two are often equal.
struct Fields {
    queue: QueueId,
    channel: ChannelId,
    number: u64,
    piece: u16,
    bytes: [u8; 32],
}

impl Fields {
    fn of(choices: &mut Choices<'_>) -> Self {
        let id = |choices: &mut Choices<'_>| {
            let mut id = [choices.byte(); 16];
            id[15] = choices.byte();
            id
        };
        let mut recipient = [choices.byte(); 32];
        recipient[31] = choices.byte();
        Self {
            queue: QueueId {
                recipient: IdentityKey(recipient),
                device: match choices.flag() {
                    true => DeviceId::new(id(choices)),
                    false => DeviceId::DEFAULT,
                },
                channel: choices.flag().then(|| ChannelId(id(choices))),
            },
            channel: ChannelId(id(choices)),
            number: choices.u64() >> (choices.byte() % 64),
            piece: choices.u16(),
            bytes: choices.array(),
        }
    }

    fn account(&self) -> &IdentityKey {
        &self.queue.recipient
    }
}

/// Holds that keys sort as what they are made of.
macro_rules! sorted {
    ($one:expr, $other:expr, |$fields:ident| $key:expr, $parts:expr) => {{
        let key = |$fields: &Fields| $key;
        let parts = |$fields: &Fields| $parts;
        let (a, b) = (key($one), key($other));
        assert!(a.len() <= MAX_KEY);
        assert_eq!(a.cmp(&b), parts($one).cmp(&parts($other)));
    }};
}

fn server_order(one: &Fields, other: &Fields) {
    sorted!(one, other, |f| keys::queue(&f.queue), f.queue);
    sorted!(
        one,
        other,
        |f| keys::entry(&f.queue, f.number),
        (f.queue, f.number)
    );
    sorted!(
        one,
        other,
        |f| keys::expiry(f.number, &f.queue),
        (f.number, f.queue)
    );
    sorted!(
        one,
        other,
        |f| keys::slot(&f.channel, f.number),
        (f.channel, f.number)
    );
    sorted!(
        one,
        other,
        |f| keys::group_info(&f.channel, f.piece),
        (f.channel, f.piece)
    );
    sorted!(
        one,
        other,
        |f| keys::member(&f.channel, f.account()),
        (f.channel, *f.account())
    );
    sorted!(
        one,
        other,
        |f| keys::membership(f.account(), &f.channel),
        (*f.account(), f.channel)
    );
    sorted!(
        one,
        other,
        |f| keys::package(f.account(), &f.queue.device, &f.bytes),
        (*f.account(), f.queue.device, f.bytes)
    );
    sorted!(
        one,
        other,
        |f| keys::dedupe(&MessageId(f.channel.0), f.account(), f.piece),
        (f.channel, *f.account(), f.piece)
    );
    sorted!(
        one,
        other,
        |f| keys::payload_claim(&PayloadId(f.channel.0), &f.queue),
        (f.channel, f.queue)
    );
}

fn server_parts(f: &Fields) {
    let payload = PayloadId(f.channel.0);
    assert_eq!(keys::parse_queue(&keys::queue(&f.queue)), Some(f.queue));
    assert_eq!(
        keys::parse_entry(&keys::entry(&f.queue, f.number)),
        Some((f.queue, f.number))
    );
    assert_eq!(
        keys::parse_expiry(&keys::expiry(f.number, &f.queue)),
        Some((f.number, f.queue))
    );
    assert_eq!(
        keys::parse_payload_check(&keys::payload_check(&payload)),
        Some(payload)
    );
    let member = keys::member(&f.channel, f.account());
    assert_eq!(keys::parse_member(&member), Some((f.channel, *f.account())));
    let membership = keys::membership(f.account(), &f.channel);
    assert_eq!(
        keys::parse_membership(&membership),
        Some((*f.account(), f.channel))
    );
    let session = keys::device_session(f.account(), &f.queue.device, &f.bytes);
    assert_eq!(keys::parse_device_session(&session), Some(f.bytes));
}

fn ranges(one: &Fields, other: &Fields) {
    fn holds<R>(range: &Range<R>, key: &[u8]) -> bool {
        range.start <= key && key < &range.end[..]
    }
    let (device, account) = (&one.queue.device, one.account());
    let same_device = other.queue.device == *device && other.account() == account;
    let queue = keys::queue(&other.queue);
    assert_eq!(holds(&keys::queues(account, device), &queue), same_device);
    let entry = keys::entry(&other.queue, other.number);
    assert_eq!(
        holds(&keys::device_entries(account, device), &entry),
        same_device
    );
    let some = keys::entries(&one.queue, one.number, one.number.saturating_add(9));
    let within = (one.number..one.number.saturating_add(9)).contains(&other.number);
    assert_eq!(holds(&some, &entry), within && one.queue == other.queue);
    let member = keys::member(&other.channel, account);
    assert_eq!(
        holds(&keys::members(&one.channel), &member),
        one.channel == other.channel
    );
    let expiry = keys::expiry(other.number, &other.queue);
    let due = other.number < one.number.saturating_add(1);
    assert_eq!(holds(&keys::expired(one.number), &expiry), due);
    let after = keys::queues(account, device).after(&queue);
    assert!(!holds(&after, &queue));
}

/// What reads as a key of the server's is one.
fn server_bytes(bytes: &[u8]) {
    let again: [Option<Bytes>; 6] = [
        keys::parse_queue(bytes).map(|queue| keys::queue(&queue).into()),
        keys::parse_entry(bytes).map(|(queue, seq)| keys::entry(&queue, seq).into()),
        keys::parse_expiry(bytes).map(|(at, queue)| keys::expiry(at, &queue).into()),
        keys::parse_payload_check(bytes).map(|payload| keys::payload_check(&payload).into()),
        keys::parse_member(bytes).map(|(channel, who)| keys::member(&channel, &who).into()),
        keys::parse_membership(bytes).map(|(who, channel)| keys::membership(&who, &channel).into()),
    ];
    let mut found = again.iter().flatten();
    assert!(found.all(|key| key == bytes));
    assert!(again.iter().flatten().count() <= 1, "a key is of one kind");
}

fn client_order(one: &Fields, other: &Fields) {
    let key = |f: &Fields| client_keys::history(f.channel, f.number);
    let parts = |f: &Fields| (f.channel, f.number);
    assert_eq!(key(one).cmp(&key(other)), parts(one).cmp(&parts(other)));
    assert_eq!(client_keys::parse_history(&key(one)), Some(parts(one)));
    for name in [
        Name::Conversation(one.channel),
        Name::Outgoing(one.channel, one.number),
        Name::Parked(one.channel, one.number),
        Name::Queue(one.queue.channel),
        Name::Contact(*one.account()),
        Name::Mls(one.bytes.to_vec()),
    ] {
        let key = name.key();
        assert!(key.starts_with(client_keys::STATE));
        assert_eq!(Name::parse(&key), Some(name));
        let stored = client_keys::piece(&key, one.piece);
        assert_eq!(
            client_keys::split_piece(&stored),
            Some((&key[..], one.piece))
        );
    }
}

fn client_bytes(bytes: &[u8]) {
    if let Some(name) = Name::parse(bytes) {
        assert_eq!(name.key(), bytes);
    }
    if let Some((channel, index)) = client_keys::parse_history(bytes) {
        assert_eq!(client_keys::history(channel, index), bytes);
    }
    if let Some((key, piece)) = client_keys::split_piece(bytes) {
        assert_eq!(client_keys::piece(key, piece), bytes);
    }
}
