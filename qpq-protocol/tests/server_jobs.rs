//! Long work that is done in the background (protocol.md §5.34), seen from outside: answered once it is stored, resumed
//! by whoever comes after, done once more where it became necessary once more.

mod support;

use core::time::Duration;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::io::Core as _;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use qpq_protocol::storage::keys::{self, Family};
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::records::{Job, Record as _};
use qpq_protocol::storage::{Command, Commit, Engine as _, Reply};
use qpq_protocol::time::UnixTime;
use support::account::User;
use support::{Answer, BEGIN, World, roomy};

fn rows(world: &World, family: Family) -> usize {
    let all = world.memory.rows();
    all.filter(|(key, _)| key.first() == Some(&(family as u8)))
        .count()
}

/// Alice with two devices and a connection of each, and Bob, who shares a DM with her and has sent each of them
/// something.
fn world() -> (World, User, [ConnId; 2], ConnId) {
    let mut world = World::default();
    let (alice, _) = world.user("alice");
    let (_, sender) = world.user("bob");
    let conns = [3, 4].map(|number| {
        let conn = world.connect();
        let device = DeviceId::new([number; 16]);
        alice
            .log_in_with(&mut world, conn, device, &alice.password)
            .unwrap();
        world
            .call::<rpc::RegisterDevice>(conn, &alice.device(number))
            .unwrap();
        conn
    });
    let create = proto::CreateChannelRequest {
        peer_key: alice.key(),
        ..Default::default()
    };
    world.call::<rpc::CreateChannel>(sender, &create).unwrap();
    let mut message_id = [7; 16];
    (message_id[6], message_id[8]) = (0x70, 0x80);
    let hello = proto::EnqueueRequest {
        recipient_key: alice.key(),
        payload: Bytes::from_static(b"hello"),
        message_id: Bytes::copy_from_slice(&message_id),
        ..Default::default()
    };
    world.call::<rpc::Enqueue>(sender, &hello).unwrap();
    world.pump();
    (world, alice, conns, sender)
}

const REVOKE: proto::RevokeDeviceRequest = proto::RevokeDeviceRequest {
    device_id: Bytes::from_static(&[3; 16]),
};

/// Revokes the first device, and stops storage as soon as that is answered.
fn revoked_and_stopped(world: &mut World, conn: ConnId) {
    world.hold_storage = true;
    let asked = world.send::<rpc::RevokeDevice>(conn, &REVOKE);
    while world.answer(conn, asked).is_none() {
        assert!(!world.stored.is_empty(), "nothing more will come");
        world.run_storage(1);
        world.drain();
    }
    let Some(Answer::Response(status, ..)) = world.answer(conn, asked) else {
        panic!("no answer");
    };
    assert_eq!(status, Status::Ok);
}

#[test]
fn a_revocation_is_answered_once_it_is_stored_and_holds_from_then_on() {
    let (mut world, alice, conns, _) = world();
    let entries = rows(&world, Family::Entry);
    revoked_and_stopped(&mut world, conns[1]);
    assert_eq!(
        rows(&world, Family::Entry),
        entries,
        "nothing is removed yet"
    );
    assert_eq!(rows(&world, Family::Job), 2);
    assert_eq!(world.closed(conns[0]), Some(0), "its sessions are over");
    world.hold_storage = false;
    world.pump();
    assert!(rows(&world, Family::Entry) < entries);
    assert_eq!(rows(&world, Family::Job), 0);
    let fresh = world.connect();
    let device = DeviceId::new([3; 16]);
    let refused = alice.log_in_with(&mut world, fresh, device, &alice.password);
    assert_eq!(refused.unwrap_err().status, Status::Forbidden);
    // The same again is only answered.
    world.call::<rpc::RevokeDevice>(conns[1], &REVOKE).unwrap();
    assert_eq!(rows(&world, Family::Job), 0);
}

#[test]
fn a_core_that_starts_does_what_one_before_it_has_left() {
    let (mut world, _, conns, _) = world();
    let entries = rows(&world, Family::Entry);
    revoked_and_stopped(&mut world, conns[1]);
    let mut world = world.restart([9; 32]);
    world.pump();
    assert!(rows(&world, Family::Entry) < entries);
    assert_eq!(rows(&world, Family::Job), 0);
}

#[test]
fn what_a_core_has_claimed_is_left_to_it_for_a_minute() {
    let (mut world, _, conns, _) = world();
    let entries = rows(&world, Family::Entry);
    revoked_and_stopped(&mut world, conns[1]);
    // The first job is claimed, and then that core is gone.
    while !claimed(&world) {
        world.run_storage(1);
        world.drain();
    }
    let mut world = world.restart([9; 32]);
    world.pump();
    assert_eq!(rows(&world, Family::Job), 1, "the other one is done");
    world.advance(Duration::from_secs(58));
    assert_eq!(rows(&world, Family::Job), 1);
    world.advance(Duration::from_secs(4));
    assert_eq!(rows(&world, Family::Job), 0);
    assert!(rows(&world, Family::Entry) < entries);
}

fn jobs(world: &World) -> Vec<(Bytes, Job)> {
    let all = world.memory.rows();
    let jobs = all.filter(|(key, _)| key.first() == Some(&(Family::Job as u8)));
    let read = |row: &Bytes| Job::decode_row(row.clone()).expect("a job");
    jobs.map(|(key, row)| (key.clone(), read(row))).collect()
}

fn claimed(world: &World) -> bool {
    jobs(world).iter().any(|(_, job)| !job.claim.is_empty())
}

fn store(world: &mut World, key: Bytes, job: &Job) {
    let change = Commit {
        puts: vec![(key, job.encode_row())],
        ..Commit::default()
    };
    let replies = world.memory.run(vec![Command::Commit(change)]);
    assert_eq!(replies, [Reply::Committed]);
}

/// A core whose clock was a year ahead has claimed it, and is gone.
#[test]
fn a_claim_by_a_clock_that_was_wrong_bars_nobody() {
    let (mut world, alice, ..) = world();
    let year = Duration::from_secs(365 * 24 * 3600);
    let job = Job {
        claimed_until_ms: (world.unix() + year).as_millis(),
        claim: Bytes::from_static(&[1; 16]),
        ..Job::default()
    };
    let key = keys::devices_changed(&alice.secret.public());
    store(&mut world, key.into(), &job);
    let mut world = world.restart([9; 32]);
    world.pump();
    assert_eq!(rows(&world, Family::Job), 0);
}

/// The version of the member list that Bob sees.
fn members_version(world: &mut World, bob: ConnId) -> u64 {
    let list = proto::ListQueuesRequest::default();
    let queues = world.call::<rpc::ListQueues>(bob, &list).unwrap().queues;
    let versions = queues.iter().map(|queue| queue.members_version);
    versions.max().unwrap_or_default()
}

/// The channels are told, and while that is done the devices change again: what was told is of before.
fn assert_done_again(change_again: fn(&mut World, &User, ConnId)) {
    let (mut world, alice, conns, bob) = world();
    let before = members_version(&mut world, bob);
    world.hold_storage = true;
    world.send::<rpc::RegisterDevice>(conns[1], &alice.device(5));
    while !claimed(&world) {
        world.run_storage(1);
        world.drain();
    }
    change_again(&mut world, &alice, conns[1]);
    world.hold_storage = false;
    world.pump();
    assert_eq!(rows(&world, Family::Job), 0);
    assert_eq!(members_version(&mut world, bob), before + 2);
}

#[test]
fn a_job_that_is_started_again_while_it_is_done_is_done_again() {
    assert_done_again(|world, alice, conn| {
        world.send::<rpc::RegisterDevice>(conn, &alice.device(6));
    });
}

#[test]
fn a_job_that_another_core_starts_again_is_done_again() {
    assert_done_again(|world, alice, _| {
        let key = keys::devices_changed(&alice.secret.public());
        store(world, key.into(), &Job::default());
    });
}

/// Cores whose clocks are more than a minute apart take each other's claims for old ones. What one has done is done, or
/// they would do it in turns for ever, and tell of it each time.
#[test]
fn a_job_that_another_core_has_taken_over_is_over_when_either_is_through() {
    let (mut world, alice, conns, bob) = world();
    let before = members_version(&mut world, bob);
    world.hold_storage = true;
    world.send::<rpc::RegisterDevice>(conns[1], &alice.device(5));
    while !claimed(&world) {
        world.run_storage(1);
        world.drain();
    }
    let ours = jobs(&world);
    let mut other = World::on(roomy(), Memory::new(), [9; 32]);
    // It looks around some time after a login.
    other.user("carol");
    let year = 365 * 24 * 3_600_000;
    let behind = UnixTime::from_millis(BEGIN.as_millis() - year);
    other.server.handle_clock(other.now, behind);
    other.hold_storage = true;
    core::mem::swap(&mut world.memory, &mut other.memory);
    other.advance(roomy().limits.upkeep);
    while jobs(&other) == ours {
        assert!(!other.stored.is_empty(), "it takes nothing over");
        other.run_storage(1);
        other.drain();
    }
    core::mem::swap(&mut world.memory, &mut other.memory);
    world.hold_storage = false;
    world.pump();
    assert_eq!(rows(&world, Family::Job), 0);
    assert_eq!(members_version(&mut world, bob), before + 1, "done once");
    core::mem::swap(&mut world.memory, &mut other.memory);
    other.hold_storage = false;
    other.pump();
    assert_eq!(rows(&other, Family::Job), 0);
}

/// Storage fails in the middle: it is tried again, by the same core.
#[test]
fn a_job_that_storage_failed_is_tried_again() {
    let (mut world, _, conns, _) = world();
    let entries = rows(&world, Family::Entry);
    revoked_and_stopped(&mut world, conns[1]);
    let (ticket, _) = world.stored.pop_front().expect("the job looks around");
    let failed = Reply::Failed(qpq_protocol::storage::Failure::Unavailable);
    world.server.handle_stored(world.now, ticket, failed);
    world.hold_storage = false;
    world.pump();
    world.advance(Duration::from_secs(2));
    assert_eq!(rows(&world, Family::Job), 0);
    assert!(rows(&world, Family::Entry) < entries);
}

#[test]
fn many_jobs_are_done_one_after_the_other() {
    let mut world = World::new(roomy());
    let (alice, _) = world.user("alice");
    for number in 1..=250_u8 {
        let key = keys::device_revoked(&alice.secret.public(), &DeviceId::new([number; 16]));
        store(&mut world, key.into(), &Job::default());
    }
    let mut world = world.restart([9; 32]);
    world.pump();
    assert_eq!(rows(&world, Family::Job), 0);
}

#[test]
fn what_is_no_job_of_this_version_is_left_and_stands_in_nobodys_way() {
    let mut world = World::new(roomy());
    let (alice, _) = world.user("alice");
    let unknown = Bytes::from_static(b"j\x00");
    let damaged = keys::devices_changed(&alice.secret.public());
    let rubbish = Commit {
        puts: vec![
            (unknown, Bytes::new()),
            (damaged.into(), Bytes::from_static(b"\xff")),
        ],
        ..Commit::default()
    };
    world.memory.run(vec![Command::Commit(rubbish)]);
    let key = keys::device_revoked(&alice.secret.public(), &DeviceId::new([1; 16]));
    store(&mut world, key.into(), &Job::default());
    let mut world = world.restart([9; 32]);
    world.pump();
    assert_eq!(rows(&world, Family::Job), 2, "only the last one is done");
    let commands = world.commands;
    world.advance(Duration::from_secs(300));
    assert_eq!(world.commands, commands, "nothing is tried for ever");
}
