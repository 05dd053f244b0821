//! What the simulation once found, as scenes: against the real server core in virtual time, with calls
//! that are late on their way. (The seeds that led there lead elsewhere since the world has changed.)

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{
    assert_agree, back, changed, conversation, dm, go_away, group, invite, leave, method, remove,
    second_device, send, settle, told, world,
};
use net::{Late, Lie};
use qpq_protocol::client::{Event, Outcome, RejoinReason, Standing, UnreadableReason, intent};
use qpq_protocol::proto;
use qpq_protocol::status::Status;

/// The others had a day for taking him out, so he takes himself off the list; they do it then, ask him in again, and
/// only after that his leaving comes.
#[test]
fn a_leaving_that_comes_after_the_next_invitation_is_noticed() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    go_away(&mut net, 0);
    leave(&mut net, 1, id);
    net.late.insert((1, Late::Request(method::REMOVE_MEMBER)));
    // A day is over when the clocks have said so at two openings.
    for _ in 0..2 {
        net.pass(Duration::from_secs(90_000));
        net.asked.clear();
        net.restart(1);
    }
    assert!(net.until(|net| net.asked.contains(&method::REMOVE_MEMBER)));
    back(&mut net, 0);
    assert!(net.until(|net| told(net, 0, is_removal) > 0));
    invite(&mut net, 0, id, "bob");
    net.pass(Duration::from_secs(1));
    assert_eq!(conversation(&mut net, 1, id).standing, Standing::Active);
    // Nobody is there who would put him back.
    go_away(&mut net, 0);
    net.late.clear();
    net.pass(Duration::from_secs(120));
    // Nobody takes himself for a member for good who is none.
    let removed = |event: &Event| matches!(event, Event::Removed { .. });
    assert_eq!(told(&net, 1, removed), 1);
    assert_eq!(conversation(&mut net, 1, id).standing, Standing::Over);
    // She hears of it once, whatever she has seen the server say before. And it can be begun again.
    back(&mut net, 0);
    net.pass(Duration::from_secs(120));
    let unlisted = |event: &Event| matches!(event, Event::Unlisted { .. });
    assert_eq!(told(&net, 0, unlisted), 1);
    remove(&mut net, 0, id, "bob");
    invite(&mut net, 0, id, "bob");
    assert_agree(&mut net, &[0, 1], id);
}

fn is_removal(event: &Event) -> bool {
    matches!(event, Event::Membership { removed, .. } if !removed.is_empty())
}

#[test]
fn the_late_answer_to_a_leaving_ends_no_membership_that_began_since() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    assert_agree(&mut net, &[0, 1], id);
    net.late.insert((1, Late::Answer(method::REMOVE_MEMBER)));
    net.begin(1, intent::Leave(id));
    net.asked.clear();
    assert!(net.until(|net| net.asked.contains(&method::REMOVE_MEMBER)));
    // Sooner than the call is given up.
    net.pass(Duration::from_secs(1));
    let ended = net.ask(0, intent::Dm("bob".into()));
    assert!(matches!(ended, Ok(Outcome::Conversation(_))), "{ended:?}");
    net.pass(Duration::from_secs(1));
    assert_eq!(conversation(&mut net, 1, id).standing, Standing::Active);
    net.late.clear();
    assert_agree(&mut net, &[0, 1], id);
}

#[test]
fn nothing_is_committed_while_a_refused_fetch_is_to_be_repeated() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let busy: Lie = |method, said| match method {
        method::FETCH => Err(Status::Unavailable as u8),
        _ => said,
    };
    go_away(&mut net, 0);
    net.lie = Some(busy);
    invite(&mut net, 1, id, "dave");
    // What bob changed waits for alice, whose Fetch is refused.
    net.asked.clear();
    back(&mut net, 0);
    let added = net.begin(0, intent::Invite::new(id, "carol"));
    for _ in 0..20 {
        net.pass(Duration::from_secs(1));
        assert!(!net.asked.contains(&method::SUBMIT_COMMIT));
    }
    assert!(net.asked.contains(&method::FETCH), "it is repeated");
    net.lie = None;
    assert!(net.until(|net| net.result(0, added).is_some()));
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

#[test]
fn a_refusal_from_before_an_invitation_ends_nothing() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    // Bob's devices are named anew, and carol is removed before her question comes. All of it takes less time than
    // the call has.
    net.late.insert((2, Late::Request(method::LIST_MEMBERS)));
    net.late.insert((2, Late::Answer(method::LIST_MEMBERS)));
    net.asked.clear();
    second_device(&mut net, "bob");
    net.pass(Duration::from_secs(5));
    net.deaf = true;
    assert!(net.asked.contains(&method::LIST_MEMBERS));
    remove(&mut net, 0, id, "carol");
    // Refused now, and read later.
    net.late.remove(&(2, Late::Request(method::LIST_MEMBERS)));
    net.pass(Duration::from_secs(1));
    invite(&mut net, 0, id, "carol");
    let removed = |event: &Event| matches!(event, Event::Removed { .. });
    let before = told(&net, 2, removed);
    net.deaf = false;
    send(
        &mut net,
        0,
        id,
        "by which she hears that there is something",
    );
    net.pass(Duration::from_secs(1));
    let between = told(&net, 2, removed);
    net.late.clear();
    assert_agree(&mut net, &[0, 1, 2], id);
    let after = told(&net, 2, removed);
    assert_eq!(
        (before, between, after),
        (0, 1, 1),
        "removed once, by the commit that says so"
    );
}

#[test]
fn nothing_is_committed_on_a_new_connection_before_the_queues_are_known() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.deaf = true;
    invite(&mut net, 1, id, "dave");
    net.late.insert((0, Late::Answer(method::LIST_QUEUES)));
    net.cut_client(0);
    net.asked.clear();
    let added = net.begin(0, intent::Invite::new(id, "carol"));
    net.pass(Duration::from_secs(5));
    assert!(net.asked.contains(&method::LIST_QUEUES));
    assert!(!net.asked.contains(&method::SUBMIT_COMMIT));
    net.late.clear();
    assert!(net.until(|net| net.result(0, added).is_some()));
    let place = |method| net.asked.iter().position(|asked| *asked == method);
    assert!(
        place(method::FETCH) < place(method::SUBMIT_COMMIT),
        "{:?}",
        net.asked
    );
    net.deaf = false;
    // Of whom nobody heard meanwhile looks by himself.
    net.pass(Duration::from_secs(600));
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

/// A server's numbers have no holes: what it leaves out of an answer is missing, and that is told.
#[test]
fn a_hole_in_what_a_fetch_gives_is_told_and_come_back_from() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    go_away(&mut net, 1);
    for text in ["left out", "given"] {
        send(&mut net, 0, id, text);
    }
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |answer: &mut proto::FetchResponse| {
            if answer.payloads.len() > 1 {
                answer.payloads.remove(0);
            }
        }),
        _ => said,
    });
    back(&mut net, 1);
    settle(&mut net);
    net.lie = None;
    let is_missing = |event: &Event| {
        matches!(
            event,
            Event::Unreadable {
                why: UnreadableReason::Expired,
                ..
            }
        )
    };
    let comes_back = |event: &Event| {
        matches!(
            event,
            Event::Rejoining {
                why: RejoinReason::Missed,
                ..
            }
        )
    };
    assert_eq!(
        (told(&net, 1, is_missing), told(&net, 1, comes_back)),
        (1, 1)
    );
    assert_agree(&mut net, &[0, 1], id);
}

/// Nobody who could carry it out has room to hear that one leaves: it is said again.
#[test]
fn a_leaving_that_finds_no_room_is_said_again() {
    let mut net = world(&["alice", "bob"]);
    net.stop_server();
    net.server_config.limits.queue_messages = 8;
    net.start_server();
    settle(&mut net);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.clients[0].away = true;
    net.cut_client(0);
    // One sender fills at most a quarter of a queue.
    for text in ["one", "two", "three"] {
        net.ask(1, intent::Send::new(id, text)).ok();
    }
    net.begin(1, intent::Leave(id));
    settle(&mut net);
    net.restart(0);
    back(&mut net, 0);
    settle(&mut net);
    assert_eq!(conversation(&mut net, 0, id).members.len(), 2, "not heard");
    net.pass(Duration::from_secs(400));
    assert_eq!(conversation(&mut net, 0, id).members.len(), 1);
}
