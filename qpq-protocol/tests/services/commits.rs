//! The order of commits: protocol.md §5.7, §5.8 and §5.13.

use bytes::Bytes;
use qpq_crypto::proof::{CommitSlot, verify_commit};
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use sha2::{Digest, Sha256};

use crate::requests::*;
use crate::support::account::User;
use crate::support::{World, roomy};

fn welcome(to: &User, payload: &'static [u8]) -> proto::CommitWelcome {
    proto::CommitWelcome {
        recipient_key: to.key(),
        device_id: Bytes::new(),
        payload: Bytes::from_static(payload),
    }
}

#[test]
fn a_slot_is_taken_once_and_the_loser_learns_by_what() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let won = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"first"));
    let won = won.expect("slot 0");
    assert_eq!((won.next_slot, won.duplicate), (1, false));
    let id: [u8; 16] = channel.as_ref().try_into().expect("16 bytes");
    let server = world.signing_key();
    let verify = |slot: u64, commit: &[u8]| {
        let taken = CommitSlot {
            channel_id: &id,
            slot,
            commit_hash: &Sha256::digest(commit).into(),
            sender: &alice.secret.public(),
        };
        verify_commit(server.as_bytes(), &taken, &won.commit_proof)
    };
    assert!(verify(0, b"first").is_ok());
    assert!(verify(1, b"first").is_err());

    let lost = world.call::<rpc::SubmitCommit>(bobs, &commit(&channel, 0, b"second"));
    let lost = lost.expect_err("taken");
    assert_eq!((lost.status, lost.detail.slot), (Status::Conflict, 1));
    assert_eq!(
        lost.detail.commit_hash.as_ref(),
        Sha256::digest(b"first").as_slice()
    );
    let ahead = world.call::<rpc::SubmitCommit>(bobs, &commit(&channel, 5, b"second"));
    let ahead = ahead.expect_err("not yet");
    assert_eq!((ahead.status, ahead.detail.slot), (Status::Conflict, 1));
    assert!(ahead.detail.commit_hash.is_empty());

    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!(payloads(&page), [(1, b"first".to_vec())]);
    let envelope = &page.payloads[0];
    assert_eq!(envelope.slot, Some(0));
    assert_eq!(envelope.sender_key, alice.key());
    assert_eq!(envelope.commit_proof, won.commit_proof);
    let own = fetch_all(&mut world, alices, &alice, &channel);
    assert!(own.payloads.is_empty(), "not to the sending device");
}

#[test]
fn the_same_commit_again_gets_the_first_answer() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let request = commit(&channel, 0, b"first");
    let first = world
        .call::<rpc::SubmitCommit>(alices, &request)
        .expect("slot 0");
    let same_id = world
        .call::<rpc::SubmitCommit>(alices, &request)
        .expect("known");
    let other_id = proto::SubmitCommitRequest {
        message_id: message_id(9),
        ..request.clone()
    };
    let same_bytes = world
        .call::<rpc::SubmitCommit>(alices, &other_id)
        .expect("known");
    for again in [same_id, same_bytes] {
        assert!(again.duplicate);
        assert_eq!(
            (again.next_slot, &again.commit_proof),
            (1, &first.commit_proof)
        );
    }
    let other_bytes = proto::SubmitCommitRequest {
        commit: Bytes::from_static(b"other"),
        ..request
    };
    let refused = world.call::<rpc::SubmitCommit>(alices, &other_bytes);
    assert_eq!(status(refused), Status::BadRequest);
    assert_eq!(
        fetch_all(&mut world, bobs, &bob, &channel).payloads.len(),
        1
    );
}

/// The proof says that the server took it; who is no member is told nothing of a channel.
#[test]
fn who_has_the_bytes_of_a_commit_and_is_no_member_gets_no_proof() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (_, eves) = world.user("eve");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let request = commit(&channel, 0, b"first");
    let first = world.call::<rpc::SubmitCommit>(alices, &request);
    let first = first.expect("slot 0");
    let refused = world.call::<rpc::SubmitCommit>(eves, &request);
    assert_eq!(status(refused), Status::Forbidden);
    let known = world.call::<rpc::SubmitCommit>(bobs, &request);
    let known = known.expect("a member");
    assert!(known.duplicate);
    assert_eq!(known.commit_proof, first.commit_proof);
}

/// Its answer may have been lost, and it is in the queue of who was removed too.
#[test]
fn whoever_a_commit_removed_and_whoever_made_it_still_get_its_answer() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    let without = |user: &User, slot, bytes| proto::SubmitCommitRequest {
        remove_members: vec![user.key()],
        ..commit(&channel, slot, bytes)
    };
    let other_id = |request: &proto::SubmitCommitRequest| proto::SubmitCommitRequest {
        message_id: message_id(5),
        ..request.clone()
    };
    let no_bob = without(&bob, 0, b"no bob");
    let first = world.call::<rpc::SubmitCommit>(alices, &no_bob);
    let first = first.expect("slot 0");
    let no_alice = without(&alice, 1, b"no alice");
    world
        .call::<rpc::SubmitCommit>(carols, &no_alice)
        .expect("slot 1");
    for conn in [alices, bobs] {
        let again = world.call::<rpc::SubmitCommit>(conn, &other_id(&no_bob));
        let again = again.expect("known");
        assert!(again.duplicate);
        assert_eq!(again.commit_proof, first.commit_proof);
    }
    let same_id = world.call::<rpc::SubmitCommit>(alices, &no_bob);
    assert!(same_id.expect("known").duplicate);
    let refused = world.call::<rpc::SubmitCommit>(bobs, &other_id(&no_alice));
    assert_eq!(status(refused), Status::Forbidden, "after his time");
}

#[test]
fn two_commits_at_once_have_one_winner() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    world.hold_storage = true;
    let one = world.send::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"first"));
    let two = world.send::<rpc::SubmitCommit>(bobs, &commit(&channel, 0, b"second"));
    // One command at a time, so that both have read before either has written.
    while !world.stored.is_empty() {
        world.run_storage(1);
        world.pump();
    }
    world.hold_storage = false;
    let one = world.response::<rpc::SubmitCommit>(alices, one);
    let two = world.response::<rpc::SubmitCommit>(bobs, two);
    assert_ne!(one.is_ok(), two.is_ok());
    assert_eq!(
        status(if one.is_ok() { two } else { one }),
        Status::Conflict
    );
}

#[test]
fn a_commit_changes_members_and_what_is_stored_with_the_channel() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let request = proto::SubmitCommitRequest {
        welcomes: vec![welcome(&carol, b"welcome")],
        add_members: vec![carol.key()],
        remove_members: vec![bob.key()],
        group_info: vec![5; 100_000].into(),
        channel_key_hash: Bytes::from_static(&[6; 32]),
        ..commit(&channel, 0, b"commit")
    };
    world
        .call::<rpc::SubmitCommit>(alices, &request)
        .expect("slot 0");
    let removed = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!(
        payloads(&removed),
        [(1, b"commit".to_vec())],
        "who goes still gets it"
    );
    let joined = fetch_all(&mut world, carols, &carol, &channel);
    assert_eq!(
        payloads(&joined),
        [(1, b"welcome".to_vec())],
        "who comes gets the welcome alone"
    );
    assert_eq!(joined.payloads[0].slot, None);

    let list = proto::ListGroupMembersRequest {
        channel_id: channel.clone(),
    };
    let members = world
        .call::<rpc::ListGroupMembers>(carols, &list)
        .expect("members");
    let mut keys = vec![alice.key(), carol.key()];
    keys.sort();
    assert_eq!(members.member_keys, keys);
    assert_eq!(members.members_version, 2);
    assert_eq!(
        status(world.call::<rpc::ListGroupMembers>(bobs, &list)),
        Status::Forbidden
    );

    let info = proto::GetGroupInfoRequest {
        channel_id: channel.clone(),
    };
    let stored = world
        .call::<rpc::GetGroupInfo>(carols, &info)
        .expect("GroupInfo");
    assert_eq!((stored.group_info.len(), stored.slot), (100_000, 1));
    let rows = world.memory.len();
    let shorter = commit(&channel, 1, b"next");
    world
        .call::<rpc::SubmitCommit>(carols, &shorter)
        .expect("slot 1");
    let stored = world
        .call::<rpc::GetGroupInfo>(alices, &info)
        .expect("GroupInfo");
    assert_eq!(
        (stored.group_info.as_ref(), stored.slot),
        (&b"group info"[..], 2)
    );
    // Slot, message id, the head, entry and expiry row of Alice's queue, Carol's allowance; one piece less.
    assert_eq!(world.memory.len(), rows + 6 - 1);
}

#[test]
fn a_welcome_comes_before_anything_of_the_new_slot() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let request = proto::SubmitCommitRequest {
        welcomes: vec![welcome(&bob, b"welcome")],
        ..commit(&channel, 0, b"commit")
    };
    world.hold_storage = true;
    let commit = world.send::<rpc::SubmitCommit>(alices, &request);
    let early = in_channel(&channel, 1, message(&bob, 1, b"of slot 1"));
    let sent = world.send::<rpc::Enqueue>(alices, &early);
    world.hold_storage = false;
    world.pump();
    world
        .response::<rpc::SubmitCommit>(alices, commit)
        .expect("slot 0");
    if let Err(refused) = world.response::<rpc::Enqueue>(alices, sent) {
        assert_eq!(
            refused.status,
            Status::BadRequest,
            "it came before the slot was taken"
        );
        world.call::<rpc::Enqueue>(alices, &early).expect("sent");
    }
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!(
        payloads(&page),
        [(1, b"welcome".to_vec()), (2, b"of slot 1".to_vec())]
    );
}

#[test]
fn welcomes_share_a_payload_and_reach_only_members() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let (dave, _) = world.user("dave");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    let with = |welcomes| proto::SubmitCommitRequest {
        welcomes,
        ..commit(&channel, 0, b"commit")
    };
    for (welcomes, expected) in [
        (vec![welcome(&dave, b"w")], Status::BadRequest),
        (vec![welcome(&bob, b"")], Status::BadRequest),
        (
            vec![welcome(&bob, b"w"), welcome(&bob, b"")],
            Status::BadRequest,
        ),
        (
            vec![proto::CommitWelcome {
                device_id: Bytes::from_static(&[9; 16]),
                ..welcome(&bob, b"w")
            }],
            Status::NotFound,
        ),
    ] {
        let refused = world.call::<rpc::SubmitCommit>(alices, &with(welcomes));
        assert_eq!(status(refused), expected);
    }
    let shared = with(vec![welcome(&bob, b"both"), welcome(&carol, b"")]);
    world
        .call::<rpc::SubmitCommit>(alices, &shared)
        .expect("slot 0");
    for (conn, user) in [(bobs, &bob), (carols, &carol)] {
        let page = fetch_all(&mut world, conn, user, &channel);
        assert_eq!(payloads(&page), [(1, b"both".to_vec())]);
    }
}

#[test]
fn a_commit_needs_a_member_and_members_with_accounts() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[]);
    let refused = world.call::<rpc::SubmitCommit>(bobs, &commit(&channel, 0, b"c"));
    assert_eq!(status(refused), Status::Forbidden);
    let unknown = commit(&channel_id(9), 0, b"c");
    let refused = world.call::<rpc::SubmitCommit>(bobs, &unknown);
    assert_eq!(status(refused), Status::NotFound);
    for (add, remove, expected) in [
        (vec![bob.key()], vec![bob.key()], Status::BadRequest),
        (vec![], vec![alice.key()], Status::BadRequest),
    ] {
        let request = proto::SubmitCommitRequest {
            add_members: add,
            remove_members: remove,
            ..commit(&channel, 0, b"c")
        };
        let refused = world.call::<rpc::SubmitCommit>(alices, &request);
        assert_eq!(status(refused), expected);
    }
    let dm = proto::CreateChannelRequest {
        peer_key: bob.key(),
        ..proto::CreateChannelRequest::default()
    };
    let dm = world
        .call::<rpc::CreateChannel>(alices, &dm)
        .expect("a channel")
        .channel_id;
    let (carol, _) = world.user("carol");
    for (add, remove) in [(vec![carol.key()], vec![]), (vec![], vec![bob.key()])] {
        let request = proto::SubmitCommitRequest {
            add_members: add,
            remove_members: remove,
            ..commit(&dm, 0, b"c")
        };
        let refused = world.call::<rpc::SubmitCommit>(alices, &request);
        assert_eq!(status(refused), Status::Forbidden);
    }
}

#[test]
fn a_member_resets_a_channel_at_most_once_an_hour() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    let reset = |slot, bytes| proto::SubmitCommitRequest {
        reset: true,
        ..commit(&channel, slot, bytes)
    };
    world
        .call::<rpc::SubmitCommit>(alices, &reset(0, b"a"))
        .expect("reset");
    let refused = world
        .call::<rpc::SubmitCommit>(alices, &reset(1, b"b"))
        .expect_err("too soon");
    assert_eq!(refused.status, Status::RateLimited);
    assert!(refused.detail.retry_after_ms > 3_500_000);
    world
        .call::<rpc::SubmitCommit>(bobs, &reset(1, b"c"))
        .expect("somebody else's");
    world.advance(std::time::Duration::from_secs(3601));
    world
        .call::<rpc::SubmitCommit>(alices, &reset(2, b"d"))
        .expect("an hour later");
}

#[test]
fn a_commit_is_never_refused_for_a_full_queue() {
    let mut config = roomy();
    config.limits.queue_messages = 2;
    let mut world = World::new(config);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    for number in 1..=2 {
        let sent = in_channel(&channel, 0, message(&bob, number, b"x"));
        world.call::<rpc::Enqueue>(alices, &sent).expect("sent");
    }
    world
        .call::<rpc::SubmitCommit>(alices, &commit(&channel, 0, b"c"))
        .expect("slot 0");
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!((page.payloads.len(), page.overrun), (2, true));
    let closed = in_channel(&channel, 1, message(&bob, 3, b"x"));
    assert_eq!(
        status(world.call::<rpc::Enqueue>(alices, &closed)),
        Status::QuotaExceeded
    );
    ack(&mut world, bobs, &bob, &channel, 2).expect("acked");
    world
        .call::<rpc::Enqueue>(alices, &closed)
        .expect("open again");
}

#[test]
fn a_commit_that_was_not_durable_at_a_crash_is_submitted_again() {
    for durable in [false, true] {
        let mut world = World::default();
        let (alice, alices) = world.user("alice");
        let (bob, _) = world.user("bob");
        let channel = create_group(&mut world, alices, 1, &[&bob]);
        let request = proto::SubmitCommitRequest {
            welcomes: vec![welcome(&bob, b"welcome")],
            ..commit(&channel, 0, b"commit")
        };
        world.hold_storage = true;
        world.send::<rpc::SubmitCommit>(alices, &request);
        // Reads, then the Commit.
        while !matches!(
            world.stored.front(),
            None | Some((_, qpq_protocol::storage::Command::Commit(_)))
        ) {
            world.run_storage(1);
            world.pump();
        }
        assert_eq!(world.stored.len(), 1);
        if durable {
            world.run_storage(1);
        }
        world.stored.clear();
        let mut world = world.restart([9; 32]);
        let (alices, bobs) = (world.connect(), world.connect());
        alice.log_in(&mut world, alices).expect("logged in");
        bob.log_in(&mut world, bobs).expect("logged in");
        let again = world
            .call::<rpc::SubmitCommit>(alices, &request)
            .expect("slot 0");
        assert_eq!((again.next_slot, again.duplicate), (1, durable));
        let page = fetch_all(&mut world, bobs, &bob, &channel);
        assert_eq!(payloads(&page), [(1, b"welcome".to_vec())]);
    }
}

/// The server was set back, and what its members have merged is submitted to it again.
#[test]
fn a_commit_of_anothers_is_taken_again_as_it_was() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, _) = world.user("carol");
    let (eve, _) = world.user("eve");
    let channel = create_group(&mut world, alices, 1, &[&bob, &carol]);
    let before = world.memory.clone();
    let first = commit(&channel, 0, b"merged");
    let proof = world.call::<rpc::SubmitCommit>(alices, &first);
    let proof = proof.expect("slot 0").commit_proof;
    let own = commit(&channel, 1, b"of bob");
    let of_bob = world.call::<rpc::SubmitCommit>(bobs, &own);
    let of_bob = of_bob.expect("slot 1").commit_proof;

    let mut world = World::on(roomy(), before, [9; 32]);
    let conns = [&alice, &bob, &carol, &eve].map(|user| {
        let conn = world.connect();
        user.log_in(&mut world, conn).expect("logged in");
        conn
    });
    let [alices, bobs, carols, eves] = conns;
    let original = |sender: &User, proof: &Bytes| proto::SubmitCommitRequest {
        original: Some(proto::OriginalCommit {
            sender_key: sender.key(),
            commit_proof: proof.clone(),
        }),
        ..first.clone()
    };
    for (wrong, expected) in [
        (original(&bob, &proof), Status::BadRequest),
        (original(&alice, &of_bob), Status::BadRequest),
        (
            proto::SubmitCommitRequest {
                commit: Bytes::from_static(b"another"),
                ..original(&alice, &proof)
            },
            Status::BadRequest,
        ),
        (
            proto::SubmitCommitRequest {
                slot: 1,
                ..original(&alice, &proof)
            },
            Status::Conflict,
        ),
    ] {
        let refused = world.call::<rpc::SubmitCommit>(bobs, &wrong);
        assert_eq!(status(refused), expected);
    }
    let refused = world.call::<rpc::SubmitCommit>(eves, &original(&alice, &proof));
    assert_eq!(status(refused), Status::Forbidden);

    let done = world.call::<rpc::SubmitCommit>(bobs, &original(&alice, &proof));
    let done = done.expect("slot 0");
    assert_eq!((done.next_slot, &done.commit_proof), (1, &proof));
    for (conn, user) in [(alices, &alice), (carols, &carol)] {
        let page = fetch_all(&mut world, conn, user, &channel);
        assert_eq!(payloads(&page), [(1, b"merged".to_vec())]);
        assert_eq!(page.payloads[0].sender_key, alice.key());
        assert_eq!(page.payloads[0].commit_proof, proof);
    }
    let mine = world.call::<rpc::SubmitCommit>(alices, &first);
    assert!(mine.expect("known").duplicate);
    let late = world.call::<rpc::SubmitCommit>(carols, &original(&alice, &proof));
    assert!(late.expect("known").duplicate);
}

/// A device that was away: its queue overran, it drains it, and what comes then arrives, with a GroupInfo
/// to join by.
#[test]
fn a_queue_that_overran_takes_commits_again_once_it_is_drained() {
    let mut config = roomy();
    config.limits.queue_messages = 3;
    let mut world = World::new(config);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let channel = create_group(&mut world, alices, 1, &[&bob]);
    for slot in 0..9 {
        let done = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, slot, b"void"));
        done.expect("a slot");
    }
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!((page.payloads.len(), page.overrun), (3, true));
    let slots: Vec<Option<u64>> = page.payloads.iter().map(|one| one.slot).collect();
    assert_eq!(slots, [Some(0), Some(1), Some(2)]);
    ack(&mut world, bobs, &bob, &channel, 3).expect("acked");
    let info = proto::GetGroupInfoRequest {
        channel_id: channel.clone(),
    };
    let info = world.call::<rpc::GetGroupInfo>(bobs, &info);
    assert_eq!(info.expect("GroupInfo").slot, 9);
    let rejoined = world.call::<rpc::SubmitCommit>(bobs, &commit(&channel, 9, b"external"));
    rejoined.expect("slot 9");
    let next = world.call::<rpc::SubmitCommit>(alices, &commit(&channel, 10, b"next"));
    next.expect("slot 10");
    let page = fetch_all(&mut world, bobs, &bob, &channel);
    assert_eq!(
        (payloads(&page), page.overrun),
        (vec![(4, b"next".to_vec())], false)
    );
}
