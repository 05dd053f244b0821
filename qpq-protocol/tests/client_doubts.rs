//! Conversations of which client and server know different things: those that this device is in and
//! knows nothing of (`regain`), those that a server that was set back may not have (`doubt`), and those
//! that were not joined yet, or left, when that befell it (`enter`).

#[path = "support/net.rs"]
mod net;

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use net::people::{
    MINUTE, PUT_BACK, asked, assert_agree, assert_talk, back, backup, changed, conversation,
    conversations, dm, find, go_away, group, history, invite, is_welcome, leave, members, method,
    put_back, register, send, settle, told, world,
};
use net::{Late, Net};
use qpq_protocol::client::{ConversationId, Event, Misdeed, Outcome, Standing, intent};
use qpq_protocol::proto;
use qpq_protocol::status::Status;

thread_local! {
    /// What a server has said, and says again elsewhere.
    static SAID: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// All invitations have expired.
fn no_welcomes(queue: &mut proto::FetchResponse) {
    for envelope in queue.payloads.iter_mut().filter(|one| is_welcome(one)) {
        envelope.data.clear();
        envelope.expired = true;
    }
}

#[test]
fn who_never_got_the_invitation_comes_in_by_the_tree() {
    for is_dm in [false, true] {
        let mut net = world(&["alice", "bob"]);
        net.restart(1);
        net.clients[1].away = true;
        let id = match is_dm {
            true => dm(&mut net, 0, "bob"),
            false => group(&mut net, 0, &["bob"]),
        };
        net.lie = Some(|method, said| match method {
            method::FETCH => changed(said, no_welcomes),
            _ => said,
        });
        net.clients[1].away = false;
        settle(&mut net);
        net.lie = None;
        let joined = |event: &Event| matches!(event, Event::Joined { .. });
        assert_eq!(told(&net, 1, joined), 1, "a DM: {is_dm}");
        assert_eq!(members(&mut net, 0, id), ["alice", "bob"]);
        assert_talk(&mut net, &[0, 1], id);
    }
}

/// The data are of before it was invited, and its packages are used up.
#[test]
fn data_of_before_an_invitation_lead_back_into_the_group() {
    let mut net = world(&["alice", "bob", "carol"]);
    net.restart(1);
    settle(&mut net);
    let disk = net.clients[1].disk.clone();
    net.restart(1);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    assert_talk(&mut net, &[0, 1], id);
    net.clients[1].disk = disk;
    net.restart(1);
    net.pass(2 * MINUTE);
    assert_eq!(told(&net, 1, |event| matches!(event, Event::SetBack)), 1);
    assert_eq!(members(&mut net, 1, id), ["alice", "bob", "carol"]);
    assert_talk(&mut net, &[0, 1, 2], id);
}

/// Whoever lists this account gets a request or two for it, and the app hears nothing.
#[test]
fn a_channel_whose_tree_is_without_this_device_is_none_of_its() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => said.inspect(|answer| SAID.set(answer.clone())),
        method::RESUME_SESSION => PUT_BACK(method, said),
        _ => said,
    });
    net.restart(1);
    settle(&mut net);
    assert!(SAID.with_borrow(|said| !said.is_empty()), "a GroupInfo");
    net.clients[0].away = true;
    net.clients[1].away = true;
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            page.queues.push(proto::Queue {
                channel_id: Bytes::copy_from_slice(b"\x01\x01\x01\x01\x01\x01\x71\x01\x81strange"),
                first_seq: 1,
                next_seq: 1,
                slot: 5,
                members_version: 1,
            });
        }),
        method::GET_GROUP_INFO => Ok(SAID.with_borrow(Clone::clone)),
        _ => said,
    });
    net.asked.clear();
    let before = net.clients[2].events.len();
    net.restart(2);
    net.pass(10 * MINUTE);
    assert!(
        (1..=20).contains(&asked(&net, method::GET_GROUP_INFO)),
        "{:?}",
        net.asked
    );
    assert_eq!(
        asked(&net, method::ROTATE_KEYS) + asked(&net, method::SUBMIT_COMMIT),
        0,
        "{:?}",
        net.asked
    );
    let heard = net.clients[2].events.iter().skip(before);
    let heard = heard.filter(|event| {
        !matches!(
            event,
            Event::Opened { .. }
                | Event::Connected { .. }
                | Event::LoggedIn { .. }
                | Event::Synced
                | Event::Disconnected { .. }
        )
    });
    assert_eq!(heard.collect::<Vec<_>>(), Vec::<&Event>::new());
    assert!(find(&mut net, 2, id).is_none());
}

/// Bob knows of no Welcome, and of no GroupInfo that verifies.
fn without_an_entrance(method: u16, said: Result<Bytes, u8>) -> Result<Bytes, u8> {
    match method {
        method::FETCH => changed(said, no_welcomes),
        method::GET_GROUP_INFO => changed(said, |answer: &mut proto::GetGroupInfoResponse| {
            answer.group_info = Bytes::from_static(b"rubbish");
        }),
        _ => said,
    }
}

/// A group of alice and bob, who is away since before it was made.
fn invited() -> (Net, ConversationId) {
    let mut net = world(&["alice", "bob"]);
    net.restart(1);
    net.clients[1].away = true;
    let id = group(&mut net, 0, &["bob"]);
    (net, id)
}

/// Bob asks for a GroupInfo, so that alice owes a commit; the server takes none, and she is not at it for ever.
#[test]
fn a_commit_that_is_refused_and_still_owed_waits() {
    let (mut net, _) = invited();
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::BadRequest.code()),
        _ => without_an_entrance(method, said),
    });
    net.clients[1].away = false;
    net.asked.clear();
    net.pass(4 * MINUTE);
    let tries = asked(&net, method::SUBMIT_COMMIT);
    assert!((2..=120).contains(&tries), "{tries}");
}

/// The other one that the server speaks of does not come.
#[test]
fn a_commit_that_is_taken_and_said_to_have_lost_is_noticed() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.detail = proto::ErrorDetail {
        slot: 2,
        commit_hash: Bytes::from_static(&[7; 32]),
        ..Default::default()
    };
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::Conflict.code()),
        _ => said,
    });
    net.asked.clear();
    let invited = net.begin(1, intent::Invite::new(id, "carol"));
    assert!(net.until(|net| asked(net, method::SUBMIT_COMMIT) > 0));
    net.lie = None;
    assert!(net.until(|net| net.result(1, invited).is_some()));
    assert_agree(&mut net, &[0, 1, 2], id);
    let void = |event: &Event| matches!(event, Event::VoidCommit { .. });
    assert_eq!(told(&net, 0, void), 0);
}

/// A void commit had taken a slot before he came, and he can't see where the others are.
#[test]
fn who_lost_a_slot_of_before_he_came_commits_in_the_next() {
    let mut net = world(&["alice", "bob", "carol", "mallory"]);
    let id = group(&mut net, 0, &["mallory"]);
    settle(&mut net);
    let void = Misdeed::ThrowOff(Vec::new());
    assert!(net.act(3, |core, now| core.misbehave(now, id, &void)));
    settle(&mut net);
    invite(&mut net, 0, id, "bob");
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => Err(Status::NotFound.code()),
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            page.queues.iter_mut().for_each(|queue| queue.slot = 0);
        }),
        _ => said,
    });
    settle(&mut net);
    net.asked.clear();
    let invited = net.begin(1, intent::Invite::new(id, "carol"));
    settle(&mut net);
    assert_eq!(asked(&net, method::GET_GROUP_INFO), 1);
    let ended = net.result(1, invited);
    assert!(matches!(ended, Some(Ok(Outcome::Changed(_)))), "{ended:?}");
    net.lie = None;
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

/// The slot that the server names is not the one that it signed for; nothing is said after it that would show where
/// the others are.
#[test]
fn a_commit_that_is_said_to_be_of_an_earlier_slot_is_missed() {
    let mut net = Net::new();
    let alice = register(&mut net, "alice");
    register(&mut net, "bob");
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    go_away(&mut net, 1);
    // Spoiled for nobody else: an update.
    let update = Misdeed::Spoiled {
        victim: alice,
        rubbish: false,
    };
    assert!(net.act(0, |core, now| core.misbehave(now, id, &update)));
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            let of_commits = queue.payloads.iter_mut();
            let of_commits = of_commits.filter_map(|envelope| envelope.slot.as_mut());
            of_commits.for_each(|slot| *slot = slot.saturating_sub(1));
        }),
        _ => said,
    });
    back(&mut net, 1);
    assert!(net.until(|net| told(net, 1, |event| matches!(event, Event::Unproven { .. })) > 0));
    net.lie = None;
    assert_agree(&mut net, &[0, 1], id);
}

/// Who was added later knows its slot only by what it is told; what it is told of it here is a lie.
#[test]
fn a_commit_that_is_taken_and_denied_is_noticed() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => changed(said, |answer: &mut proto::SubmitCommitResponse| {
            answer.commit_proof = Bytes::new();
        }),
        _ => said,
    });
    let invited = net.begin(1, intent::Invite::new(id, "carol"));
    assert!(net.until(|net| told(net, 1, |event| matches!(event, Event::Unproven { .. })) > 0));
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::Forbidden.code()),
        _ => said,
    });
    net.asked.clear();
    assert!(net.until(|net| asked(net, method::SUBMIT_COMMIT) > 0));
    net.pass(Duration::from_secs(1));
    net.lie = None;
    assert!(net.until(|net| net.result(1, invited).is_some()));
    assert_agree(&mut net, &[0, 1, 2], id);
}

/// Seed 14569 of the worlds with villains of all kinds: it leaves while it owes a commit, and the server knows it as a
/// member no more.
#[test]
fn who_leaves_and_may_not_commit_has_left() {
    let (mut net, id) = invited();
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::Forbidden.code()),
        _ => without_an_entrance(method, said),
    });
    net.clients[1].away = false;
    net.pass(MINUTE);
    leave(&mut net, 0, id);
    net.asked.clear();
    net.pass(4 * MINUTE);
    assert_eq!(conversation(&mut net, 0, id).standing, Standing::Over);
    let tries = asked(&net, method::SUBMIT_COMMIT);
    assert!(tries <= 2, "{tries}");
}

/// The members are asked for another one, and not for ever.
#[test]
fn a_group_info_that_does_not_verify_is_asked_for_a_few_times() {
    let (mut net, id) = invited();
    net.lie = Some(without_an_entrance);
    net.clients[1].away = false;
    net.asked.clear();
    net.pass(4 * MINUTE);
    let most = 8;
    assert!(
        (2..=most).contains(&asked(&net, method::ROTATE_KEYS)),
        "{}",
        asked(&net, method::ROTATE_KEYS)
    );
    // The members have answered, and that is no reason to ask them once more: two listings are.
    net.pass(10 * MINUTE);
    assert!(
        asked(&net, method::ROTATE_KEYS) <= 3 * most,
        "{}",
        asked(&net, method::ROTATE_KEYS)
    );
    assert!(find(&mut net, 1, id).is_none());
    // What the server says at the next opening is looked at anew.
    net.lie = None;
    net.restart(1);
    settle(&mut net);
    assert_talk(&mut net, &[0, 1], id);
}

#[test]
fn a_dm_that_its_other_one_has_left_is_not_come_back_into() {
    let mut net = world(&["alice", "bob"]);
    net.restart(1);
    net.clients[1].away = true;
    let id = dm(&mut net, 0, "bob");
    let ended = net.ask(0, intent::Leave(id));
    assert_eq!(ended, Ok(Outcome::Left(id)));
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, no_welcomes),
        _ => said,
    });
    net.asked.clear();
    net.clients[1].away = false;
    net.pass(5 * MINUTE);
    assert_eq!(
        asked(&net, method::SUBMIT_COMMIT),
        0,
        "nothing is committed there"
    );
    assert!(find(&mut net, 1, id).is_none());
}

/// All who were in it are in it again, with all that was said.
#[test]
fn a_channel_that_the_server_lost_is_made_again() {
    let mut net = world(&["alice", "bob", "carol"]);
    let before = backup(&net);
    let club = group(&mut net, 0, &["bob", "carol"]);
    let pair = dm(&mut net, 0, "bob");
    settle(&mut net);
    assert_talk(&mut net, &[0, 1, 2], club);
    assert_talk(&mut net, &[0, 1], pair);
    let said = history(&mut net, 0, club);
    put_back(&mut net, before);
    net.pass(3 * MINUTE);
    for client in [0, 1, 2] {
        assert_eq!(members(&mut net, client, club), ["alice", "bob", "carol"]);
        assert_eq!(history(&mut net, client, club), said, "client {client}");
    }
    assert_talk(&mut net, &[0, 1, 2], club);
    assert_talk(&mut net, &[0, 1], pair);
}

#[test]
fn who_the_server_does_not_count_among_the_members_is_out_after_ten_minutes() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    send(&mut net, 0, id, "stays");
    settle(&mut net);
    net.clients[0].away = true;
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO | method::LIST_MEMBERS | method::ADD_MEMBER => {
            Err(Status::Forbidden.code())
        }
        _ => PUT_BACK(method, said),
    });
    net.restart(1);
    net.pass(9 * MINUTE);
    let removed = |event: &Event| matches!(event, Event::Removed { .. });
    assert_eq!(told(&net, 1, removed), 0);
    net.pass(4 * MINUTE);
    assert_eq!(told(&net, 1, removed), 1);
    let over = conversation(&mut net, 1, id);
    assert_eq!(over.standing, Standing::Over);
    assert_eq!(history(&mut net, 1, id), ["stays"]);
}

/// The founder is in the tree of a DM that the other one has only heard of.
#[test]
fn who_waited_for_a_forgotten_invitation_lets_himself_in() {
    let mut net = world(&["alice", "bob"]);
    net.restart(1);
    net.clients[1].away = true;
    let id = dm(&mut net, 0, "bob");
    // Bob hears that there is a channel, and gets nothing out of its queue.
    net.lie = Some(|method, said| match method {
        method::FETCH | method::GET_GROUP_INFO => Err(Status::Unavailable.code()),
        _ => said,
    });
    net.clients[1].away = false;
    let opened = net.begin(1, intent::Dm("alice".into()));
    net.pass(Duration::from_secs(10));
    assert_eq!(net.result(1, opened), None);
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, no_welcomes),
        _ => PUT_BACK(method, said),
    });
    net.restart(1);
    net.pass(MINUTE);
    net.lie = None;
    let joined = |event: &Event| matches!(event, Event::Joined { .. });
    assert_eq!(told(&net, 1, joined), 1);
    assert_talk(&mut net, &[0, 1], id);
}

/// Nobody comes back who knows of it: whoever still waits founds the DM.
#[test]
fn a_dm_that_nobody_has_founded_is_founded_by_who_waits() {
    let mut net = world(&["alice", "bob"]);
    let before = backup(&net);
    net.restart(1);
    net.clients[1].away = true;
    dm(&mut net, 0, "bob");
    net.lie = Some(|method, said| match method {
        method::FETCH | method::GET_GROUP_INFO => Err(Status::Unavailable.code()),
        _ => said,
    });
    net.clients[1].away = false;
    let opened = net.begin(1, intent::Dm("alice".into()));
    net.pass(Duration::from_secs(10));
    assert_eq!(net.result(1, opened), None);
    net.clients[0].away = true;
    net.cut_client(0);
    put_back(&mut net, before);
    net.restart(1);
    net.pass(3 * MINUTE);
    let id = dm(&mut net, 1, "alice");
    send(&mut net, 1, id, "are you there?");
    net.clients[0].away = false;
    net.pass(3 * MINUTE);
    assert_talk(&mut net, &[0, 1], id);
    assert!(history(&mut net, 0, id).contains(&"are you there?".to_owned()));
}

/// The channel is there, without a group, and who made it does not come back.
#[test]
fn a_dm_that_was_made_and_never_founded_is_founded_by_who_waits() {
    let mut net = world(&["alice", "bob"]);
    net.restart(1);
    net.clients[1].away = true;
    net.asked.clear();
    net.begin(0, intent::Dm("bob".into()));
    // Her first commit is not made yet.
    while !net.asked.contains(&method::FETCH_KEY_PACKAGES) {
        if !net.turn() {
            assert!(net.jump(net.now + MINUTE), "it is made");
        }
    }
    let before = backup(&net);
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::FETCH | method::GET_GROUP_INFO => Err(Status::Unavailable.code()),
        _ => said,
    });
    net.clients[1].away = false;
    net.begin(1, intent::Dm("alice".into()));
    net.pass(Duration::from_secs(10));
    net.clients[0].away = true;
    net.cut_client(0);
    put_back(&mut net, before);
    net.restart(1);
    net.pass(Duration::from_secs(40));
    let all = conversations(&mut net, 1);
    assert_eq!(all[0].standing, Standing::Forming, "she may come back");
    net.pass(MINUTE);
    let id = dm(&mut net, 1, "alice");
    net.clients[0].away = false;
    net.pass(3 * MINUTE);
    assert_talk(&mut net, &[0, 1], id);
}

/// The others were told, and a server that was put back has lost it: it is said again, and nobody stays in
/// a tree that he has left.
#[test]
fn a_leaving_that_the_server_lost_is_said_again() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    assert_talk(&mut net, &[0, 1, 2], id);
    let before = backup(&net);
    // Nobody else hears of it.
    net.clients[0].away = true;
    net.clients[2].away = true;
    let ended = net.ask(1, intent::Leave(id));
    assert_eq!(ended, Ok(Outcome::Left(id)));
    put_back(&mut net, before);
    for client in [0, 2] {
        net.restart(client);
        net.clients[client].away = false;
    }
    net.pass(5 * MINUTE);
    assert_eq!(members(&mut net, 0, id), ["alice", "carol"]);
    let left = conversation(&mut net, 1, id);
    assert_eq!(left.standing, Standing::Over);
    assert_talk(&mut net, &[0, 2], id);
}

/// She was told that another one had the slot of her first commit, which nobody has: the other one is invited anew.
#[test]
fn a_dm_whose_first_commit_was_refused_for_nothing_is_founded_again() {
    let mut net = world(&["alice", "bob"]);
    go_away(&mut net, 1);
    net.late.insert((0, Late::Request(method::SUBMIT_COMMIT)));
    net.asked.clear();
    net.begin(0, intent::Dm("bob".into()));
    net.pass(Duration::from_secs(1));
    assert!(net.asked.contains(&method::SUBMIT_COMMIT), "on its way");
    let before = backup(&net);
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::Conflict.code()),
        _ => said,
    });
    // Before she hears what there is instead, the server is put back.
    net.late = [(0, Late::Request(method::FETCH))].into();
    net.pass(Duration::from_secs(1));
    put_back(&mut net, before);
    net.late.clear();
    back(&mut net, 1);
    net.pass(Duration::from_secs(40));
    let all = conversations(&mut net, 0);
    assert_eq!(
        all[0].standing,
        Standing::Forming,
        "another one may have begun"
    );
    net.pass(2 * MINUTE);
    let id = all[0].id;
    assert_eq!(members(&mut net, 0, id), ["alice", "bob"]);
    assert_talk(&mut net, &[0, 1], id);
}
