//! Channels and member lists: protocol.md §5.9 to §5.11.

use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::method::rpc;
use qpq_protocol::proto::{self, MembershipChange, push_event};
use qpq_protocol::status::Status;

use crate::requests::*;
use crate::support::World;
use crate::support::account::User;

fn dm(peer: &User) -> proto::CreateChannelRequest {
    proto::CreateChannelRequest {
        peer_key: peer.key(),
        ..proto::CreateChannelRequest::default()
    }
}

fn members(
    world: &mut World,
    conn: qpq_protocol::ids::ConnId,
    channel: &Bytes,
) -> proto::ListGroupMembersResponse {
    let request = proto::ListGroupMembersRequest {
        channel_id: channel.clone(),
    };
    world
        .call::<rpc::ListGroupMembers>(conn, &request)
        .expect("members")
}

/// The Membership pushes a connection got: whose, and what.
fn memberships(
    world: &mut World,
    conn: qpq_protocol::ids::ConnId,
) -> Vec<(Bytes, MembershipChange)> {
    let pushes = world.pushes(conn).into_iter();
    pushes
        .filter_map(|push| match push.event {
            Some(push_event::Event::Membership(push)) => {
                Some((push.member_key.clone(), push.change()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_dm_has_one_name_for_both_and_is_new_for_its_creator_until_slot_0_is_taken() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let first = world
        .call::<rpc::CreateChannel>(alices, &dm(&bob))
        .expect("a channel");
    assert!(first.was_new);
    assert_eq!((first.slot, first.channel_id.len()), (0, 16));
    assert_eq!(
        memberships(&mut world, bobs),
        [(bob.key(), MembershipChange::Added)]
    );
    let again = world
        .call::<rpc::CreateChannel>(alices, &dm(&bob))
        .expect("a channel");
    assert_eq!(again, first, "on every repeat");
    let peer = world
        .call::<rpc::CreateChannel>(bobs, &dm(&alice))
        .expect("a channel");
    assert_eq!(peer.channel_id, first.channel_id);
    assert!(!peer.was_new);
    world.advance(Duration::from_secs(31));
    let peer = world
        .call::<rpc::CreateChannel>(bobs, &dm(&alice))
        .expect("a channel");
    assert!(peer.was_new, "slot 0 was free for 30 s");

    let done = world.call::<rpc::SubmitCommit>(bobs, &commit(&first.channel_id, 0, b"c"));
    done.expect("slot 0");
    for (conn, peer) in [(alices, &bob), (bobs, &alice)] {
        let after = world
            .call::<rpc::CreateChannel>(conn, &dm(peer))
            .expect("a channel");
        assert_eq!((after.was_new, after.slot), (false, 1));
    }
}

#[test]
fn a_channel_needs_a_proper_name_and_known_members() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let refused = world.call::<rpc::CreateChannel>(alices, &dm(&User::new("nobody")));
    assert_eq!(status(refused), Status::NotFound);
    let refused = world.call::<rpc::CreateChannel>(alices, &dm(&alice));
    assert_eq!(status(refused), Status::BadRequest);
    let wrong_version = proto::CreateChannelRequest {
        channel_id: Bytes::from_static(&[0x44; 16]),
        ..proto::CreateChannelRequest::default()
    };
    let refused = world.call::<rpc::CreateChannel>(alices, &wrong_version);
    assert_eq!(status(refused), Status::BadRequest);
    let refused = world.call::<rpc::CreateChannel>(alices, &Default::default());
    assert_eq!(status(refused), Status::BadRequest);
}

#[test]
fn a_group_id_that_is_taken_is_a_conflict_for_others() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (_, bobs) = world.user("bob");
    create_group(&mut world, alices, 1, &[]);
    let request = proto::CreateChannelRequest {
        channel_id: channel_id(1),
        ..proto::CreateChannelRequest::default()
    };
    assert!(
        world
            .call::<rpc::CreateChannel>(alices, &request)
            .expect("mine")
            .was_new
    );
    let refused = world.call::<rpc::CreateChannel>(bobs, &request);
    assert_eq!(status(refused), Status::Conflict);
}

#[test]
fn members_are_listed_for_members_only() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (_, carols) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let mut keys = vec![alice.key(), bob.key()];
    keys.sort();
    let listed = members(&mut world, bobs, &channel);
    assert_eq!(listed.member_keys, keys);
    assert_eq!(listed.sealed_metadata.as_ref(), b"sealed name");
    assert_eq!((listed.version, listed.members_version), (1, 1));
    let request = proto::ListGroupMembersRequest {
        channel_id: channel.clone(),
    };
    let refused = world.call::<rpc::ListGroupMembers>(carols, &request);
    assert_eq!(status(refused), Status::Forbidden);
    let unknown = proto::ListGroupMembersRequest {
        channel_id: channel_id(9),
    };
    let refused = world.call::<rpc::ListGroupMembers>(carols, &unknown);
    assert_eq!(status(refused), Status::NotFound);
}

#[test]
fn others_are_added_and_removed_only_while_slot_0_is_free() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    memberships(&mut world, bobs);
    let add = proto::AddMemberRequest {
        channel_id: channel.clone(),
        member_key: carol.key(),
    };
    let remove = |user: &User| proto::RemoveMemberRequest {
        channel_id: channel.clone(),
        member_key: user.key(),
    };
    assert_eq!(
        status(world.call::<rpc::AddMember>(carols, &add)),
        Status::Forbidden
    );
    world.call::<rpc::AddMember>(alices, &add).expect("added");
    world
        .call::<rpc::AddMember>(alices, &add)
        .expect("no error, nothing to do");
    assert_eq!(
        memberships(&mut world, bobs),
        [(carol.key(), MembershipChange::Added)]
    );
    assert_eq!(
        memberships(&mut world, carols),
        [(carol.key(), MembershipChange::Added)]
    );
    let listed = members(&mut world, carols, &channel);
    assert_eq!((listed.member_keys.len(), listed.members_version), (3, 2));
    world
        .call::<rpc::RemoveMember>(bobs, &remove(&carol))
        .expect("removed");
    assert_eq!(
        memberships(&mut world, carols),
        [(carol.key(), MembershipChange::Removed)]
    );
    world.call::<rpc::AddMember>(alices, &add).expect("added");

    world
        .call::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"c"))
        .expect("slot 0");
    let refused = world.call::<rpc::RemoveMember>(bobs, &remove(&carol));
    assert_eq!(status(refused), Status::Forbidden);
    world
        .call::<rpc::RemoveMember>(carols, &remove(&carol))
        .expect("left");
    world
        .call::<rpc::RemoveMember>(carols, &remove(&carol))
        .expect("left already");
    let listed = members(&mut world, alices, &channel);
    assert_eq!(listed.member_keys.len(), 2);
    assert!(!listed.member_keys.contains(&carol.key()));
    assert_eq!(
        status(world.call::<rpc::AddMember>(bobs, &add)),
        Status::Forbidden
    );
    assert!(listed.member_keys.contains(&alice.key()));
}

#[test]
fn in_a_dm_one_can_only_leave() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, _) = world.user("carol");
    let channel = world
        .call::<rpc::CreateChannel>(alices, &dm(&bob))
        .expect("a channel");
    let channel = channel.channel_id;
    let remove = |user: &User| proto::RemoveMemberRequest {
        channel_id: channel.clone(),
        member_key: user.key(),
    };
    assert_eq!(
        status(world.call::<rpc::RemoveMember>(alices, &remove(&bob))),
        Status::Forbidden
    );
    let add = proto::AddMemberRequest {
        channel_id: channel.clone(),
        member_key: carol.key(),
    };
    assert_eq!(
        status(world.call::<rpc::AddMember>(alices, &add)),
        Status::Forbidden
    );
    world
        .call::<rpc::RemoveMember>(bobs, &remove(&bob))
        .expect("left");
    assert_eq!(
        memberships(&mut world, alices),
        [(bob.key(), MembershipChange::Removed)]
    );
    assert_eq!(
        members(&mut world, alices, &channel).member_keys,
        [alice.key()]
    );
    world
        .call::<rpc::CreateChannel>(bobs, &dm(&alice))
        .expect("back");
    assert_eq!(members(&mut world, bobs, &channel).member_keys.len(), 2);
}

#[test]
fn a_message_in_a_channel_is_for_members_and_for_the_current_slot() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    world
        .call::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"c"))
        .expect("slot 0");
    let stale = in_channel(&channel, 0, message(&bob, 1, b"x"));
    let refused = world
        .call::<rpc::Enqueue>(alices, &stale)
        .expect_err("stale");
    assert_eq!((refused.status, refused.detail.slot), (Status::Conflict, 1));
    let ahead = in_channel(&channel, 2, message(&bob, 1, b"x"));
    assert_eq!(
        status(world.call::<rpc::Enqueue>(alices, &ahead)),
        Status::BadRequest
    );
    let without = proto::EnqueueRequest {
        channel_slot: None,
        ..stale.clone()
    };
    assert_eq!(
        status(world.call::<rpc::Enqueue>(alices, &without)),
        Status::BadRequest
    );
    let to_carol = in_channel(&channel, 1, message(&carol, 1, b"x"));
    assert_eq!(
        status(world.call::<rpc::Enqueue>(alices, &to_carol)),
        Status::Forbidden
    );
    let by_carol = in_channel(&channel, 1, message(&bob, 1, b"x"));
    assert_eq!(
        status(world.call::<rpc::Enqueue>(carols, &by_carol)),
        Status::Forbidden
    );

    // The same message again, encrypted for the current slot.
    let sent = world.call::<rpc::Enqueue>(alices, &by_carol).expect("sent");
    assert!(!sent.duplicate);
    world
        .call::<rpc::SubmitCommit>(bobs, &commit(&channel, 1, b"d"))
        .expect("slot 1");
    let again = world
        .call::<rpc::Enqueue>(alices, &by_carol)
        .expect("known");
    assert!(
        again.duplicate,
        "the message id is looked up before the slot"
    );
    let leave = proto::RemoveMemberRequest {
        channel_id: channel.clone(),
        member_key: alice.key(),
    };
    world
        .call::<rpc::RemoveMember>(alices, &leave)
        .expect("left");
    let again = world
        .call::<rpc::Enqueue>(alices, &by_carol)
        .expect("known");
    assert!(again.duplicate, "and before the membership");
}
