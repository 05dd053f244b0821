//! Who is on a member list, and by whom: protocol.md §5.8, §5.10 and the memberships of §5.27.

use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::ids::ConnId;
use qpq_protocol::limits::Limits;
use qpq_protocol::method::rpc;
use qpq_protocol::proto::{self, MembershipChange, push_event};
use qpq_protocol::status::Status;

use crate::requests::*;
use crate::support::account::User;
use crate::support::{Refused, World, roomy};

const HOUR: Duration = Duration::from_secs(3600);

fn with(change: impl FnOnce(&mut Limits)) -> World {
    let mut config = roomy();
    change(&mut config.limits);
    World::new(config)
}

fn dm(world: &mut World, conn: ConnId, peer: &User) -> proto::CreateChannelResponse {
    let request = proto::CreateChannelRequest {
        peer_key: peer.key(),
        ..proto::CreateChannelRequest::default()
    };
    let opened = world.call::<rpc::CreateChannel>(conn, &request);
    opened.expect("a channel")
}

fn leave(world: &mut World, conn: ConnId, user: &User, channel: &Bytes) {
    let request = proto::RemoveMemberRequest {
        channel_id: channel.clone(),
        member_key: user.key(),
    };
    let left = world.call::<rpc::RemoveMember>(conn, &request);
    left.expect("left");
}

fn come_back(world: &mut World, conn: ConnId, user: &User, channel: &Bytes) -> Result<(), Refused> {
    let request = proto::AddMemberRequest {
        channel_id: channel.clone(),
        member_key: user.key(),
    };
    world.call::<rpc::AddMember>(conn, &request).map(|_| ())
}

fn members(world: &mut World, conn: ConnId, channel: &Bytes) -> Vec<Bytes> {
    let request = proto::ListGroupMembersRequest {
        channel_id: channel.clone(),
    };
    let listed = world.call::<rpc::ListGroupMembers>(conn, &request);
    listed.expect("members").member_keys
}

fn submit(
    world: &mut World,
    conn: ConnId,
    request: &proto::SubmitCommitRequest,
) -> Result<proto::SubmitCommitResponse, Refused> {
    world.call::<rpc::SubmitCommit>(conn, request)
}

fn adding(user: &User, commit: proto::SubmitCommitRequest) -> proto::SubmitCommitRequest {
    proto::SubmitCommitRequest {
        add_members: vec![user.key()],
        ..commit
    }
}

fn removing(user: &User, commit: proto::SubmitCommitRequest) -> proto::SubmitCommitRequest {
    proto::SubmitCommitRequest {
        remove_members: vec![user.key()],
        ..commit
    }
}

fn welcoming(user: &User, commit: proto::SubmitCommitRequest) -> proto::SubmitCommitRequest {
    proto::SubmitCommitRequest {
        welcomes: vec![proto::CommitWelcome {
            recipient_key: user.key(),
            device_id: Bytes::new(),
            payload: Bytes::from_static(b"welcome"),
        }],
        ..commit
    }
}

/// The Membership pushes of one kind that a connection got: whose.
fn told(world: &mut World, conn: ConnId, kind: MembershipChange) -> Vec<Bytes> {
    let pushes = world.pushes(conn).into_iter();
    pushes
        .filter_map(|push| match push.event {
            Some(push_event::Event::Membership(push)) if push.change() == kind => {
                Some(push.member_key)
            }
            _ => None,
        })
        .collect()
}

/// A villain's void commit must not end a group for anybody: who is still in the tree comes back.
#[test]
fn whom_another_took_off_the_list_comes_back_once_an_hour() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    for slot in [0, 1] {
        let off = removing(&bob, commit(&channel, slot, b"void"));
        submit(&mut world, alices, &off).expect("a slot");
        let back = come_back(&mut world, bobs, &bob, &channel);
        if slot == 0 {
            back.expect("back");
            assert_eq!(
                told(&mut world, alices, MembershipChange::Added),
                [bob.key()]
            );
        } else {
            let refused = back.expect_err("once an hour");
            assert_eq!(refused.status, Status::RateLimited);
            assert!(refused.detail.retry_after_ms > 3_500_000);
        }
    }
    world.advance(HOUR);
    come_back(&mut world, bobs, &bob, &channel).expect("an hour later");
    assert_eq!(members(&mut world, bobs, &channel).len(), 2);
}

#[test]
fn who_was_never_a_member_or_left_by_itself_cannot_come_back() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (eve, eves) = world.user("eve");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    submit(&mut world, alices, &commit(&channel, 0, b"c")).expect("slot 0");
    leave(&mut world, bobs, &bob, &channel);
    for (conn, user) in [(bobs, &bob), (eves, &eve)] {
        let refused = come_back(&mut world, conn, user, &channel);
        assert_eq!(status(refused), Status::Forbidden);
    }
}

/// It is in the tree and has missed nothing but this commit.
#[test]
fn who_is_put_back_without_a_welcome_gets_the_commit_that_does_it() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    let off = removing(&bob, commit(&channel, 0, b"void"));
    submit(&mut world, carols, &off).expect("slot 0");
    let back = adding(&bob, commit(&channel, 1, b"back"));
    submit(&mut world, alices, &back).expect("slot 1");
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    let expected = [(1, b"void".to_vec()), (2, b"back".to_vec())];
    assert_eq!(payloads(&page), expected);
    assert!(members(&mut world, bobs, &channel).contains(&bob.key()));
}

#[test]
fn who_left_is_added_again_only_with_a_welcome() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, _) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    submit(&mut world, alices, &commit(&channel, 0, b"c")).expect("slot 0");
    leave(&mut world, bobs, &bob, &channel);
    let without = adding(&bob, commit(&channel, 1, b"d"));
    let refused = submit(&mut world, alices, &without).expect_err("he left");
    assert_eq!(refused.status, Status::Forbidden);
    assert_eq!(refused.detail.member_keys, [bob.key()]);
    let welcomed = welcoming(&bob, without);
    submit(&mut world, alices, &welcomed).expect("slot 1");
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!(payloads(&page).last(), Some(&(2, b"welcome".to_vec())));
}

#[test]
fn a_name_that_nobody_has_any_more_is_passed_over() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, _) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[]);
    let mut request = welcoming(&User::new("nobody"), commit(&channel, 0, b"c"));
    request.add_members = vec![User::new("nobody").key(), bob.key()];
    submit(&mut world, alices, &request).expect("slot 0");
    let listed = members(&mut world, alices, &channel);
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&bob.key()));
}

#[test]
fn a_dm_that_was_left_is_opened_again_by_either_side() {
    for stays in [true, false] {
        let mut world = World::default();
        let (alice, alices) = world.user("alice");
        let (bob, bobs) = world.user("bob");
        let channel = dm(&mut world, alices, &bob).channel_id;
        submit(&mut world, alices, &commit(&channel, 0, b"c")).expect("slot 0");
        assert!(!dm(&mut world, alices, &bob).was_new);
        leave(&mut world, bobs, &bob, &channel);
        let (opener, peer, other, me) = match stays {
            true => (alices, &bob, bobs, &alice),
            false => (bobs, &alice, alices, &bob),
        };
        world.pushes(other);
        let again = dm(&mut world, opener, peer);
        assert_eq!((again.was_new, again.slot), (true, 1));
        assert_eq!(dm(&mut world, opener, peer), again, "on every repeat");
        assert_eq!(
            told(&mut world, other, MembershipChange::Added),
            [bob.key()]
        );
        assert_eq!(members(&mut world, other, &channel).len(), 2);
        let theirs = dm(&mut world, other, me);
        assert!(!theirs.was_new, "the other one commits first");
        world.advance(Duration::from_secs(31));
        assert!(dm(&mut world, other, me).was_new);
        let first = proto::SubmitCommitRequest {
            reset: true,
            ..commit(&channel, 1, b"again")
        };
        submit(&mut world, opener, &first).expect("slot 1");
        assert!(!dm(&mut world, opener, peer).was_new);
    }
}

#[test]
fn a_dm_that_was_left_may_be_reset_within_the_hour_and_another_not() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = dm(&mut world, alices, &bob).channel_id;
    let reset = |slot| proto::SubmitCommitRequest {
        reset: true,
        ..commit(&channel, slot, b"reset")
    };
    submit(&mut world, bobs, &reset(0)).expect("the first");
    let refused = submit(&mut world, bobs, &reset(1));
    assert_eq!(status(refused), Status::RateLimited);
    for slot in 1..=5 {
        leave(&mut world, bobs, &bob, &channel);
        dm(&mut world, bobs, &alice);
        submit(&mut world, bobs, &reset(slot)).expect("free");
    }
    leave(&mut world, bobs, &bob, &channel);
    dm(&mut world, bobs, &alice);
    let refused = submit(&mut world, bobs, &reset(6));
    assert_eq!(
        status(refused),
        Status::RateLimited,
        "leaving makes no new hour"
    );
    world.advance(HOUR);
    submit(&mut world, bobs, &reset(6)).expect("an hour later");
}

#[test]
fn members_that_are_connected_are_asked_for_fresh_keys_a_few_times_a_minute() {
    let mut world = with(|limits| limits.rotations = Limits::default().rotations);
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (_, eves) = world.user("eve");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let request = proto::RotateKeysRequest {
        channel_id: channel.clone(),
    };
    world
        .call::<rpc::RotateKeys>(alices, &request)
        .expect("asked");
    let asked = told(&mut world, bobs, MembershipChange::RotateRequested);
    assert_eq!(asked, [alice.key()]);
    let mine = told(&mut world, alices, MembershipChange::RotateRequested);
    assert!(mine.is_empty());
    let refused = world.call::<rpc::RotateKeys>(eves, &request);
    assert_eq!(status(refused), Status::Forbidden);
    for _ in 1..Limits::default().rotations.count {
        world
            .call::<rpc::RotateKeys>(alices, &request)
            .expect("asked");
    }
    let refused = world.call::<rpc::RotateKeys>(alices, &request);
    assert_eq!(status(refused), Status::RateLimited);
    world
        .call::<rpc::RotateKeys>(bobs, &request)
        .expect("asked");
}

/// A group of two, by its number, or who was named in the refusal.
fn try_group(
    world: &mut World,
    conn: ConnId,
    number: u8,
    others: &[&User],
) -> Result<Bytes, Refused> {
    let request = proto::CreateChannelRequest {
        channel_id: channel_id(number),
        member_keys: others.iter().map(|other| other.key()).collect(),
        ..proto::CreateChannelRequest::default()
    };
    let opened = world.call::<rpc::CreateChannel>(conn, &request);
    opened.map(|opened| opened.channel_id)
}

#[test]
fn one_gives_another_five_memberships_a_day_and_the_others_are_not_stopped() {
    let mut world = with(|limits| {
        limits.memberships_a_day = Limits::default().memberships_a_day;
    });
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    for number in 1..=5 {
        let channel = try_group(&mut world, alices, number, &[&bob]).expect("a group");
        leave(&mut world, bobs, &bob, &channel);
    }
    let refused = try_group(&mut world, alices, 6, &[&bob, &carol]).expect_err("too many");
    assert_eq!(refused.status, Status::QuotaExceeded);
    assert_eq!(refused.detail.member_keys, [bob.key()]);
    let channel = try_group(&mut world, alices, 6, &[&carol]).expect("without him");
    try_group(&mut world, carols, 7, &[&bob]).expect("by somebody else");
    let adding_bob = adding(&bob, commit(&channel, 0, b"c"));
    let refused = submit(&mut world, alices, &adding_bob).expect_err("too many");
    assert_eq!(refused.detail.member_keys, [bob.key()]);
    submit(&mut world, carols, &adding_bob).expect("by somebody else");
    world.advance(25 * HOUR);
    try_group(&mut world, alices, 8, &[&bob]).expect("the next day");
}

/// Whom a villain threw off is put back by whoever sees it, however often.
#[test]
fn putting_back_gives_nothing() {
    let mut world = with(|limits| limits.memberships_a_day = 1);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (_, eves) = world.user("eve");
    let channel = create_group(&mut world, alices, 1, &[&bob, &User::new("eve")]);
    let sent = in_channel(&channel, 0, message(&User::new("alice"), 1, b"hello"));
    world.call::<rpc::Enqueue>(bobs, &sent).expect("taken up");
    for slot in [0, 2, 4] {
        let off = removing(&bob, commit(&channel, slot, b"void"));
        submit(&mut world, eves, &off).expect("a slot");
        let back = adding(&bob, commit(&channel, slot + 1, b"back"));
        submit(&mut world, alices, &back).expect("a slot");
    }
}

#[test]
fn memberships_are_open_until_they_are_used() {
    let mut world = with(|limits| limits.memberships_open = 3);
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let group = |world: &mut World, number| try_group(world, alices, number, &[&bob]);
    let sent = group(&mut world, 1).expect("a group");
    let committed = group(&mut world, 2).expect("a group");
    let left = group(&mut world, 3).expect("a group");
    assert_eq!(status(group(&mut world, 4)), Status::QuotaExceeded);
    let hello = in_channel(&sent, 0, message(&alice, 1, b"hello"));
    world.call::<rpc::Enqueue>(bobs, &hello).expect("sent");
    world.call::<rpc::Enqueue>(bobs, &hello).expect("known");
    group(&mut world, 4).expect("a group");
    assert_eq!(status(group(&mut world, 5)), Status::QuotaExceeded);
    submit(&mut world, bobs, &commit(&committed, 0, b"c")).expect("slot 0");
    group(&mut world, 5).expect("a group");
    leave(&mut world, bobs, &bob, &left);
    group(&mut world, 6).expect("a group");
    assert_eq!(status(group(&mut world, 7)), Status::QuotaExceeded);
}

/// Many throw-away accounts push out only each other's.
#[test]
fn beyond_the_open_ones_the_oldest_of_who_gave_most_goes() {
    let mut world = with(|limits| limits.memberships = 5);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (_, eves) = world.user("eve");
    let first = try_group(&mut world, alices, 1, &[&bob]).expect("a group");
    let spam: Vec<Bytes> = (2..=5)
        .map(|number| try_group(&mut world, eves, number, &[&bob]).expect("a group"))
        .collect();
    world.pushes(bobs);
    let second = try_group(&mut world, alices, 6, &[&bob]).expect("a group");
    assert_eq!(
        told(&mut world, bobs, MembershipChange::Removed),
        [bob.key()]
    );
    let listed = |world: &mut World| -> Vec<Bytes> {
        let request = proto::ListQueuesRequest::default();
        let queues = world.call::<rpc::ListQueues>(bobs, &request);
        let queues = queues.expect("queues").queues.into_iter();
        queues.map(|queue| queue.channel_id).collect()
    };
    let expected = [&first, &spam[1], &spam[2], &spam[3], &second];
    assert!(listed(&mut world).iter().eq(expected));
    assert_eq!(members(&mut world, eves, &spam[0]).len(), 1);
    try_group(&mut world, eves, 7, &[&bob]).expect("a group");
    assert!(!listed(&mut world).contains(&spam[1]), "its own");
    assert!(listed(&mut world).contains(&first));
}
