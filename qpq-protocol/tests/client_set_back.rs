//! Disks of an earlier day, a client's and the server's, and clocks that are wrong once: what a client
//! core makes of them (protocol.md §5.30-5.33).

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use bytes::Bytes;
use net::people::{
    MINUTE, PUT_BACK, asked, assert_agree, assert_talk, back, backup, changed, go_away, group,
    history, invite, method, put_back, put_back_silently, remove, send, settle, told, world,
};
use net::{Late, Net, password};
use prost::Message as _;
use qpq_protocol::client::{Event, Misdeed, Outcome, Unsent, intent};
use qpq_protocol::proto;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_device_that_was_set_back_says_so_each_time_and_replaces_its_packages_once_a_day() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    // What the server has last heard of this device, each time it comes, is not of this data.
    let set_back = |event: &Event| matches!(event, Event::SetBack);
    let start_on_copy = |net: &mut Net| {
        let before = told(net, 0, set_back);
        net.lie = Some(|method, said| match method {
            method::RESUME_SESSION => changed(said, |answer: &mut proto::ResumeSessionResponse| {
                answer.last = Bytes::from_static(&[9; 16]);
            }),
            _ => said,
        });
        net.restart(0);
        assert!(net.until(|net| told(net, 0, set_back) > before));
        net.lie = None;
        settle(net);
    };
    net.asked.clear();
    start_on_copy(&mut net);
    assert_eq!(told(&net, 0, set_back), 1);
    let uploads = asked(&net, method::UPLOAD_KEY_PACKAGE);
    let target = usize::try_from(net.client_config.package_target).expect("a number");
    assert_eq!(uploads, target + 1, "the pool and the last resort");
    // It came back into the group, with keys that nobody used before.
    send(&mut net, 0, id, "back");
    send(&mut net, 1, id, "welcome");
    settle(&mut net);
    assert_eq!(history(&mut net, 0, id), ["back", "welcome"]);
    assert_eq!(history(&mut net, 1, id), ["back", "welcome"]);
    // Two on one copy would go on for ever.
    net.asked.clear();
    for _ in 0..3 {
        start_on_copy(&mut net);
    }
    assert_eq!(told(&net, 0, set_back), 4);
    assert!(!net.asked.contains(&method::UPLOAD_KEY_PACKAGE));
    net.pass(DAY);
    start_on_copy(&mut net);
    assert_eq!(told(&net, 0, set_back), 5);
    assert!(net.asked.contains(&method::UPLOAD_KEY_PACKAGE));
    // Nothing of the old state was used: whoever invites again finds a package that opens.
    let other = group(&mut net, 1, &["alice"]);
    settle(&mut net);
    send(&mut net, 1, other, "with new keys");
    settle(&mut net);
    assert_eq!(history(&mut net, 0, other), ["with new keys"]);
}

#[test]
fn what_a_server_lost_is_sent_again_once_and_shown_once() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    send(&mut net, 0, id, "before");
    settle(&mut net);
    let before = backup(&net);
    // Bob reads what the server is about to forget, carol does not.
    net.restart(2);
    net.clients[2].away = true;
    for text in ["one", "two", "three"] {
        send(&mut net, 0, id, text);
    }
    settle(&mut net);
    assert_eq!(history(&mut net, 1, id), ["before", "one", "two", "three"]);
    put_back(&mut net, before);
    net.clients[2].away = false;
    net.pass(Duration::from_secs(120));
    let noticed =
        |event: &Event| matches!(event, Event::ServerSetBack { unsent } if unsent.is_empty());
    assert_eq!(told(&net, 0, noticed), 1);
    for client in [0, 1, 2] {
        let mut all = history(&mut net, client, id);
        all.sort_unstable();
        assert_eq!(all, ["before", "one", "three", "two"], "client {client}");
    }
    // It is over.
    net.asked.clear();
    for client in 0..3 {
        net.restart(client);
    }
    net.pass(Duration::from_secs(60));
    let sent = asked(&net, method::BATCH_ENQUEUE);
    assert_eq!(sent, 1, "alice asks for the last one that was taken");
    send(&mut net, 2, id, "after");
    settle(&mut net);
    assert_eq!(
        history(&mut net, 0, id).last().map(String::as_str),
        Some("after")
    );
}

#[test]
fn what_was_said_before_somebody_came_is_listed_and_not_sent_to_them() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    send(&mut net, 0, id, "without carol");
    settle(&mut net);
    let ended = net.ask(1, intent::Invite::new(id, "carol"));
    assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
    settle(&mut net);
    send(&mut net, 0, id, "with carol");
    settle(&mut net);
    net.lie = Some(PUT_BACK);
    net.restart(0);
    net.pass(Duration::from_secs(60));
    let lost = Unsent {
        conversation: id,
        index: 0,
    };
    let noticed =
        |event: &Event| matches!(event, Event::ServerSetBack { unsent } if *unsent == [lost]);
    assert_eq!(told(&net, 0, noticed), 1);
    assert_eq!(history(&mut net, 2, id), ["with carol"]);
    assert_eq!(history(&mut net, 1, id), ["without carol", "with carol"]);
}

#[test]
fn the_chain_moves_on_before_each_commit_and_each_65th_message() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let moved = |net: &Net| asked(net, method::RESUME_SESSION);
    net.asked.clear();
    // The name of the group was the first one.
    for number in 0..63 {
        send(&mut net, 0, id, &format!("{number}"));
    }
    assert_eq!(moved(&net), 0);
    send(&mut net, 0, id, "the 65th");
    assert_eq!(moved(&net), 1);
    net.asked.clear();
    for act in ["in", "out", "in"] {
        let ended = match act {
            "in" => net.ask(0, intent::Invite::new(id, "carol")),
            _ => net.ask(0, intent::Remove::new(id, "carol")),
        };
        assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
    }
    let commits = asked(&net, method::SUBMIT_COMMIT);
    assert!(moved(&net) >= commits && commits >= 3, "{:?}", net.asked);
}

/// Seed 6534 of the worlds with villains of all kinds: the opening of the session is older than what its first commit
/// was for, and nobody gets their own commits back.
#[test]
fn a_copy_from_before_the_first_commit_of_a_session_is_noticed() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.restart(1);
    settle(&mut net);
    let copy = net.clients[1].disk.clone();
    invite(&mut net, 1, id, "carol");
    settle(&mut net);
    net.clients[1].disk = copy;
    net.restart(1);
    settle(&mut net);
    let set_back = |event: &Event| matches!(event, Event::SetBack);
    assert_eq!(told(&net, 1, set_back), 1);
    assert_agree(&mut net, &[0, 1, 2], id);
    assert_talk(&mut net, &[0, 1, 2], id);
}

#[test]
fn one_day_with_a_clock_a_year_ahead_loses_no_invitation() {
    let mut net = world(&["alice", "bob"]);
    settle(&mut net);
    // Bob invites alice while she is away.
    net.restart(0);
    net.clients[0].away = true;
    let id = group(&mut net, 1, &["alice"]);
    settle(&mut net);
    // She is online for a moment with a clock a year ahead, and the queue is not read.
    net.clock_off.insert(0, 366 * DAY);
    net.lie = Some(|method, said| match method {
        // Nothing is heard of what waits.
        method::FETCH | method::LIST_QUEUES => Err(9),
        _ => said,
    });
    net.restart(0);
    net.clients[0].away = false;
    net.pass(Duration::from_secs(20));
    net.clients[0].away = true;
    net.clock_off.clear();
    net.lie = None;
    net.restart(0);
    net.clients[0].away = false;
    settle(&mut net);
    send(&mut net, 1, id, "come in");
    settle(&mut net);
    assert_eq!(history(&mut net, 0, id), ["come in"]);
}

#[test]
fn strangers_do_not_keep_one_from_ones_own_conversations() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.restart(0);
    net.clients[0].away = true;
    send(&mut net, 1, id, "do you hear me?");
    // A page of channels of strangers, all before one's own.
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            page.queues.clear();
            for number in 0..2000u16 {
                let mut id = [0; 16];
                id[1..3].copy_from_slice(&number.to_be_bytes());
                page.queues.push(proto::Queue {
                    channel_id: Bytes::copy_from_slice(&id[..]),
                    first_seq: 1,
                    next_seq: 1,
                    ..Default::default()
                });
            }
        }),
        _ => said,
    });
    net.clients[0].away = false;
    settle(&mut net);
    assert_eq!(history(&mut net, 0, id), ["do you hear me?"]);
    let noticed = |event: &Event| matches!(event, Event::NotFollowed { followed: 1000 });
    assert_eq!(told(&net, 0, noticed), 1);
}

#[test]
fn a_queue_that_began_anew_is_read_from_its_beginning() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    send(&mut net, 0, id, "before");
    settle(&mut net);
    let before = backup(&net);
    for text in ["one", "two", "three"] {
        send(&mut net, 0, id, text);
    }
    settle(&mut net);
    // The copy says nothing of being one, and no opening was shown since.
    put_back_silently(&mut net, before);
    settle(&mut net);
    let set_back = |event: &Event| matches!(event, Event::ServerSetBack { .. });
    assert_eq!(told(&net, 1, set_back), 1);
    // Its place in the queue is one that bob has read before.
    send(&mut net, 0, id, "four");
    settle(&mut net);
    let all = history(&mut net, 1, id);
    assert_eq!(all, ["before", "one", "two", "three", "four"]);
    let unread = |event: &Event| matches!(event, Event::Unreadable { .. });
    assert_eq!(told(&net, 1, unread), 0);
    assert_eq!(told(&net, 1, set_back), 1);
}

#[test]
fn a_login_shows_the_ticket_of_the_one_before() {
    let mut net = Net::new();
    net.lie = Some(|method, said| match method {
        method::LOGIN_FINISH => changed(said, |answer: &mut proto::OpaqueLoginFinishResponse| {
            answer.ticket = Bytes::from_static(&[5; 32]);
        }),
        _ => said,
    });
    let shown = |net: &Net| {
        let request = net
            .requests
            .get(&method::LOGIN_START)
            .cloned()
            .expect("a login");
        let request = proto::OpaqueLoginStartRequest::decode(request);
        request.expect("a request").ticket
    };
    let client = net.add_client();
    let ended = net.ask(client, intent::Register::new("alice", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    assert!(shown(&net).is_empty(), "the first has none");
    // It outlives the process and the session.
    net.restart(client);
    let ended = net.ask(client, intent::Logout);
    assert!(matches!(ended, Ok(Outcome::LoggedOut)), "{ended:?}");
    let ended = net.ask(client, intent::Login::new("alice", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    assert_eq!(shown(&net), Bytes::from_static(&[5; 32]));
}

#[test]
fn a_server_that_says_so_again_and_again_gets_nothing_a_third_time() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    send(&mut net, 0, id, "once");
    net.asked.clear();
    for epoch in [Some(PUT_BACK), None, Some(PUT_BACK), None] {
        net.lie = epoch;
        net.restart(0);
        net.pass(Duration::from_secs(60));
    }
    let sent = asked(&net, method::BATCH_ENQUEUE);
    assert_eq!(sent, 1, "sent again once");
    assert_eq!(history(&mut net, 1, id), ["once"]);
}

#[test]
fn a_copy_of_the_data_is_noticed_and_goes_on_where_nothing_is_said_twice() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    send(&mut net, 0, id, "before");
    settle(&mut net);
    net.restart(0);
    settle(&mut net);
    let copy = net.clients[0].disk.clone();
    net.restart(0);
    send(&mut net, 0, id, "after");
    settle(&mut net);
    // Last week's disk.
    net.clients[0].disk = copy;
    net.restart(0);
    settle(&mut net);
    let set_back = |event: &Event| matches!(event, Event::SetBack);
    assert_eq!(told(&net, 0, set_back), 1);
    send(&mut net, 0, id, "with keys of its own");
    settle(&mut net);
    assert_eq!(
        history(&mut net, 1, id),
        ["before", "after", "with keys of its own"]
    );
    send(&mut net, 1, id, "heard");
    settle(&mut net);
    assert_eq!(
        history(&mut net, 0, id).last().map(String::as_str),
        Some("heard")
    );
}

#[test]
fn a_server_that_was_put_back_is_noticed_by_the_opening_that_it_names() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let before = backup(&net);
    net.restart(1);
    net.clients[1].away = true;
    // Openings that the copy knows nothing of.
    for text in ["one", "two"] {
        net.restart(0);
        send(&mut net, 0, id, text);
    }
    settle(&mut net);
    put_back_silently(&mut net, before);
    net.clients[1].away = false;
    net.pass(Duration::from_secs(120));
    let noticed =
        |event: &Event| matches!(event, Event::ServerSetBack { unsent } if unsent.is_empty());
    assert_eq!(told(&net, 0, noticed), 1);
    let mut all = history(&mut net, 1, id);
    all.sort_unstable();
    assert_eq!(all, ["one", "two"]);
}

/// It asks the server for the last one that it took by the id of that, and the server has the channel as it was before
/// its first commit, in the slot of which anybody could say anything: the id is still free for what is sent again.
#[test]
fn asking_for_the_last_message_uses_up_no_id() {
    let mut net = world(&["alice", "bob"]);
    net.late.insert((0, Late::Request(method::SUBMIT_COMMIT)));
    let made = net.begin(0, intent::CreateGroup::new("friends", &["bob"]));
    net.asked.clear();
    net.pass(Duration::from_secs(1));
    assert!(net.asked.contains(&method::SUBMIT_COMMIT), "on its way");
    let before = backup(&net);
    net.late.clear();
    assert!(net.until(|net| net.result(0, made).is_some()));
    let Some(Ok(Outcome::Conversation(made))) = net.result(0, made) else {
        panic!("no group");
    };
    settle(&mut net);
    assert_eq!(history(&mut net, 1, made.id), [""; 0]);
    go_away(&mut net, 1);
    send(&mut net, 0, made.id, "lost");
    // The copy says nothing of being one, and no opening was shown since.
    net.asked.clear();
    put_back_silently(&mut net, before);
    settle(&mut net);
    assert!(
        net.asked.contains(&method::BATCH_ENQUEUE),
        "it is asked for"
    );
    back(&mut net, 1);
    net.pass(Duration::from_secs(180));
    assert_eq!(history(&mut net, 1, made.id), ["lost"]);
    let noticed =
        |event: &Event| matches!(event, Event::ServerSetBack { unsent } if unsent.is_empty());
    assert_eq!(told(&net, 0, noticed), 1);
}

/// All but carol are of a day when she was not in the group, and when a slot that had no effect was not used up: the
/// epoch that she left by a commit in one slot is given to another commit, in the slot before it, and she has none of
/// that slot. It lies in her queue beside an invitation that leads back to before where she is.
#[test]
fn a_commit_in_an_earlier_slot_for_an_epoch_that_was_left_leads_to_where_the_others_are() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let before = net.snapshot();
    let void = Misdeed::Epoch(7);
    assert!(net.act(1, |core, now| core.misbehave(now, id, &void)));
    settle(&mut net);
    invite(&mut net, 0, id, "carol");
    settle(&mut net);
    invite(&mut net, 0, id, "dave");
    settle(&mut net);
    let carol = net.clients[2].disk.clone();
    let mut net = Net::resume(&before);
    go_away(&mut net, 2);
    // Other seeds than in the world that is forgotten.
    net.restart(0);
    settle(&mut net);
    invite(&mut net, 0, id, "carol");
    invite(&mut net, 0, id, "dave");
    settle(&mut net);
    net.clients[2].disk = carol;
    net.restart(2);
    back(&mut net, 2);
    net.pass(Duration::from_secs(120));
    let rejoined = |event: &Event| matches!(event, Event::Rejoined { .. });
    assert_eq!(told(&net, 2, rejoined), 1, "{:?}", net.clients[2].events);
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

/// So many messages this client was told to be lost for good, or for some.
fn unsent(net: &Net, client: usize) -> usize {
    let events = net.clients[client].events.iter();
    let unsent = events.filter_map(|event| match event {
        Event::ServerSetBack { unsent } => Some(unsent.len()),
        _ => None,
    });
    unsent.sum()
}

/// Carol was invited after the server's copy was made, and did not read what was said to her. By the time that alice
/// hears of it bob has gone on without her, so that it is sent again to him alone before carol is asked in again.
#[test]
fn what_was_said_to_one_who_is_not_there_any_more_is_named() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let disk = backup(&net);
    go_away(&mut net, 1);
    invite(&mut net, 0, id, "carol");
    settle(&mut net);
    go_away(&mut net, 2);
    send(&mut net, 0, id, "to all");
    go_away(&mut net, 0);
    put_back_silently(&mut net, disk);
    back(&mut net, 1);
    invite(&mut net, 1, id, "dave");
    settle(&mut net);
    back(&mut net, 0);
    net.pass(2 * MINUTE);
    back(&mut net, 2);
    net.pass(2 * MINUTE);
    assert_eq!(history(&mut net, 1, id), ["to all"]);
    assert_eq!(history(&mut net, 2, id), [""; 0]);
    assert_eq!(unsent(&net, 0), 1);
}

/// The server has lost it with the removal that came after it.
#[test]
fn what_was_said_to_one_who_was_taken_out_since_is_named() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    let disk = backup(&net);
    go_away(&mut net, 2);
    send(&mut net, 0, id, "to all");
    remove(&mut net, 0, id, "carol");
    settle(&mut net);
    put_back_silently(&mut net, disk);
    net.pass(2 * MINUTE);
    assert_eq!(history(&mut net, 1, id), ["to all"]);
    assert_eq!(unsent(&net, 0), 1);
}

/// What waits is sent again, and somebody has gone meanwhile: that says nothing of the server.
#[test]
fn a_device_that_was_set_back_says_nothing_of_the_server() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    net.late.insert((0, Late::Request(method::BATCH_ENQUEUE)));
    net.begin(0, intent::Send::new(id, "on its way"));
    net.pass(Duration::from_secs(1));
    let copy = net.clients[0].disk.clone();
    net.late.clear();
    net.restart(0);
    settle(&mut net);
    net.restart(0);
    settle(&mut net);
    remove(&mut net, 1, id, "carol");
    settle(&mut net);
    net.clients[0].disk = copy;
    net.restart(0);
    net.pass(2 * MINUTE);
    let of_it = |event: &Event| matches!(event, Event::SetBack);
    let of_server = |event: &Event| matches!(event, Event::ServerSetBack { .. });
    assert_eq!((told(&net, 0, of_it), told(&net, 0, of_server)), (1, 0));
}
