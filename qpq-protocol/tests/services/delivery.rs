//! Queues: protocol.md §5.1 to §5.6 and §5.26.

use std::time::Duration;

use bytes::Bytes;
use qpq_crypto::identity::{Credential, DeviceId, DeviceKey};
use qpq_protocol::ids::{ConnId, IdentityKey};
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use qpq_protocol::storage::memory::Fault;
use sha2::{Digest, Sha256};

use crate::requests::*;
use crate::support::account::User;
use crate::support::{BEGIN, World, roomy};

const DEFAULT: Bytes = Bytes::new();

/// Registers a further device of a user and logs it in.
fn device(world: &mut World, user: &User, by: ConnId, number: u8) -> ConnId {
    let id = DeviceId::new([number; 16]);
    let key = DeviceKey([number; 32]);
    let credential = Credential::issue(&user.secret, id, key, 1);
    let request = proto::RegisterDeviceRequest {
        device: Some(proto::Device {
            device_id: Bytes::copy_from_slice(id.as_bytes()),
            device_key: Bytes::copy_from_slice(key.as_bytes()),
            certificate: Bytes::copy_from_slice(&credential.certificate.expect("a certificate")),
            created_at_ms: 1,
            ..proto::Device::default()
        }),
    };
    let done = world.call::<rpc::RegisterDevice>(by, &request);
    done.expect("registered");
    let conn = world.connect();
    let logged_in = user.log_in_with(world, conn, id, &user.password);
    logged_in.expect("logged in");
    conn
}

#[test]
fn messages_arrive_once_in_order_from_seq_1() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for (number, payload) in [(1, b"one"), (2, b"two"), (3, b"six")] {
        let sent = world.call::<rpc::Enqueue>(alice, &message(&bob, number, payload));
        let sent = sent.expect("sent");
        assert_eq!(sent.seq, number);
        assert!(!sent.duplicate);
        assert!(sent.delivery_proof.is_empty());
    }
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    let expected = [
        (1, b"one".to_vec()),
        (2, b"two".to_vec()),
        (3, b"six".to_vec()),
    ];
    assert_eq!(payloads(&page), expected);
    assert_eq!((page.first_seq, page.next_seq, page.overrun), (1, 4, false));
    let again = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(page, again, "Fetch removes nothing");
}

#[test]
fn a_page_starts_after_a_seq_and_holds_at_most_so_many() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for number in 1..=5 {
        let sent = world.call::<rpc::Enqueue>(alice, &message(&bob, number, b"x"));
        sent.expect("sent");
    }
    let request = proto::PeekRequest {
        recipient_key: bob.key(),
        after_seq: 2,
        limit: 2,
        ..proto::PeekRequest::default()
    };
    let page = world.call::<rpc::Peek>(bobs, &request).expect("a page");
    let seqs: Vec<u64> = page.payloads.iter().map(|one| one.seq).collect();
    assert_eq!(seqs, [3, 4]);
    assert_eq!((page.first_seq, page.next_seq), (1, 6));
}

#[test]
fn an_ack_removes_and_the_numbers_go_on() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let rows = world.memory.len();
    for number in 1..=3 {
        let sent = world.call::<rpc::Enqueue>(alice, &message(&bob, number, b"x"));
        sent.expect("sent");
    }
    assert_eq!(
        status(ack(&mut world, bobs, &bob, &DEFAULT, 4)),
        Status::BadRequest
    );
    ack(&mut world, bobs, &bob, &DEFAULT, 2).expect("acked");
    ack(&mut world, bobs, &bob, &DEFAULT, 1).expect("no error, nothing to do");
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(payloads(&page), [(3, b"x".to_vec())]);
    assert_eq!((page.first_seq, page.next_seq), (3, 4));
    ack(&mut world, bobs, &bob, &DEFAULT, 3).expect("acked");
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(
        (page.payloads.len(), page.first_seq, page.next_seq),
        (0, 4, 4)
    );
    assert_eq!(
        world.memory.len(),
        rows + 1 + 3 + 1,
        "the head, three message ids and what is left to store stay"
    );
    let sent = world.call::<rpc::Enqueue>(alice, &message(&bob, 4, b"y"));
    assert_eq!(sent.expect("sent").seq, 4);
}

#[test]
fn a_known_message_id_gets_the_first_answer() {
    let mut world = World::default();
    let (alice_user, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let first = world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    let again = world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    assert_eq!((first.seq, again.seq), (1, 1));
    assert!(again.duplicate);
    let other = world.call::<rpc::Enqueue>(alice, &message(&bob, 1, b"y"));
    assert_eq!(status(other), Status::BadRequest);
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(page.payloads.len(), 1);
    let others = world.call::<rpc::Enqueue>(bobs, &message(&alice_user, 1, b"z"));
    assert!(!others.expect("sent").duplicate, "the scope is the caller");
}

#[test]
fn a_message_id_is_known_after_ack_and_restart() {
    let mut world = World::default();
    let (alice_user, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    ack(&mut world, bobs, &bob, &DEFAULT, 1).expect("acked");
    let mut world = world.restart([9; 32]);
    let alice = world.connect();
    alice_user.log_in(&mut world, alice).expect("logged in");
    let again = world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("known");
    assert_eq!((again.seq, again.duplicate), (1, true));
}

#[test]
fn what_was_not_durable_at_a_crash_is_sent_again_and_arrives_once() {
    for durable in [false, true] {
        let mut world = World::default();
        let (alice_user, alice) = world.user("alice");
        let (bob, _) = world.user("bob");
        world
            .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
            .expect("sent");
        world.hold_storage = true;
        let stream = world.send::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"));
        assert_eq!(
            world.answer(alice, stream),
            None,
            "not before it is durable"
        );
        if durable {
            // Stored, but the answer is lost with the server.
            world.run_storage(usize::MAX);
        }
        world.stored.clear();
        let mut world = world.restart([9; 32]);
        let (alice, bobs) = (world.connect(), world.connect());
        alice_user.log_in(&mut world, alice).expect("logged in");
        bob.log_in(&mut world, bobs).expect("logged in");
        let again = world
            .call::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"))
            .expect("sent");
        assert_eq!((again.seq, again.duplicate), (2, durable));
        let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
        assert_eq!(payloads(&page), [(1, b"x".to_vec()), (2, b"y".to_vec())]);
    }
}

#[test]
fn enqueues_are_pipelined_as_one_commit_each() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    world.hold_storage = true;
    let streams: Vec<u64> = (2..=20)
        .map(|number| world.send::<rpc::Enqueue>(alice, &message(&bob, number, b"x")))
        .collect();
    assert_eq!(
        world.stored.len(),
        19,
        "one command each, none waits for another"
    );
    let before = world.commands;
    world.run_storage(usize::MAX);
    world.hold_storage = false;
    world.pump();
    assert_eq!(world.commands, before + 19);
    for (stream, seq) in streams.into_iter().zip(2..) {
        let sent = world.response::<rpc::Enqueue>(alice, stream).expect("sent");
        assert_eq!(sent.seq, seq);
    }
    assert_eq!(
        fetch_all(&mut world, bobs, &bob, &DEFAULT).payloads.len(),
        20
    );
}

#[test]
fn the_same_message_twice_at_once_is_stored_once() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    world.hold_storage = true;
    let one = world.send::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"));
    let two = world.send::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"));
    let three = world.send::<rpc::Enqueue>(alice, &message(&bob, 3, b"z"));
    world.hold_storage = false;
    world.pump();
    let one = world.response::<rpc::Enqueue>(alice, one).expect("sent");
    let two = world.response::<rpc::Enqueue>(alice, two).expect("sent");
    let three = world.response::<rpc::Enqueue>(alice, three).expect("sent");
    assert_eq!((one.seq, one.duplicate), (2, false));
    assert_eq!((two.seq, two.duplicate), (2, true));
    assert_eq!((three.seq, three.duplicate), (3, false));
    assert_eq!(
        fetch_all(&mut world, bobs, &bob, &DEFAULT).payloads.len(),
        3
    );
}

#[test]
fn a_failed_commit_is_not_confirmed_and_can_be_sent_again() {
    for fault in [
        Fault::Full,
        Fault::Unavailable,
        Fault::UnknownLost,
        Fault::UnknownMade,
    ] {
        let mut world = World::default();
        let (_, alice) = world.user("alice");
        let (bob, bobs) = world.user("bob");
        world
            .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
            .expect("sent");
        world.memory.fail_next(fault);
        let refused = world.call::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"));
        assert_eq!(status(refused), Status::Unavailable);
        let again = world
            .call::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"))
            .expect("sent");
        assert_eq!(again.seq, 2);
        assert_eq!(again.duplicate, fault == Fault::UnknownMade);
        assert_eq!(
            fetch_all(&mut world, bobs, &bob, &DEFAULT).payloads.len(),
            2
        );
    }
}

#[test]
fn an_unknown_recipient_is_not_found_and_nothing_is_stored() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let rows = world.memory.len();
    let nobody = User::new("nobody");
    let refused = world.call::<rpc::Enqueue>(alice, &message(&nobody, 1, b"x"));
    assert_eq!(status(refused), Status::NotFound);
    assert_eq!(world.memory.len(), rows);
}

#[test]
fn somebody_elses_queue_and_an_anonymous_sender_are_forbidden() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, _) = world.user("bob");
    let request = proto::FetchRequest {
        recipient_key: bob.key(),
        ..proto::FetchRequest::default()
    };
    assert_eq!(
        status(world.call::<rpc::Fetch>(alice, &request)),
        Status::Forbidden
    );
    assert_eq!(
        status(ack(&mut world, alice, &bob, &DEFAULT, 1)),
        Status::Forbidden
    );
    let anonymous = world.connect();
    let refused = world.call::<rpc::Enqueue>(anonymous, &message(&bob, 1, b"x"));
    assert_eq!(status(refused), Status::Forbidden);
}

#[test]
fn a_message_reaches_every_device_but_the_sending_one_and_is_stored_once() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let first = device(&mut world, &bob, bobs, 1);
    let second = device(&mut world, &bob, first, 2);
    let rows = world.memory.len();
    let sent = world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    assert_eq!(sent.seq, 1);
    // Two heads, two entries, two claims, two expiry rows, one piece, one message id, one allowance.
    assert_eq!(world.memory.len(), rows + 11);
    for conn in [first, second] {
        let page = fetch_all(&mut world, conn, &bob, &DEFAULT);
        assert_eq!(payloads(&page), [(1, b"x".to_vec())]);
    }
    world
        .call::<rpc::Enqueue>(first, &message(&bob, 2, b"to me"))
        .expect("sent");
    assert_eq!(
        fetch_all(&mut world, first, &bob, &DEFAULT).payloads.len(),
        1
    );
    assert_eq!(
        fetch_all(&mut world, second, &bob, &DEFAULT).payloads.len(),
        2
    );
    let foreign = proto::FetchRequest {
        recipient_key: bob.key(),
        device_id: Bytes::from_static(&[2; 16]),
        ..proto::FetchRequest::default()
    };
    assert_eq!(
        status(world.call::<rpc::Fetch>(first, &foreign)),
        Status::Forbidden
    );
}

#[test]
fn the_first_registered_device_takes_over_the_queues() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"before"))
        .expect("sent");
    let first = device(&mut world, &bob, bobs, 1);
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 2, b"after"))
        .expect("sent");
    let page = fetch_all(&mut world, first, &bob, &DEFAULT);
    assert_eq!(
        payloads(&page),
        [(1, b"before".to_vec()), (2, b"after".to_vec())]
    );
    assert_eq!(world.messages(first).len(), 1, "told under its own name");
}

#[test]
fn a_long_payload_is_cut_and_joined() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let long: Bytes = (0..3u32 << 18).flat_map(u32::to_be_bytes).collect();
    let request = proto::EnqueueRequest {
        payload: long.clone(),
        ..message(&bob, 1, b"x")
    };
    world.call::<rpc::Enqueue>(alice, &request).expect("sent");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 2, b"short"))
        .expect("sent");
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(page.payloads.len(), 2);
    assert!(page.payloads[0].data == long);
    let second = proto::EnqueueRequest {
        payload: long,
        ..message(&bob, 3, b"x")
    };
    world.call::<rpc::Enqueue>(alice, &second).expect("sent");
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(page.payloads.len(), 2, "the third does not fit the frame");
    assert_eq!(page.next_seq, 4);
}

#[test]
fn new_messages_are_pushed_in_order_short_ones_whole() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    let long = proto::EnqueueRequest {
        payload: vec![7; 16 * 1024 + 1].into(),
        ..message(&bob, 2, b"")
    };
    world.call::<rpc::Enqueue>(alice, &long).expect("sent");
    let news = world.messages(bobs);
    assert_eq!(news.iter().map(|news| news.seq).collect::<Vec<_>>(), [1, 2]);
    let inline = news[0].envelope.as_ref().expect("a short envelope");
    assert_eq!((inline.seq, inline.data.as_ref()), (1, &b"x"[..]));
    assert_eq!(news[1].envelope, None);
    assert!(world.messages(alice).is_empty());
    assert_eq!(world.wakes.len(), 2, "other cores are told too");
}

#[test]
fn a_wait_ends_with_news_or_in_time() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let wait = |after_seq| proto::FetchWaitRequest {
        recipient_key: bob.key(),
        timeout_ms: 10_000,
        after_seq,
        ..proto::FetchWaitRequest::default()
    };
    let stream = world.send::<rpc::FetchWait>(bobs, &wait(0));
    assert_eq!(world.answer(bobs, stream), None);
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    let page = world
        .response::<rpc::FetchWait>(bobs, stream)
        .expect("a page");
    assert_eq!(page.payloads.len(), 1);

    let before = world.now;
    let at_once = world
        .call::<rpc::FetchWait>(bobs, &wait(0))
        .expect("a page");
    assert_eq!((at_once.payloads.len(), world.now), (1, before));
    let nothing = world
        .call::<rpc::FetchWait>(bobs, &wait(1))
        .expect("a page");
    assert_eq!(nothing.payloads.len(), 0);
    assert_eq!(world.now.since(before), Duration::from_secs(10));
}

#[test]
fn a_batch_says_how_each_recipient_went() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let nobody = User::new("nobody");
    let request = proto::BatchEnqueueRequest {
        recipient_keys: vec![bob.key(), nobody.key(), carol.key()],
        payload: Bytes::from_static(b"to all"),
        message_id: message_id(1),
        want_proof: true,
        ..proto::BatchEnqueueRequest::default()
    };
    let sent = world
        .call::<rpc::BatchEnqueue>(alice, &request)
        .expect("sent");
    assert_eq!(sent.seqs, [1, 0, 1]);
    assert_eq!(sent.statuses, [0, u32::from(Status::NotFound.code()), 0]);
    let lengths: Vec<usize> = sent.delivery_proofs.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [72, 0, 72]);
    for (conn, user) in [(bobs, &bob), (carols, &carol)] {
        let page = fetch_all(&mut world, conn, user, &DEFAULT);
        assert_eq!(payloads(&page), [(1, b"to all".to_vec())]);
    }
    let again = world
        .call::<rpc::BatchEnqueue>(alice, &request)
        .expect("known");
    assert!(again.duplicate);
    assert_eq!((again.seqs, again.statuses), (sent.seqs, sent.statuses));
    assert_eq!(again.delivery_proofs, sent.delivery_proofs);

    let twice = proto::BatchEnqueueRequest {
        recipient_keys: vec![bob.key(), bob.key()],
        message_id: message_id(2),
        ..request
    };
    let refused = world.call::<rpc::BatchEnqueue>(alice, &twice);
    assert_eq!(status(refused), Status::BadRequest);
}

#[test]
fn a_delivery_proof_verifies_for_what_was_sent() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, _) = world.user("bob");
    let request = proto::EnqueueRequest {
        want_proof: true,
        ..message(&bob, 5, b"proven")
    };
    let sent = world.call::<rpc::Enqueue>(alice, &request).expect("sent");
    let server = world.signing_key();
    let id: [u8; 16] = message_id(5).as_ref().try_into().expect("16 bytes");
    let verify = |seq: u64| {
        qpq_crypto::proof::verify_delivery(
            server.as_bytes(),
            &id,
            &IdentityKey::try_from(bob.key().as_ref()).expect("a key"),
            &[],
            &Sha256::digest(b"proven").into(),
            seq,
            &sent.delivery_proof,
        )
    };
    let accepted_at_ms = verify(1).expect("a good proof");
    assert!(accepted_at_ms >= BEGIN.as_millis());
    assert!(verify(2).is_err());
    let again = world.call::<rpc::Enqueue>(alice, &request).expect("known");
    assert_eq!(again.delivery_proof, sent.delivery_proof);
}

#[test]
fn expired_messages_are_tombstones_then_gone() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for (number, ttl_secs) in [(1, 100), (2, 10), (3, 1000)] {
        let request = proto::EnqueueRequest {
            ttl_secs,
            ..message(&bob, number, b"x")
        };
        world.call::<rpc::Enqueue>(alice, &request).expect("sent");
    }
    world.advance(Duration::from_secs(11));
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    let shown: Vec<(u64, bool)> = page
        .payloads
        .iter()
        .map(|one| (one.seq, one.expired))
        .collect();
    assert_eq!(shown, [(1, false), (2, true), (3, false)]);
    world.advance(Duration::from_secs(100));
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!(payloads(&page), [(3, b"x".to_vec())]);
    assert_eq!((page.first_seq, page.next_seq), (3, 4));
}

#[test]
fn one_sender_fills_a_quarter_of_a_queue_and_leaves_the_rest_to_others() {
    let mut config = roomy();
    (
        config.limits.queue_messages,
        config.limits.queue_sender_share,
    ) = (8, 4);
    let mut world = World::new(config);
    let (_, alice) = world.user("alice");
    let (_, carol) = world.user("carol");
    let (bob, bobs) = world.user("bob");
    let mut number = 0;
    let mut send = |world: &mut World, from: ConnId, ttl_secs: u32| {
        number += 1;
        let message = proto::EnqueueRequest {
            ttl_secs,
            ..message(&bob, number, b"x")
        };
        let sent = world.call::<rpc::Enqueue>(from, &message);
        sent.map(|sent| sent.seq).map_err(|refused| refused.status)
    };
    let full = Err(Status::QuotaExceeded);
    assert_eq!(send(&mut world, alice, 0), Ok(1));
    assert_eq!(send(&mut world, alice, 60), Ok(2));
    assert_eq!(send(&mut world, alice, 0), full);
    assert_eq!(send(&mut world, carol, 0), Ok(3));
    assert_eq!(send(&mut world, carol, 0), Ok(4));
    assert_eq!(send(&mut world, carol, 0), full);
    // What has expired counts no more, though its place is kept.
    world.advance(Duration::from_secs(3600));
    assert_eq!(send(&mut world, alice, 0), Ok(5));
    assert_eq!(send(&mut world, alice, 0), full);
    ack(&mut world, bobs, &bob, &DEFAULT, 1).expect("acked");
    assert_eq!(send(&mut world, alice, 0), Ok(6));
    assert_eq!(send(&mut world, alice, 0), full);
    ack(&mut world, bobs, &bob, &DEFAULT, 6).expect("acked");
    assert_eq!(send(&mut world, carol, 0), Ok(7));
    assert_eq!(send(&mut world, carol, 0), Ok(8));
    assert_eq!(send(&mut world, carol, 0), full);
}

/// Each finds the head changed since it read the messages: by the Acks before it, by new messages.
#[test]
fn acks_of_one_queue_at_once_are_all_answered() {
    let mut world = World::new(roomy());
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for number in 1..=64 {
        let sent = world.call::<rpc::Enqueue>(alice, &message(&bob, number, b"x"));
        sent.expect("sent");
    }
    world.hold_storage = true;
    let request = |seq_up_to| proto::AckRequest {
        recipient_key: bob.key(),
        seq_up_to,
        ..proto::AckRequest::default()
    };
    // Every second one has been overtaken when it comes.
    let acks: Vec<u64> = (1..=60u64)
        .map(|number| world.send::<rpc::Ack>(bobs, &request(number ^ 1)))
        .collect();
    let sent: Vec<u64> = (101..=130)
        .map(|number| world.send::<rpc::Enqueue>(alice, &message(&bob, number, b"y")))
        .collect();
    world.hold_storage = false;
    world.pump();
    for ack in acks {
        world.response::<rpc::Ack>(bobs, ack).expect("acked");
    }
    for (seq, sent) in (65..).zip(sent) {
        let sent = world.response::<rpc::Enqueue>(alice, sent).expect("sent");
        assert_eq!(sent.seq, seq);
    }
    let page = fetch_all(&mut world, bobs, &bob, &DEFAULT);
    assert_eq!((page.first_seq, page.next_seq), (62, 95));
    let seqs: Vec<u64> = page.payloads.iter().map(|one| one.seq).collect();
    assert_eq!(seqs, (62..95).collect::<Vec<u64>>());
}

#[test]
fn a_full_queue_refuses_unless_another_device_has_room() {
    let mut config = roomy();
    config.limits.queue_messages = 3;
    let mut world = World::new(config);
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let first = device(&mut world, &bob, bobs, 1);
    for number in 1..=3 {
        world
            .call::<rpc::Enqueue>(alice, &message(&bob, number, b"x"))
            .expect("sent");
    }
    let refused = world.call::<rpc::Enqueue>(alice, &message(&bob, 4, b"x"));
    assert_eq!(status(refused), Status::QuotaExceeded);
    let second = device(&mut world, &bob, first, 2);
    let sent = world
        .call::<rpc::Enqueue>(alice, &message(&bob, 4, b"y"))
        .expect("sent");
    assert_eq!(sent.seq, 1, "of the first device that got it");
    let page = fetch_all(&mut world, second, &bob, &DEFAULT);
    assert_eq!(payloads(&page), [(1, b"y".to_vec())]);
    let page = fetch_all(&mut world, first, &bob, &DEFAULT);
    assert_eq!((page.payloads.len(), page.overrun), (3, true));
    ack(&mut world, first, &bob, &DEFAULT, 3).expect("acked");
    assert!(!fetch_all(&mut world, first, &bob, &DEFAULT).overrun);
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 5, b"z"))
        .expect("sent");
    assert_eq!(
        fetch_all(&mut world, first, &bob, &DEFAULT).payloads.len(),
        1
    );
}

#[test]
fn queues_are_listed_in_pages_by_channel() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channels: Vec<Bytes> = (1..=3)
        .map(|number| create_group(&mut world, alice, number, &[&bob]))
        .collect();
    let sent = in_channel(&channels[1], 0, message(&bob, 1, b"x"));
    world.call::<rpc::Enqueue>(alice, &sent).expect("sent");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 2, b"y"))
        .expect("sent");
    let mut after = Bytes::new();
    let mut listed = Vec::new();
    loop {
        let request = proto::ListQueuesRequest {
            after: after.clone(),
            limit: 2,
        };
        let page = world
            .call::<rpc::ListQueues>(bobs, &request)
            .expect("a page")
            .queues;
        let Some(last) = page.last() else { break };
        after = last.channel_id.clone();
        listed.extend(
            page.into_iter()
                .map(|queue| (queue.channel_id, queue.next_seq)),
        );
        if after.is_empty() {
            break;
        }
    }
    let start = proto::ListQueuesRequest {
        after: Bytes::new(),
        limit: 1,
    };
    let page = world.call::<rpc::ListQueues>(bobs, &start).expect("a page");
    let last = page.queues.last().map(|queue| queue.channel_id.len());
    assert_eq!(last, Some(16), "a page always leads on");
    let expected = [
        (Bytes::new(), 2),
        (channels[0].clone(), 1),
        (channels[1].clone(), 2),
        (channels[2].clone(), 1),
    ];
    assert_eq!(listed, expected);
}

/// One core remembers the devices from before another one registered the first: the default device's
/// queues are that one's now.
#[test]
fn a_device_that_was_replaced_on_another_core_reads_nothing_more() {
    let mut one = World::default();
    let (_, alice) = one.user("alice");
    let (bob, bobs) = one.user("bob");
    one.call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    let page = fetch_all(&mut one, bobs, &bob, &DEFAULT);
    assert_eq!(page.payloads.len(), 1);
    let memory = std::mem::take(&mut one.memory);
    let mut other = World::on(roomy(), memory, [2; 32]);
    let conn = other.connect();
    bob.log_in(&mut other, conn).expect("logged in");
    let first = device(&mut other, &bob, conn, 1);
    let page = fetch_all(&mut other, first, &bob, &DEFAULT);
    assert_eq!(page.payloads.len(), 1);

    one.memory = std::mem::take(&mut other.memory);
    let request = proto::FetchRequest {
        recipient_key: bob.key(),
        ..proto::FetchRequest::default()
    };
    let refused = one.call::<rpc::Fetch>(bobs, &request);
    assert_eq!(status(refused), Status::Forbidden);
    let listed = one.call::<rpc::ListQueues>(bobs, &proto::ListQueuesRequest::default());
    assert_eq!(status(listed), Status::Forbidden);
}

/// Requests that are refused for some of their recipients make sure of that, each for itself: they do not keep each
/// other from an answer by reading the same rows.
#[test]
fn batches_that_are_refused_in_part_do_not_get_in_each_others_way() {
    let mut world = World::default();
    let (alice, _) = world.user("alice");
    let (_, bob) = world.user("bob");
    let nobody = User::new("nobody");
    let batch = |id: u64| proto::BatchEnqueueRequest {
        recipient_keys: vec![alice.key(), nobody.key()],
        payload: Bytes::from_static(b"hello"),
        message_id: message_id(id),
        ..Default::default()
    };
    world.call::<rpc::BatchEnqueue>(bob, &batch(1)).unwrap();
    world.hold_storage = true;
    let sent: Vec<u64> = (2..14)
        .map(|id| world.send::<rpc::BatchEnqueue>(bob, &batch(id)))
        .collect();
    while !world.stored.is_empty() {
        world.run_storage(1);
        world.drain();
    }
    for stream in sent {
        let answer = world.response::<rpc::BatchEnqueue>(bob, stream).unwrap();
        let expected = [Status::Ok, Status::NotFound].map(|status| status.code().into());
        assert_eq!(answer.statuses, expected);
    }
}
