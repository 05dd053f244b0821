//! Members whom a void commit of another's throws off the server's list: they are in the tree as before, get no
//! mail, and come back on the list by themselves or by others (protocol.md §5.10).

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{assert_agree, group, members, method, register, settle};
use net::{Late, Net};
use qpq_protocol::client::{ConversationId, Misdeed, Outcome};
use qpq_protocol::ids::IdentityKey;

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
    let removed = net.act(ALICE, |core, now| core.remove(now, id, "dave"));
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
