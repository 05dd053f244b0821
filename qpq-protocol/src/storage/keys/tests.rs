//! The bytes of every key, and that they sort as their fields do.

use proptest::prelude::*;

use super::*;
use crate::ids::MessageId;

const A: IdentityKey = IdentityKey([0xaa; 32]);
const C: ChannelId = ChannelId([0xcc; 16]);
const M: MessageId = MessageId([0x77; 16]);
const P: PayloadId = PayloadId([0x99; 16]);

fn device_id() -> DeviceId {
    DeviceId::new([0xdd; 16])
}

fn queue_id(device: DeviceId, channel: Option<ChannelId>) -> QueueId {
    QueueId {
        recipient: A,
        device,
        channel,
    }
}

/// `parts` written as in the documentation: text, or a byte and how often.
fn bytes(parts: &[(&[u8], usize)]) -> Bytes {
    parts
        .iter()
        .flat_map(|(part, times)| part.repeat(*times))
        .collect::<Vec<u8>>()
        .into()
}

#[test]
fn golden_keys() {
    let (aa, cc, dd) = ((&[0xaa][..], 32), (&[0xcc][..], 16), (&[0xdd][..], 16));
    let (ff, n99, n77) = ((&[0xff][..], 32), (&[0x99][..], 16), (&[0x77][..], 16));
    let (zero, one) = ((&[0][..], 1), (&[1][..], 1));
    let tag = |letter: &'static [u8]| (letter, 1);
    let default = queue_id(DeviceId::DEFAULT, None);
    let seq = (&[0, 0, 0, 0, 0, 0, 0, 1][..], 1);
    let golden: [(Bytes, Bytes); 28] = [
        (meta("schema").into(), bytes(&[tag(b"mschema")])),
        (account(&A).into(), bytes(&[tag(b"a"), aa])),
        (name("alice").into(), bytes(&[tag(b"nalice")])),
        (device_set(&A).into(), bytes(&[tag(b"D"), aa])),
        (
            device(&A, &device_id()).into(),
            bytes(&[tag(b"d"), aa, one, dd]),
        ),
        (session(&[0xff; 32]).into(), bytes(&[tag(b"t"), ff])),
        (
            device_session(&A, &DeviceId::DEFAULT, &[0xff; 32]).into(),
            bytes(&[tag(b"T"), aa, zero, ff]),
        ),
        (
            queue(&queue_id(device_id(), None)).into(),
            bytes(&[tag(b"q"), aa, one, dd, zero]),
        ),
        (
            entry(&queue_id(DeviceId::DEFAULT, Some(C)), 1).into(),
            bytes(&[tag(b"e"), aa, zero, one, cc, seq]),
        ),
        (
            payload(&P, 1).into(),
            bytes(&[tag(b"p"), n99, (&[0, 1], 1)]),
        ),
        (
            payload_claim(&P, &default).into(),
            bytes(&[tag(b"P"), n99, aa, zero, zero]),
        ),
        (payload_check(&P).into(), bytes(&[tag(b"g"), n99])),
        (
            dedupe(&M, &A, 200).into(),
            bytes(&[tag(b"i"), n77, aa, (&[0, 200], 1)]),
        ),
        (
            expiry(1, &default).into(),
            bytes(&[tag(b"x"), seq, aa, zero, zero]),
        ),
        (channel(&C).into(), bytes(&[tag(b"c"), cc])),
        (metadata(&C).into(), bytes(&[tag(b"C"), cc])),
        (
            group_info(&C, 0).into(),
            bytes(&[tag(b"G"), cc, (&[0, 0], 1)]),
        ),
        (member(&C, &A).into(), bytes(&[tag(b"M"), cc, aa])),
        (membership(&A, &C).into(), bytes(&[tag(b"A"), aa, cc])),
        (given(&A).into(), bytes(&[tag(b"y"), aa])),
        (former(&C, &A).into(), bytes(&[tag(b"F"), cc, aa])),
        (allowance(&A).into(), bytes(&[tag(b"w"), aa])),
        (slot(&C, 1).into(), bytes(&[tag(b"s"), cc, seq])),
        (
            package_pool(&A, &DeviceId::DEFAULT).into(),
            bytes(&[tag(b"k"), aa, zero]),
        ),
        (
            package(&A, &DeviceId::DEFAULT, &[0xff; 32]).into(),
            bytes(&[tag(b"K"), aa, zero, ff]),
        ),
        (
            package_seen(&A, &DeviceId::DEFAULT, &[0xff; 32]).into(),
            bytes(&[tag(b"U"), aa, zero, ff]),
        ),
        (hybrid_key(&A).into(), bytes(&[tag(b"h"), aa])),
        (
            device_revoked(&A, &device_id()).into(),
            bytes(&[tag(b"j"), (&[2], 1), aa, one, dd]),
        ),
    ];
    for (key, expected) in &golden {
        assert_eq!(key, expected);
    }
    let mut families: Vec<u8> = golden.iter().map(|(key, _)| key[0]).collect();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), golden.len(), "two families share a letter");
}

#[test]
fn a_range_holds_what_it_names_and_nothing_else() {
    fn within<R>(range: &Range<R>, key: &Bytes) -> bool {
        range.start <= *key && *key < range.end
    }
    let other = IdentityKey([0xab; 32]);
    let queues = queues(&A, &DeviceId::DEFAULT);
    assert!(within(&queues, &queue(&queue_id(DeviceId::DEFAULT, None))));
    assert!(within(
        &queues,
        &queue(&queue_id(DeviceId::DEFAULT, Some(ChannelId([0xff; 16]))))
    ));
    assert!(!within(&queues, &queue(&queue_id(device_id(), None))));
    assert!(!within(
        &queues,
        &queue(&QueueId {
            recipient: other,
            device: DeviceId::DEFAULT,
            channel: None
        })
    ));

    let q = queue_id(DeviceId::DEFAULT, Some(C));
    let entries = entries(&q, 2, 4);
    let inside: Vec<bool> = (1..=4)
        .map(|seq| within(&entries, &entry(&q, seq)))
        .collect();
    assert_eq!(inside, [false, true, true, false]);

    assert!(within(&expired(5), &expiry(5, &q)));
    assert!(!within(&expired(5), &expiry(6, &q)));
    assert!(within(&devices(&A), &device(&A, &device_id())));
    assert!(!within(&devices(&A), &device(&other, &device_id())));
    assert!(within(&members(&C), &member(&C, &other)));
    assert!(within(&memberships(&A), &membership(&A, &C)));
    assert!(within(&payload_claims(&P), &payload_claim(&P, &q)));
    assert!(within(&payload_pieces(&P), &payload(&P, u16::MAX)));
    assert!(within(
        &device_sessions(&A, None),
        &device_session(&A, &device_id(), &[0xff; 32])
    ));
    assert!(!within(
        &device_sessions(&A, Some(&DeviceId::DEFAULT)),
        &device_session(&A, &device_id(), &[0xff; 32])
    ));
}

#[test]
fn a_range_goes_on_after_a_key() {
    let all = members(&C);
    let rest = all.clone().after(&member(&C, &A));
    assert!(rest.start > *member(&C, &A));
    assert!(rest.start < *member(&C, &IdentityKey([0xab; 32])));
    assert_eq!(rest.end, all.end);
    assert_eq!(all.clone().after(b"").start, all.start);
}

#[test]
fn foreign_bytes_are_no_key() {
    let key = entry(&queue_id(device_id(), Some(C)), 9);
    for end in 0..key.len() {
        assert_eq!(parse_entry(&key[..end]), None);
    }
    let mut longer = key.to_vec();
    longer.push(0);
    assert_eq!(parse_entry(&longer), None);
    assert_eq!(parse_queue(&key), None);
}

fn any_queue() -> impl Strategy<Value = QueueId> {
    let id = || proptest::option::of(any::<[u8; 16]>());
    (any::<[u8; 32]>(), id(), id()).prop_map(|(recipient, device, channel)| QueueId {
        recipient: IdentityKey(recipient),
        device: device.map_or(DeviceId::DEFAULT, DeviceId::new),
        channel: channel.map(ChannelId),
    })
}

proptest! {
    #[test]
    fn keys_sort_as_their_fields(a in any_queue(), b in any_queue(), m: u64, n: u64) {
        prop_assert_eq!(queue(&a).cmp(&queue(&b)), a.cmp(&b));
        prop_assert_eq!(entry(&a, m).cmp(&entry(&b, n)), (a, m).cmp(&(b, n)));
        prop_assert_eq!(expiry(m, &a).cmp(&expiry(n, &b)), (m, a).cmp(&(n, b)));
    }

    #[test]
    fn keys_are_read_back(a in any_queue(), n: u64, id: [u8; 16], hash: [u8; 32]) {
        prop_assert_eq!(parse_queue(&queue(&a)), Some(a));
        prop_assert_eq!(parse_entry(&entry(&a, n)), Some((a, n)));
        prop_assert_eq!(parse_expiry(&expiry(n, &a)), Some((n, a)));
        let (channel, payload) = (ChannelId(id), PayloadId(id));
        prop_assert_eq!(parse_member(&member(&channel, &a.recipient)), Some((channel, a.recipient)));
        prop_assert_eq!(
            parse_membership(&membership(&a.recipient, &channel)),
            Some((a.recipient, channel))
        );
        prop_assert_eq!(parse_payload_check(&payload_check(&payload)), Some(payload));
        prop_assert_eq!(
            parse_device_session(&device_session(&a.recipient, &a.device, &hash)),
            Some(hash)
        );
    }
}

#[test]
fn jobs_are_found_and_read() {
    let changed = devices_changed(&A);
    assert_eq!(*changed, bytes(&[(b"j", 1), (&[1], 1), (&[0xaa], 32)]));
    assert_eq!(parse_job(&changed), Some(Work::DevicesChanged(A)));
    for device in [DeviceId::DEFAULT, device_id()] {
        let revoked = device_revoked(&A, &device);
        assert_eq!(parse_job(&revoked), Some(Work::DeviceRevoked(A, device)));
        assert!(jobs().start < *revoked && *revoked < jobs().end);
    }
    assert_eq!(parse_job(b"j\x03"), None);
}
