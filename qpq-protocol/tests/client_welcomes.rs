//! Welcomes into a group that this device is in already: one that does not verify, or leads elsewhere,
//! is said and changes nothing. And Welcomes that come late, or again.

#[path = "support/net.rs"]
mod net;

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use net::people::{
    MINUTE, PUT_BACK, asked, assert_agree, back, changed, conversation, go_away, group, invite,
    is_welcome, method, register, send, settle, told, world,
};
use net::{Late, Net, Snapshot};
use prost::Message as _;
use qpq_protocol::client::{
    ClientConfig, ConversationId, Event, RejoinReason, UnreadableReason, intent,
};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::proto;
use qpq_protocol::proto::delivery_payload::Payload;

thread_local! {
    /// A payload with a Welcome that was never read.
    static WELCOME: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// All that the server has of anybody is the package for when it has no other: it opens every invitation.
fn last_resort_only() -> ClientConfig {
    ClientConfig {
        package_floor: 0,
        package_target: 0,
        ..Net::new().client_config
    }
}

/// Changes what bob fetches.
fn fetched(
    method: u16,
    said: Result<Bytes, u8>,
    change: impl Fn(&mut proto::Envelope),
) -> Result<Bytes, u8> {
    match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            queue.payloads.iter_mut().for_each(change);
        }),
        _ => said,
    }
}

/// Bob, who is in the group, gets this Welcome in place of a message.
fn assert_refused(net: &mut Net, id: ConversationId, welcome: &Bytes) {
    go_away(net, 1);
    send(net, 0, id, "in whose place it came");
    WELCOME.set(welcome.clone());
    net.lie = Some(|method, said| {
        fetched(method, said, |envelope| {
            envelope.data = WELCOME.with_borrow(Clone::clone);
        })
    });
    let before = net.clients[1].events.len();
    back(net, 1);
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
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
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
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    go_away(&mut net, 1);
    group(&mut net, 0, &["bob"]);
    net.lie = Some(|method, said| {
        fetched(method, said, |envelope| {
            if is_welcome(envelope) {
                WELCOME.set(core::mem::take(&mut envelope.data));
                envelope.expired = true;
            }
        })
    });
    back(&mut net, 1);
    settle(&mut net);
    let welcome = WELCOME.with_borrow(Clone::clone);
    assert!(!welcome.is_empty(), "bob has not read it");
    assert_refused(&mut net, id, &welcome);
}

/// The listing says nothing of what is in the queue, and yet that the channel has begun: as when the invitation
/// comes between the server's reading of the one and of the other.
#[test]
fn an_invitation_that_came_while_the_queues_were_listed_is_read() {
    let mut net = world(&["alice", "bob", "carol"]);
    go_away(&mut net, 1);
    let id = group(&mut net, 0, &["bob"]);
    send(&mut net, 0, id, "in the epoch of the invitation");
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            for queue in &mut page.queues {
                (queue.first_seq, queue.next_seq) = (1, 1);
            }
        }),
        _ => said,
    });
    net.asked.clear();
    back(&mut net, 1);
    settle(&mut net);
    net.lie = None;
    let joined = |event: &Event| matches!(event, Event::Joined { .. });
    let unread = |event: &Event| matches!(event, Event::Unreadable { .. });
    assert_eq!((told(&net, 1, joined), told(&net, 1, unread)), (1, 0));
    let read: Vec<_> = net.texts(1).into_iter().map(|(_, text)| text).collect();
    assert_eq!(read, ["in the epoch of the invitation"]);
    let looks = asked(&net, method::GET_GROUP_INFO) + asked(&net, method::SUBMIT_COMMIT);
    assert_eq!(looks, 0, "it is in by the Welcome alone");
    assert_agree(&mut net, &[0, 1], id);
}

/// To a package that opens again: nothing but the epoch says that it leads back to before an own commit, which is in
/// no queue of this device.
#[test]
fn an_invitation_that_is_read_again_leads_back_to_no_earlier_epoch() {
    let mut net = Net::new();
    net.client_config = last_resort_only();
    for name in ["alice", "bob", "carol"] {
        register(&mut net, name);
    }
    // What bob has read stays in his queue.
    net.late.insert((1, Late::Request(method::ACK)));
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    invite(&mut net, 1, id, "carol");
    settle(&mut net);
    let before = conversation(&mut net, 1, id).epoch;
    // The server says that it was put back, so all is read again; how it has the group is heard after that.
    net.late.insert((1, Late::Answer(method::GET_GROUP_INFO)));
    net.lie = Some(PUT_BACK);
    net.asked.clear();
    net.restart(1);
    net.pass(Duration::from_secs(5));
    assert!(net.asked.contains(&method::FETCH), "it is read again");
    assert_eq!(conversation(&mut net, 1, id).epoch, before);
    net.late.clear();
    net.lie = None;
    net.pass(2 * MINUTE);
    let set_back = |event: &Event| matches!(event, Event::ServerSetBack { .. });
    let comes_back =
        |event: &Event| matches!(event, Event::Rejoining { .. } | Event::Rejoined { .. });
    assert_eq!((told(&net, 1, set_back), told(&net, 1, comes_back)), (1, 0));
    assert_agree(&mut net, &[0, 1, 2], id);
}

/// In its place the server gives what it says has expired, and that before the invitation, when there is no group yet
/// that could miss anything.
#[test]
fn a_commit_that_is_withheld_before_an_invitation_shows_by_the_next_message() {
    let mut net = world(&["alice", "bob", "carol"]);
    go_away(&mut net, 1);
    let id = group(&mut net, 0, &["bob"]);
    invite(&mut net, 0, id, "carol");
    net.lie = Some(|method, said| match method {
        method::FETCH => changed(said, |queue: &mut proto::FetchResponse| {
            if let [welcome, name, commit, ..] = &mut queue.payloads[..] {
                commit.data = core::mem::take(&mut welcome.data);
                commit.slot = None;
                (welcome.expired, name.expired) = (true, true);
            }
        }),
        _ => said,
    });
    // Behind it the group's name is said to carol, in the later epoch.
    back(&mut net, 1);
    settle(&mut net);
    net.lie = None;
    let missed = |event: &Event| {
        let missed = RejoinReason::Missed;
        matches!(event, Event::Rejoining { why, .. } if *why == missed)
    };
    assert_eq!(told(&net, 1, missed), 1);
    assert_agree(&mut net, &[0, 1, 2], id);
}

/// A member makes it up: each who gets it looks once, and goes on.
#[test]
fn a_message_of_a_made_up_epoch_takes_nobody_out_of_the_group() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    send(&mut net, 0, id, "genuine");
    let sent = net.requests[&method::BATCH_ENQUEUE].clone();
    let sent = proto::BatchEnqueueRequest::decode(sent).expect("a request");
    let payload = proto::DeliveryPayload::decode(sent.payload).expect("a payload");
    let Some(Payload::MlsMessage(message)) = payload.payload else {
        panic!("a message");
    };
    // Behind version, format and the id of the group.
    let mut message = message.to_vec();
    message[25..33].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    let bob = IdentityKey::try_from(sent.recipient_keys[1].as_ref()).expect("a key");
    net.asked.clear();
    let made_up = Payload::MlsMessage(message.into());
    assert!(net.act(0, |core, now| core.hand_in(now, id, bob, made_up)));
    settle(&mut net);
    assert_eq!(asked(&net, method::GET_GROUP_INFO), 1);
    net.restart(1);
    settle(&mut net);
    assert_eq!(asked(&net, method::GET_GROUP_INFO), 2, "once a session");
    let comes_back = |event: &Event| matches!(event, Event::Rejoining { .. });
    assert_eq!(told(&net, 1, comes_back), 0);
    assert_agree(&mut net, &[0, 1, 2], id);
    assert_eq!(asked(&net, method::GET_GROUP_INFO), 2);
}

/// What bob would be invited with by alice, if the world went on like this from here.
fn invitation(world: &Snapshot, id: ConversationId, change: impl FnOnce(&mut Net)) -> Bytes {
    let mut net = Net::resume(world);
    settle(&mut net);
    change(&mut net);
    go_away(&mut net, 1);
    invite(&mut net, 0, id, "bob");
    net.lie = Some(|method, said| {
        fetched(method, said, |envelope| {
            if is_welcome(envelope) {
                WELCOME.set(envelope.data.clone());
            }
        })
    });
    back(&mut net, 1);
    settle(&mut net);
    WELCOME.take()
}

/// Whoever invites does not see it where it is: so it is not where the others are.
#[test]
fn an_invitation_from_another_tree_leads_back_to_the_others() {
    let mut net = Net::new();
    net.client_config = last_resort_only();
    for name in ["alice", "bob", "carol"] {
        register(&mut net, name);
    }
    let id = group(&mut net, 0, &["carol"]);
    settle(&mut net);
    let world = net.snapshot();
    let same_epoch = |net: &mut Net| net.restart(0);
    let later_epoch = |net: &mut Net| {
        let removed = net.ask(0, intent::Remove::new(id, "carol"));
        assert!(removed.is_ok());
    };
    let ways: [&dyn Fn(&mut Net); 2] = [&same_epoch, &later_epoch];
    for elsewhere in ways {
        let welcome = invitation(&world, id, elsewhere);
        assert!(!welcome.is_empty());
        let mut net = Net::resume(&world);
        settle(&mut net);
        invite(&mut net, 0, id, "bob");
        settle(&mut net);
        go_away(&mut net, 1);
        send(&mut net, 0, id, "in whose place it comes");
        WELCOME.set(welcome);
        net.lie = Some(|method, said| {
            fetched(method, said, |envelope| {
                let welcome = WELCOME.take();
                if !welcome.is_empty() {
                    envelope.data = welcome;
                }
            })
        });
        back(&mut net, 1);
        net.pass(2 * MINUTE);
        net.lie = None;
        let unfit = |event: &Event| {
            let unfit = RejoinReason::Unfit;
            matches!(event, Event::Rejoining { why, .. } if *why == unfit)
        };
        let rejoined = |event: &Event| matches!(event, Event::Rejoined { .. });
        assert_eq!(
            (told(&net, 1, unfit), told(&net, 1, rejoined)),
            (1, 1),
            "{:?}",
            net.clients[1].events
        );
        assert_agree(&mut net, &[0, 1, 2], id);
    }
}
