//! Welcomes into a group that this device is in already: one that does not verify, or leads elsewhere,
//! is said and changes nothing.

#[path = "support/net.rs"]
mod net;

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use net::{Net, password};
use prost::Message as _;
use qpq_protocol::client::{ConversationId, Event, Outcome, UnreadableReason};
use qpq_protocol::proto;
use qpq_protocol::proto::delivery_payload::Payload;

thread_local! {
    /// A payload with a Welcome that was never read.
    static WELCOME: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

fn world() -> Net {
    let mut net = Net::new();
    for name in ["alice", "bob"] {
        let client = net.add_client();
        let ended = net.ask(client, |core, now| {
            core.register(now, name, password("secret"))
        });
        assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    }
    settle(&mut net);
    net
}

fn group(net: &mut Net, name: &str) -> ConversationId {
    match net.ask(0, |core, now| core.create_group(now, name, &["bob"])) {
        Ok(Outcome::Conversation(conversation)) => conversation.id,
        other => panic!("{other:?}"),
    }
}

fn send(net: &mut Net, client: usize, id: ConversationId, text: &str) {
    let ended = net.ask(client, |core, now| core.send(now, id, text));
    assert!(matches!(ended, Ok(Outcome::Sent { .. })), "{ended:?}");
}

fn settle(net: &mut Net) {
    net.pass(Duration::from_secs(30));
}

/// Changes what bob fetches.
fn fetched(
    method: u16,
    said: Result<Bytes, u8>,
    change: impl Fn(&mut proto::Envelope),
) -> Result<Bytes, u8> {
    match (method, said) {
        (201, Ok(payload)) => {
            let mut queue = proto::FetchResponse::decode(payload).expect("an answer");
            queue.payloads.iter_mut().for_each(change);
            Ok(queue.encode_to_vec().into())
        }
        (_, said) => said,
    }
}

fn is_welcome(envelope: &proto::Envelope) -> bool {
    let payload = proto::DeliveryPayload::decode(envelope.data.clone());
    let payload = payload.ok().and_then(|payload| payload.payload);
    matches!(payload, Some(Payload::Welcome(_)))
}

/// Bob, who is in the group, gets this Welcome in place of a message.
fn assert_refused(net: &mut Net, id: ConversationId, welcome: &Bytes) {
    net.restart(1);
    net.clients[1].away = true;
    send(net, 0, id, "in whose place it came");
    WELCOME.set(welcome.clone());
    net.lie = Some(|method, said| {
        fetched(method, said, |envelope| {
            envelope.data = WELCOME.with_borrow(Clone::clone);
        })
    });
    let before = net.clients[1].events.len();
    net.clients[1].away = false;
    settle(net);
    net.lie = None;
    let told: Vec<_> = net.clients[1].events.iter().skip(before).collect();
    let bad = |event: &&&Event| {
        let why = UnreadableReason::BadWelcome;
        matches!(event, Event::Unreadable { why: own, .. } if *own == why)
    };
    assert_eq!(told.iter().filter(bad).count(), 1, "{told:?}");
    let moved = |event: &&Event| {
        matches!(
            event,
            Event::Joined { .. }
                | Event::Reset { .. }
                | Event::Rejoining { .. }
                | Event::Rejoined { .. }
                | Event::Removed { .. }
                | Event::Broken { .. }
        )
    };
    assert!(!told.iter().any(moved), "{told:?}");
    // The group is the one that it was.
    for (writer, reader) in [(0, 1), (1, 0)] {
        let text = format!("{writer} after {} bytes", welcome.len());
        send(net, writer, id, &text);
        settle(net);
        let last = net.texts(reader).pop().map(|(_, text)| text);
        assert_eq!(last, Some(text));
    }
}

#[test]
fn a_welcome_that_does_not_open_discards_no_group() {
    let mut net = world();
    let id = group(&mut net, "club");
    settle(&mut net);
    let rubbish = proto::DeliveryPayload {
        payload: Some(Payload::Welcome(proto::GroupWelcome {
            welcome: Bytes::from_static(b"rubbish"),
            ..Default::default()
        })),
    };
    assert_refused(&mut net, id, &rubbish.encode_to_vec().into());
}

/// It opens and verifies, and is of another group.
#[test]
fn a_welcome_into_another_group_discards_no_group() {
    let mut net = world();
    let id = group(&mut net, "club");
    settle(&mut net);
    net.restart(1);
    net.clients[1].away = true;
    group(&mut net, "other");
    net.lie = Some(|method, said| {
        fetched(method, said, |envelope| {
            if is_welcome(envelope) {
                WELCOME.set(core::mem::take(&mut envelope.data));
                envelope.expired = true;
            }
        })
    });
    net.clients[1].away = false;
    settle(&mut net);
    let welcome = WELCOME.with_borrow(Clone::clone);
    assert!(!welcome.is_empty(), "bob has not read it");
    assert_refused(&mut net, id, &welcome);
}
