//! What a device whose data were put back waits for before it says anything in a group (protocol.md §5.31): a member
//! who shows that it holds the same, or its user's word.

#[path = "support/net.rs"]
mod net;

use std::cell::RefCell;

use bytes::Bytes;
use net::people::{
    MINUTE, asked, back, changed, go_away, group, history, leave, members, method, remove, send,
    settle, told, world,
};
use net::{Lie, Net};
use prost::Message as _;
use qpq_protocol::client::{Comparison, ConversationId, Event, IntentError, intent};
use qpq_protocol::proto;

/// The server knows an opening of each client that the client does not.
const SET_BACK: Lie = |method, said| match method {
    method::RESUME_SESSION => changed(said, |answer: &mut proto::ResumeSessionResponse| {
        answer.last = Bytes::from_static(&[9; 16]);
    }),
    _ => said,
};

fn is_awaited(event: &Event) -> bool {
    matches!(event, Event::AgreementAwaited { .. })
}

/// Bob's data are put back while alice and carol are away, and he says something.
fn bob_says_something_too_early() -> (Net, ConversationId) {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    for away in [0, 2] {
        go_away(&mut net, away);
    }
    net.lie = Some(SET_BACK);
    net.restart(1);
    settle(&mut net);
    net.lie = None;
    let awaited = |event: &Event| match event {
        Event::AgreementAwaited { of, .. } => of.len() == 2,
        _ => false,
    };
    assert_eq!(told(&net, 1, awaited), 1, "{:?}", net.clients[1].events);
    net.asked.clear();
    let intent = net.begin(1, intent::Send::new(id, "too early"));
    net.pass(MINUTE * 10);
    assert_eq!(asked(&net, method::BATCH_ENQUEUE), 0, "nothing was said");
    assert_eq!(net.result(1, intent), Some(Err(IntentError::Unconfirmed)));
    (net, id)
}

#[test]
fn what_waits_is_said_once_a_member_of_before_agrees() {
    let (mut net, id) = bob_says_something_too_early();
    // It waits over a start, too.
    net.restart(1);
    net.pass(MINUTE);
    assert!(history(&mut net, 1, id) == ["too early"] && net.texts(0).is_empty());
    back(&mut net, 0);
    net.pass(MINUTE);
    let agrees = |event: &Event| matches!(event, Event::Compared { result, .. } if *result == Comparison::Agrees);
    assert!(told(&net, 1, agrees) > 0, "{:?}", net.clients[1].events);
    assert_eq!(history(&mut net, 0, id), ["too early"]);
    // From then on nothing waits.
    send(&mut net, 1, id, "and this at once");
}

#[test]
fn what_waits_is_said_once_a_member_of_before_has_said_something() {
    let (mut net, id) = bob_says_something_too_early();
    // Reports do not come through, messages do.
    net.lie = Some(|method, said| match method {
        method::ENQUEUE | method::FETCH_HYBRID_KEYS => Err(3),
        _ => said,
    });
    back(&mut net, 0);
    settle(&mut net);
    send(&mut net, 0, id, "I am here");
    settle(&mut net);
    let mut all = history(&mut net, 0, id);
    all.sort_unstable();
    assert_eq!(all, ["I am here", "too early"]);
}

#[test]
fn what_waits_is_said_once_the_user_takes_the_group_as_it_is() {
    let (mut net, id) = bob_says_something_too_early();
    net.act(1, |core, now| core.accept_group(now, id));
    settle(&mut net);
    back(&mut net, 0);
    settle(&mut net);
    assert_eq!(history(&mut net, 0, id), ["too early"]);
}

#[test]
fn who_leaves_says_so_before_anybody_agrees_and_nothing_else() {
    let (mut net, id) = bob_says_something_too_early();
    leave(&mut net, 1, id);
    back(&mut net, 0);
    net.pass(MINUTE);
    assert_eq!(members(&mut net, 0, id), ["alice", "carol"]);
    assert!(history(&mut net, 0, id).is_empty());
}

/// There is no way back in, so he begins a new group in the place of the one that he has lost.
#[test]
fn in_a_new_group_what_waits_is_said_once_a_member_of_before_is_in_it() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    for away in [0, 2] {
        go_away(&mut net, away);
    }
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => Err(4),
        _ => SET_BACK(method, said),
    });
    net.restart(1);
    net.pass(MINUTE * 5);
    let is_reset = |event: &Event| matches!(event, Event::Reset { .. });
    assert_eq!(told(&net, 1, is_reset), 1, "{:?}", net.clients[1].events);
    assert_eq!(told(&net, 1, is_awaited), 1);
    net.lie = None;
    net.asked.clear();
    net.begin(1, intent::Send::new(id, "in the new group"));
    net.pass(MINUTE * 10);
    assert_eq!(asked(&net, method::BATCH_ENQUEUE), 0, "nothing was said");
    back(&mut net, 0);
    net.pass(MINUTE);
    assert_eq!(history(&mut net, 0, id), ["in the new group"]);
}

/// Whoever makes the new group may be anybody in the tree that the server has led to.
#[test]
fn an_invitation_into_a_new_group_ends_no_waiting() {
    let (mut net, id) = bob_says_something_too_early();
    // Carol finds no way in and makes one; no report comes through.
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => Err(4),
        method::ENQUEUE | method::FETCH_HYBRID_KEYS => Err(3),
        _ => SET_BACK(method, said),
    });
    back(&mut net, 2);
    net.pass(MINUTE * 5);
    let is_reset = |event: &Event| matches!(event, Event::Reset { .. });
    assert_eq!(told(&net, 1, is_reset), 1, "{:?}", net.clients[1].events);
    net.pass(MINUTE * 10);
    assert_eq!(asked(&net, method::BATCH_ENQUEUE), 0, "nothing was said");
    net.lie = None;
    back(&mut net, 0);
    settle(&mut net);
    send(&mut net, 0, id, "I am here");
    settle(&mut net);
    let mut all = history(&mut net, 2, id);
    all.sort_unstable();
    assert_eq!(all, ["I am here", "too early"]);
}

thread_local! {
    /// The GroupInfo that the server gives out in place of the one it has.
    static STALE: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

/// Carol was removed after bob's copy was made, so he does not know it. The server leads him back into a tree in which
/// she is.
#[test]
fn nothing_is_said_in_a_tree_of_an_earlier_day() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    let copy = net.clients[1].disk.clone();
    // Carol comes back into the tree that is there now: so the server has shown how it is.
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => {
            if let Ok(answer) = &said {
                let answer = proto::GetGroupInfoResponse::decode(answer.clone());
                let info = answer.expect("a GroupInfo").group_info;
                STALE.with_borrow_mut(|stale| _ = stale.get_or_insert(info));
            }
            said
        }
        _ => SET_BACK(method, said),
    });
    net.restart(2);
    settle(&mut net);
    net.lie = None;
    remove(&mut net, 0, id, "carol");
    net.restart(1);
    settle(&mut net);
    for away in [0, 1] {
        go_away(&mut net, away);
    }
    net.clients[1].disk = copy;
    net.lie = Some(|method, said| match method {
        method::GET_GROUP_INFO => changed(said, |answer: &mut proto::GetGroupInfoResponse| {
            answer.group_info = STALE.with_borrow(|stale| stale.clone().expect("one of before"));
        }),
        _ => said,
    });
    let before = net.clients[1].events.len();
    back(&mut net, 1);
    settle(&mut net);
    let since = &net.clients[1].events[before..];
    assert!(
        since
            .iter()
            .any(|event| matches!(event, Event::Rejoined { .. }))
    );
    assert!(since.iter().any(is_awaited), "{since:?}");
    net.begin(1, intent::Send::new(id, "among us"));
    net.asked.clear();
    net.pass(MINUTE * 10);
    assert_eq!(asked(&net, method::BATCH_ENQUEUE), 0, "nothing was said");
    // Once the server tells alice the truth, who holds another tree, he comes over to hers.
    net.lie = None;
    back(&mut net, 0);
    net.pass(MINUTE * 10);
    assert_eq!(history(&mut net, 0, id), ["among us"]);
    assert!(net.texts(2).is_empty(), "{:?}", net.texts(2));
}
