//! What one account may do to the queues of others: protocol.md §5.27.

use std::time::Duration;

use qpq_protocol::limits::Rate;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::server::ServerConfig;
use qpq_protocol::status::Status;
use qpq_protocol::storage::memory::Fault;

use crate::requests::*;
use crate::support::account::User;
use crate::support::{Refused, World, roomy};

const MINUTE: Duration = Duration::from_secs(60);

fn with(change: impl FnOnce(&mut ServerConfig)) -> World {
    let mut config = roomy();
    change(&mut config);
    World::new(config)
}

/// Too long or too many, and by which limit.
#[track_caller]
fn over<T: core::fmt::Debug>(answer: Result<T, Refused>, name: &str) {
    let refused = answer.expect_err("over it");
    let message = refused.detail.message;
    assert_eq!(refused.status, Status::BadRequest, "{message}");
    assert!(message.contains(&format!("`{name}`")), "{message}");
}

#[test]
fn a_member_commits_twenty_times_a_minute_to_a_channel() {
    let mut world = with(|config| config.limits.commits = Rate::per_secs(20, 60));
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let other = create_group(&mut world, alices, 2, &[]);
    for slot in 0..20 {
        let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, slot, b"void"));
        done.expect("a slot");
    }
    let next = commit(&channel, 20, b"void");
    let refused = world.call::<rpc::SubmitCommit>(alices, &next);
    let refused = refused.expect_err("too many");
    assert_eq!(refused.status, Status::RateLimited);
    assert!(refused.detail.retry_after_ms > 0);
    let again = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, 19, b"void"));
    assert!(again.expect("answered before it is counted").duplicate);
    world
        .call::<rpc::SubmitCommit>(bobs, &commit(&channel, 20, b"void"))
        .expect("somebody else");
    let elsewhere = proto::SubmitCommitRequest {
        message_id: message_id(1),
        ..commit(&other, 0, b"void")
    };
    world
        .call::<rpc::SubmitCommit>(alices, &elsewhere)
        .expect("another channel");
    world.advance(2 * MINUTE);
    world
        .call::<rpc::SubmitCommit>(alices, &commit(&channel, 21, b"void"))
        .expect("later");
}

/// Commits are no way round the limit of messages.
#[test]
fn each_recipient_of_a_commit_counts_as_one_of_a_message() {
    let mut world = with(|config| config.limits.enqueue_recipients = Rate::per_secs(10, 60));
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let (carol, _) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    for slot in 0..3 {
        let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, slot, b"void"));
        done.expect("a slot");
    }
    let refused = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, 3, b"void"));
    assert_eq!(status(refused), Status::RateLimited);
    let one = world.call::<rpc::Enqueue>(alices, &message(&bob, 1, b"x"));
    one.expect("the tenth");
    let refused = world.call::<rpc::Enqueue>(alices, &message(&bob, 2, b"x"));
    assert_eq!(status(refused), Status::RateLimited);
}

/// What is acked does not come back: only time gives.
#[test]
fn an_account_stores_so_much_for_others_in_a_day() {
    let mut world = with(|config| {
        (config.limits.stored_a_day, config.limits.stored_block) = (86_400, 2_000);
    });
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (_, carols) = world.user("carol");
    let long = |number| proto::EnqueueRequest {
        payload: vec![7; 20_000].into(),
        ..message(&bob, number, b"")
    };
    for number in 1..=4 {
        let sent = world.call::<rpc::Enqueue>(alices, &long(number));
        sent.expect("sent");
        ack(&mut world, bobs, &bob, &bytes::Bytes::new(), number).expect("acked");
    }
    let refused = world.call::<rpc::Enqueue>(alices, &long(5));
    let refused = refused.expect_err("over it");
    assert_eq!(refused.status, Status::RateLimited);
    assert!(refused.detail.retry_after_ms > 10_000_000);
    let known = world.call::<rpc::Enqueue>(alices, &long(4));
    assert!(known.expect("costs nothing").duplicate);
    let sent = world.call::<rpc::Enqueue>(alices, &message(&bob, 6, b"short"));
    sent.expect("there is room for it");
    let sent = world.call::<rpc::Enqueue>(carols, &long(7));
    sent.expect("somebody else");
    world.advance(Duration::from_secs(20_000));
    let sent = world.call::<rpc::Enqueue>(alices, &long(5));
    sent.expect("with time");
}

/// Commit, welcomes and GroupInfo once each, and something for each queue.
#[test]
fn a_commit_over_the_allowance_is_refused_before_it_has_a_slot() {
    let mut world = with(|config| {
        (config.limits.stored_a_day, config.limits.stored_block) = (86_400, 2_000);
    });
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let large = |slot| proto::SubmitCommitRequest {
        group_info: vec![5; 50_000].into(),
        ..commit(&channel, slot, b"commit")
    };
    world
        .call::<rpc::SubmitCommit>(alices, &large(0))
        .expect("slot 0");
    let refused = world.call::<rpc::SubmitCommit>(alices, &large(1));
    assert_eq!(status(refused), Status::RateLimited);
    let won = world.call::<rpc::SubmitCommit>(bobs, &large(1));
    assert_eq!(won.expect("slot 1").next_slot, 2);
}

/// A core takes a block and gives it out: most requests ask for nothing but their own commit.
#[test]
fn an_allowance_is_asked_for_once_a_block() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let mut commands = Vec::new();
    for number in 1..=3 {
        let before = world.commands;
        let sent = world.call::<rpc::Enqueue>(alices, &message(&bob, number, b"x"));
        sent.expect("sent");
        commands.push(world.commands - before);
    }
    assert_eq!(commands[2], 1);
    assert!(commands[0] > commands[2]);
}

/// A villain who fills somebody's queue does not use up the day of those who write there, and neither does a
/// lost answer.
#[test]
fn what_is_refused_or_known_costs_nothing() {
    let mut world = with(|config| {
        (config.limits.stored_a_day, config.limits.stored_block) = (86_400, 2_000);
        (
            config.limits.queue_messages,
            config.limits.queue_sender_share,
        ) = (2, 1);
    });
    let (alice, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let long = |to: &User, number| proto::EnqueueRequest {
        payload: vec![7; 20_000].into(),
        ..message(to, number, b"")
    };
    for number in 1..=2 {
        let sent = world.call::<rpc::Enqueue>(alices, &long(&bob, number));
        sent.expect("sent");
    }
    for _ in 0..10 {
        let refused = world.call::<rpc::Enqueue>(alices, &long(&bob, 3));
        assert_eq!(status(refused), Status::QuotaExceeded);
        let known = world.call::<rpc::Enqueue>(alices, &long(&bob, 1));
        assert!(known.expect("known").duplicate);
    }
    let batch = proto::BatchEnqueueRequest {
        recipient_keys: vec![bob.key(), alice.key()],
        payload: vec![7; 20_000].into(),
        message_id: message_id(4),
        ..proto::BatchEnqueueRequest::default()
    };
    for _ in 0..10 {
        let sent = world.call::<rpc::BatchEnqueue>(alices, &batch);
        let refused = u32::from(Status::QuotaExceeded.code());
        assert_eq!(sent.expect("known").statuses, [refused, 0]);
    }
    for number in 5..=6 {
        let sent = world.call::<rpc::Enqueue>(alices, &long(&carol, number));
        sent.expect("of what is left");
    }
    ack(&mut world, carols, &carol, &bytes::Bytes::new(), 2).expect("acked");
    let refused = world.call::<rpc::Enqueue>(alices, &long(&carol, 7));
    assert_eq!(status(refused), Status::RateLimited, "the rest was used");
}

/// What storage does not say was made may have been.
#[test]
fn what_may_be_stored_is_paid_for() {
    let mut world = with(|config| {
        (config.limits.stored_a_day, config.limits.stored_block) = (86_400, 86_400);
    });
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let long = |number, bytes| proto::EnqueueRequest {
        payload: vec![7; bytes].into(),
        ..message(&bob, number, b"")
    };
    for (fault, number) in [(Fault::UnknownMade, 2), (Fault::UnknownLost, 4)] {
        let sent = world.call::<rpc::Enqueue>(alices, &long(number - 1, 1));
        sent.expect("sent");
        world.memory.fail_next(fault);
        let refused = world.call::<rpc::Enqueue>(alices, &long(number, 40_000));
        assert_eq!(status(refused), Status::Unavailable);
    }
    let refused = world.call::<rpc::Enqueue>(alices, &long(5, 40_000));
    assert_eq!(status(refused), Status::RateLimited);
}

/// Two cores draw on the same row.
#[test]
fn cores_share_an_allowance() {
    let limited = || {
        let mut config = roomy();
        (config.limits.stored_a_day, config.limits.stored_block) = (86_400, 2_000);
        config
    };
    let mut world = World::new(limited());
    let (alice, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let long = |number| proto::EnqueueRequest {
        payload: vec![7; 50_000].into(),
        ..message(&bob, number, b"")
    };
    world.call::<rpc::Enqueue>(alices, &long(1)).expect("sent");
    let memory = std::mem::take(&mut world.memory);
    let mut other = World::on(limited(), memory, [2; 32]);
    let conn = other.connect();
    alice.log_in(&mut other, conn).expect("logged in");
    let refused = other.call::<rpc::Enqueue>(conn, &long(2));
    assert_eq!(status(refused), Status::RateLimited);
}

/// Each number of the table refuses over its own request, whatever the schema allows.
#[test]
fn lengths_and_numbers_are_those_of_the_table() {
    let mut world = with(|config| {
        let limits = &mut config.limits;
        (limits.payload, limits.recipients, limits.commit_adds) = (100, 1, 1);
        (limits.group_info, limits.welcome, limits.group_metadata) = (100, 50, 20);
    });
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let (carol, _) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let long = bytes::Bytes::from_static(&[7; 101]);
    let refused = world.call::<rpc::Enqueue>(
        alices,
        &proto::EnqueueRequest {
            payload: long.clone(),
            ..message(&bob, 1, b"")
        },
    );
    over(refused, "payload");
    let refused = world.call::<rpc::BatchEnqueue>(
        alices,
        &proto::BatchEnqueueRequest {
            recipient_keys: vec![bob.key(), carol.key()],
            payload: bytes::Bytes::from_static(b"x"),
            message_id: message_id(2),
            ..proto::BatchEnqueueRequest::default()
        },
    );
    over(refused, "recipients");
    let refused = world.call::<rpc::CreateChannel>(
        alices,
        &proto::CreateChannelRequest {
            channel_id: channel_id(2),
            metadata: bytes::Bytes::from_static(&[7; 21]),
            ..proto::CreateChannelRequest::default()
        },
    );
    over(refused, "group_metadata");
    let plain = || commit(&channel, 0, b"c");
    let too_long = proto::SubmitCommitRequest {
        commit: long.clone(),
        ..plain()
    };
    let too_much = proto::SubmitCommitRequest {
        group_info: long.clone(),
        ..plain()
    };
    let too_many = proto::SubmitCommitRequest {
        add_members: vec![carol.key(), User::new("dave").key()],
        ..plain()
    };
    let welcomed = proto::SubmitCommitRequest {
        welcomes: vec![proto::CommitWelcome {
            recipient_key: bob.key(),
            payload: long.slice(..51),
            ..proto::CommitWelcome::default()
        }],
        ..plain()
    };
    for (wrong, name) in [
        (too_long, "payload"),
        (too_much, "group_info"),
        (too_many, "commit_adds"),
        (welcomed, "welcome"),
    ] {
        over(world.call::<rpc::SubmitCommit>(alices, &wrong), name);
    }
    world
        .call::<rpc::SubmitCommit>(alices, &plain())
        .expect("slot 0");
}
