//! Every family of rows has an end: what grows without one fills the disk.

use std::collections::BTreeSet;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::storage::keys;

use crate::key_packages::{key_package, upload};
use crate::requests::*;
use crate::support::account::User;
use crate::support::{BEGIN, World};
use crate::upkeep::{DAY, later, rows};

/// What takes the rows of a family away.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    /// Time, once whom they are of has left, or even if not.
    Time,
    /// That their device is revoked, or the one that has taken its place; of each device there are so many.
    Device,
    /// That their account is deleted; of each account there are so many, and the devices that it ever had, a few
    /// an hour at most.
    Account,
    /// That it is done, by a core that may be another one.
    Done,
    /// Nothing: so many belong to the server itself.
    Server,
    /// There are none. The letter is not used again.
    Unused,
}

/// Whoever adds a family says here how it ends.
const fn end_of(family: keys::Family) -> End {
    use keys::Family;
    match family {
        Family::Meta => End::Server,
        Family::Account | Family::Name | Family::DeviceSet | Family::Device | Family::HybridKey => {
            End::Account
        }
        Family::Queue | Family::PackagePool | Family::Package => End::Device,
        Family::Session
        | Family::Entry
        | Family::Payload
        | Family::PayloadClaim
        | Family::PayloadCheck
        | Family::Allowance
        | Family::Dedupe
        | Family::Expiry
        | Family::Channel
        | Family::Metadata
        | Family::GroupInfo
        | Family::Member
        | Family::Membership
        | Family::Given
        | Family::Former
        | Family::Slot
        | Family::PackageSeen => End::Time,
        Family::Job => End::Done,
        Family::DeviceSession => End::Unused,
    }
}

/// What stays when everybody has left, devices were revoked and time has passed: what accounts are bounded by.
#[test]
fn every_family_of_rows_has_an_end() {
    use keys::Family;
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let mut seen = BTreeSet::new();
    let mut look = |world: &World| {
        let there = Family::ALL
            .iter()
            .filter(|family| rows(world, **family) > 0);
        seen.extend(there.copied());
    };
    let package = key_package(&carol, 1, false);
    upload(&mut world, carols, &carol, &package, false).expect("uploaded");
    let created_at_ms = BEGIN.as_millis();
    let hybrid_key = [1; 1216];
    let signature = qpq_crypto::proof::hybrid_key(&carol.secret, &hybrid_key, created_at_ms);
    let hybrid = proto::UploadHybridKeyRequest {
        identity_key: carol.key(),
        hybrid_public_key: Bytes::copy_from_slice(&hybrid_key),
        signature: Bytes::copy_from_slice(&signature),
        created_at_ms,
    };
    let uploaded = world.call::<rpc::UploadHybridKey>(carols, &hybrid);
    uploaded.expect("uploaded");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let long = proto::BatchEnqueueRequest {
        recipient_keys: vec![bob.key(), carol.key()],
        payload: vec![7; 100_000].into(),
        message_id: message_id(1),
        ..proto::BatchEnqueueRequest::default()
    };
    world
        .call::<rpc::BatchEnqueue>(alices, &long)
        .expect("sent");
    let hello = in_channel(&channel, 0, message(&alice, 2, b"hello"));
    world.call::<rpc::Enqueue>(bobs, &hello).expect("sent");
    let swap = proto::SubmitCommitRequest {
        add_members: vec![carol.key()],
        remove_members: vec![bob.key()],
        ..commit(&channel, 0, b"c")
    };
    world
        .call::<rpc::SubmitCommit>(alices, &swap)
        .expect("slot 0");
    look(&world);
    ack(&mut world, bobs, &bob, &Bytes::new(), 1).expect("acked");
    look(&world);
    for family in Family::ALL {
        // Jobs are done by now.
        let is_used = !matches!(end_of(*family), End::Unused | End::Done);
        assert_eq!(seen.contains(family), is_used, "{family:?}");
    }

    // A device that takes the default one's place has its queues, and takes its packages with it when it goes.
    let register = world.call::<rpc::RegisterDevice>(carols, &carol.device(1));
    register.expect("registered");
    for (conn, user) in [(alices, &alice), (carols, &carol)] {
        let leave = proto::RemoveMemberRequest {
            channel_id: channel.clone(),
            member_key: user.key(),
        };
        // Another device of hers: the default one is none any more.
        let conn = match user.name.as_str() {
            "carol" => log_in(&mut world, &carol, 1),
            _ => conn,
        };
        world.call::<rpc::RemoveMember>(conn, &leave).expect("left");
    }
    for _ in 0..3 {
        later(&mut world, 95 * DAY);
    }
    let conn = log_in(&mut world, &carol, 1);
    let revoke = proto::RevokeDeviceRequest {
        device_id: Bytes::from_static(&[1; 16]),
    };
    let revoked = world.call::<rpc::RevokeDevice>(conn, &revoke);
    revoked.expect("revoked");
    // What Dave has just left, to whom nobody sends and who reads nothing.
    let of_dave = [Family::Dedupe, Family::Allowance, Family::Session];
    for family in Family::ALL {
        let (left, most) = (
            rows(&world, *family),
            match end_of(*family) {
                End::Time if of_dave.contains(family) => 1,
                // That of Bob's default channel, so that its numbers go on.
                End::Device if *family == Family::Queue => 1,
                End::Time | End::Device | End::Done | End::Unused => 0,
                End::Account | End::Server => usize::MAX,
            },
        );
        assert!(left <= most, "{left} of {family:?}");
    }
}

/// A connection of a device of this number.
fn log_in(world: &mut World, user: &User, number: u8) -> ConnId {
    let conn = world.connect();
    let device = DeviceId::new([number; 16]);
    let logged_in = user.log_in_with(world, conn, device, &user.password);
    logged_in.expect("logged in");
    conn
}
