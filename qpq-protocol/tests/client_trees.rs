//! Members in different trees of one group come together (protocol.md §5.8, §5.31).

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::Net;
use net::people::{
    MINUTE, assert_agree, back, changed, conversation, go_away, group, invite, method, remove,
    send, settle, told, world,
};
use qpq_protocol::client::{ConversationId, Event, Misdeed};
use qpq_protocol::proto;

const ALICE: usize = 0;
const BOB: usize = 1;
const MALLORY: usize = 2;
const DAVE: usize = 3;

/// Bob lost what mallory had put into the slot, and comes back by the GroupInfo that she gave with it: into a tree that
/// alice is not in.
fn bob_comes_back_elsewhere() -> (Net, ConversationId) {
    let mut net = world(&["alice", "bob", "mallory", "dave", "erin"]);
    let id = group(&mut net, ALICE, &["bob", "mallory"]);
    settle(&mut net);
    go_away(&mut net, BOB);
    go_away(&mut net, ALICE);
    assert!(net.act(MALLORY, |core, now| core.misbehave(
        now,
        id,
        &Misdeed::OwnTree
    )));
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            queue.payloads.clear();
            queue.first_seq = queue.next_seq;
        }),
        _ => said,
    });
    back(&mut net, BOB);
    settle(&mut net);
    net.lie = None;
    let rejoined = |event: &Event| matches!(event, Event::Rejoined { .. });
    assert_eq!(told(&net, BOB, rejoined), 1);
    (net, id)
}

/// Dave was welcomed there, so neither he nor alice has let himself in; and theirs is the later epoch, so that nobody
/// there takes alice's GroupInfo.
#[test]
fn who_is_behind_in_another_tree_goes_where_the_others_are() {
    let (mut net, id) = bob_comes_back_elsewhere();
    invite(&mut net, BOB, id, "dave");
    settle(&mut net);
    go_away(&mut net, MALLORY);
    // Each of their commits takes them further from her.
    for _ in 0..4 {
        invite(&mut net, BOB, id, "erin");
        remove(&mut net, BOB, id, "erin");
    }
    settle(&mut net);
    let there = conversation(&mut net, DAVE, id).epoch;
    back(&mut net, ALICE);
    net.pass(Duration::from_secs(1));
    send(&mut net, ALICE, id, "where are you?");
    net.pass(10 * MINUTE);
    assert!(conversation(&mut net, ALICE, id).epoch >= there);
    assert_agree(&mut net, &[ALICE, BOB, DAVE], id);
}
