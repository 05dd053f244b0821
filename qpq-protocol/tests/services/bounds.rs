//! The lengths, counts and times of the limits table that no other file is about, each at its bound over its
//! own request: protocol.md §5.1, 5.4, 5.6 and 5.27.

use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::io::Core as _;
use qpq_protocol::limits::Limits;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;

use crate::key_packages::{key_package, upload};
use crate::requests::*;
use crate::support::account::User;
use crate::support::{Refused, World, roomy};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DEFAULT: Bytes = Bytes::new();

fn with(change: impl FnOnce(&mut Limits)) -> World {
    let mut config = roomy();
    change(&mut config.limits);
    World::new(config)
}

/// Refused with this status, and the limit named.
#[track_caller]
fn over<T: core::fmt::Debug>(answer: Result<T, Refused>, status: Status, name: &str) {
    let refused = answer.expect_err("over it");
    let message = refused.detail.message;
    assert_eq!(refused.status, status, "{message}");
    assert!(message.contains(&format!("`{name}`")), "{message}");
}

fn long(message: proto::EnqueueRequest, length: usize) -> proto::EnqueueRequest {
    proto::EnqueueRequest {
        payload: vec![7; length].into(),
        ..message
    }
}

/// A further device of a user, registered and logged in.
fn device(world: &mut World, user: &User, by: ConnId, number: u8) -> ConnId {
    let request = user.device(number);
    let done = world.call::<rpc::RegisterDevice>(by, &request);
    done.expect("registered");
    let conn = world.connect();
    let id = DeviceId::new([number; 16]);
    let logged_in = user.log_in_with(world, conn, id, &user.password);
    logged_in.expect("logged in");
    conn
}

#[test]
fn a_message_lives_thirty_days_and_at_most_ninety() {
    let mut world = with(|limits| limits.session = 365 * DAY);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    for (number, ttl_secs) in [(1, u32::MAX), (2, 0)] {
        let request = proto::EnqueueRequest {
            ttl_secs,
            ..message(&bob, number, b"x")
        };
        world.call::<rpc::Enqueue>(alices, &request).expect("sent");
    }
    let left = |world: &mut World, days: u32| -> Vec<bool> {
        world.advance(days * DAY);
        let page = fetch_all(world, bobs, &bob, &DEFAULT);
        page.payloads.iter().map(|one| !one.expired).collect()
    };
    assert_eq!(left(&mut world, 29), [true, true]);
    assert_eq!(left(&mut world, 2), [true, false], "31 days");
    assert_eq!(left(&mut world, 58), [true, false], "89 days");
    assert!(left(&mut world, 2).is_empty(), "91 days");
}

#[test]
fn a_queue_holds_so_many_bytes_and_a_commit_more_closes_it() {
    let mut world = with(|limits| limits.queue_bytes = 100);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let send = |world: &mut World, number, length| {
        let request = in_channel(&channel, 0, long(message(&bob, number, b""), length));
        world.call::<rpc::Enqueue>(alices, &request)
    };
    send(&mut world, 1, 60).expect("sent");
    let refused = send(&mut world, 2, 41);
    over(refused, Status::QuotaExceeded, "queue_bytes");
    send(&mut world, 3, 40).expect("as many as it holds");
    let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"c"));
    done.expect("never refused for a full queue");
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!((page.payloads.len(), page.overrun), (2, true));
}

#[test]
fn a_channel_has_so_many_members() {
    let mut world = with(|limits| limits.members = 2);
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let (carol, _) = world.user("carol");
    let request = proto::CreateChannelRequest {
        channel_id: channel_id(9),
        member_keys: vec![bob.key(), carol.key()],
        ..proto::CreateChannelRequest::default()
    };
    let refused = world.call::<rpc::CreateChannel>(alices, &request);
    over(refused, Status::QuotaExceeded, "members");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let request = proto::AddMemberRequest {
        channel_id: channel.clone(),
        member_key: carol.key(),
    };
    let refused = world.call::<rpc::AddMember>(alices, &request);
    over(refused, Status::QuotaExceeded, "members");
    let adding = proto::SubmitCommitRequest {
        add_members: vec![carol.key()],
        ..commit(&channel, 0, b"c")
    };
    let refused = world.call::<rpc::SubmitCommit>(alices, &adding);
    over(refused, Status::QuotaExceeded, "members");
    let in_place = proto::SubmitCommitRequest {
        remove_members: vec![bob.key()],
        ..adding
    };
    let done = world.call::<rpc::SubmitCommit>(alices, &in_place);
    done.expect("one for another");
}

/// A member who registers devices without end stops the group from growing, and nothing else.
#[test]
fn a_channel_has_so_many_devices_and_goes_on_where_it_has_more() {
    let mut world = with(|limits| limits.channel_devices = 2);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, _) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let adding = |slot| proto::SubmitCommitRequest {
        add_members: vec![carol.key()],
        ..commit(&channel, slot, b"adds")
    };
    let refused = world.call::<rpc::SubmitCommit>(alices, &adding(0));
    over(refused, Status::QuotaExceeded, "channel_devices");
    let first = device(&mut world, &bob, bobs, 1);
    let second = device(&mut world, &bob, first, 2);
    let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"c"));
    done.expect("slot 0");
    for conn in [first, second] {
        let page = fetch_all(&mut world, conn, &bob, &channel);
        assert_eq!(page.payloads.len(), 1, "it reaches all of them");
    }
    let refused = world.call::<rpc::SubmitCommit>(alices, &adding(1));
    over(refused, Status::QuotaExceeded, "channel_devices");
}

#[test]
fn a_key_package_and_a_sealed_identity_have_a_length() {
    let mut world = with(|limits| (limits.key_package, limits.sealed_identity) = (100, 10));
    let conn = world.connect();
    let alice = User::new("alice");
    let request = alice.registration(&mut world, conn).expect("OPAQUE");
    let refused = world.call::<rpc::OpaqueRegisterFinish>(conn, &request);
    over(refused, Status::BadRequest, "sealed_identity");

    let mut world = with(|limits| limits.key_package = 100);
    let (alice, alices) = world.user("alice");
    let package = key_package(&alice, 1, false);
    let refused = upload(&mut world, alices, &alice, &package, false);
    over(refused, Status::BadRequest, "key_package");
}

#[test]
fn each_queue_counts_for_what_is_stored_in_a_day() {
    let mut world = with(|limits| {
        (limits.stored_a_day, limits.stored_block) = (86_400, 1);
        limits.stored_queue = 20_000;
    });
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let first = device(&mut world, &bob, bobs, 1);
    device(&mut world, &bob, first, 2);
    for number in 1..=2 {
        let sent = world.call::<rpc::Enqueue>(alices, &message(&bob, number, b"x"));
        sent.expect("to two devices");
    }
    let refused = world.call::<rpc::Enqueue>(alices, &message(&bob, 3, b"x"));
    over(refused, Status::RateLimited, "stored_a_day");
    let sent = world.call::<rpc::Enqueue>(first, &message(&alice, 4, b"x"));
    sent.expect("somebody else");
}

/// A group of oneself reaches no queue; slots and answers stay all the same.
#[test]
fn commits_that_reach_nobody_are_no_way_round_what_is_stored_in_a_day() {
    let mut world = with(|limits| {
        (limits.stored_a_day, limits.stored_block) = (86_400, 1);
        limits.stored_queue = 20_000;
    });
    let (_, alices) = world.user("alice");
    let channel = create_group(&mut world, alices, 1, &[]);
    let submit = |world: &mut World, slot| {
        let request = proto::SubmitCommitRequest {
            group_info: DEFAULT,
            ..commit(&channel, slot, b"void")
        };
        world.call::<rpc::SubmitCommit>(alices, &request)
    };
    for slot in 0..3 {
        submit(&mut world, slot).expect("a slot");
    }
    over(submit(&mut world, 3), Status::RateLimited, "stored_a_day");
}

/// What a core does not remember it asks storage for, and never remembers more than it may.
#[test]
fn a_core_remembers_so_many_rows_bytes_and_accounts() {
    // How many commands the second message to each of many takes, and what is remembered of them.
    let talk = |change: fn(&mut Limits)| {
        let mut world = with(change);
        let users: Vec<(User, ConnId)> = (0..12)
            .map(|number| world.user(&format!("user{number}")))
            .collect();
        let (bob, _) = world.user("bob");
        let mut commands = 0;
        for round in 0..2 {
            for (number, (user, conn)) in (0..).zip(&users) {
                let counted = world.commands;
                for (to, id) in [(user, 1), (&bob, 2)] {
                    let request = message(to, round * 100 + number * 2 + id, b"x");
                    world.call::<rpc::Enqueue>(*conn, &request).expect("sent");
                }
                commands = world.commands - counted;
            }
        }
        (commands, world.server.footprint())
    };
    let (all, held) = talk(|_| {});
    assert_eq!(all, 2, "their own commits");
    let (few, held_of_few) = talk(|limits| limits.cached_rows = 8);
    assert!(few > all && held_of_few < held, "{few} {held_of_few}");
    let (_, held_of_none) = talk(|limits| limits.cached_bytes = 0);
    let (short, held_of_short) = talk(|limits| limits.cached_bytes = 2000);
    assert!(
        short > all && held_of_short <= held_of_none + 2000,
        "{short}"
    );
    assert!(held > held_of_none + 2000);
    let (strangers, _) = talk(|limits| limits.stored_accounts = 4);
    assert!(strangers > all, "{strangers}");
}

/// Another core is always faster.
#[test]
fn a_request_runs_again_so_often() {
    for conflicts in [0, 1] {
        let config = || {
            let mut config = roomy();
            config.limits.conflicts = conflicts;
            config
        };
        let mut one = World::new(config());
        let (_, alices) = one.user("alice");
        let (bob, _) = one.user("bob");
        let (carol, _) = one.user("carol");
        one.call::<rpc::Enqueue>(alices, &message(&bob, 1, b"x"))
            .expect("sent");
        let memory = std::mem::take(&mut one.memory);
        let mut other = World::on(config(), memory, [2; 32]);
        let carols = other.connect();
        carol.log_in(&mut other, carols).expect("logged in");
        for number in 1..=2 {
            let sent = other.call::<rpc::Enqueue>(carols, &message(&bob, number, b"y"));
            sent.expect("nobody else is at work");
        }
        one.memory = std::mem::take(&mut other.memory);
        let sent = one.call::<rpc::Enqueue>(alices, &message(&bob, 2, b"x"));
        if conflicts > 0 {
            assert_eq!(sent.expect("sent").seq, 4);
            continue;
        }
        let refused = sent.expect_err("it has changed");
        assert_eq!(refused.status, Status::Unavailable);
        assert_eq!(refused.detail.retry_after_ms, 50);
        let again = one.call::<rpc::Enqueue>(alices, &message(&bob, 2, b"x"));
        assert_eq!(again.expect("it is read anew").seq, 4);
    }
}

/// Where only the date of the last one is kept, several an hour are as far apart as that makes them.
#[test]
fn resets_and_returns_have_a_number_and_a_window() {
    let mut world = with(|limits| (limits.reset.count, limits.returns.count) = (2, 3));
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let minutes = |number: u64| Duration::from_secs(60 * number);
    let mut slot = 0;
    let mut reset = |world: &mut World| {
        let request = proto::SubmitCommitRequest {
            reset: true,
            remove_members: vec![bob.key()],
            ..commit(&channel, slot, b"reset")
        };
        let done = world.call::<rpc::SubmitCommit>(alices, &request);
        slot += u64::from(done.is_ok());
        done
    };
    let come_back = |world: &mut World| {
        let request = proto::AddMemberRequest {
            channel_id: channel.clone(),
            member_key: bob.key(),
        };
        world.call::<rpc::AddMember>(bobs, &request)
    };
    reset(&mut world).expect("the first");
    come_back(&mut world).expect("the first");
    world.advance(minutes(29));
    over(reset(&mut world), Status::RateLimited, "reset");
    world.advance(minutes(1));
    reset(&mut world).expect("half an hour later");
    come_back(&mut world).expect("20 minutes later");
    world.advance(minutes(30));
    reset(&mut world).expect("half an hour later");
    come_back(&mut world).expect("20 minutes later");
    let off = proto::SubmitCommitRequest {
        remove_members: vec![bob.key()],
        ..commit(&channel, 3, b"off")
    };
    let done = world.call::<rpc::SubmitCommit>(alices, &off);
    done.expect("slot 3");
    world.advance(minutes(19));
    over(come_back(&mut world), Status::RateLimited, "returns");
    world.advance(minutes(1));
    come_back(&mut world).expect("20 minutes later");
}

/// A list that goes back and forth tells everybody on it each time.
#[test]
fn each_member_told_of_a_change_of_the_list_counts_as_one_of_a_message() {
    let mut world = with(|limits| limits.enqueue_recipients.count = 10);
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let (carol, _) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    let remove = proto::RemoveMemberRequest {
        channel_id: channel.clone(),
        member_key: bob.key(),
    };
    let add = proto::AddMemberRequest {
        channel_id: channel.clone(),
        member_key: bob.key(),
    };
    for _ in 0..2 {
        let removed = world.call::<rpc::RemoveMember>(alices, &remove);
        removed.expect("three are told");
        let added = world.call::<rpc::AddMember>(alices, &add);
        added.expect("two are told");
    }
    let refused = world.call::<rpc::RemoveMember>(alices, &remove);
    over(refused, Status::RateLimited, "enqueue_recipients");
    let known = world.call::<rpc::AddMember>(alices, &add);
    known.expect("nothing to do");
}
