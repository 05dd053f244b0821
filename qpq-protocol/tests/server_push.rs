//! Pushes, waits, wakes, shutdown and slow readers (protocol.md §5.5, §5.28) through raw frames.

mod support;

use core::time::Duration;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId};
use qpq_protocol::io::{Core as _, StreamInput, Topic};
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::{AppCode, Status};
use support::account::User;
use support::{Answer, World, roomy};

fn enqueue(world: &mut World, conn: ConnId, to: &User, payload: Bytes, id: u32) -> u64 {
    let mut message_id = [0; 16];
    message_id[..4].copy_from_slice(&id.to_be_bytes());
    message_id[6] = 0x70;
    message_id[8] = 0x80;
    let request = proto::EnqueueRequest {
        recipient_key: to.key(),
        payload,
        message_id: Bytes::copy_from_slice(&message_id),
        ..Default::default()
    };
    world.call::<rpc::Enqueue>(conn, &request).unwrap().seq
}

fn wait(world: &mut World, conn: ConnId, user: &User, timeout_ms: u32) -> u64 {
    let request = proto::FetchWaitRequest {
        recipient_key: user.key(),
        timeout_ms,
        ..Default::default()
    };
    world.send::<rpc::FetchWait>(conn, &request)
}

#[test]
fn a_message_is_pushed_with_its_envelope_when_it_is_short() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    enqueue(&mut world, sender, &alice, Bytes::from_static(b"hello"), 1);
    enqueue(&mut world, sender, &alice, vec![7; 17 * 1024].into(), 2);
    let pushed = world.messages(conn);
    assert_eq!(
        pushed.iter().map(|push| push.seq).collect::<Vec<_>>(),
        [1, 2]
    );
    let envelope = pushed[0].envelope.clone().unwrap();
    assert_eq!(envelope.data, "hello");
    assert_eq!(pushed[1].envelope, None, "only a hint");
    assert!(world.messages(sender).is_empty());
}

#[test]
fn a_push_leaves_only_when_the_message_is_durable() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    world.hold_storage = true;
    let mut message_id = [9; 16];
    message_id[6] = 0x79;
    message_id[8] = 0x89;
    let request = proto::EnqueueRequest {
        recipient_key: alice.key(),
        payload: Bytes::from_static(b"hello"),
        message_id: Bytes::copy_from_slice(&message_id),
        ..Default::default()
    };
    let stream = world.send::<rpc::Enqueue>(sender, &request);
    while !world.stored.is_empty() {
        assert_eq!(world.answer(sender, stream), None);
        assert!(world.messages(conn).is_empty());
        world.run_storage(1);
        world.drain();
    }
    assert!(world.answer(sender, stream).is_some());
    assert_eq!(world.messages(conn).len(), 1);
}

#[test]
fn a_peer_that_does_not_read_gets_hints_and_then_nothing() {
    let mut config = roomy();
    config.limits.connection_unsent = 20_000;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    let payload = Bytes::from(vec![7; 900]);
    world.hold_sent_of = Some(conn);
    for id in 0..700 {
        enqueue(&mut world, sender, &alice, payload.clone(), id);
    }
    let pushed = world.messages(conn);
    let full = pushed.iter().filter(|push| push.envelope.is_some()).count();
    assert!((18..=22).contains(&full), "20,000 bytes of them: {full}");
    let hints = pushed.len() - full;
    assert!(hints > 0 && pushed.len() < 700, "{hints}");
    let stream = StreamId::Peer(Dir::Bi, 1000);
    assert_eq!(world.server.credit(conn, stream), 0);
    assert!(world.server.credit(sender, stream) > 0, "others go on");
    // When it reads again, pushes come again.
    world.hold_sent_of = None;
    let all = StreamInput::Sent(usize::MAX);
    world
        .server
        .handle_stream(world.now, conn, StreamId::Own(OwnStream(1)), all);
    world.pump();
    enqueue(&mut world, sender, &alice, payload, 1000);
    assert!(world.messages(conn)[0].envelope.is_some());
}

#[test]
fn a_push_stream_that_the_peer_stops_is_replaced() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    enqueue(&mut world, sender, &alice, Bytes::from_static(b"one"), 1);
    let stream = StreamId::Own(OwnStream(1));
    world
        .server
        .handle_stream(world.now, conn, stream, StreamInput::Stopped(0));
    world.pump();
    enqueue(&mut world, sender, &alice, Bytes::from_static(b"two"), 2);
    assert_eq!(world.messages(conn).len(), 2);
    assert_eq!(world.opened(conn), 2);
}

#[test]
fn a_wait_ends_with_news_or_with_its_time() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    let stream = wait(&mut world, conn, &alice, 20_000);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.answer(conn, stream), None);
    enqueue(&mut world, sender, &alice, Bytes::from_static(b"news"), 1);
    let fetched = world.response::<rpc::FetchWait>(conn, stream).unwrap();
    assert_eq!(fetched.payloads[0].data, "news");

    let request = proto::FetchWaitRequest {
        recipient_key: alice.key(),
        timeout_ms: 3_600_000,
        after_seq: 1,
        ..Default::default()
    };
    let stream = world.send::<rpc::FetchWait>(conn, &request);
    world.advance(Duration::from_millis(29_999));
    assert_eq!(world.answer(conn, stream), None);
    world.advance(Duration::from_millis(1));
    let fetched = world.response::<rpc::FetchWait>(conn, stream).unwrap();
    assert!(fetched.payloads.is_empty());
}

#[test]
fn a_wait_ends_with_a_wake_from_another_core() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    let stream = wait(&mut world, conn, &alice, 20_000);
    let before = world.commands;
    let queue = qpq_protocol::storage::keys::QueueId {
        recipient: alice.secret.public(),
        device: qpq_protocol::ids::DeviceId::DEFAULT,
        channel: None,
    };
    let wake = qpq_protocol::io::Wake {
        topic: Topic::Queue(qpq_protocol::storage::keys::queue(&queue).into()),
        body: Bytes::new(),
    };
    world.server.handle_wake(world.now, wake);
    world.pump();
    assert!(world.commands > before, "it looks again");
    assert_eq!(world.answer(conn, stream), None, "and finds nothing");
    enqueue(&mut world, sender, &alice, Bytes::from_static(b"news"), 1);
    assert!(world.answer(conn, stream).is_some());
    let told = world.wakes.iter().any(|wake| {
        matches!(&wake.topic, Topic::Queue(key) if *key == *qpq_protocol::storage::keys::queue(&queue))
    });
    assert!(told, "other cores are told");
}

#[test]
fn waits_that_nobody_wants_any_more_cost_nothing() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let before = world.server.footprint();
    for _ in 0..200 {
        let stream = wait(&mut world, conn, &alice, 30_000);
        world.input(conn, stream, StreamInput::Stopped(0));
    }
    assert_eq!(world.server.footprint(), before);
    let stream = wait(&mut world, conn, &alice, 30_000);
    world.disconnect(conn);
    let _ = stream;
    assert!(world.server.footprint() < before);
    world.advance(Duration::from_secs(1200));
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_shutdown_finishes_what_runs_and_then_closes() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let other = world.connect();
    let waits = wait(&mut world, conn, &alice, 30_000);
    world.hold_storage = true;
    let resolve = proto::ResolveUserRequest {
        username: "alice".to_owned(),
    };
    let running = world.send::<rpc::ResolveUser>(conn, &resolve);
    world.server.handle_shutdown(world.now);
    world.pump();
    let health = world
        .call::<rpc::Health>(other, &proto::HealthRequest {})
        .unwrap();
    assert_eq!(health.status, "draining");
    let refused = world.call::<rpc::ResolveUser>(conn, &resolve).unwrap_err();
    assert_eq!(refused.status, Status::Unavailable);
    let late = world.connect();
    assert_eq!(world.closed(late), Some(AppCode::Shutdown.code()));
    assert!(!world.server.is_shut_down());
    world.hold_storage = false;
    world.pump();
    world.advance(Duration::from_millis(10));
    for stream in [running, waits] {
        let answer = world.answer(conn, stream);
        assert!(
            matches!(answer, Some(Answer::Response(Status::Ok, ..))),
            "{answer:?}"
        );
    }
    assert_eq!(world.closed(conn), Some(AppCode::Shutdown.code()));
    assert_eq!(world.closed(other), Some(AppCode::Shutdown.code()));
    assert!(world.server.is_shut_down());
}

#[test]
fn a_shutdown_does_not_wait_for_ever() {
    let mut world = World::default();
    let (_, conn) = world.user("alice");
    world.hold_storage = true;
    let resolve = proto::ResolveUserRequest {
        username: "alice".to_owned(),
    };
    world.send::<rpc::ResolveUser>(conn, &resolve);
    world.server.handle_shutdown(world.now);
    world.pump();
    world.advance(Duration::from_secs(29));
    assert_eq!(world.closed(conn), None);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.closed(conn), Some(AppCode::Shutdown.code()));
    assert!(world.server.is_shut_down());
}
