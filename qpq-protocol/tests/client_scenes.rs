//! What the simulation once found, as scenes: against the real server core in virtual time, with calls
//! that are late on their way. (The seeds that led there lead elsewhere since the world has changed.)

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::{Late, Net, password};
use prost::Message as _;
use qpq_protocol::client::{
    Conversation, ConversationId, Event, Outcome, RejoinReason, Standing, UnreadableReason,
};
use qpq_protocol::proto;
use qpq_protocol::status::Status;

const FETCH: u16 = 201;
const SUBMIT_COMMIT: u16 = 206;
const LIST_QUEUES: u16 = 207;
const REMOVE_MEMBER: u16 = 410;
const LIST_MEMBERS: u16 = 412;

/// People with an account each.
fn world(names: &[&str]) -> Net {
    let mut net = Net::new();
    for name in names {
        let client = net.add_client();
        let ended = net.ask(client, |core, now| {
            core.register(now, name, password("secret"))
        });
        assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    }
    net
}

fn dm(net: &mut Net, client: usize, peer: &str) -> ConversationId {
    let ended = net.ask(client, |core, now| core.dm(now, peer));
    let Ok(Outcome::Conversation(conversation)) = ended else {
        panic!("{ended:?}");
    };
    settle(net);
    conversation.id
}

fn group(net: &mut Net, members: &[&str]) -> ConversationId {
    let ended = net.ask(0, |core, now| core.create_group(now, "friends", members));
    let Ok(Outcome::Conversation(conversation)) = ended else {
        panic!("{ended:?}");
    };
    settle(net);
    conversation.id
}

fn settle(net: &mut Net) {
    net.pass(Duration::from_secs(30));
}

fn conversation(net: &mut Net, client: usize, id: ConversationId) -> Conversation {
    match net.ask(client, |core, now| core.conversations(now)) {
        Ok(Outcome::Conversations(all)) => all
            .into_iter()
            .find(|one| one.id == id)
            .expect("the conversation"),
        other => panic!("{other:?}"),
    }
}

fn told(net: &Net, client: usize, of: impl Fn(&Event) -> bool) -> usize {
    let events = net.clients[client].events.iter();
    events.filter(|event| of(event)).count()
}

/// They are in the same epoch, and each is read by the others.
fn assert_agree(net: &mut Net, clients: &[usize], id: ConversationId) {
    settle(net);
    let views: Vec<_> = clients
        .iter()
        .map(|client| conversation(net, *client, id))
        .collect();
    for (client, view) in clients.iter().zip(&views) {
        assert_eq!(view.standing, Standing::Active, "client {client}");
        assert_eq!(view.epoch, views[0].epoch, "client {client}");
        assert_eq!(view.members, views[0].members, "client {client}");
    }
    for client in clients {
        let text = format!("{client} in epoch {}", views[0].epoch);
        let ended = net.ask(*client, |core, now| core.send(now, id, &text));
        assert!(matches!(ended, Ok(Outcome::Sent { .. })), "{ended:?}");
        settle(net);
        for other in clients.iter().filter(|other| *other != client) {
            let last = net.texts(*other).pop().map(|(_, text)| text);
            assert_eq!(last.as_ref(), Some(&text), "client {other} reads {client}");
        }
    }
}

/// A world in which alice and bob talk, and bob has left: this of it is late.
fn left_late(late: Late) -> (Net, ConversationId) {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    assert_agree(&mut net, &[0, 1], id);
    net.late.insert((1, late));
    net.act(1, |core, now| core.leave(now, id));
    net.asked.clear();
    assert!(net.until(|net| net.asked.contains(&REMOVE_MEMBER)));
    // Sooner than the call is given up.
    net.pass(Duration::from_secs(1));
    (net, id)
}

#[test]
fn a_leaving_that_comes_after_the_next_invitation_is_noticed() {
    let (mut net, id) = left_late(Late::Request(REMOVE_MEMBER));
    // The other one knows by the proposal, and begins anew; then the leaving comes.
    assert_eq!(dm(&mut net, 0, "bob"), id);
    net.late.clear();
    net.pass(Duration::from_secs(120));
    // Whatever stands now, nobody takes himself for a member for good: it can be begun again.
    assert_eq!(dm(&mut net, 0, "bob"), id);
    assert_agree(&mut net, &[0, 1], id);
}

#[test]
fn the_late_answer_to_a_leaving_ends_no_membership_that_began_since() {
    let (mut net, id) = left_late(Late::Answer(REMOVE_MEMBER));
    let ended = net.ask(0, |core, now| core.dm(now, "bob"));
    assert!(matches!(ended, Ok(Outcome::Conversation(_))), "{ended:?}");
    net.pass(Duration::from_secs(1));
    assert_eq!(conversation(&mut net, 1, id).standing, Standing::Active);
    net.late.clear();
    assert_agree(&mut net, &[0, 1], id);
}

#[test]
fn nothing_is_committed_while_a_refused_fetch_is_to_be_repeated() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, &["bob"]);
    let busy: net::Lie = |method, said| match method {
        FETCH => Err(Status::Unavailable as u8),
        _ => said,
    };
    net.restart(0);
    net.clients[0].away = true;
    net.lie = Some(busy);
    let ended = net.ask(1, |core, now| core.invite(now, id, "dave"));
    assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
    // What bob changed waits for alice, whose Fetch is refused.
    net.asked.clear();
    net.clients[0].away = false;
    let added = net.act(0, |core, now| core.invite(now, id, "carol"));
    for _ in 0..20 {
        net.pass(Duration::from_secs(1));
        assert!(!net.asked.contains(&SUBMIT_COMMIT));
    }
    assert!(net.asked.contains(&FETCH), "it is repeated");
    net.lie = None;
    assert!(net.until(|net| net.result(0, added).is_some()));
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

#[test]
fn a_refusal_from_before_an_invitation_ends_nothing() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, &["bob", "carol"]);
    // Bob's devices are named anew, and he is removed before his question comes.
    net.late.insert((2, Late::Request(LIST_MEMBERS)));
    net.late.insert((2, Late::Answer(LIST_MEMBERS)));
    net.late.insert((2, Late::Answer(FETCH)));
    second_device(&mut net, "bob");
    net.deaf = true;
    assert!(net.asked.contains(&LIST_MEMBERS));
    for (step, add) in [(0, false), (1, true)] {
        let ended = match add {
            false => net.ask(0, |core, now| core.remove(now, id, "carol")),
            true => net.ask(0, |core, now| core.invite(now, id, "carol")),
        };
        assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
        if step == 0 {
            // Refused now, and read later.
            net.late.remove(&(2, Late::Request(LIST_MEMBERS)));
            settle(&mut net);
        }
    }
    let before = told(&net, 2, |event| matches!(event, Event::Removed { .. }));
    net.deaf = false;
    net.late.remove(&(2, Late::Answer(FETCH)));
    settle(&mut net);
    net.late.clear();
    assert_agree(&mut net, &[0, 1, 2], id);
    let after = told(&net, 2, |event| matches!(event, Event::Removed { .. }));
    assert_eq!(
        (before, after),
        (0, 1),
        "removed once, by the commit that says so"
    );
}

/// A device more of this account, which every group's members are told of.
fn second_device(net: &mut Net, name: &str) {
    let client = net.add_client();
    let ended = net.ask(client, |core, now| {
        core.login(now, name, password("secret"))
    });
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    settle(net);
}

#[test]
fn nothing_is_committed_on_a_new_connection_before_the_queues_are_known() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, &["bob"]);
    net.deaf = true;
    let ended = net.ask(1, |core, now| core.invite(now, id, "dave"));
    assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
    net.late.insert((0, Late::Answer(LIST_QUEUES)));
    net.cut_client(0);
    net.asked.clear();
    let added = net.act(0, |core, now| core.invite(now, id, "carol"));
    net.pass(Duration::from_secs(5));
    assert!(net.asked.contains(&LIST_QUEUES));
    assert!(!net.asked.contains(&SUBMIT_COMMIT));
    net.late.clear();
    assert!(net.until(|net| net.result(0, added).is_some()));
    let place = |method| net.asked.iter().position(|asked| *asked == method);
    assert!(place(FETCH) < place(SUBMIT_COMMIT), "{:?}", net.asked);
    net.deaf = false;
    // Of whom nobody heard meanwhile looks by himself.
    net.pass(Duration::from_secs(600));
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

/// A server's numbers have no holes: what it leaves out of an answer is missing, and that is told.
#[test]
fn a_hole_in_what_a_fetch_gives_is_told_and_come_back_from() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, &["bob"]);
    net.restart(1);
    net.clients[1].away = true;
    for text in ["left out", "given"] {
        let ended = net.ask(0, |core, now| core.send(now, id, text));
        assert!(matches!(ended, Ok(Outcome::Sent { .. })), "{ended:?}");
    }
    net.lie = Some(|method, said| match (method, said) {
        (FETCH, Ok(payload)) => {
            let mut answer = proto::FetchResponse::decode(payload).expect("an answer");
            if answer.payloads.len() > 1 {
                answer.payloads.remove(0);
            }
            Ok(answer.encode_to_vec().into())
        }
        (_, said) => said,
    });
    net.clients[1].away = false;
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
    let id = group(&mut net, &["bob"]);
    net.clients[0].away = true;
    net.cut_client(0);
    // One sender fills at most a quarter of a queue.
    for text in ["one", "two", "three"] {
        net.ask(1, |core, now| core.send(now, id, text)).ok();
    }
    net.act(1, |core, now| core.leave(now, id));
    settle(&mut net);
    net.restart(0);
    net.clients[0].away = false;
    settle(&mut net);
    assert_eq!(conversation(&mut net, 0, id).members.len(), 2, "not heard");
    net.pass(Duration::from_secs(400));
    assert_eq!(conversation(&mut net, 0, id).members.len(), 1);
}
