//! What goes by itself: expired messages, payloads nobody needs, answers nobody will ask for again.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::io::Core as _;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::server::Event;
use qpq_protocol::storage::{Command, Commit, Engine as _, keys, records};

use qpq_protocol::time::UnixTime;

use crate::requests::*;
use crate::support::{BEGIN, World};

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many rows of a family there are.
pub fn rows(world: &World, family: keys::Family) -> usize {
    let rows = world.memory.rows();
    rows.filter(|(key, _)| key[0] == family as u8).count()
}

fn lasting(seconds: u32, message: proto::EnqueueRequest) -> proto::EnqueueRequest {
    proto::EnqueueRequest {
        ttl_secs: seconds,
        ..message
    }
}

/// Lets so much time pass, then makes the core clean up.
pub fn later(world: &mut World, time: Duration) {
    world.advance(time);
    let conn = world.connect();
    let (dave, daves) = match world.memory.get(&keys::name("dave")) {
        None => world.user("dave"),
        Some(_) => {
            let dave = crate::support::account::User::new("dave");
            dave.log_in(world, conn).expect("logged in");
            (dave, conn)
        }
    };
    let number = world.now.as_micros();
    let busy = lasting(1, message(&dave, number, b"busy"));
    world
        .call::<rpc::Enqueue>(daves, &busy)
        .expect("to nobody, as the only device");
    world.advance(Duration::from_secs(700));
}

#[test]
fn expired_messages_leave_storage() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for (number, seconds) in [(1, 3600), (2, 60), (3, 60), (4, 7200)] {
        let sent =
            world.call::<rpc::Enqueue>(alice, &lasting(seconds, message(&bob, number, b"x")));
        sent.expect("sent");
    }
    assert_eq!(rows(&world, keys::Family::Expiry), 1);
    world.advance(Duration::from_secs(700));
    assert_eq!(rows(&world, keys::Family::Entry), 4, "two are tombstones");
    let bytes: usize = world
        .memory
        .rows()
        .filter(|(key, _)| key[0] == b'e')
        .map(|row| row.1.len())
        .sum();
    assert!(bytes < 4 * 12);
    let page = fetch_all(&mut world, bobs, &bob, &Bytes::new());
    let expired: Vec<bool> = page.payloads.iter().map(|one| one.expired).collect();
    assert_eq!(expired, [false, true, true, false]);
    later(&mut world, Duration::from_secs(3600));
    assert_eq!(rows(&world, keys::Family::Entry), 1);
    assert_eq!(rows(&world, keys::Family::Expiry), 1);
    let page = fetch_all(&mut world, bobs, &bob, &Bytes::new());
    assert_eq!(payloads(&page), [(4, b"x".to_vec())]);
    assert_eq!((page.first_seq, page.next_seq), (4, 5));
    later(&mut world, Duration::from_secs(7200));
    assert_eq!(rows(&world, keys::Family::Entry), 0);
    assert_eq!(rows(&world, keys::Family::Expiry), 0);
    let sent = world
        .call::<rpc::Enqueue>(alice, &message(&bob, 5, b"y"))
        .expect("sent");
    assert_eq!(sent.seq, 5, "the numbers go on");
}

#[test]
fn a_shared_payload_goes_with_its_last_claim() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let request = proto::BatchEnqueueRequest {
        recipient_keys: vec![bob.key(), carol.key()],
        payload: vec![7; 200_000].into(),
        message_id: message_id(1),
        ..proto::BatchEnqueueRequest::default()
    };
    world
        .call::<rpc::BatchEnqueue>(alice, &request)
        .expect("sent");
    assert_eq!(rows(&world, keys::Family::Payload), 4);
    assert_eq!(rows(&world, keys::Family::PayloadClaim), 2);
    ack(&mut world, bobs, &bob, &Bytes::new(), 1).expect("acked");
    world.advance(Duration::from_secs(700));
    assert_eq!(rows(&world, keys::Family::PayloadCheck), 0);
    assert_eq!(rows(&world, keys::Family::Payload), 4, "Carol needs it");
    assert_eq!(
        fetch_all(&mut world, carols, &carol, &Bytes::new())
            .payloads
            .len(),
        1
    );
    ack(&mut world, carols, &carol, &Bytes::new(), 1).expect("acked");
    world.advance(Duration::from_secs(700));
    assert_eq!(rows(&world, keys::Family::Payload), 0);
    assert_eq!(rows(&world, keys::Family::PayloadClaim), 0);
    assert_eq!(rows(&world, keys::Family::PayloadCheck), 0);
}

#[test]
fn a_message_id_is_known_for_a_day_and_as_long_as_its_message() {
    let mut world = World::default();
    let (alice_user, alice) = world.user("alice");
    let (bob, _) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &lasting(60, message(&bob, 1, b"x")))
        .expect("sent");
    let long = lasting(3 * 24 * 3600, message(&bob, 2, b"y"));
    world.call::<rpc::Enqueue>(alice, &long).expect("sent");
    assert_eq!(rows(&world, keys::Family::Dedupe), 2);
    later(&mut world, DAY - Duration::from_secs(1000));
    assert!(rows(&world, keys::Family::Dedupe) >= 2);
    later(&mut world, Duration::from_secs(1000));
    let alice = world.connect();
    alice_user.log_in(&mut world, alice).expect("logged in");
    let forgotten = world.call::<rpc::Enqueue>(alice, &lasting(60, message(&bob, 1, b"x")));
    assert!(!forgotten.expect("sent").duplicate);
    let known = world.call::<rpc::Enqueue>(alice, &long).expect("known");
    assert!(known.duplicate);
    assert!(world.now.as_micros() / 1000 < BEGIN.as_millis());
}

#[test]
fn many_answers_are_swept_page_by_page() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for number in 0..1300 {
        let sent = world.call::<rpc::Enqueue>(alice, &lasting(60, message(&bob, number, b"x")));
        sent.expect("sent");
        if number % 500 == 499 {
            ack(&mut world, bobs, &bob, &Bytes::new(), number + 1).expect("acked");
        }
    }
    assert_eq!(rows(&world, keys::Family::Dedupe), 1300);
    later(&mut world, DAY);
    assert!(rows(&world, keys::Family::Dedupe) <= 1);
    assert_eq!(rows(&world, keys::Family::Entry), 0);
}

#[test]
fn an_idle_core_does_nothing_more_once_it_has_cleaned_up() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, _) = world.user("bob");
    world
        .call::<rpc::Enqueue>(alice, &message(&bob, 1, b"x"))
        .expect("sent");
    world.advance(Duration::from_secs(700));
    let commands = world.commands;
    world.advance(DAY);
    assert_eq!(world.commands, commands);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_stray_expiry_row_does_not_stop_the_others() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, _) = world.user("bob");
    let stray = keys::QueueId {
        recipient: bob.secret.public(),
        device: qpq_protocol::ids::DeviceId::new([9; 16]),
        channel: None,
    };
    world.memory.run(vec![Command::Commit(Commit {
        puts: vec![(keys::expiry(1, &stray).into(), Bytes::new())],
        ..Commit::default()
    })]);
    let sent = world.call::<rpc::Enqueue>(alice, &lasting(60, message(&bob, 1, b"x")));
    sent.expect("sent");
    assert_eq!(rows(&world, keys::Family::Expiry), 2);
    world.advance(Duration::from_secs(700));
    assert_eq!(rows(&world, keys::Family::Expiry), 0);
    assert_eq!(rows(&world, keys::Family::Entry), 0);
}

/// Once a commit lies in no queue any more nobody asks who had its slot.
#[test]
fn slots_go_when_their_commits_have_expired() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    for slot in 0..3 {
        let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, slot, b"c"));
        done.expect("a slot");
    }
    later(&mut world, 89 * DAY);
    assert_eq!(rows(&world, keys::Family::Slot), 3);
    later(&mut world, 2 * DAY);
    assert_eq!(rows(&world, keys::Family::Slot), 0);
    assert_eq!(rows(&world, keys::Family::Channel), 1, "its members stay");
}

/// So much is written between two looks that looking at as many rows as always would not be enough.
#[test]
fn the_sweep_of_answers_keeps_up_with_what_comes_in() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let row = |keep_until_ms: u64| {
        let answer = records::Dedupe {
            keep_until_ms,
            ..records::Dedupe::default()
        };
        Bytes::from(answer.encode_to_vec())
    };
    let key = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let id = qpq_protocol::ids::MessageId(id);
        Bytes::from(keys::dedupe(&id, &bob.secret.public(), 200))
    };
    let old = (0..16_000).map(|number| match number {
        0..15_000 => (key(number), row(u64::MAX)),
        _ => (key(number), row(1)),
    });
    let old: Vec<(Bytes, Bytes)> = old.collect();
    for puts in old.chunks(8000) {
        world.memory.run(vec![Command::Commit(Commit {
            puts: puts.to_vec(),
            ..Commit::default()
        })]);
    }
    for number in 1..=4000 {
        let sent = world.call::<rpc::Enqueue>(alice, &message(&bob, number, b"x"));
        sent.expect("sent");
        if number % 500 == 0 {
            ack(&mut world, bobs, &bob, &Bytes::new(), number).expect("acked");
        }
    }
    world.advance(Duration::from_secs(700));
    assert_eq!(rows(&world, keys::Family::Dedupe), 15_000 + 4000);
}

/// Its clock says a year ahead, or did when it started: a message of a month is there all the same.
#[test]
fn a_clock_that_jumps_ahead_expires_nothing_for_a_day() {
    for starts in [false, true] {
        let mut world = World::default();
        let (_, alice) = world.user("alice");
        let (bob, bobs) = world.user("bob");
        let month = lasting(30 * 24 * 3600, message(&bob, 1, b"x"));
        world.call::<rpc::Enqueue>(alice, &month).expect("sent");
        world.advance(Duration::from_secs(700));
        let mut conn = bobs;
        if starts {
            world = world.restart([2; 32]);
        }
        let year = world.unix() + 365 * DAY;
        let now = world.now;
        world.server.handle_clock(now, year);
        world.pump();
        if starts {
            conn = world.connect();
            bob.log_in(&mut world, conn).expect("logged in");
        }
        let doubted = |world: &World| {
            let events = world.events.iter();
            events
                .filter(|event| matches!(event, Event::ClockDoubted { .. }))
                .count()
        };
        assert_eq!(doubted(&world), 1);
        let page = fetch_all(&mut world, conn, &bob, &Bytes::new());
        assert_eq!(payloads(&page), [(1, b"x".to_vec())]);
        world.advance(DAY - Duration::from_secs(3600));
        let page = fetch_all(&mut world, conn, &bob, &Bytes::new());
        assert_eq!(payloads(&page), [(1, b"x".to_vec())]);
        world.advance(Duration::from_secs(3700));
        let conn = world.connect();
        bob.log_in(&mut world, conn)
            .expect("the session is over too");
        let page = fetch_all(&mut world, conn, &bob, &Bytes::new());
        assert!(
            page.payloads.is_empty(),
            "then the clock is right after all"
        );
        assert_eq!(doubted(&world), 1);
    }
}

/// A clock that went back and comes forward again takes nothing of what came in meanwhile.
#[test]
fn a_clock_that_goes_back_shortens_no_life() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (now, right) = (world.now, world.unix());
    let behind = UnixTime::from_millis(right.as_millis() - 366 * 24 * 3_600_000);
    world.server.handle_clock(now, behind);
    let month = lasting(30 * 24 * 3600, message(&bob, 1, b"x"));
    world.call::<rpc::Enqueue>(alice, &month).expect("sent");
    world.advance(Duration::from_secs(700));
    let (now, right) = (world.now, world.unix());
    world.server.handle_clock(now, right);
    let page = fetch_all(&mut world, bobs, &bob, &Bytes::new());
    assert_eq!(payloads(&page), [(1, b"x".to_vec())]);
}

#[test]
fn an_operator_may_say_that_the_clock_is_right() {
    let mut world = World::default();
    let (_, alice) = world.user("alice");
    let (bob, _) = world.user("bob");
    let month = lasting(30 * 24 * 3600, message(&bob, 1, b"x"));
    world.call::<rpc::Enqueue>(alice, &month).expect("sent");
    let mut config = crate::support::roomy();
    config.accept_clock = true;
    let year = world.unix() + 365 * DAY;
    let mut world = World::starting_at(config, world.memory, [2; 32], year);
    let bobs = world.connect();
    bob.log_in(&mut world, bobs).expect("logged in");
    let page = fetch_all(&mut world, bobs, &bob, &Bytes::new());
    assert!(page.payloads.is_empty());
}

/// A device that never came back to drain it: time does.
#[test]
fn a_queue_that_overran_is_open_again_when_all_of_it_has_expired() {
    let mut config = crate::support::roomy();
    config.limits.queue_messages = 2;
    let mut world = World::new(config);
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    for slot in 0..3 {
        let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, slot, b"c"));
        done.expect("a slot");
    }
    later(&mut world, 91 * DAY);
    let alices = world.connect();
    let alice = crate::support::account::User::new("alice");
    alice.log_in(&mut world, alices).expect("logged in");
    let sent = in_channel(&channel, 3, message(&bob, 1, b"x"));
    let sent = world.call::<rpc::Enqueue>(alices, &sent);
    assert_eq!(sent.expect("there is room").seq, 3);
    let bobs = world.connect();
    bob.log_in(&mut world, bobs).expect("logged in");
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!(
        (page.first_seq, page.overrun),
        (3, false),
        "past the cursor"
    );
}
