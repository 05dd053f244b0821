//! The largest channels and batches that protocol.md §5.4 allows.

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::storage::{Command, Commit, Engine as _, Memory, keys, records};
use sha2::{Digest as _, Sha256};

use crate::requests::*;
use crate::support::{World, roomy};

/// Rows of so many accounts, each with so many devices, as if they had registered.
fn accounts(count: u32, devices: u8) -> (Memory, Vec<IdentityKey>) {
    let mut change = Commit::default();
    let mut identities = Vec::new();
    for number in 0..count {
        let identity = IdentityKey(Sha256::digest(number.to_be_bytes()).into());
        let devices = (1..=devices).map(|device| records::RegisteredDevice {
            device_id: vec![device; 16].into(),
            device_key: vec![device; 32].into(),
            ..records::RegisteredDevice::default()
        });
        let set = records::DeviceSet {
            devices: devices.collect(),
        };
        let row = set.encode_to_vec().into();
        change.puts.push((keys::device_set(&identity).into(), row));
        identities.push(identity);
    }
    let mut memory = Memory::new();
    memory.run(vec![Command::Commit(change)]);
    (memory, identities)
}

fn wire(identities: &[IdentityKey]) -> Vec<Bytes> {
    let keys = identities.iter();
    keys.map(|key| Bytes::copy_from_slice(key.as_bytes()))
        .collect()
}

/// How many rows of a family there are.
fn rows(world: &World, family: keys::Family) -> usize {
    let rows = world.memory.rows();
    rows.filter(|(key, _)| key[0] == family as u8).count()
}

#[test]
fn a_channel_of_a_thousand_devices_takes_commits_and_messages() {
    let (memory, others) = accounts(999, 1);
    let mut world = World::on(roomy(), memory, [1; 32]);
    let (alice, alices) = world.user("alice");
    let request = proto::CreateChannelRequest {
        channel_id: channel_id(1),
        member_keys: wire(&others),
        ..proto::CreateChannelRequest::default()
    };
    let created = world.call::<rpc::CreateChannel>(alices, &request);
    let channel = created.expect("a channel").channel_id;
    for slot in 0..2 {
        let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, slot, b"commit"));
        assert_eq!(done.expect("a slot").next_slot, slot + 1);
    }
    assert_eq!(rows(&world, keys::Family::Entry), 2 * 999);
    assert_eq!(rows(&world, keys::Family::Payload), 2, "each commit once");
    let mut recipient_keys = wire(&others);
    recipient_keys.push(alice.key());
    let batch = proto::BatchEnqueueRequest {
        recipient_keys,
        payload: Bytes::from_static(b"to all"),
        channel_id: channel.clone(),
        channel_slot: Some(2),
        message_id: message_id(1),
        ..proto::BatchEnqueueRequest::default()
    };
    let sent = world
        .call::<rpc::BatchEnqueue>(alices, &batch)
        .expect("sent");
    assert_eq!(sent.statuses, [0; 1000]);
    assert!(sent.seqs.iter().take(999).all(|seq| *seq == 3));
    assert_eq!(sent.seqs.last(), Some(&0), "the sending device is left out");

    let (eve, _) = world.user("eve");
    let one_more = proto::SubmitCommitRequest {
        add_members: vec![alice.key(), eve.key()],
        ..commit(&channel, 2, b"too many")
    };
    assert!(world.call::<rpc::SubmitCommit>(alices, &one_more).is_err());
}

#[test]
fn a_batch_too_large_for_one_commit_is_stored_in_parts_and_once() {
    let (memory, others) = accounts(1000, 5);
    let mut world = World::on(roomy(), memory, [1; 32]);
    let (_, alices) = world.user("alice");
    let batch = proto::BatchEnqueueRequest {
        recipient_keys: wire(&others),
        payload: Bytes::from_static(b"to all"),
        message_id: message_id(1),
        ..proto::BatchEnqueueRequest::default()
    };
    let before = world.commands;
    let sent = world
        .call::<rpc::BatchEnqueue>(alices, &batch)
        .expect("sent");
    assert!(world.commands > before + 4, "several commits");
    assert_eq!(sent.seqs, [1; 1000]);
    assert_eq!(sent.statuses, [0; 1000]);
    assert_eq!(rows(&world, keys::Family::Entry), 5000);
    assert_eq!(world.wakes.len(), 5000, "every queue is told");
    let again = world
        .call::<rpc::BatchEnqueue>(alices, &batch)
        .expect("known");
    assert!(again.duplicate);
    assert_eq!(again.seqs, sent.seqs);
    assert_eq!(rows(&world, keys::Family::Entry), 5000);
}

#[test]
fn a_batch_goes_on_after_a_crash_between_its_parts() {
    let (memory, others) = accounts(1000, 5);
    let mut world = World::on(roomy(), memory, [1; 32]);
    let (alice, alices) = world.user("alice");
    let batch = proto::BatchEnqueueRequest {
        recipient_keys: wire(&others),
        payload: Bytes::from_static(b"to all"),
        message_id: message_id(1),
        ..proto::BatchEnqueueRequest::default()
    };
    world.hold_storage = true;
    world.send::<rpc::BatchEnqueue>(alices, &batch);
    while rows(&world, keys::Family::Entry) == 0 {
        world.run_storage(1);
        world.pump();
    }
    let first_part = rows(&world, keys::Family::Entry);
    assert!(first_part < 5000);
    world.stored.clear();
    let mut world = world.restart([2; 32]);
    let alices = world.connect();
    alice.log_in(&mut world, alices).expect("logged in");
    let sent = world
        .call::<rpc::BatchEnqueue>(alices, &batch)
        .expect("sent");
    assert_eq!(sent.seqs, [1; 1000], "nobody twice");
    assert_eq!(rows(&world, keys::Family::Entry), 5000);
}
