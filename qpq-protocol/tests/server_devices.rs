//! Devices (methods 700 to 702, protocol.md §5.18 and §5.19) through raw frames.

mod support;

use core::time::Duration;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::io::Core as _;
use qpq_protocol::method::rpc;
use qpq_protocol::proto::{self, MembershipChange};
use qpq_protocol::status::Status;
use support::account::User;
use support::{Refused, World, roomy};

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
        .call::<rpc::RegisterDevice>(new, &alice.device(3))
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
        .call::<rpc::RegisterDevice>(second, &alice.device(2))
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
                .call::<rpc::RegisterDevice>(conn, &alice.device(id))
                .unwrap();
            // Once more is no error.
            world
                .call::<rpc::RegisterDevice>(conn, &alice.device(id))
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
        .call::<rpc::RegisterDevice>(conns[1], &alice.device(3))
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
            .call::<rpc::RegisterDevice>(fresh, &alice.device(id))
            .unwrap();
    }
    let refused = world
        .call::<rpc::RegisterDevice>(conn, &alice.device(6))
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
        .call::<rpc::RegisterDevice>(conn, &alice.device(3))
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

/// A DM, which both of its members hear of.
fn dm(world: &mut World, conn: ConnId, peer: &User) -> Bytes {
    let create = proto::CreateChannelRequest {
        peer_key: peer.key(),
        ..Default::default()
    };
    let created = world.call::<rpc::CreateChannel>(conn, &create);
    created.unwrap().channel_id
}

fn members_version(world: &mut World, conn: ConnId, channel: &Bytes) -> u64 {
    let request = proto::ListGroupMembersRequest {
        channel_id: channel.clone(),
    };
    let listed = world.call::<rpc::ListGroupMembers>(conn, &request);
    listed.unwrap().members_version
}

fn revoke(world: &mut World, conn: ConnId, number: u8) -> Result<(), Refused> {
    let request = proto::RevokeDeviceRequest {
        device_id: Bytes::copy_from_slice(&[number; 16]),
    };
    world.call::<rpc::RevokeDevice>(conn, &request).map(|_| ())
}

fn stored(world: &World) -> Vec<(Bytes, Bytes)> {
    let rows = world.memory.rows();
    rows.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn a_repeat_is_only_answered() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (bob, other) = world.user("bob");
    dm(&mut world, conn, &bob);
    world
        .call::<rpc::RegisterDevice>(conn, &alice.device(3))
        .unwrap();
    world
        .call::<rpc::RegisterDevice>(conn, &alice.device(4))
        .unwrap();
    revoke(&mut world, conn, 4).unwrap();
    assert!(!world.pushes(other).is_empty());
    let before = stored(&world);
    for _ in 0..3 {
        world
            .call::<rpc::RegisterDevice>(conn, &alice.device(3))
            .unwrap();
        revoke(&mut world, conn, 4).unwrap();
    }
    assert!(stored(&world) == before, "nothing is written");
    assert!(world.pushes(other).is_empty(), "nobody is told");
}

/// The server stops anywhere between the request and the last channel that is told. The next one goes on, or the
/// repeated request begins.
#[test]
fn the_channels_are_told_wherever_the_server_stops() {
    for commands in 0..12 {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let (bob, other) = world.user("bob");
        let channel = dm(&mut world, conn, &bob);
        let before = members_version(&mut world, other, &channel);
        world.hold_storage = true;
        world.send::<rpc::RegisterDevice>(conn, &alice.device(3));
        for _ in 0..commands {
            world.run_storage(1);
            world.drain();
        }
        let mut world = world.restart([9; 32]);
        let conn = world.connect();
        alice.log_in(&mut world, conn).unwrap();
        world
            .call::<rpc::RegisterDevice>(conn, &alice.device(3))
            .unwrap();
        let other = world.connect();
        bob.log_in(&mut world, other).unwrap();
        // What the one before has claimed is its own for a minute.
        world.advance(core::time::Duration::from_secs(62));
        let after = members_version(&mut world, other, &channel);
        assert!(after > before, "after {commands} commands");
    }
}

#[test]
fn a_device_that_finds_no_room_revokes_another_soon_after_its_login() {
    let mut config = roomy();
    config.limits.devices = 1;
    config.limits.fresh_revocations.count = 2;
    config.limits.device_changes.count = 2;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    world
        .call::<rpc::RegisterDevice>(conn, &alice.device(3))
        .unwrap();
    let fresh = world.connect();
    let id = DeviceId::new([4; 16]);
    alice
        .log_in_with(&mut world, fresh, id, &alice.password)
        .unwrap();
    let refused = world
        .call::<rpc::RegisterDevice>(fresh, &alice.device(4))
        .unwrap_err();
    assert_eq!(refused.status, Status::QuotaExceeded);
    assert!(refused.detail.message.contains("`devices`"));
    world.advance(core::time::Duration::from_secs(301));
    let refused = revoke(&mut world, fresh, 3).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized, "not any more");
    alice
        .log_in_with(&mut world, fresh, id, &alice.password)
        .unwrap();
    revoke(&mut world, fresh, 3).unwrap();
    world
        .call::<rpc::RegisterDevice>(fresh, &alice.device(4))
        .unwrap();

    // The changes of an old session are used up; a fresh login still revokes.
    world.advance(core::time::Duration::from_secs(301));
    let refused = revoke(&mut world, fresh, 4).unwrap_err();
    assert_eq!(refused.status, Status::RateLimited);
    assert!(refused.detail.message.contains("`device_changes`"));
    let new = world.connect();
    alice
        .log_in_with(&mut world, new, DeviceId::new([5; 16]), &alice.password)
        .unwrap();
    revoke(&mut world, new, 4).unwrap();
}

/// A login of while the clock was a year ahead would otherwise be a fresh one for a year.
#[test]
fn a_login_of_a_later_date_is_no_fresh_one() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    world
        .call::<rpc::RegisterDevice>(conn, &alice.device(3))
        .unwrap();
    // Each clock is believed after a day.
    let ahead = world.unix() + DAY * 365;
    world.server.handle_clock(world.now, ahead);
    world.advance(DAY + Duration::from_secs(1));
    let thief = world.connect();
    let unknown = DeviceId::new([9; 16]);
    alice
        .log_in_with(&mut world, thief, unknown, &alice.password)
        .unwrap();
    world.server.handle_clock(world.now, world.unix());
    world.advance(DAY + Duration::from_secs(1));
    let refused = revoke(&mut world, thief, 3).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
}

#[test]
fn a_login_leaves_no_row_for_a_device_that_is_never_registered() {
    let mut config = roomy();
    config.limits.sessions = 4;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    world
        .call::<rpc::RegisterDevice>(conn, &alice.device(200))
        .unwrap();
    let rows = |world: &World, family: u8| {
        let keys = world.memory.rows().map(|(key, _)| key.clone());
        keys.filter(|key| key.first() == Some(&family)).count()
    };
    for number in 1..=50 {
        let conn = world.connect();
        alice
            .log_in_with(
                &mut world,
                conn,
                DeviceId::new([number; 16]),
                &alice.password,
            )
            .unwrap();
        assert!(rows(&world, b'd') <= 1 + 4, "after {number} logins");
        assert!(rows(&world, b't') <= 4);
        if number % 7 == 0 {
            world
                .call::<rpc::Logout>(conn, &proto::LogoutRequest {})
                .unwrap();
        }
    }
    // A new password ends the sessions, and what was kept for them.
    let mut alice = alice;
    alice.password = b"another".to_vec();
    world.advance(core::time::Duration::from_secs(1));
    let conn = world.connect();
    alice.register(&mut world, conn).unwrap();
    assert_eq!((rows(&world, b'd'), rows(&world, b't')), (1, 0));
}

/// A core that remembers that there is no such channel tells it all the same.
#[test]
fn a_channel_that_another_core_made_hears_of_changed_devices() {
    let mut one = World::default();
    let (alice, alices) = one.user("alice");
    let bob = User::new("bob");
    let create = proto::CreateChannelRequest {
        peer_key: bob.key(),
        ..Default::default()
    };
    // The first core looks, and finds neither channel nor peer.
    let refused = one.call::<rpc::CreateChannel>(alices, &create).unwrap_err();
    assert_eq!(refused.status, Status::NotFound);
    let memory = core::mem::take(&mut one.memory);
    let mut other = World::on(roomy(), memory, [2; 32]);
    let (bob, bobs) = other.user("bob");
    let channel = dm(&mut other, bobs, &alice);
    let before = members_version(&mut other, bobs, &channel);
    one.memory = core::mem::take(&mut other.memory);
    one.call::<rpc::RegisterDevice>(alices, &alice.device(3))
        .unwrap();
    other.memory = core::mem::take(&mut one.memory);
    assert_eq!(members_version(&mut other, bobs, &channel), before + 1);
    let _ = bob;
}
