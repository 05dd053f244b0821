//! Who comes back into a group and would meet people there whom this device saw go: nothing is said to them, unless the
//! user wants that (protocol.md §5.31).

#[path = "support/net.rs"]
mod net;

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use net::Net;
use net::people::{
    MINUTE, asked, assert_agree, back, changed, conversation, go_away, group, invite, members,
    method, remove, send, settle, told, world,
};
use qpq_protocol::client::{ConversationId, Event, Outcome, Standing, intent};
use qpq_protocol::proto;
use qpq_protocol::status::Status;

const ALICE: usize = 0;
const CAROL: usize = 1;

/// Carol saw dave go, and not that he was asked in again: for more than a minute she has not come back.
fn refused() -> (Net, ConversationId) {
    let mut net = world(&["alice", "carol", "dave"]);
    let id = group(&mut net, ALICE, &["carol", "dave"]);
    settle(&mut net);
    remove(&mut net, ALICE, id, "dave");
    settle(&mut net);
    go_away(&mut net, CAROL);
    invite(&mut net, ALICE, id, "dave");
    send(&mut net, ALICE, id, "with dave");
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            if queue.payloads.len() > 1 {
                queue.payloads.remove(0);
            }
        }),
        _ => said,
    });
    back(&mut net, CAROL);
    net.pass(2 * MINUTE + Duration::from_secs(30));
    net.lie = None;
    let refused = |event: &Event| matches!(event, Event::RejoinRefused { .. });
    assert_eq!(told(&net, CAROL, refused), 1, "it is told once");
    let view = conversation(&mut net, CAROL, id);
    assert_eq!(view.standing, Standing::Rejoining);
    (net, id)
}

#[test]
fn who_leaves_where_somebody_came_back_comes_back_at_once_to_say_so() {
    let (mut net, id) = refused();
    net.asked.clear();
    let left = net.begin(CAROL, intent::Leave(id));
    // Sooner than it is looked again who is there.
    net.pass(Duration::from_secs(5));
    assert_eq!(net.result(CAROL, left), Some(Ok(Outcome::Left(id))));
    assert_eq!(members(&mut net, ALICE, id), ["alice", "dave"]);
    assert_eq!(asked(&net, method::REMOVE_MEMBER), 0, "by the others");
}

/// All that time there was a way in.
#[test]
fn who_leaves_where_somebody_came_back_waits_for_a_way_in() {
    let (mut net, id) = refused();
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => changed(said, |answer: &mut proto::GetGroupInfoResponse| {
            answer.group_info = Bytes::from_static(b"rubbish");
        }),
        _ => said,
    });
    net.asked.clear();
    net.begin(CAROL, intent::Leave(id));
    net.pass(Duration::from_secs(15));
    assert!(net.asked.contains(&method::GET_GROUP_INFO));
    assert_eq!(asked(&net, method::REMOVE_MEMBER), 0, "not without a word");
    net.lie = None;
    net.pass(2 * MINUTE);
    assert_eq!(members(&mut net, ALICE, id), ["alice", "dave"]);
    assert_eq!(asked(&net, method::REMOVE_MEMBER), 0, "by the others");
}

thread_local! {
    /// By so much the server is still to say that the channel is further than it is.
    static AHEAD: Cell<u64> = const { Cell::new(3) };
}

/// The server once named a slot that the channel never reached: what is wrong with a new group there is said with
/// where the channel is.
#[test]
fn a_new_group_begins_where_the_channel_is_and_not_where_it_was_said_to_be() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    go_away(&mut net, 1);
    for text in ["lost", "found"] {
        send(&mut net, 0, id, text);
    }
    go_away(&mut net, 0);
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            if queue.payloads.len() > 1 {
                queue.payloads.remove(0);
            }
        }),
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            for queue in page.queues.iter_mut().filter(|queue| queue.slot > 0) {
                queue.slot += AHEAD.take();
            }
        }),
        method::GET_GROUP_INFO => Err(Status::NotFound.code()),
        _ => said,
    });
    back(&mut net, 1);
    net.pass(4 * MINUTE);
    let reset = |event: &Event| matches!(event, Event::Reset { .. });
    assert_eq!(told(&net, 1, reset), 1, "{:?}", net.clients[1].events);
    net.lie = None;
    back(&mut net, 0);
    assert_agree(&mut net, &[0, 1], id);
}
