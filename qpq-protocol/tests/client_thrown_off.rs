//! Members whom a void commit of another's throws off the server's list: they are in the tree as before, get no
//! mail, and come back on the list by themselves or by others (protocol.md §5.10).

#[path = "support/net.rs"]
mod net;

use std::cell::Cell;
use std::time::Duration;

use net::people::{
    MINUTE, PUT_BACK, asked, assert_agree, back, find, go_away, group, invite, members, method,
    register, second_device, send, settle, told,
};
use net::{Late, Net};
use qpq_protocol::client::{ConversationId, Event, Misdeed, Outcome, Standing, intent};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::status::Status;
use qpq_protocol::storage::memory::Memory;

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

/// These, and their keys.
fn world(names: &[&str]) -> (Net, Vec<IdentityKey>) {
    let mut net = Net::new();
    let keys = names.iter().map(|name| register(&mut net, name));
    let keys = keys.collect();
    (net, keys)
}

/// One of these throws this one off the list.
fn throw_off(net: &mut Net, by: usize, id: ConversationId, whom: IdentityKey) {
    let misdeed = Misdeed::ThrowOff(vec![whom]);
    assert!(net.act(by, |core, now| core.misbehave(now, id, &misdeed)));
    net.pass(Duration::from_secs(1));
}

/// It hears by the list that it is off it, and only then that its commit was refused for that.
#[test]
fn what_was_wanted_by_who_is_thrown_off_the_list_is_made_when_it_is_back() {
    let (mut net, keys) = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, ALICE, &["bob", "carol", "dave"]);
    settle(&mut net);
    net.late
        .insert((ALICE, Late::Request(method::SUBMIT_COMMIT)));
    let removed = net.begin(ALICE, intent::Remove::new(id, "dave"));
    net.asked.clear();
    net.pass(Duration::from_secs(1));
    assert!(net.asked.contains(&method::SUBMIT_COMMIT), "on its way");
    net.asked.clear();
    throw_off(&mut net, BOB, id, keys[ALICE]);
    assert!(net.asked.contains(&method::LIST_MEMBERS), "it is refused");
    assert_eq!(net.result(ALICE, removed), None);
    net.late.clear();
    assert!(net.until(|net| net.result(ALICE, removed).is_some()));
    let ended = net.result(ALICE, removed);
    assert!(matches!(ended, Some(Ok(Outcome::Changed(_)))), "{ended:?}");
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
    assert_eq!(members(&mut net, BOB, id), ["alice", "bob", "carol"]);
}

/// Alice throws carol off before anybody has seen a list with her; carol knows of nothing, so she can't ask for her
/// place. Bob puts her back, and she comes in.
fn assert_put_back(mut net: Net, id: ConversationId, carol: IdentityKey, carol_before: Memory) {
    settle(&mut net);
    assert_eq!(members(&mut net, CAROL, id), ["alice", "bob", "carol"]);
    go_away(&mut net, CAROL);
    throw_off(&mut net, ALICE, id, carol);
    go_away(&mut net, ALICE);
    net.late.clear();
    net.restart(BOB);
    net.clients[CAROL].disk = carol_before;
    net.restart(CAROL);
    back(&mut net, CAROL);
    net.pass(2 * MINUTE);
    let inside = find(&mut net, CAROL, id).map(|one| one.standing);
    assert_eq!(inside, Some(Standing::Active));
    back(&mut net, ALICE);
    net.pass(2 * MINUTE);
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
}

/// Bob and carol with data of before any group, and nobody sees a list.
fn before_the_list() -> (Net, IdentityKey, Memory) {
    let (mut net, keys) = world(&["alice", "bob", "carol"]);
    net.restart(CAROL);
    settle(&mut net);
    let before = net.clients[CAROL].disk.clone();
    net.restart(CAROL);
    for client in [ALICE, BOB, CAROL] {
        net.late
            .insert((client, Late::Request(method::LIST_MEMBERS)));
    }
    (net, keys[CAROL], before)
}

#[test]
fn who_joined_with_one_who_is_thrown_off_the_list_puts_her_back() {
    let (mut net, carol, before) = before_the_list();
    let id = group(&mut net, ALICE, &["bob", "carol"]);
    assert_put_back(net, id, carol, before);
}

#[test]
fn who_saw_one_come_who_is_thrown_off_the_list_puts_her_back() {
    let (mut net, carol, before) = before_the_list();
    let id = group(&mut net, ALICE, &["bob"]);
    settle(&mut net);
    invite(&mut net, ALICE, id, "carol");
    assert_put_back(net, id, carol, before);
}

/// Whoever put her back is away, and her invitation lies before what threw her off.
#[test]
fn who_comes_in_when_it_was_thrown_off_already_asks_for_its_place_at_once() {
    let (mut net, keys) = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, ALICE, &["bob"]);
    settle(&mut net);
    go_away(&mut net, CAROL);
    net.begin(ALICE, intent::Invite::new(id, "carol"));
    net.pass(Duration::from_secs(1));
    net.late
        .insert((ALICE, Late::Request(method::LIST_MEMBERS)));
    throw_off(&mut net, BOB, id, keys[CAROL]);
    for away in [ALICE, BOB] {
        go_away(&mut net, away);
    }
    net.late.clear();
    net.asked.clear();
    back(&mut net, CAROL);
    net.pass(Duration::from_secs(5));
    assert_eq!(asked(&net, method::ADD_MEMBER), 1);
    send(&mut net, CAROL, id, "here I am");
    for away in [ALICE, BOB] {
        back(&mut net, away);
    }
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
}

/// Nobody else is there to put her back.
#[test]
fn who_is_thrown_off_the_list_in_doubt_asks_for_her_place() {
    let (mut net, keys) = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, ALICE, &["bob", "carol"]);
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
    go_away(&mut net, ALICE);
    // The server says that it was put back; before it says how it has the group, carol is off its list.
    net.late
        .insert((CAROL, Late::Request(method::GET_GROUP_INFO)));
    net.lie = Some(PUT_BACK);
    net.restart(CAROL);
    net.pass(Duration::from_secs(5));
    net.lie = None;
    assert!(
        net.asked.contains(&method::GET_GROUP_INFO),
        "it is in doubt"
    );
    throw_off(&mut net, BOB, id, keys[CAROL]);
    go_away(&mut net, BOB);
    net.asked.clear();
    net.late.clear();
    // All of it without waiting: what the server has of the group is known by its next word.
    net.pump();
    assert_eq!(asked(&net, method::ADD_MEMBER), 1);
    assert_eq!(asked(&net, method::GET_GROUP_INFO), 1, "asked again");
    net.pass(2 * MINUTE);
    send(&mut net, CAROL, id, "here I am");
    let removed = |event: &Event| matches!(event, Event::Removed { .. });
    assert_eq!(told(&net, CAROL, removed), 0);
    back(&mut net, ALICE);
    back(&mut net, BOB);
    net.pass(2 * MINUTE);
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
}

thread_local! {
    /// How often the server has still to say that this account is none of the members.
    static FALSE_WORDS: Cell<u32> = const { Cell::new(1) };
}

/// Whether this is the word that is false.
fn is_false() -> bool {
    let left = FALSE_WORDS.get();
    FALSE_WORDS.set(left.saturating_sub(1));
    left > 0
}

#[test]
fn who_is_refused_a_place_once_asks_again_before_taking_that_for_the_end() {
    let (mut net, keys) = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, ALICE, &["bob", "carol"]);
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
    net.lie = Some(|method, said| match method {
        method::ADD_MEMBER if is_false() => Err(Status::Forbidden.code()),
        _ => said,
    });
    go_away(&mut net, ALICE);
    net.asked.clear();
    throw_off(&mut net, BOB, id, keys[CAROL]);
    go_away(&mut net, BOB);
    settle(&mut net);
    assert_eq!(asked(&net, method::ADD_MEMBER), 1);
    net.pass(2 * MINUTE);
    let removed = |event: &Event| matches!(event, Event::Removed { .. });
    assert_eq!(told(&net, CAROL, removed), 0);
    send(&mut net, CAROL, id, "here I am");
    back(&mut net, ALICE);
    back(&mut net, BOB);
    assert_agree(&mut net, &[ALICE, BOB, CAROL], id);
}

/// The queue holds nothing that says so, and neither does the server when it is asked again.
#[test]
fn one_false_word_that_an_account_is_out_leads_to_nothing() {
    let (mut net, _) = world(&["alice", "bob"]);
    let id = group(&mut net, ALICE, &["bob"]);
    assert_agree(&mut net, &[ALICE, BOB], id);
    net.lie = Some(|method, said| match method {
        method::LIST_MEMBERS if is_false() => Err(Status::Forbidden.code()),
        _ => said,
    });
    net.asked.clear();
    second_device(&mut net, "alice");
    settle(&mut net);
    assert_eq!(FALSE_WORDS.get(), 0, "it was said");
    assert_eq!(asked(&net, method::ADD_MEMBER), 0);
    for client in [ALICE, BOB] {
        let removed = |event: &Event| matches!(event, Event::Removed { .. });
        assert_eq!(told(&net, client, removed), 0);
    }
    assert_agree(&mut net, &[ALICE, BOB], id);
}
