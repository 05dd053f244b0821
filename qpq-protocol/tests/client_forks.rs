//! Fork reports: members tell each other what they hold of a group (protocol.md §5.13), against the real
//! server core in virtual time. What is told is shown, and changes nothing.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use bytes::Bytes;
use net::people::{
    asked, assert_talk, backup, conversation, group, method, register, remove, settle, told,
};
use net::{Lie, Net};
use prost::Message as _;
use qpq_protocol::client::{
    Comparison, ConversationId, Event, Misdeed, Outcome, Twice, UnreadableReason, intent,
};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::proto;
use qpq_protocol::proto::delivery_payload::Payload;
use qpq_protocol::storage::Memory;
use qpq_protocol::storage::keys;
use qpq_protocol::storage::records::HybridKey;

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// So many people, and a group of the first `count`, made by the first; its id and the keys of all.
fn world(all: usize, count: usize) -> (Net, ConversationId, Vec<IdentityKey>) {
    let mut net = Net::new();
    let (id, keys) = gather(&mut net, all, count);
    (net, id, keys)
}

fn gather(net: &mut Net, all: usize, count: usize) -> (ConversationId, Vec<IdentityKey>) {
    let keys = NAMES[..all].iter().map(|name| register(net, name));
    let keys = keys.collect();
    let id = group(net, 0, &NAMES[1..count]);
    settle(net);
    (id, keys)
}

fn compared(net: &Net, client: usize) -> Vec<(IdentityKey, Comparison)> {
    let events = net.clients[client].events.iter();
    events
        .filter_map(|event| match event {
            Event::Compared { with, result, .. } => Some((with.identity_key, *result)),
            _ => None,
        })
        .collect()
}

fn unreadable(net: &Net, client: usize, why: UnreadableReason) -> usize {
    told(
        net,
        client,
        |event| matches!(event, Event::Unreadable { why: own, .. } if *own == why),
    )
}

/// One of these cannot merge a commit of another's, and comes back.
fn spoil(net: &mut Net, id: ConversationId, by: usize, victim: IdentityKey) {
    let misdeed = Misdeed::Spoiled {
        victim,
        rubbish: false,
    };
    let done = net.act(by, |core, now| core.misbehave(now, id, &misdeed));
    assert!(done);
    settle(net);
}

#[test]
fn who_came_back_hears_from_the_others_that_they_hold_the_same() {
    let (mut net, id, keys) = world(3, 3);
    net.asked.clear();
    spoil(&mut net, id, 1, keys[2]);
    let back = |event: &Event| matches!(event, Event::Rejoined { .. });
    assert_eq!(told(&net, 2, back), 1);
    let mut heard = compared(&net, 2);
    heard.sort_by_key(|(with, _)| *with);
    let mut expected = vec![(keys[0], Comparison::Agrees), (keys[1], Comparison::Agrees)];
    expected.sort_by_key(|(with, _)| *with);
    assert_eq!(heard, expected);
    for other in [0, 1] {
        assert_eq!(compared(&net, other), [(keys[2], Comparison::Agrees)]);
    }
    assert_eq!(
        asked(&net, method::ENQUEUE),
        4,
        "each told once, each answered once"
    );
    assert_talk(&mut net, &[0, 1, 2], id);
}

#[test]
fn a_key_is_published_once() {
    let (mut net, id, _) = world(2, 2);
    assert_eq!(asked(&net, method::UPLOAD_HYBRID_KEY), 2);
    for client in [0, 1, 0, 1] {
        net.restart(client);
        settle(&mut net);
    }
    assert_talk(&mut net, &[0, 1], id);
    assert_eq!(asked(&net, method::UPLOAD_HYBRID_KEY), 2);
}

#[test]
fn a_copy_of_a_device_makes_the_others_compare() {
    let (mut net, id, keys) = world(3, 3);
    let texts = ["of the device", "of its copy"];
    let done = net.act(1, |core, now| core.say_twice(now, id, texts, Twice::Key));
    assert!(done);
    settle(&mut net);
    for reader in [0, 2] {
        assert_eq!(unreadable(&net, reader, UnreadableReason::Copied), 1);
        let heard = compared(&net, reader);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard.contains(&(keys[1], Comparison::Agrees)));
        assert!(heard.contains(&(keys[2 - reader], Comparison::Agrees)));
    }
    assert_talk(&mut net, &[0, 2], id);
}

/// A few members are told, and each at most once a slot: whoever provokes reports gets no more by it.
#[test]
fn provoked_reports_are_few() {
    let (mut net, id, _) = world(6, 6);
    net.record = Some(Vec::new());
    for _ in 0..3 {
        net.asked.clear();
        let done = net.act(1, |core, now| {
            core.say_twice(now, id, ["one", "two"], Twice::Key)
        });
        assert!(done);
        settle(&mut net);
        // Each of the five who read it tells each of the others at most once a slot, and bob answers.
        assert!(
            asked(&net, method::ENQUEUE) <= 5 * 5 + 5,
            "{}",
            asked(&net, method::ENQUEUE)
        );
    }
    let record = net.record.take().expect("a record");
    let told = record
        .iter()
        .filter(|(method, _)| *method == method::FETCH_HYBRID_KEYS);
    let told = told.map(|(_, request)| proto::FetchHybridKeysRequest::decode(request.clone()));
    let told = told.map(|request| request.expect("a request").identity_keys.len());
    assert_eq!(
        told.take(5).collect::<Vec<_>>(),
        [4; 5],
        "of their own accord"
    );
    net.asked.clear();
    let done = net.act(1, |core, now| {
        core.say_twice(now, id, ["one", "two"], Twice::Key)
    });
    assert!(done);
    settle(&mut net);
    assert_eq!(asked(&net, method::ENQUEUE), 0, "all of this slot is said");
    assert_eq!(asked(&net, method::FETCH_HYBRID_KEYS), 0);
    assert_talk(&mut net, &[0, 2, 3, 4, 5], id);
}

/// In an hour a member tells of twelve things, though each of its slots is new.
#[test]
fn reports_of_an_hour_have_an_end() {
    let (mut net, id, keys) = world(3, 3);
    net.asked.clear();
    for _ in 0..10 {
        spoil(&mut net, id, 1, keys[2]);
    }
    let back = |event: &Event| matches!(event, Event::Rejoined { .. });
    assert_eq!(told(&net, 2, back), 10);
    let answers = compared(&net, 2);
    assert!((1..=6).contains(&answers.len()), "{}", answers.len());
    assert!(
        asked(&net, method::ENQUEUE) <= 12 + 6,
        "{}",
        asked(&net, method::ENQUEUE)
    );
    // The next hour has its own.
    net.pass(Duration::from_secs(3600));
    net.asked.clear();
    spoil(&mut net, id, 1, keys[2]);
    assert_eq!(asked(&net, method::ENQUEUE), 4);
    assert_talk(&mut net, &[0, 1, 2], id);
}

/// From here on only these are there, at a server with this disk; the one that it had until now.
fn turn_to(net: &mut Net, disk: Memory, there: [usize; 2]) -> Memory {
    net.stop_server();
    let before = core::mem::replace(&mut net.server_disk, disk);
    for (client, node) in net.clients.iter_mut().enumerate() {
        node.away = !there.contains(&client);
    }
    net.start_server();
    settle(net);
    before
}

/// The fork report that was sent last to this one.
fn sent_to(net: &Net, who: &IdentityKey) -> Payload {
    let all = net.record.as_ref().expect("a record").iter();
    let sent = all.filter(|(method, _)| *method == method::ENQUEUE);
    let sent = sent.map(|(_, request)| proto::EnqueueRequest::decode(request.clone()));
    let sent = sent.map(|request| request.expect("a request"));
    let mut sent = sent.filter(|request| request.recipient_key == who.as_bytes().as_slice());
    let last = sent.next_back().expect("a report");
    let payload = proto::DeliveryPayload::decode(last.payload).expect("a payload");
    payload.payload.expect("a report")
}

/// A server shows one commit to alice and bob and another one, for the same slot, to carol and dave, and passes on
/// what they seal for each other.
#[test]
fn a_split_by_the_server_is_noticed_by_two_honest_members() {
    let (mut net, id, keys) = world(5, 5);
    net.record = Some(Vec::new());
    let disk = backup(&net);
    let shown_to_all = disk.clone();
    turn_to(&mut net, disk, [0, 1]);
    remove(&mut net, 1, id, "erin");
    settle(&mut net);
    let first = turn_to(&mut net, shown_to_all, [2, 3]);
    remove(&mut net, 2, id, "erin");
    settle(&mut net);
    // Something is odd on carol's side: she tells the members of her tree.
    let done = net.act(3, |core, now| {
        core.say_twice(now, id, ["1", "2"], Twice::Key)
    });
    assert!(done);
    settle(&mut net);
    let forked = |event: &Event| matches!(event, Event::Forked { .. });
    for client in 0..5 {
        assert_eq!(told(&net, client, forked), 0, "nobody can know");
    }
    let report = sent_to(&net, &keys[0]);
    let second = turn_to(&mut net, first, [0, 1]);
    let before = conversation(&mut net, 0, id);
    assert!(net.act(1, |core, now| core.hand_in(now, id, keys[0], report)));
    settle(&mut net);
    assert_eq!(compared(&net, 0), [(keys[2], Comparison::OtherCommit)]);
    assert_eq!(told(&net, 0, forked), 1);
    let answer = sent_to(&net, &keys[2]);
    assert_eq!(conversation(&mut net, 0, id), before, "nothing follows");
    turn_to(&mut net, second, [2, 3]);
    assert!(net.act(3, |core, now| core.hand_in(now, id, keys[2], answer)));
    settle(&mut net);
    assert!(compared(&net, 2).contains(&(keys[0], Comparison::OtherCommit)));
    assert_eq!(told(&net, 2, forked), 1);
}

/// The key that the server has of an account.
fn key_of(net: &Net, who: &IdentityKey) -> Vec<u8> {
    let disk = &net.server.as_ref().expect("a server").disk;
    let row = disk.get(&keys::hybrid_key(who)).expect("a key").clone();
    HybridKey::decode(row).expect("a row").public_key.to_vec()
}

fn context(id: ConversationId) -> Vec<u8> {
    [b"qpq fork report v1", &id.0[..]].concat()
}

fn report(id: ConversationId, slot: u64, epoch: u64) -> proto::ForkReport {
    proto::ForkReport {
        channel_id: Bytes::copy_from_slice(id.as_bytes()),
        slot,
        epoch,
        epoch_authenticator: Bytes::from_static(&[7; 32]),
        ..Default::default()
    }
}

/// Hands a report of bob's in for alice, sealed with this key and context.
fn hand_in(
    net: &mut Net,
    id: ConversationId,
    to: IdentityKey,
    (key, context): (&[u8], &[u8]),
    content: &[u8],
) {
    let done = net.act(1, |core, now| {
        let sealed = core.seal_as_report(key, context, content);
        let payload = Payload::ForkReport(sealed.expect("sealed"));
        core.hand_in(now, id, to, payload)
    });
    assert!(done);
    settle(net);
}

#[test]
fn hostile_reports_are_told_and_end_nothing() {
    let (mut net, id, keys) = world(3, 3);
    let (alice, own) = (key_of(&net, &keys[0]), key_of(&net, &keys[1]));
    let good = context(id);
    let bad = |net: &Net| unreadable(net, 0, UnreadableReason::BadReport);
    let encode = |report: &proto::ForkReport| report.encode_to_vec();
    let here = report(id, 0, 1);
    let other = ConversationId::try_from(&[9; 16][..]).expect("an id");
    let mut told = 0;
    let mut is_refused = |net: &mut Net, what: &str| {
        told += 1;
        assert_eq!(bad(net), told, "{what}");
        assert!(compared(net, 0).is_empty(), "{what}");
    };
    for rubbish in [
        Bytes::new(),
        Bytes::from_static(b"rubbish"),
        vec![1; 70_000].into(),
    ] {
        let done = net.act(1, |core, now| {
            core.hand_in(now, id, keys[0], Payload::ForkReport(rubbish))
        });
        assert!(done);
        settle(&mut net);
        is_refused(&mut net, "rubbish");
    }
    hand_in(&mut net, id, keys[0], (&alice, &good), b"no message");
    is_refused(&mut net, "no report");
    hand_in(
        &mut net,
        id,
        keys[0],
        (&alice, &context(other)),
        &encode(&here),
    );
    is_refused(&mut net, "sealed for another channel");
    hand_in(
        &mut net,
        id,
        keys[0],
        (&alice, &good),
        &encode(&report(other, 0, 1)),
    );
    is_refused(&mut net, "of another channel");
    hand_in(&mut net, id, keys[0], (&own, &good), &encode(&here));
    is_refused(&mut net, "sealed to another key");
    let long = proto::ForkReport {
        epoch_authenticator: vec![7; 65].into(),
        ..here.clone()
    };
    hand_in(&mut net, id, keys[0], (&alice, &good), &encode(&long));
    is_refused(&mut net, "a long authenticator");
    let unproven = proto::ForkReport {
        commit_hash: vec![1; 32].into(),
        commit_proof: vec![2; 72].into(),
        sender_key: Bytes::copy_from_slice(keys[1].as_bytes()),
        ..here.clone()
    };
    hand_in(&mut net, id, keys[0], (&alice, &good), &encode(&unproven));
    is_refused(&mut net, "a proof that the server did not sign");
    assert_talk(&mut net, &[0, 1, 2], id);
}

/// Whoever is in the group can say that he holds another one: it is shown, once, and nothing follows.
#[test]
fn a_lie_of_a_member_is_shown_and_changes_nothing() {
    let (mut net, id, keys) = world(3, 3);
    let alice = key_of(&net, &keys[0]);
    let seal = (alice.as_slice(), &context(id)[..]);
    let before = conversation(&mut net, 0, id);
    let lie = report(id, 0, before.epoch).encode_to_vec();
    for _ in 0..3 {
        hand_in(&mut net, id, keys[0], seal, &lie);
        assert_eq!(compared(&net, 0), [(keys[1], Comparison::OtherTree)]);
    }
    let mut after = conversation(&mut net, 0, id);
    after.messages = before.messages;
    assert_eq!(after, before);
    assert_talk(&mut net, &[0, 1, 2], id);
}

#[test]
fn reports_of_far_slots_cost_little() {
    let (mut net, id, keys) = world(3, 3);
    let alice = key_of(&net, &keys[0]);
    let seal = (alice.as_slice(), &context(id)[..]);
    for slot in [17, 1 << 40, u64::MAX] {
        let far = report(id, slot, u64::MAX).encode_to_vec();
        hand_in(&mut net, id, keys[0], seal, &far);
    }
    let far = vec![(keys[1], Comparison::NotComparable); 3];
    assert_eq!(compared(&net, 0), far);
    // A slot that is about to come is waited for, one a member.
    for slot in 1..10 {
        let near = report(id, slot, 1000 + slot).encode_to_vec();
        hand_in(&mut net, id, keys[0], seal, &near);
        assert!(net.clients[0].core.report_bytes() < 1500);
    }
    assert_eq!(
        compared(&net, 0).len(),
        3 + 8,
        "each makes room for the next"
    );
    net.restart(0);
    settle(&mut net);
    // Nine commits later the last one's slot is there.
    for name in [
        "carol", "carol", "carol", "carol", "carol", "carol", "carol", "carol", "carol",
    ] {
        let is_in = conversation(&mut net, 0, id).members.len() == 3;
        let ended = match is_in {
            true => net.ask(0, intent::Remove::new(id, name)),
            false => net.ask(0, intent::Invite::new(id, name)),
        };
        assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
        settle(&mut net);
    }
    let last = compared(&net, 0).pop();
    assert_eq!(last, Some((keys[1], Comparison::OtherTree)));
    assert_talk(&mut net, &[0, 1], id);
}

#[test]
fn a_stranger_is_not_compared_with() {
    let (mut net, id, keys) = world(4, 3);
    // Dave was in, with a key of his own, and bob hands in what he gives him.
    let ended = net.ask(3, intent::CreateGroup::new("others", &[]));
    assert!(matches!(ended, Ok(Outcome::Conversation(_))), "{ended:?}");
    settle(&mut net);
    let alice = key_of(&net, &keys[0]);
    let content = report(id, 0, 1).encode_to_vec();
    let sealed = net.act(3, |core, _| {
        core.seal_as_report(&alice, &context(id), &content)
    });
    let payload = Payload::ForkReport(sealed.expect("sealed"));
    assert!(net.act(1, |core, now| core.hand_in(now, id, keys[0], payload)));
    settle(&mut net);
    assert_eq!(unreadable(&net, 0, UnreadableReason::BadReport), 1);
    assert!(compared(&net, 0).is_empty());
    assert_talk(&mut net, &[0, 1, 2], id);
}

#[test]
fn a_server_that_takes_and_gives_no_keys_ends_nothing() {
    let refusals: [Lie; 4] = [
        |method, said| match method {
            method::UPLOAD_HYBRID_KEY | method::FETCH_HYBRID_KEYS => Err(11),
            _ => said,
        },
        |method, said| match method {
            method::UPLOAD_HYBRID_KEY | method::FETCH_HYBRID_KEYS => Err(9),
            _ => said,
        },
        |method, said| match method {
            // Signed by nobody.
            method::FETCH_HYBRID_KEYS => {
                let answer = proto::FetchHybridKeysResponse::decode(said?);
                let mut answer = answer.expect("an answer");
                for signature in &mut answer.signatures {
                    *signature = Bytes::from_static(&[1; 64]);
                }
                Ok(answer.encode_to_vec().into())
            }
            _ => said,
        },
        |method, said| match method {
            method::FETCH_HYBRID_KEYS => Ok(Bytes::new()),
            _ => said,
        },
    ];
    for lie in refusals {
        let mut net = Net::new();
        net.lie = Some(lie);
        let (id, keys) = gather(&mut net, 3, 3);
        net.asked.clear();
        spoil(&mut net, id, 1, keys[2]);
        let back = |event: &Event| matches!(event, Event::Rejoined { .. });
        assert_eq!(told(&net, 2, back), 1);
        for client in [0, 1, 2] {
            assert!(compared(&net, client).is_empty());
        }
        assert_eq!(
            asked(&net, method::ENQUEUE),
            0,
            "nothing is sealed to a key of nobody"
        );
        assert!(
            asked(&net, method::FETCH_HYBRID_KEYS) < 20,
            "{}",
            asked(&net, method::FETCH_HYBRID_KEYS)
        );
        assert_talk(&mut net, &[0, 1, 2], id);
        net.pass(Duration::from_secs(3600));
        assert!(
            asked(&net, method::FETCH_HYBRID_KEYS) < 300,
            "{}",
            asked(&net, method::FETCH_HYBRID_KEYS)
        );
    }
}
