//! Devices (methods 700 to 702, protocol.md §5.18 and §5.19) through raw frames.

mod support;

use bytes::Bytes;
use qpq_crypto::identity::{Credential, IdentitySecret};
use qpq_protocol::ids::{ConnId, DeviceId, DeviceKey};
use qpq_protocol::method::rpc;
use qpq_protocol::proto::{self, MembershipChange};
use qpq_protocol::status::Status;
use support::World;
use support::account::User;

fn device(user: &User, id: u8) -> proto::RegisterDeviceRequest {
    let device_id = DeviceId::new([id; 16]);
    let key = DeviceKey(*IdentitySecret::from_seed([id; 32]).public().as_bytes());
    let credential = Credential::issue(&user.secret, device_id, key, 5);
    proto::RegisterDeviceRequest {
        device: Some(proto::Device {
            device_id: Bytes::copy_from_slice(device_id.as_bytes()),
            device_key: Bytes::copy_from_slice(key.as_bytes()),
            name: format!("device {id}"),
            certificate: Bytes::copy_from_slice(&credential.certificate.unwrap()),
            created_at_ms: 5,
            last_seen_ms: 0,
        }),
    }
}

fn list(world: &mut World, conn: ConnId, of: &User) -> Vec<proto::Device> {
    let request = proto::ListDevicesRequest {
        identity_key: of.key(),
    };
    world
        .call::<rpc::ListDevices>(conn, &request)
        .unwrap()
        .devices
}

fn enqueue(world: &mut World, conn: ConnId, to: &User, text: &str, id: u8) -> u64 {
    let mut message_id = [id; 16];
    message_id[6] = 0x70;
    message_id[8] = 0x80;
    let request = proto::EnqueueRequest {
        recipient_key: to.key(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        message_id: Bytes::copy_from_slice(&message_id),
        ..Default::default()
    };
    world.call::<rpc::Enqueue>(conn, &request).unwrap().seq
}

fn fetch(world: &mut World, conn: ConnId, user: &User) -> Vec<Bytes> {
    let request = proto::FetchRequest {
        recipient_key: user.key(),
        ..Default::default()
    };
    let fetched = world.call::<rpc::Fetch>(conn, &request).unwrap();
    fetched.payloads.into_iter().map(|one| one.data).collect()
}

#[test]
fn the_first_registered_device_takes_over_the_queues_of_the_default_one() {
    let mut world = World::default();
    let (alice, old) = world.user("alice");
    let (bob, sender) = world.user("bob");
    assert_eq!(list(&mut world, sender, &alice).len(), 1);
    enqueue(&mut world, sender, &alice, "before", 1);

    // The new device logs in, may do little, registers, and has what the default one had.
    let new = world.connect();
    let id = DeviceId::new([3; 16]);
    alice
        .log_in_with(&mut world, new, id, &alice.password)
        .unwrap();
    let request = proto::FetchRequest {
        recipient_key: alice.key(),
        ..Default::default()
    };
    let refused = world.call::<rpc::Fetch>(new, &request).unwrap_err();
    assert_eq!(refused.status, Status::Forbidden);
    world
        .call::<rpc::RegisterDevice>(new, &device(&alice, 3))
        .unwrap();
    assert_eq!(fetch(&mut world, new, &alice), ["before"]);
    enqueue(&mut world, sender, &alice, "after", 2);
    assert_eq!(fetch(&mut world, new, &alice), ["before", "after"]);
    assert_eq!(world.messages(new).len(), 1, "the new device hears of it");

    // The default device has become an unregistered one, within a minute.
    world.advance(core::time::Duration::from_secs(61));
    let refused = world.call::<rpc::Fetch>(old, &request).unwrap_err();
    assert_eq!(refused.status, Status::Forbidden);

    // A second device starts with queues of its own.
    let second = world.connect();
    let id = DeviceId::new([2; 16]);
    alice
        .log_in_with(&mut world, second, id, &alice.password)
        .unwrap();
    world
        .call::<rpc::RegisterDevice>(second, &device(&alice, 2))
        .unwrap();
    enqueue(&mut world, sender, &alice, "both", 3);
    assert_eq!(fetch(&mut world, second, &alice), ["both"]);
    assert_eq!(fetch(&mut world, new, &alice), ["before", "after", "both"]);
    let mine = list(&mut world, new, &alice);
    let theirs = list(&mut world, sender, &alice);
    assert_eq!(mine[0].name, "device 2");
    assert!(mine[0].last_seen_ms > 0);
    assert_eq!(theirs[0].name, "");
    assert_eq!(theirs[0].last_seen_ms, 0);
    assert_eq!(mine[1].device_id.as_ref(), [3; 16]);
    let _ = bob;
}

#[test]
fn a_device_that_is_revoked_loses_everything_and_never_comes_back() {
    let mut world = World::default();
    let (alice, _) = world.user("alice");
    let (_, sender) = world.user("bob");
    let conns: Vec<ConnId> = [3, 4]
        .into_iter()
        .map(|id| {
            let conn = world.connect();
            let device_id = DeviceId::new([id; 16]);
            alice
                .log_in_with(&mut world, conn, device_id, &alice.password)
                .unwrap();
            world
                .call::<rpc::RegisterDevice>(conn, &device(&alice, id))
                .unwrap();
            // Once more is no error.
            world
                .call::<rpc::RegisterDevice>(conn, &device(&alice, id))
                .unwrap();
            conn
        })
        .collect();
    enqueue(&mut world, sender, &alice, "for both", 1);
    let rows = world.memory.len();

    let revoke = proto::RevokeDeviceRequest {
        device_id: Bytes::from_static(&[3; 16]),
    };
    world.call::<rpc::RevokeDevice>(conns[1], &revoke).unwrap();
    world.call::<rpc::RevokeDevice>(conns[1], &revoke).unwrap();
    assert_eq!(world.closed(conns[0]), Some(0), "its connection ends");
    assert_eq!(world.closed(conns[1]), None);
    assert!(world.memory.len() < rows, "its queue is gone");
    assert_eq!(list(&mut world, conns[1], &alice).len(), 1);
    assert_eq!(fetch(&mut world, conns[1], &alice), ["for both"]);

    let back = world.connect();
    let id = DeviceId::new([3; 16]);
    let refused = alice
        .log_in_with(&mut world, back, id, &alice.password)
        .unwrap_err();
    assert_eq!(refused.status, Status::Forbidden);
    let refused = world
        .call::<rpc::RegisterDevice>(conns[1], &device(&alice, 3))
        .unwrap_err();
    assert_eq!(refused.status, Status::Conflict);
    let unknown = proto::RevokeDeviceRequest {
        device_id: Bytes::from_static(&[9; 16]),
    };
    let refused = world
        .call::<rpc::RevokeDevice>(conns[1], &unknown)
        .unwrap_err();
    assert_eq!(refused.status, Status::NotFound);
}

#[test]
fn an_account_has_at_most_five_devices() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    for id in 1..=5 {
        let fresh = world.connect();
        alice
            .log_in_with(&mut world, fresh, DeviceId::new([id; 16]), &alice.password)
            .unwrap();
        world
            .call::<rpc::RegisterDevice>(fresh, &device(&alice, id))
            .unwrap();
    }
    let refused = world
        .call::<rpc::RegisterDevice>(conn, &device(&alice, 6))
        .unwrap_err();
    assert_eq!(refused.status, Status::QuotaExceeded);
}

#[test]
fn channels_hear_of_changed_devices() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (bob, other) = world.user("bob");
    let create = proto::CreateChannelRequest {
        peer_key: bob.key(),
        ..Default::default()
    };
    let channel = world
        .call::<rpc::CreateChannel>(conn, &create)
        .unwrap()
        .channel_id;
    let members = proto::ListGroupMembersRequest {
        channel_id: channel.clone(),
    };
    let before = world
        .call::<rpc::ListGroupMembers>(other, &members)
        .unwrap();
    world.pushes(other);
    world
        .call::<rpc::RegisterDevice>(conn, &device(&alice, 3))
        .unwrap();
    let after = world
        .call::<rpc::ListGroupMembers>(other, &members)
        .unwrap();
    assert_eq!(after.members_version, before.members_version + 1);
    let push = world
        .pushes(other)
        .into_iter()
        .find_map(|push| match push.event {
            Some(proto::push_event::Event::Membership(membership)) => Some(membership),
            _ => None,
        });
    let push = push.expect("a push");
    assert_eq!(push.change(), MembershipChange::DevicesChanged);
    assert_eq!((push.channel_id, push.member_key), (channel, alice.key()));
}
