//! Greedy and slow peers of the server core: what one account or one address holds costs the others nothing,
//! and the sum of what is held is a bound at every moment (protocol.md §5.27, "Shares").

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::frame::encode_request;
use qpq_protocol::ids::{ConnId, Dir, StreamId};
use qpq_protocol::io::{Core as _, StreamInput};
use qpq_protocol::limits::{CONNECTION, ENTRY, Limits};
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::{AppCode, Status};

use support::account::User;
use support::{Answer, World, roomy};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A header, and nothing of the payload it promises.
fn header(method: u16, payload_len: usize) -> Bytes {
    let mut bytes = method.to_be_bytes().to_vec();
    bytes.extend_from_slice(&7_u32.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(payload_len).unwrap().to_be_bytes());
    bytes.into()
}

/// Begins a request of this length on a stream of its own, and sends so much of its payload.
fn begin(world: &mut World, conn: ConnId, method: u16, length: usize, sent: usize) -> u64 {
    let stream = world.open(conn);
    let data = StreamInput::Data(header(method, length));
    world.input(conn, stream, data);
    more(world, conn, stream, sent);
    stream
}

/// Sends more of a payload, in pieces.
fn more(world: &mut World, conn: ConnId, stream: u64, bytes: usize) {
    static ZEROS: [u8; 64 * KIB] = [0; 64 * KIB];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(ZEROS.len());
        let data = StreamInput::Data(Bytes::from_static(&ZEROS[..piece]));
        world.input(conn, stream, data);
        left -= piece;
    }
}

/// More connections with a session of this user.
fn connections(world: &mut World, user: &User, count: usize) -> Vec<ConnId> {
    let first = world.connect();
    let token = user.log_in(world, first).unwrap().token;
    let mut all = vec![first];
    while all.len() < count {
        let conn = world.connect();
        let resume = proto::ResumeSessionRequest {
            auth: Some(proto::Auth {
                access_token: token.clone(),
                device_id: Bytes::new(),
            }),
            ..Default::default()
        };
        world.call::<rpc::ResumeSession>(conn, &resume).unwrap();
        all.push(conn);
    }
    all
}

fn status(answer: &Option<Answer>) -> Option<Status> {
    match answer {
        Some(Answer::Response(status, ..)) => Some(*status),
        _ => None,
    }
}

#[track_caller]
fn is_served(world: &mut World, conn: ConnId) {
    let health = world.call::<rpc::Health>(conn, &proto::HealthRequest {});
    assert_eq!(health.expect("not busy").status, "ok");
}

fn fetch(user: &User) -> proto::FetchRequest {
    proto::FetchRequest {
        recipient_key: user.key(),
        ..Default::default()
    }
}

fn message(to: &User, id: u8, length: usize) -> proto::EnqueueRequest {
    let mut message_id = [id; 16];
    message_id[6] = 0x70;
    message_id[8] = 0x80;
    proto::EnqueueRequest {
        recipient_key: to.key(),
        payload: Bytes::from(vec![id; length]),
        message_id: Bytes::copy_from_slice(&message_id),
        ..Default::default()
    }
}

fn footprint_holds(world: &World, limits: &Limits) {
    assert!(world.server.footprint() <= limits.footprint());
}

#[test]
fn what_is_announced_and_never_sent_reserves_nothing() {
    let mut world = World::default();
    let (alice, honest) = world.user("alice");
    let mallory = User::new("mallory");
    let conn = world.connect();
    mallory.register(&mut world, conn).unwrap();
    let before = world.server.footprint();
    let greedy = connections(&mut world, &mallory, 34);
    for conn in &greedy {
        for _ in 0..2 {
            begin(&mut world, *conn, 206, 4 * MIB, 0);
        }
    }
    let held = world.server.footprint() - before - greedy.len() * CONNECTION;
    assert!(held <= 68 * ENTRY + MIB / 8, "{held}");
    is_served(&mut world, honest);
    assert!(world.call::<rpc::Fetch>(honest, &fetch(&alice)).is_ok());
    let enqueue = message(&alice, 1, 3 * MIB);
    let (_, sender) = world.user("bob");
    assert!(world.call::<rpc::Enqueue>(sender, &enqueue).is_ok());
}

#[test]
fn strangers_who_announce_keep_nobody_out() {
    let mut world = World::default();
    let (alice, honest) = world.user("alice");
    for number in 0..2080_u32 {
        let [_, _, high, low] = (number / 32).to_be_bytes();
        let conn = world.connect_from(SocketAddr::from(([10, 9, high, low], 1)));
        for _ in 0..2 {
            begin(&mut world, conn, 102, 30 * KIB, 0);
            begin(&mut world, conn, 102, 30 * KIB, 20 * KIB);
        }
    }
    footprint_holds(&world, &Limits::default());
    is_served(&mut world, honest);
    let late = world.connect();
    is_served(&mut world, late);
    assert!(alice.log_in(&mut world, late).is_ok());
}

#[test]
fn an_account_holds_a_sixteenth_of_what_requests_may() {
    let mut world = World::default();
    let (mallory, _) = world.user("mallory");
    let (alice, honest) = world.user("alice");
    let greedy = connections(&mut world, &mallory, 20);
    let before = world.server.footprint();
    let refused = greedy
        .iter()
        .filter(|conn| {
            let stream = begin(&mut world, **conn, 206, 4 * MIB, 3 * MIB);
            status(&world.answer(**conn, stream)) == Some(Status::Unavailable)
        })
        .count();
    assert!(refused >= 15, "{refused}");
    assert!(world.server.footprint() - before <= 256 * MIB / 16);
    let enqueue = message(&mallory, 1, 3 * MIB);
    assert!(world.call::<rpc::Enqueue>(honest, &enqueue).is_ok());
    assert!(world.call::<rpc::Fetch>(honest, &fetch(&alice)).is_ok());
}

#[test]
fn what_does_not_fit_midway_is_answered_free_and_dropped() {
    let mut world = World::default();
    let (_, conn) = world.user("mallory");
    let before = world.server.footprint();
    // A buffer that grows may be twice as long as what has come.
    let first = begin(&mut world, conn, 206, 4 * MIB, 3 * MIB / 2);
    let second = begin(&mut world, conn, 206, 4 * MIB, 4 * MIB - 1);
    let held = world.server.footprint() - before;
    assert_eq!(held, 7 * MIB + 2 * ENTRY, "as it comes");
    assert_eq!(world.answer(conn, second), None);
    // The youngest gives way.
    more(&mut world, conn, first, MIB);
    assert_eq!(
        status(&world.answer(conn, second)),
        Some(Status::Unavailable)
    );
    assert_eq!(world.answer(conn, first), None);
    let held = world.server.footprint() - before;
    assert_eq!(held, 4 * MIB + ENTRY, "free at once");
    // Its rest is taken, and nothing comes of it.
    let stream = StreamId::Peer(Dir::Bi, second);
    assert!(world.server.credit(conn, stream) > 0);
    more(&mut world, conn, second, 1);
    world.input(conn, second, StreamInput::Fin);
    more(&mut world, conn, first, 3 * MIB / 2);
    world.input(conn, first, StreamInput::Fin);
    assert_eq!(status(&world.answer(conn, first)), Some(Status::BadRequest));
    is_served(&mut world, conn);
    assert_eq!(world.server.footprint(), before);
}

#[test]
fn where_a_pool_is_full_the_youngest_gives_way_and_the_oldest_arrives() {
    let mut config = roomy();
    config.limits.total_buffer = 8 * MIB;
    let mut world = World::new(config.clone());
    let users: Vec<_> = (0..6).map(|n| world.user(&format!("user{n}"))).collect();
    let mut begun = Vec::new();
    for (_, conn) in &users {
        let stream = begin(&mut world, *conn, 206, 4 * MIB, MIB);
        begun.push((*conn, stream));
        footprint_holds(&world, &config.limits);
    }
    let (conn, stream) = begun[0];
    more(&mut world, conn, stream, 3 * MIB);
    world.input(conn, stream, StreamInput::Fin);
    assert_eq!(
        status(&world.answer(conn, stream)),
        Some(Status::BadRequest)
    );
    let (conn, stream) = begun[5];
    assert_eq!(
        status(&world.answer(conn, stream)),
        Some(Status::Unavailable)
    );
    // Small requests have a pool of their own.
    is_served(&mut world, users[5].1);
}

#[test]
fn an_account_that_takes_nothing_holds_up_nobody_and_is_closed() {
    let mut config = roomy();
    config.limits.account_connections = 100;
    let limits = config.limits.clone();
    let mut world = World::new(config);
    let (mallory, _) = world.user("mallory");
    let (alice, honest) = world.user("alice");
    for id in 1..=5 {
        let enqueue = message(&mallory, id, 3 * MIB);
        world.call::<rpc::Enqueue>(honest, &enqueue).unwrap();
    }
    let greedy = connections(&mut world, &mallory, 90);
    let before = world.server.footprint();
    world.hold_sent = true;
    let mut most = 0;
    for conn in &greedy {
        for after_seq in 0..5 {
            let request = proto::FetchRequest {
                after_seq,
                ..fetch(&mallory)
            };
            world.send::<rpc::Fetch>(*conn, &request);
            most = most.max(world.server.footprint());
            footprint_holds(&world, &limits);
        }
    }
    // Answers that nobody takes are within its share, and so is what runs.
    assert!(most - before <= 512 * MIB / 16 + 8 * MIB, "{most}");
    world.hold_sent = false;
    is_served(&mut world, honest);
    assert!(world.call::<rpc::Fetch>(honest, &fetch(&alice)).is_ok());

    // Who has answers that it does not take for 30 s is closed; all it held is free.
    world.advance(Duration::from_secs(31));
    let timeout = Some(AppCode::Timeout.code());
    let closed = greedy.iter().filter(|conn| world.closed(**conn) == timeout);
    assert!(closed.count() >= 8);
    world.advance(Duration::from_secs(31));
    assert!(world.server.footprint() < before + MIB);
}

#[test]
fn a_request_whose_turn_does_not_come_is_answered() {
    let mut config = roomy();
    config.limits.total_unsent = 0;
    config.limits.unsent_time = Duration::from_secs(300);
    let mut world = World::new(config);
    let (alice, stuck) = world.user("alice");
    let (_, sender) = world.user("bob");
    let enqueue = message(&alice, 1, 2 * MIB);
    world.call::<rpc::Enqueue>(sender, &enqueue).unwrap();
    let waiting = connections(&mut world, &alice, 1)[0];
    world.hold_sent_of = Some(stuck);
    let first = world.send::<rpc::Fetch>(stuck, &fetch(&alice));
    assert_eq!(status(&world.answer(stuck, first)), Some(Status::Ok));
    let second = world.send::<rpc::Fetch>(waiting, &fetch(&alice));
    world.advance(Duration::from_secs(29));
    assert_eq!(world.answer(waiting, second), None, "there is no room");
    world.advance(Duration::from_secs(2));
    let answer = world.answer(waiting, second);
    assert_eq!(status(&answer), Some(Status::Unavailable));
    // Once there is room, it is that of who asks next.
    let third = world.send::<rpc::Fetch>(waiting, &fetch(&alice));
    let sent = StreamInput::Sent(usize::MAX);
    world.input(stuck, first, sent);
    assert_eq!(status(&world.answer(waiting, third)), Some(Status::Ok));
}

#[test]
fn pushes_are_dropped_before_answers_are() {
    let mut world = World::default();
    let (alice, _) = world.user("alice");
    let (_, sender) = world.user("bob");
    let listening = connections(&mut world, &alice, 60);
    world.hold_sent = true;
    // 16 KiB to each of 60 connections, so often that a share of 32 MiB would be full.
    for id in 1..=60 {
        let enqueue = message(&alice, id, 15 * KIB);
        world.send::<rpc::Enqueue>(sender, &enqueue);
    }
    world.hold_sent = false;
    let (full, hints): (Vec<_>, Vec<_>) = listening
        .iter()
        .flat_map(|conn| world.messages(*conn))
        .partition(|push| push.envelope.is_some());
    assert!(full.len() * 15 * KIB <= 16 * MIB, "{}", full.len());
    assert!(full.len() * 15 * KIB > 14 * MIB, "{}", full.len());
    assert!(!hints.is_empty(), "the others say that there is news");
    assert!(
        world
            .call::<rpc::Fetch>(listening[0], &fetch(&alice))
            .is_ok()
    );
    // They lie there for 30 s, then their connections are closed.
    world.advance(Duration::from_secs(31));
    let timeout = Some(AppCode::Timeout.code());
    assert!(listening.iter().any(|conn| world.closed(*conn) == timeout));
}

#[test]
fn a_slow_request_has_a_second_for_each_8_kib() {
    let mut world = World::default();
    let (_, conn) = world.user("alice");
    let slow = begin(&mut world, conn, 206, MIB, 1);
    let slower = begin(&mut world, conn, 206, MIB, 1);
    for _ in 0..40 {
        world.advance(Duration::from_secs(1));
        more(&mut world, conn, slow, 8 * KIB);
        more(&mut world, conn, slower, 4 * KIB);
    }
    assert_eq!(world.answer(conn, slow), None);
    let timeout = Some(Answer::Reset(AppCode::Timeout.code()));
    assert_eq!(world.answer(conn, slower), timeout);
    world.advance(Duration::from_secs(11));
    assert_eq!(world.answer(conn, slow), timeout, "it has stopped");
    // A request that was answered from its header has no longer.
    let refused = begin(&mut world, conn, 802, 80 * KIB, KIB);
    assert_eq!(
        status(&world.answer(conn, refused)),
        Some(Status::BadRequest)
    );
    world.advance(Duration::from_secs(11));
    assert_eq!(world.answer(conn, refused), timeout);
    is_served(&mut world, conn);
}

#[test]
fn a_slow_reader_is_not_closed_while_it_takes_8_kib_a_second() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    let enqueue = message(&alice, 1, MIB);
    world.call::<rpc::Enqueue>(sender, &enqueue).unwrap();
    world.hold_sent_of = Some(conn);
    let stream = world.send::<rpc::Fetch>(conn, &fetch(&alice));
    for _ in 0..60 {
        world.advance(Duration::from_secs(1));
        world.input(conn, stream, StreamInput::Sent(8 * KIB));
    }
    assert_eq!(world.closed(conn), None);
    world.input(conn, stream, StreamInput::Sent(256 * KIB));
    world.advance(Duration::from_secs(29));
    assert_eq!(
        world.closed(conn),
        None,
        "half a minute from now on, no more"
    );
    world.advance(Duration::from_secs(2));
    assert_eq!(world.closed(conn), Some(AppCode::Timeout.code()));
}

#[test]
fn a_stream_without_a_first_byte_has_ten_seconds() {
    let mut world = World::default();
    let (_, conn) = world.user("alice");
    let stream = world.open(conn);
    world.input(conn, stream, StreamInput::Data(Bytes::new()));
    world.advance(Duration::from_secs(9));
    assert_eq!(world.answer(conn, stream), None);
    world.advance(Duration::from_secs(2));
    let timeout = Some(Answer::Reset(AppCode::Timeout.code()));
    assert_eq!(world.answer(conn, stream), timeout);
    is_served(&mut world, conn);
}

#[test]
fn a_silent_stranger_is_closed_and_a_session_is_not() {
    let mut world = World::default();
    let (_, known) = world.user("alice");
    let (silent, asks) = (world.connect(), world.connect());
    for _ in 0..4 {
        world.advance(Duration::from_secs(6));
        is_served(&mut world, asks);
    }
    assert_eq!(world.closed(silent), Some(AppCode::Timeout.code()));
    assert_eq!(world.closed(asks), None);
    world.advance(Duration::from_secs(11));
    assert_eq!(world.closed(asks), Some(AppCode::Timeout.code()));
    assert_eq!(world.closed(known), None);
    // Without a session it is one like any other.
    world
        .call::<rpc::Logout>(known, &proto::LogoutRequest {})
        .unwrap();
    world.advance(Duration::from_secs(11));
    assert_eq!(world.closed(known), Some(AppCode::Timeout.code()));
}

#[test]
fn the_longest_silent_of_an_address_gives_way() {
    let mut world = World::default();
    let address = SocketAddr::from(([192, 0, 2, 1], 1));
    let mut theirs = Vec::new();
    for _ in 0..64 {
        theirs.push(world.connect_from(address));
        world.advance(Duration::from_millis(10));
    }
    is_served(&mut world, theirs[0]);
    let other = world.connect();
    assert!(theirs.iter().all(|conn| world.closed(*conn).is_none()));
    let one_more = world.connect_from(address);
    let overloaded = Some(AppCode::Overloaded.code());
    assert_eq!(world.closed(theirs[1]), overloaded);
    for conn in [theirs[0], theirs[2], other, one_more] {
        is_served(&mut world, conn);
    }
    // Those that have logged in do not count.
    let alice = User::new("alice");
    alice.register(&mut world, one_more).unwrap();
    alice.log_in(&mut world, one_more).unwrap();
    let again = world.connect_from(address);
    let closed = theirs.iter().filter(|conn| world.closed(**conn).is_some());
    assert_eq!(closed.count(), 1);
    is_served(&mut world, again);
}

/// Whoever has a /56 is one address, and whoever has a /40 sixteen.
#[test]
fn an_ipv6_site_counts_as_one_address_and_a_region_as_sixteen() {
    let mut config = roomy();
    config.limits.anonymous_connections = 2;
    let mut world = World::new(config);
    let elsewhere = world.connect_from("[2001:db9::1]:1".parse().unwrap());
    let come = |world: &mut World, site: u16, host: u16| {
        world.advance(Duration::from_millis(1));
        let address = format!("[2001:db8:0:{:x}::1]:1", site << 8 | host);
        world.connect_from(address.parse().unwrap())
    };
    let theirs: Vec<_> = (1..=3).map(|host| come(&mut world, 0, host)).collect();
    let overloaded = Some(AppCode::Overloaded.code());
    let closed = |world: &World, of: &[ConnId]| -> Vec<bool> {
        of.iter()
            .map(|conn| world.closed(*conn) == overloaded)
            .collect()
    };
    assert_eq!(closed(&world, &theirs), [true, false, false]);
    let others: Vec<_> = (1..=30)
        .map(|number| come(&mut world, 1 + number / 2, number))
        .collect();
    assert!(!closed(&world, &others).contains(&true), "32 of the region");
    let one_more = come(&mut world, 200, 1);
    assert_eq!(closed(&world, &theirs), [true, true, false]);
    for conn in [theirs[2], others[29], one_more, elsewhere] {
        is_served(&mut world, conn);
    }
}

#[test]
fn an_account_has_so_many_connections() {
    let mut config = roomy();
    config.limits.account_connections = 3;
    let mut world = World::new(config);
    let (_, other) = world.user("bob");
    let (alice, _) = world.user("alice");
    let theirs = connections(&mut world, &alice, 4);
    let overloaded = Some(AppCode::Overloaded.code());
    let closed = theirs
        .iter()
        .filter(|conn| world.closed(**conn) == overloaded);
    assert!(closed.count() <= 2);
    assert_eq!(world.closed(theirs[3]), None, "the newest stays");
    assert_eq!(world.closed(other), None);
}

#[test]
fn a_stranger_has_eight_streams_and_a_session_the_rest() {
    let mut world = World::default();
    let conn = world.connect();
    let health = encode_request(802, 7, &proto::HealthRequest {}).unwrap();
    let streams: Vec<_> = (0..9)
        .map(|_| {
            let stream = world.open(conn);
            let data = StreamInput::Data(health.slice(..5));
            world.input(conn, stream, data);
            stream
        })
        .collect();
    let overloaded = Some(Answer::Reset(AppCode::Overloaded.code()));
    assert_eq!(world.answer(conn, streams[8]), overloaded);
    assert_eq!(world.answer(conn, streams[7]), None);
}

#[test]
fn one_address_holds_a_sixteenth_of_what_strangers_may() {
    let mut world = World::default();
    let before = world.server.footprint();
    let conns: Vec<_> = (0..64_u16)
        .map(|port| world.connect_from(SocketAddr::from(([192, 0, 2, 1], port))))
        .collect();
    for conn in &conns {
        begin(&mut world, *conn, 102, 60 * KIB, 59 * KIB);
        for _ in 0..7 {
            begin(&mut world, *conn, 102, 4 * KIB, 4 * KIB - 1);
        }
    }
    let held = world.server.footprint() - before - conns.len() * CONNECTION;
    assert!(held <= 32 * MIB / 16 + 8 * MIB / 16, "{held}");
    let other = world.connect();
    is_served(&mut world, other);
    let request = begin(&mut world, other, 102, 60 * KIB, 60 * KIB);
    world.input(other, request, StreamInput::Fin);
    let answer = world.answer(other, request);
    assert_ne!(status(&answer), Some(Status::Unavailable), "{answer:?}");
}

#[test]
fn a_request_that_arrives_whole_goes_before_those_that_do_not() {
    let mut config = roomy();
    config.limits.small_buffer = 8 * KIB;
    let mut world = World::new(config);
    let (_, slow) = world.user("mallory");
    let (_, other) = world.user("alice");
    let stream = begin(&mut world, slow, 104, 4 * KIB, 4 * KIB - 1);
    let honest = world.send_raw(other, &[&header(104, 4 * KIB)[..], &[0; 4 * KIB]].concat());
    assert_eq!(
        status(&world.answer(slow, stream)),
        Some(Status::Unavailable)
    );
    assert_eq!(
        status(&Some(world.wait_for(other, honest))),
        Some(Status::BadRequest)
    );
}

#[test]
fn waits_that_are_more_than_may_run_do_not_hold_each_other_up() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let request = proto::FetchWaitRequest {
        recipient_key: alice.key(),
        timeout_ms: 1_000,
        ..Default::default()
    };
    let waits: Vec<_> = (0..10)
        .map(|_| world.send::<rpc::FetchWait>(conn, &request))
        .collect();
    world.advance(Duration::from_millis(1_001));
    for stream in waits {
        assert_eq!(status(&world.answer(conn, stream)), Some(Status::Ok));
    }
}

#[test]
fn one_connection_more_than_a_core_serves_is_closed() {
    let mut config = roomy();
    config.limits.connections = 2;
    let mut world = World::new(config);
    let (first, second, third) = (world.connect(), world.connect(), world.connect());
    assert_eq!(world.closed(third), Some(AppCode::Overloaded.code()));
    for conn in [first, second] {
        is_served(&mut world, conn);
    }
}

#[test]
fn a_connection_runs_so_many_requests_with_long_answers() {
    let mut config = roomy();
    config.limits.long_answers = 2;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    world.hold_storage = true;
    for _ in 0..5 {
        world.send::<rpc::Fetch>(conn, &fetch(&alice));
    }
    assert_eq!(world.stored.len(), 2);
    world.hold_storage = false;
    world.pump();
    assert_eq!(world.stored.len(), 0);
    assert!(world.call::<rpc::Fetch>(conn, &fetch(&alice)).is_ok());
}

#[test]
fn an_answer_is_no_longer_than_it_may_be() {
    let mut config = roomy();
    config.limits.answer = 20 * KIB;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    let (_, sender) = world.user("bob");
    for id in 1..=2 {
        let enqueue = message(&alice, id, 12 * KIB);
        world.call::<rpc::Enqueue>(sender, &enqueue).unwrap();
    }
    let page = world.call::<rpc::Fetch>(conn, &fetch(&alice)).unwrap();
    assert_eq!((page.payloads.len(), page.next_seq), (1, 3));
    let after = proto::FetchRequest {
        after_seq: 1,
        ..fetch(&alice)
    };
    let page = world.call::<rpc::Fetch>(conn, &after).unwrap();
    assert_eq!(page.payloads.len(), 1);
}

#[test]
fn nothing_is_taken_while_too_much_output_is_queued() {
    let mut config = roomy();
    config.limits.outputs = 1;
    let mut world = World::new(config);
    let conn = world.connect();
    let health = encode_request(802, 7, &proto::HealthRequest {}).unwrap();
    let stream = StreamId::Peer(Dir::Bi, 7);
    for number in 0..2 {
        assert!(world.server.credit(conn, stream) > 0);
        let of = StreamId::Peer(Dir::Bi, number);
        for input in [StreamInput::Data(health.clone()), StreamInput::Fin] {
            world.server.handle_stream(world.now, conn, of, input);
        }
    }
    assert_eq!(world.server.credit(conn, stream), 0);
    world.drain();
    assert!(world.server.credit(conn, stream) > 0);
}

#[test]
fn what_storage_does_not_answer_is_answered_in_time() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let stranger = world.connect();
    world.hold_storage = true;
    let fetched = world.send::<rpc::Fetch>(conn, &fetch(&alice));
    let resume = proto::ResumeSessionRequest {
        auth: Some(proto::Auth {
            access_token: Bytes::from_static(&[1; 32]),
            device_id: Bytes::new(),
        }),
        ..Default::default()
    };
    let resumed = world.send::<rpc::ResumeSession>(stranger, &resume);
    let late = Some(Status::DeadlineExceeded);
    world.advance(Duration::from_millis(9_999));
    assert_eq!(world.answer(stranger, resumed), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(status(&world.answer(stranger, resumed)), late);
    world.advance(Duration::from_millis(19_999));
    assert_eq!(world.answer(conn, fetched), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(status(&world.answer(conn, fetched)), late);
}

#[test]
fn a_stranger_waits_for_no_room_for_an_answer() {
    let mut config = roomy();
    config.limits.total_unsent = 0;
    let mut world = World::new(config);
    let (alice, stuck) = world.user("alice");
    let (_, sender) = world.user("bob");
    let enqueue = message(&alice, 1, 2 * MIB);
    world.call::<rpc::Enqueue>(sender, &enqueue).unwrap();
    world.hold_sent_of = Some(stuck);
    world.send::<rpc::Fetch>(stuck, &fetch(&alice));
    // All room of accounts is taken; a stranger's request is answered at once.
    let stranger = world.connect();
    let asked = world.send::<rpc::Fetch>(stranger, &fetch(&alice));
    let answer = world.answer(stranger, asked);
    assert_eq!(status(&answer), Some(Status::Unauthorized));
}

#[test]
fn a_login_that_is_under_way_is_no_silence() {
    let mut world = World::default();
    let (alice, _) = world.user("alice");
    let conn = world.connect();
    let (_, request) = qpq_crypto::opaque::client::login_start(&[6; 32], b"password").unwrap();
    let start = proto::OpaqueLoginStartRequest {
        username: alice.name,
        request: request.into(),
        ..Default::default()
    };
    world.call::<rpc::OpaqueLoginStart>(conn, &start).unwrap();
    world.advance(Duration::from_secs(29));
    assert_eq!(world.closed(conn), None);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.closed(conn), Some(AppCode::Timeout.code()));
}
