//! The signs by which a client notices that its server's data are of an earlier day (protocol.md
//! §5.32): each is given alone, by a server that has lost nothing, and is told once; nothing is lost or
//! shown twice for it, and talk goes on.

#[path = "support/net.rs"]
mod net;

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use net::people::{changed, group, history, method, send, settle, told};
use net::{Late, Lie, Net, people};
use prost::Message as _;
use qpq_protocol::client::{ConversationId, Event, intent};
use qpq_protocol::proto;
use qpq_protocol::status::Status;

const ALICE: usize = 0;
const BOB: usize = 1;

thread_local! {
    /// An opening of earlier.
    static OPENING: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
    /// What was read last.
    static READ: RefCell<Option<proto::Envelope>> = const { RefCell::new(None) };
}

/// Two people in a group, each of whom has said something that the other has read.
fn world() -> (Net, ConversationId) {
    let mut net = people::world(&["alice", "bob"]);
    let id = group(&mut net, ALICE, &["bob"]);
    settle(&mut net);
    send(&mut net, ALICE, id, "one");
    send(&mut net, BOB, id, "two");
    settle(&mut net);
    (net, id)
}

fn set_backs(net: &Net, client: usize) -> usize {
    told(net, client, |event| {
        matches!(event, Event::ServerSetBack { .. })
    })
}

/// Bob is told so by a server that says this until he has come back from it.
fn assert_noticed(net: &mut Net, id: ConversationId, lie: Lie) {
    net.lie = Some(lie);
    net.restart(BOB);
    net.until(|net| set_backs(net, BOB) > 0);
    net.lie = None;
    net.pass(Duration::from_secs(120));
    assert_eq!(set_backs(net, BOB), 1);
    assert_goes_on(net, id);
}

/// Both are heard, and have what they had.
fn assert_goes_on(net: &mut Net, id: ConversationId) {
    send(net, BOB, id, "three");
    settle(net);
    send(net, ALICE, id, "four");
    settle(net);
    for client in [ALICE, BOB] {
        let all = ["one", "two", "three", "four"];
        assert_eq!(history(net, client, id), all, "client {client}");
    }
}

/// The queue of a conversation, as it is listed.
fn of_talk(page: &mut proto::ListQueuesResponse) -> impl Iterator<Item = &mut proto::Queue> {
    let queues = page.queues.iter_mut();
    queues.filter(|queue| !queue.channel_id.is_empty())
}

#[test]
fn the_opening_that_it_held_is_an_older_one() {
    let (mut net, id) = world();
    net.restart(BOB);
    settle(&mut net);
    let shown = net
        .requests
        .get(&method::RESUME_SESSION)
        .cloned()
        .expect("an opening");
    let shown = proto::ResumeSessionRequest::decode(shown).expect("a request");
    OPENING.set(shown.chain.expect("a chain").next);
    // Others come after it.
    for _ in 0..2 {
        net.restart(BOB);
        settle(&mut net);
    }
    assert_eq!(set_backs(&net, BOB), 0);
    assert_noticed(&mut net, id, |method, said| match method {
        method::RESUME_SESSION => changed(said, |answer: &mut proto::ResumeSessionResponse| {
            answer.last = OPENING.with_borrow(Clone::clone);
        }),
        _ => said,
    });
}

#[test]
fn its_epoch_is_another_one() {
    let (mut net, id) = world();
    // It stays this one.
    net.lie = Some(|method, said| match method {
        method::RESUME_SESSION => changed(said, |answer: &mut proto::ResumeSessionResponse| {
            answer.server_epoch ^= 1;
        }),
        _ => said,
    });
    net.restart(BOB);
    net.pass(Duration::from_secs(120));
    net.restart(BOB);
    settle(&mut net);
    assert_eq!(set_backs(&net, BOB), 1);
    assert_goes_on(&mut net, id);
}

#[test]
fn a_queue_ends_before_what_was_read_of_it() {
    let (mut net, id) = world();
    assert_noticed(&mut net, id, |method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            of_talk(page).for_each(|queue| (queue.first_seq, queue.next_seq) = (1, 1));
        }),
        _ => said,
    });
}

/// As long as before, and with something else in it.
#[test]
fn another_envelope_lies_where_one_was_read() {
    let (mut net, id) = world();
    assert_noticed(&mut net, id, |method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            of_talk(page).for_each(|queue| queue.first_seq = 1);
        }),
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            queue.first_seq = 1;
            queue.payloads = vec![proto::Envelope {
                seq: queue.next_seq.saturating_sub(1),
                data: Bytes::from_static(b"something else"),
                ..Default::default()
            }];
        }),
        _ => said,
    });
}

/// One more comes while the listing is on its way, and all is read when it arrives.
#[test]
fn what_is_pushed_before_the_listing_does_not_hide_another_envelope() {
    let (mut net, id) = world();
    net.late.insert((BOB, Late::Answer(method::LIST_QUEUES)));
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            of_talk(page).for_each(|queue| queue.first_seq = queue.next_seq.saturating_sub(1));
        }),
        _ => said,
    });
    net.restart(BOB);
    net.pass(Duration::from_secs(1));
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            queue.first_seq = queue.first_seq.saturating_sub(1);
            let another = proto::Envelope {
                seq: queue.first_seq,
                data: Bytes::from_static(b"something else"),
                ..Default::default()
            };
            queue.payloads.insert(0, another);
        }),
        _ => said,
    });
    send(&mut net, ALICE, id, "three");
    net.pass(Duration::from_secs(1));
    net.late.clear();
    net.pass(Duration::from_secs(1));
    net.lie = None;
    net.pass(Duration::from_secs(120));
    assert_eq!(set_backs(&net, BOB), 1);
    assert_eq!(history(&mut net, BOB, id), ["one", "two", "three"]);
}

/// Its acknowledgement was lost, so the queue is looked at; more comes whenever an answer is on its way.
#[test]
fn a_queue_that_is_looked_at_is_read_though_more_comes_all_the_time() {
    let (mut net, id) = world();
    net.late.insert((BOB, Late::Request(method::ACK)));
    send(&mut net, ALICE, id, "unacknowledged");
    net.pass(Duration::from_secs(1));
    net.late = [(BOB, Late::Answer(method::FETCH))].into();
    net.restart(BOB);
    net.pass(Duration::from_secs(1));
    for text in ["three", "four"] {
        send(&mut net, ALICE, id, text);
    }
    net.asked.clear();
    net.late.clear();
    net.pass(Duration::from_secs(1));
    // What came is taken before more is asked for: of that the same would be said.
    let of_queue = [method::FETCH, method::ACK];
    let next = net.asked.iter().find(|method| of_queue.contains(method));
    assert_eq!(next, Some(&method::ACK));
    let all = ["one", "two", "unacknowledged", "three", "four"];
    assert_eq!(history(&mut net, BOB, id), all);
}

/// Of two envelopes the second has the number of the first, and would be passed over as known.
#[test]
fn an_answer_that_is_not_in_order_is_not_taken() {
    let (mut net, id) = world();
    net.restart(BOB);
    net.clients[BOB].away = true;
    for text in ["three", "four"] {
        send(&mut net, ALICE, id, text);
    }
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            let first = queue.payloads.first().map(|envelope| envelope.seq);
            let all = queue.payloads.iter_mut();
            all.for_each(|envelope| envelope.seq = first.unwrap_or_default());
        }),
        _ => said,
    });
    net.clients[BOB].away = false;
    net.pass(Duration::from_secs(2));
    assert_eq!(history(&mut net, BOB, id), ["one", "two"]);
    net.lie = None;
    net.pass(Duration::from_secs(120));
    assert_eq!(history(&mut net, BOB, id), ["one", "two", "three", "four"]);
}

/// The same envelope is there because the acknowledgement was lost: no sign of anything.
#[test]
fn a_lost_acknowledgement_is_no_sign() {
    let (mut net, id) = world();
    net.deaf = true;
    send(&mut net, ALICE, id, "fetched");
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            if let Some(last) = queue.payloads.last() {
                READ.set(Some(last.clone()));
            }
        }),
        _ => said,
    });
    net.restart(BOB);
    settle(&mut net);
    net.asked.clear();
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            let last = READ.with_borrow(Clone::clone).expect("an envelope").seq;
            of_talk(page).for_each(|queue| queue.first_seq = last);
        }),
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            let last = READ.with_borrow(Clone::clone).expect("an envelope");
            (queue.first_seq, queue.payloads) = (last.seq, vec![last]);
        }),
        _ => said,
    });
    net.restart(BOB);
    settle(&mut net);
    assert!(net.asked.contains(&method::ACK), "it is acknowledged again");
    assert_eq!(set_backs(&net, BOB), 0);
    assert_eq!(history(&mut net, BOB, id), ["one", "two", "fetched"]);
}

/// Only the queue for what belongs to no conversation is there.
fn without_talk(method: u16, said: Result<Bytes, u8>) -> Result<Bytes, u8> {
    match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            page.queues.retain(|queue| queue.channel_id.is_empty());
        }),
        _ => said,
    }
}

#[test]
fn a_queue_is_not_listed() {
    let (mut net, id) = world();
    assert_noticed(&mut net, id, without_talk);
}

/// Alice has committed there and read nothing, since nobody gets their own commits back.
#[test]
fn a_queue_that_nothing_was_read_of_is_not_listed() {
    let mut net = people::world(&["alice", "bob"]);
    let id = group(&mut net, ALICE, &["bob"]);
    settle(&mut net);
    net.lie = Some(without_talk);
    net.restart(ALICE);
    net.until(|net| set_backs(net, ALICE) > 0);
    net.lie = None;
    net.pass(Duration::from_secs(120));
    assert_eq!(set_backs(&net, ALICE), 1);
    send(&mut net, BOB, id, "one");
    settle(&mut net);
    assert_eq!(history(&mut net, ALICE, id), ["one"]);
}

#[test]
fn a_channel_has_no_members_to_list() {
    let (mut net, id) = world();
    assert_noticed(&mut net, id, |method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            of_talk(page).for_each(|queue| queue.members_version += 1);
        }),
        method::LIST_MEMBERS => Err(Status::NotFound.code()),
        _ => said,
    });
}

#[test]
fn a_channel_is_not_there_for_a_message() {
    let (mut net, id) = world();
    net.lie = Some(|method, said| match method {
        method::BATCH_ENQUEUE => Err(Status::NotFound.code()),
        _ => said,
    });
    let sent = net.begin(BOB, intent::Send::new(id, "three"));
    net.until(|net| set_backs(net, BOB) > 0);
    net.lie = None;
    assert!(net.until(|net| net.result(BOB, sent).is_some()));
    net.pass(Duration::from_secs(120));
    assert_eq!(set_backs(&net, BOB), 1);
    send(&mut net, ALICE, id, "four");
    settle(&mut net);
    for client in [ALICE, BOB] {
        let all = ["one", "two", "three", "four"];
        assert_eq!(history(&mut net, client, id), all, "client {client}");
    }
}

/// A known id is refused for its other content; one that is not known, for its slot.
fn without_what_it_took(method: u16, said: Result<Bytes, u8>) -> Result<Bytes, u8> {
    match method {
        method::BATCH_ENQUEUE => said.map_err(|_| Status::Conflict.code()),
        _ => said,
    }
}

#[test]
fn a_message_that_it_took_is_not_known() {
    let (mut net, id) = world();
    assert_noticed(&mut net, id, without_what_it_took);
}

/// By bob's clock it is long forgotten.
#[test]
fn a_message_that_it_took_is_not_known_when_the_clock_is_ahead() {
    let (mut net, id) = world();
    net.clock_off.insert(BOB, Duration::from_secs(40 * 86_400));
    assert_noticed(&mut net, id, without_what_it_took);
}

/// So it may be of any day: what was sent before it was last found as it was left is sent again, too.
#[test]
fn a_message_is_not_known_to_a_server_that_does_not_know_the_device() {
    let (mut net, id) = world();
    net.cut_client(BOB);
    settle(&mut net);
    send(&mut net, BOB, id, "three");
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::RESUME_SESSION => changed(said, |answer: &mut proto::ResumeSessionResponse| {
            answer.last = Bytes::new();
        }),
        _ => without_what_it_took(method, said),
    });
    net.cut_client(BOB);
    net.until(|net| set_backs(net, BOB) > 0);
    net.lie = None;
    net.record = Some(Vec::new());
    net.pass(Duration::from_secs(120));
    let asked = net.record.take().expect("a record").into_iter();
    let sent = asked.filter(|(method, _)| *method == method::BATCH_ENQUEUE);
    let sent = sent.map(|(_, request)| proto::BatchEnqueueRequest::decode(request));
    // But for the question whether the last one is there.
    let again = sent.filter(|request| request.as_ref().is_ok_and(|sent| sent.payload.len() > 1));
    assert_eq!(again.count(), 2);
    assert_eq!(history(&mut net, ALICE, id), ["one", "two", "three"]);
}

/// Else that would be the message that is asked for the next time, which the server has.
#[test]
fn nothing_is_sent_before_it_is_known_whether_the_server_has_the_last_message() {
    let (mut net, id) = world();
    net.late.insert((BOB, Late::Answer(method::BATCH_ENQUEUE)));
    net.restart(BOB);
    net.asked.clear();
    net.pass(Duration::from_secs(1));
    let sent = net.begin(BOB, intent::Send::new(id, "three"));
    net.pass(Duration::from_secs(1));
    assert_eq!(people::asked(&net, method::BATCH_ENQUEUE), 1);
    net.late.clear();
    assert!(net.until(|net| net.result(BOB, sent).is_some()));
    settle(&mut net);
    assert_eq!(history(&mut net, ALICE, id), ["one", "two", "three"]);
}

/// A server that is busy is asked again.
#[test]
fn a_message_that_it_took_is_not_known_once_it_has_time() {
    let (mut net, id) = world();
    net.lie = Some(|method, said| match method {
        method::BATCH_ENQUEUE => said.map_err(|_| Status::Unavailable.code()),
        _ => said,
    });
    net.restart(BOB);
    net.pass(Duration::from_secs(1));
    net.lie = Some(without_what_it_took);
    assert!(net.until(|net| set_backs(net, BOB) > 0));
    net.lie = None;
    net.pass(Duration::from_secs(120));
    assert_goes_on(&mut net, id);
}

/// The commit that it lacks is given back as it was; no more is lost by it.
#[test]
fn a_channel_is_at_an_earlier_slot() {
    let (mut net, id) = world();
    net.requests.clear();
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            of_talk(page).for_each(|queue| queue.slot -= 1);
        }),
        _ => said,
    });
    // Who has come in later can't give back what was before.
    net.restart(ALICE);
    settle(&mut net);
    let given = net
        .requests
        .get(&method::SUBMIT_COMMIT)
        .cloned()
        .expect("a commit");
    let given = proto::SubmitCommitRequest::decode(given).expect("a request");
    assert_eq!(given.channel_id, id.as_bytes()[..]);
    let original = given.original.expect("whose it was");
    assert_eq!(original.commit_proof.len(), 72);
    net.lie = None;
    settle(&mut net);
    assert_goes_on(&mut net, id);
    for client in [ALICE, BOB] {
        let events = net.clients[client].events.iter();
        let moved = events.filter(|event| matches!(event, Event::Rejoining { .. }));
        assert_eq!(moved.count(), 0, "client {client}");
    }
}
