//! What an operator's policy is asked and what follows, what the core tells its embedder, and what it counts.

mod support;

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::io::Core as _;
use qpq_protocol::limits::Rate;
use qpq_protocol::method::{Method, rpc};
use qpq_protocol::proto;
use qpq_protocol::server::{AskId, Event, Question, Refusal, Verdict};
use qpq_protocol::status::Status;
use qpq_protocol::storage::{Command, Reply};
use support::account::User;
use support::{Answer, Refused, World, roomy};

/// A world whose server has this policy.
fn world(policy: impl Fn(&Question) -> Verdict + Send + 'static) -> World {
    let mut world = World::default();
    world.server = world.server.with_policy(policy);
    world
}

fn message(to: &User, id: u8) -> proto::EnqueueRequest {
    let mut message_id = [id; 16];
    (message_id[6], message_id[8]) = (0x70, 0x80);
    proto::EnqueueRequest {
        recipient_key: to.key(),
        payload: Bytes::from_static(b"hello"),
        message_id: Bytes::copy_from_slice(&message_id),
        ..Default::default()
    }
}

fn dm(with: &User) -> proto::CreateChannelRequest {
    proto::CreateChannelRequest {
        peer_key: with.key(),
        ..Default::default()
    }
}

fn said(refused: Refused) -> (Status, String) {
    (refused.status, refused.detail.message)
}

#[test]
fn accounts_are_made_by_who_was_invited() {
    let mut world = world(|question| match question {
        Question::Registration { invitation, .. } if invitation.as_bytes() != b"open sesame" => {
            Verdict::Refuse(Refusal::forbidden("ask for an invitation"))
        }
        _ => Verdict::Allow,
    });
    let alice = User::new("alice");
    let conn = world.connect();
    let rows = world.memory.len();
    let refused = alice.register(&mut world, conn).unwrap_err();
    let why = (Status::Forbidden, "ask for an invitation".to_owned());
    assert_eq!(said(refused), why);
    assert_eq!(world.memory.len(), rows, "nothing is stored");
    let invited = proto::OpaqueRegisterFinishRequest {
        invitation: Bytes::from_static(b"open sesame"),
        ..alice.registration(&mut world, conn).unwrap()
    };
    let registered = Event::Registered {
        identity_key: alice.secret.public(),
        username: "alice".to_owned(),
    };
    assert!(!world.events.contains(&registered));
    world
        .call::<rpc::OpaqueRegisterFinish>(conn, &invited)
        .unwrap();
    assert!(world.events.contains(&registered));
    // A change of the password is no registration.
    let anew = alice.registration(&mut world, conn).unwrap();
    world
        .call::<rpc::OpaqueRegisterFinish>(conn, &anew)
        .unwrap();
}

/// Each door by itself: what is refused there, and that nothing else is.
#[test]
fn each_door_can_be_shut() {
    type Shut = fn(&Question) -> bool;
    let doors: [Shut; 3] = [
        |question| matches!(question, Question::Login { .. }),
        |question| matches!(question, Question::Enqueue { .. }),
        |question| matches!(question, Question::Channel { .. }),
    ];
    for (number, is_shut) in doors.into_iter().enumerate() {
        let mut world = World::default();
        let (alice, _) = world.user("alice");
        let (_, bob) = world.user("bob");
        world.server =
            world
                .server
                .with_policy(move |question: &Question| match is_shut(question) {
                    true => Verdict::Refuse(Refusal::later("closed on Sundays", 1500)),
                    false => Verdict::Allow,
                });
        let fresh = world.connect();
        let outcomes = [
            alice.log_in(&mut world, fresh).map(|_| ()),
            world
                .call::<rpc::Enqueue>(bob, &message(&alice, 1))
                .map(|_| ()),
            world
                .call::<rpc::CreateChannel>(bob, &dm(&alice))
                .map(|_| ()),
        ];
        for (other, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(()) => assert_ne!(other, number),
                Err(refused) => {
                    assert_eq!(other, number);
                    assert_eq!(refused.detail.retry_after_ms, 1500);
                    let why = (Status::RateLimited, "closed on Sundays".to_owned());
                    assert_eq!(said(refused), why);
                }
            }
        }
    }
}

/// A world that asks its embedder about each message, with Alice and a connection of Bob's.
fn asking() -> (World, User, ConnId) {
    let mut world = world(|question| match question {
        Question::Enqueue { .. } => Verdict::Ask,
        _ => Verdict::Allow,
    });
    let (alice, _) = world.user("alice");
    let (_, bob) = world.user("bob");
    (world, alice, bob)
}

fn asks(world: &World) -> Vec<AskId> {
    let asked = world.events.iter().filter_map(|event| match event {
        Event::Asked { ask, .. } => Some(*ask),
        _ => None,
    });
    asked.collect()
}

fn status(world: &World, conn: ConnId, stream: u64) -> Option<Status> {
    match world.answer(conn, stream)? {
        Answer::Response(status, ..) => Some(status),
        Answer::Reset(code) => panic!("reset with {code}"),
    }
}

#[test]
fn a_request_waits_for_the_embedders_word() {
    let (mut world, alice, bob) = asking();
    let first = world.send::<rpc::Enqueue>(bob, &message(&alice, 1));
    let second = world.send::<rpc::Enqueue>(bob, &message(&alice, 2));
    world.pump();
    let [one, other] = asks(&world)[..] else {
        panic!("{:?}", world.events);
    };
    assert_eq!(status(&world, bob, first), None);
    world.server.decide(world.now, other, Verdict::Allow);
    world.pump();
    assert_eq!(status(&world, bob, second), Some(Status::Ok));
    assert_eq!(status(&world, bob, first), None);
    let refusal = Refusal::quota("enough for today");
    world
        .server
        .decide(world.now, one, Verdict::Refuse(refusal));
    // It is decided.
    world.server.decide(world.now, one, Verdict::Allow);
    world.pump();
    assert_eq!(status(&world, bob, first), Some(Status::QuotaExceeded));
    // The same message again is known, and one that was refused is asked about again.
    let again = world
        .call::<rpc::Enqueue>(bob, &message(&alice, 2))
        .unwrap();
    assert!(again.duplicate);
    assert_eq!(asks(&world).len(), 2);
    world.send::<rpc::Enqueue>(bob, &message(&alice, 1));
    world.pump();
    assert_eq!(asks(&world).len(), 3);
}

#[test]
fn an_embedder_that_says_nothing_refuses_for_now() {
    let (mut world, alice, bob) = asking();
    let asked = world.send::<rpc::Enqueue>(bob, &message(&alice, 1));
    world.advance(Duration::from_millis(29_999));
    assert_eq!(status(&world, bob, asked), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(status(&world, bob, asked), Some(Status::Unavailable));
    let [ask] = asks(&world)[..] else {
        panic!("{:?}", world.events);
    };
    let commands = world.commands;
    world.server.decide(world.now, ask, Verdict::Allow);
    world.pump();
    assert_eq!(world.commands, commands, "too late");

    // Whoever has gone does not want it any more.
    world.send::<rpc::Enqueue>(bob, &message(&alice, 2));
    world.pump();
    assert_eq!(world.server.snapshot().requests_running, 1);
    world.disconnect(bob);
    assert_eq!(world.server.snapshot().requests_running, 0);
    let (ask, commands) = (asks(&world)[1], world.commands);
    world.server.decide(world.now, ask, Verdict::Allow);
    world.pump();
    assert_eq!(world.commands, commands, "nobody wants it");
}

/// The peer goes while storage is read, before there is anything to ask.
#[test]
fn nobody_is_asked_about_what_nobody_wants() {
    let (mut world, alice, bob) = asking();
    world.hold_storage = true;
    world.send::<rpc::Enqueue>(bob, &message(&alice, 1));
    world.drain();
    assert!(!world.stored.is_empty() && asks(&world).is_empty());
    world.disconnect(bob);
    world.hold_storage = false;
    world.pump();
    assert_eq!(asks(&world), []);
    assert_eq!(world.server.snapshot().requests_running, 0);
}

#[test]
fn a_request_that_runs_again_is_not_asked_about_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut world = world(move |question| {
        if let Question::Enqueue { .. } = question {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Allow
    });
    let (alice, _) = world.user("alice");
    let (_, bob) = world.user("bob");
    world.hold_storage = true;
    let sent = world.send::<rpc::Enqueue>(bob, &message(&alice, 1));
    while !matches!(world.stored.front(), Some((_, Command::Commit(_)))) {
        world.run_storage(1);
        world.drain();
    }
    let (ticket, _) = world.stored.pop_front().expect("a commit");
    world
        .server
        .handle_stored(world.now, ticket, Reply::Conflict);
    world.hold_storage = false;
    world.pump();
    assert_eq!(status(&world, bob, sent), Some(Status::Ok));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(world.server.snapshot().conflicts, 1);
}

fn waiting(world: &World) -> usize {
    let events = world.events.iter();
    events
        .filter(|event| matches!(event, Event::Waiting { .. }))
        .count()
}

#[test]
fn it_is_told_once_that_something_waits_for_who_is_not_here() {
    let mut world = World::default();
    let (alice, hers) = world.user("alice");
    let (_, bob) = world.user("bob");
    world
        .call::<rpc::Enqueue>(bob, &message(&alice, 1))
        .unwrap();
    assert_eq!(waiting(&world), 0, "she is here");
    world.disconnect(hers);
    for id in 2..5 {
        world
            .call::<rpc::Enqueue>(bob, &message(&alice, id))
            .unwrap();
    }
    assert_eq!(waiting(&world), 1);
    let told = Event::Waiting {
        identity_key: alice.secret.public(),
        device_id: DeviceId::DEFAULT,
    };
    assert!(world.events.contains(&told));
    let back = world.connect();
    alice.log_in(&mut world, back).unwrap();
    world.disconnect(back);
    world
        .call::<rpc::Enqueue>(bob, &message(&alice, 5))
        .unwrap();
    assert_eq!(waiting(&world), 2);
}

#[test]
fn who_is_forgotten_is_told_of_again() {
    let mut config = roomy();
    config.limits.away_devices = 2;
    let mut world = World::new(config);
    let [alice, carol, dave] = ["alice", "carol", "dave"].map(|name| {
        let (user, conn) = world.user(name);
        world.disconnect(conn);
        user
    });
    let (_, bob) = world.user("bob");
    let to = [
        (&alice, 1),
        (&alice, 1),
        (&carol, 2),
        (&dave, 3),
        (&alice, 4),
    ];
    for (id, (to, told)) in (1..).zip(to) {
        world.call::<rpc::Enqueue>(bob, &message(to, id)).unwrap();
        assert_eq!(waiting(&world), told);
    }
}

#[test]
fn a_limit_that_is_hit_is_told_once_a_minute() {
    let mut config = roomy();
    config.limits.enqueues = Rate::per_secs(2, 1000);
    let mut world = World::new(config);
    let (alice, _) = world.user("alice");
    let (bob, conn) = world.user("bob");
    let hits = |world: &World| {
        let events = world.events.iter();
        let hit = |event: &&Event| match event {
            Event::LimitHit {
                limit,
                identity_key,
                ..
            } => *limit == "enqueues" && *identity_key == Some(bob.secret.public()),
            _ => false,
        };
        events.filter(hit).count()
    };
    for id in 0..6 {
        let sent = world.call::<rpc::Enqueue>(conn, &message(&alice, id));
        assert_eq!(sent.is_ok(), id < 2);
    }
    assert_eq!(hits(&world), 1);
    world.advance(Duration::from_secs(60));
    world
        .call::<rpc::Enqueue>(conn, &message(&alice, 7))
        .unwrap_err();
    assert_eq!(hits(&world), 2);
}

#[test]
fn what_devices_do_is_told() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (identity_key, device_id) = (alice.secret.public(), DeviceId::new([3; 16]));
    world
        .call::<rpc::RegisterDevice>(conn, &alice.device(3))
        .unwrap();
    let revoke = proto::RevokeDeviceRequest {
        device_id: Bytes::from_static(&[3; 16]),
    };
    let fresh = world.connect();
    alice
        .log_in_with(&mut world, fresh, DeviceId::new([4; 16]), &alice.password)
        .unwrap();
    // Once more is only answered.
    for _ in 0..2 {
        world.call::<rpc::RevokeDevice>(fresh, &revoke).unwrap();
    }
    let anew = alice.registration(&mut world, fresh).unwrap();
    world
        .call::<rpc::OpaqueRegisterFinish>(fresh, &anew)
        .unwrap();
    let of_devices = world
        .events
        .iter()
        .filter(|event| !matches!(event, Event::Started { .. } | Event::Registered { .. }));
    let told: Vec<Event> = of_devices.cloned().collect();
    let default = DeviceId::DEFAULT;
    let four = DeviceId::new([4; 16]);
    let logged_in = |device_id| Event::LoggedIn {
        identity_key,
        device_id,
    };
    let expected = [
        logged_in(default),
        Event::DeviceRegistered {
            identity_key,
            device_id,
        },
        logged_in(four),
        Event::DeviceRevoked {
            identity_key,
            device_id,
        },
        Event::PasswordChanged { identity_key },
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_snapshot_counts_what_was_done() {
    let mut world = World::default();
    let (alice, hers) = world.user("alice");
    let (_, bob) = world.user("bob");
    let before = world.server.snapshot();
    world
        .call::<rpc::Enqueue>(bob, &message(&alice, 1))
        .unwrap();
    let nobody = message(&User::new("nobody"), 2);
    world.call::<rpc::Enqueue>(bob, &nobody).unwrap_err();
    world
        .call::<rpc::RegisterDevice>(hers, &alice.device(3))
        .unwrap();
    world.pump();
    let after = world.server.snapshot();
    let of = |method, status| {
        let mut all = after.answered.iter();
        all.find(|(m, s, _)| (*m, *s) == (method, status))
            .map_or(0, |(.., count)| *count)
    };
    assert_eq!(of(Method::Enqueue, Status::Ok), 1);
    assert_eq!(of(Method::Enqueue, Status::NotFound), 1);
    assert_eq!(of(Method::RegisterDevice, Status::Ok), 1);
    let total: u64 = after.answered.iter().map(|(.., count)| *count).sum();
    assert_eq!(total, after.times.iter().map(|(_, count)| *count).sum());
    // A method that there is none of is refused by its header.
    assert_eq!(after.turned_away, before.turned_away);
    world.send_raw(bob, &[0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(world.server.snapshot().turned_away, before.turned_away + 1);
    assert_eq!((after.connections, after.connections_total), (2, 2));
    assert_eq!(after.requests_running, 0);
    assert_eq!((after.jobs_done, after.jobs_failed), (1, 0));
    // The second message is refused for sure only once storage has said that there is nobody.
    assert!(after.looked_again >= before.looked_again);
    assert!(after.pushes > before.pushes && after.commits > before.commits);
    assert!(after.bytes_received > before.bytes_received);
    assert!(after.bytes_sent > before.bytes_sent);
}
