//! What a client core keeps for its user, how that is waited for and taken back; the account's
//! devices; safety numbers.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{self, conversation, conversations, dm, group, method, remove, settle, world};
use net::{Late, Net, password};
use qpq_protocol::client::{
    Body, ConversationId, DeviceInfo, Event, IntentError, IntentId, Kept, Outcome, Sent, Standing,
    Waiting, intent,
};
use qpq_protocol::ids::{ChannelId, DeviceId, MessageId};
use qpq_protocol::server::ServerConfig;
use qpq_protocol::status::Status;

/// Bob is taken out while something that he said is on its way; how that ends.
fn said_while_taken_out(late: Late, then: impl FnOnce(&mut Net)) -> (Net, ConversationId, Ended) {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    net.late.insert((1, late));
    let said = net.begin(1, intent::Send::new(id, "the last word"));
    remove(&mut net, 0, id, "bob");
    net.pass(Duration::from_secs(1));
    let standing = conversation(&mut net, 1, id).standing;
    assert_eq!((standing, net.result(1, said)), (Standing::Over, None));
    net.late.clear();
    then(&mut net);
    settle(&mut net);
    let ended = net.result(1, said);
    assert!(outbox(&mut net, 1).is_empty());
    (net, id, ended)
}

type Ended = Option<Result<Outcome, IntentError>>;

/// What was told to be kept of an intent.
fn kept(net: &mut Net, client: usize, intent: IntentId) -> Option<Kept> {
    net.pass(Duration::from_secs(1));
    net.clients[client]
        .events
        .iter()
        .find_map(|event| match event {
            Event::Kept { intent: own, kept } if *own == intent => Some(*kept),
            _ => None,
        })
}

fn outbox(net: &mut Net, client: usize) -> Vec<Waiting> {
    match net.ask(client, intent::Outbox) {
        Ok(Outcome::Outbox(waiting)) => waiting,
        other => panic!("{other:?}"),
    }
}

fn history(net: &mut Net, client: usize, id: ConversationId) -> Vec<Body> {
    match net.ask(
        client,
        intent::History {
            conversation: id,
            before: None,
            limit: 1000,
        },
    ) {
        Ok(Outcome::Messages(all)) => all.into_iter().map(|message| message.body).collect(),
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

#[test]
fn a_message_is_kept_once_under_its_id_whoever_repeats_it() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    net.pass(Duration::from_secs(30));
    net.stop_server();
    let first = net.begin(0, intent::Send::new(id, "hello"));
    let Some(Kept::Message { message_id, .. }) = kept(&mut net, 0, first) else {
        panic!("not kept");
    };
    // The same text again is a second message; the same id is not, not even by another process.
    let second = net.begin(0, intent::Send::new(id, "hello"));
    assert_ne!(
        kept(&mut net, 0, second),
        Some(Kept::Message {
            conversation: id,
            message_id
        })
    );
    net.restart(0);
    net.pass(Duration::from_secs(1));
    let again = net.begin(
        0,
        intent::Send {
            message_id: Some(message_id),
            ..intent::Send::new(id, "hello")
        },
    );
    assert_eq!(outbox(&mut net, 0).len(), 2);
    let other = net.ask(
        0,
        intent::Send {
            message_id: Some(message_id),
            ..intent::Send::new(id, "other")
        },
    );
    assert_eq!(other, Err(IntentError::OtherId));
    net.start_server();
    assert!(net.until(|net| net.result(0, again).is_some()));
    let sent = net.result(0, again);
    assert!(
        matches!(sent, Some(Ok(Outcome::Sent(Sent { message_id: own, .. }))) if own == message_id)
    );
    net.pass(Duration::from_secs(30));
    assert_eq!(history(&mut net, 1, id), [text("hello"), text("hello")]);
    assert_eq!(outbox(&mut net, 0), []);
}

#[test]
fn a_message_is_taken_back_until_the_server_may_have_it() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    net.pass(Duration::from_secs(30));
    let long = "x".repeat(64 * 1024);
    net.stop_server();
    let mut ids = Vec::new();
    let mut intents = Vec::new();
    for text in ["one", long.as_str(), "three"] {
        let intent = net.begin(0, intent::Send::new(id, text));
        let Some(kept) = kept(&mut net, 0, intent) else {
            panic!("not kept");
        };
        intents.push(intent);
        ids.push(kept);
    }
    // The last one goes without a trace, one before it leaves its place.
    for at in [2, 1] {
        let taken = net.ask(0, intent::TakeBack(ids[at]));
        assert_eq!(taken, Ok(Outcome::TakenBack));
        assert_eq!(
            net.result(0, intents[at]),
            Some(Err(IntentError::TakenBack))
        );
        let again = net.ask(0, intent::TakeBack(ids[at]));
        assert_eq!(again, Err(IntentError::NotKept));
    }
    assert_eq!(history(&mut net, 0, id), [text("one")]);
    net.begin(0, intent::Send::new(id, "four"));
    let taken = net.ask(0, intent::TakeBack(ids[0]));
    assert_eq!(taken, Ok(Outcome::TakenBack));
    assert_eq!(history(&mut net, 0, id), [Body::TakenBack, text("four")]);
    net.start_server();
    assert!(net.until(|net| net.texts(1).len() == 1));
    net.pass(Duration::from_secs(30));
    assert_eq!(history(&mut net, 1, id), [text("four")]);
    // One that is encrypted may be with the server.
    let intent = net.begin(0, intent::Send::new(id, "five"));
    while outbox_now(&net, 0, intent).is_none() {
        assert!(net.turn());
    }
    let Some(five) = outbox_now(&net, 0, intent) else {
        panic!("not kept");
    };
    net.stop_server();
    let taken = net.ask(0, intent::TakeBack(five));
    assert_eq!(taken, Err(IntentError::OnItsWay));
    net.start_server();
    assert!(net.until(|net| net.result(0, intent).is_some()));
}

fn outbox_now(net: &Net, client: usize, intent: IntentId) -> Option<Kept> {
    net.clients[client]
        .events
        .iter()
        .find_map(|event| match event {
            Event::Kept { intent: own, kept } if *own == intent => Some(*kept),
            _ => None,
        })
}

#[test]
fn a_group_that_is_kept_is_made_once_or_taken_back() {
    let mut net = world(&["alice", "bob"]);
    dm(&mut net, 0, "bob");
    net.pass(Duration::from_secs(30));
    net.stop_server();
    let make = |net: &mut Net, name: &str| {
        let intent = net.begin(0, intent::CreateGroup::new(name, &["bob"]));
        match kept(net, 0, intent) {
            Some(Kept::Conversation(id)) => id,
            other => panic!("{other:?}"),
        }
    };
    let (stays, goes) = (make(&mut net, "stays"), make(&mut net, "goes"));
    // Not even a message that waits in it keeps it.
    let waits = net.begin(0, intent::Send::new(goes, "to nobody"));
    let taken = net.ask(0, intent::TakeBack(Kept::Conversation(goes)));
    assert_eq!(net.result(0, waits), Some(Err(IntentError::TakenBack)));
    assert_eq!(taken, Ok(Outcome::TakenBack));
    let other = net.ask(
        0,
        intent::CreateGroup {
            id: Some(stays),
            ..intent::CreateGroup::new("other", &[])
        },
    );
    assert_eq!(other, Err(IntentError::OtherId));
    let again = net.begin(
        0,
        intent::CreateGroup {
            id: Some(stays),
            ..intent::CreateGroup::new("stays", &["bob"])
        },
    );
    net.start_server();
    assert!(net.until(|net| net.result(0, again).is_some()));
    let made = net.result(0, again);
    assert!(matches!(made, Some(Ok(Outcome::Conversation(one))) if one.id == stays));
    net.pass(Duration::from_secs(30));
    for client in 0..2 {
        let all = conversations(&mut net, client);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().all(|one| one.standing == Standing::Active));
    }
    // What stands is no more taken back.
    let late = net.ask(0, intent::TakeBack(Kept::Conversation(stays)));
    assert_eq!(late, Err(IntentError::OnItsWay));
}

/// What nobody waits for any more, since the process that asked for it has ended. What was said in it stays.
#[test]
fn what_is_kept_and_comes_to_nothing_is_told() {
    let mut net = world(&["alice", "bob"]);
    dm(&mut net, 0, "bob");
    net.pass(Duration::from_secs(30));
    net.stop_server();
    let intent = net.begin(0, intent::CreateGroup::new("club", &["bob"]));
    let Some(Kept::Conversation(id)) = kept(&mut net, 0, intent) else {
        panic!("it is kept");
    };
    let other = net.begin(0, intent::CreateGroup::new("talk", &["bob"]));
    let Some(Kept::Conversation(talk)) = kept(&mut net, 0, other) else {
        panic!("it is kept");
    };
    let said = net.begin(0, intent::Send::new(talk, "said already"));
    assert!(kept(&mut net, 0, said).is_some());
    net.restart(0);
    net.lie = Some(|method, said| match method {
        method::CREATE_CHANNEL => Err(3),
        _ => said,
    });
    net.start_server();
    net.pass(Duration::from_secs(60));
    let told = net.clients[0].events.iter();
    let told: Vec<_> = told
        .filter(|event| matches!(event, Event::NotMade { .. }))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        matches!(told[0], Event::NotMade { conversation, name, .. } if *conversation == id && name == "club"),
        "{told:?}"
    );
    let unsent = net.clients[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NotSent { message, .. } => Some((message.conversation, message.body.clone())),
            _ => None,
        });
    let said = (talk, Body::Text("said already".into()));
    assert_eq!(unsent.collect::<Vec<_>>(), [said]);
    let all = conversations(&mut net, 0);
    assert!(all.iter().all(|one| one.id != id));
    let stays = all.iter().find(|one| one.id == talk).expect("it stays");
    assert_eq!(stays.standing, Standing::Over);
    assert_eq!(history(&mut net, 0, talk), [text("said already")]);
}

/// The server says that it takes no commit.
#[test]
fn a_removal_that_is_kept_and_comes_to_nothing_is_told() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = people::group(&mut net, 0, &["bob", "carol"]);
    net.pass(Duration::from_secs(30));
    net.stop_server();
    let intent = net.begin(0, intent::Remove::new(id, "bob"));
    assert!(kept(&mut net, 0, intent).is_some());
    net.restart(0);
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::BadRequest.code()),
        _ => said,
    });
    net.start_server();
    net.pass(Duration::from_secs(60));
    let stays = net.clients[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NotRemoved { person, .. } => person.name.clone(),
            _ => None,
        });
    assert_eq!(stays.collect::<Vec<_>>(), ["bob"]);
}

#[test]
fn what_was_never_asked_for_is_not_kept() {
    let mut net = world(&["alice"]);
    net.pass(Duration::from_secs(30));
    net.stop_server();
    // Nobody knows who zoe is, so nothing can be done later.
    let intent = net.begin(0, intent::Dm("zoe".into()));
    assert_eq!(kept(&mut net, 0, intent), None);
    let nothing = Kept::Message {
        conversation: ChannelId([7; 16]),
        message_id: MessageId([7; 16]),
    };
    let taken = net.ask(0, intent::TakeBack(nothing));
    assert_eq!(taken, Err(IntentError::NotKept));
}

fn devices(net: &mut Net, client: usize) -> Vec<DeviceInfo> {
    match net.ask(client, intent::Devices) {
        Ok(Outcome::Devices(devices)) => devices,
        other => panic!("{other:?}"),
    }
}

fn login(net: &mut Net) -> (usize, Result<Outcome, IntentError>) {
    let client = net.add_client();
    let ended = net.ask(client, intent::Login::new("alice", password("secret")));
    (client, ended)
}

/// The word of the removal comes before the answer: only the server knows whether it took the message.
#[test]
fn what_the_server_took_of_one_who_was_taken_out_meanwhile_is_called_sent() {
    let answer = Late::Answer(method::BATCH_ENQUEUE);
    let (mut net, id, ended) = said_while_taken_out(answer, |_| ());
    assert!(matches!(ended, Some(Ok(Outcome::Sent { .. }))), "{ended:?}");
    for client in [0, 2] {
        let last = people::history(&mut net, client, id).pop();
        assert_eq!(last.as_deref(), Some("the last word"));
    }
}

#[test]
fn what_the_server_refused_to_one_who_was_taken_out_meanwhile_has_failed() {
    let request = Late::Request(method::BATCH_ENQUEUE);
    let (mut net, id, ended) = said_while_taken_out(request, |_| ());
    assert_eq!(ended, Some(Err(IntentError::NotAMember)));
    assert_eq!(people::history(&mut net, 0, id).pop(), None);
}

#[test]
fn what_nobody_answers_to_one_who_was_taken_out_meanwhile_has_failed() {
    let answer = Late::Answer(method::BATCH_ENQUEUE);
    let cut = |net: &mut Net| {
        net.stop_server();
        net.start_server();
    };
    let (.., ended) = said_while_taken_out(answer, cut);
    assert_eq!(ended, Some(Err(IntentError::NotAMember)));
}

#[test]
fn a_full_account_tells_a_login_which_devices_it_has() {
    let limit = ServerConfig::default().limits.devices;
    let mut net = world(&["alice"]);
    for _ in 1..limit {
        let (_, ended) = login(&mut net);
        assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
        // Logins of one account are counted by the hour.
        net.pass(Duration::from_secs(3600));
    }
    let (_, ended) = login(&mut net);
    let Err(IntentError::TooManyDevices { devices: all }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(all.len(), limit);
    // Any device removes another, but not itself.
    let all = devices(&mut net, 0);
    let own = all.iter().find(|one| one.own).unwrap().device_id;
    let ended = net.ask(0, intent::RemoveDevice(own));
    assert_eq!(ended, Err(IntentError::OwnDevice));
    let other = all.iter().find(|one| !one.own).unwrap().device_id;
    let ended = net.ask(0, intent::RemoveDevice(other));
    assert_eq!(ended, Ok(Outcome::DeviceRemoved(other)));
    assert_eq!(devices(&mut net, 0).len(), limit - 1);
    // Who says it again is answered; who names a device that never was is told.
    let ended = net.ask(0, intent::RemoveDevice(other));
    assert_eq!(ended, Ok(Outcome::DeviceRemoved(other)));
    let never = DeviceId::new([9; 16]);
    let ended = net.ask(0, intent::RemoveDevice(never));
    assert_eq!(ended, Err(IntentError::UnknownDevice));
    let (_, ended) = login(&mut net);
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
}

#[test]
fn a_full_account_makes_room_for_a_device() {
    let limit = ServerConfig::default().limits.devices;
    let mut net = world(&["alice"]);
    let mut last = 0;
    for _ in 1..limit {
        let (client, ended) = login(&mut net);
        assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
        last = client;
        // Logins of one account are counted by the hour.
        net.pass(Duration::from_secs(3600));
    }
    let (late, ended) = login(&mut net);
    let Err(IntentError::TooManyDevices { devices: all }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(all.len(), limit);
    let gone = devices(&mut net, last)
        .into_iter()
        .find(|one| one.own)
        .unwrap();
    let ended = net.ask(
        late,
        intent::Login {
            in_place_of: Some(gone.device_id),
            ..intent::Login::new("alice", password("secret"))
        },
    );
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    assert_eq!(devices(&mut net, late).len(), limit);
    assert!(net.until(|net| net.clients[last].events.contains(&Event::LoggedOut)));

    // Any device removes another, but not itself.
    net.pass(Duration::from_secs(3600));
    let all = devices(&mut net, late);
    let own = all.iter().find(|one| one.own).unwrap().device_id;
    let ended = net.ask(late, intent::RemoveDevice(own));
    assert_eq!(ended, Err(IntentError::OwnDevice));
    let other = all.iter().find(|one| !one.own).unwrap().device_id;
    let ended = net.ask(late, intent::RemoveDevice(other));
    assert_eq!(ended, Ok(Outcome::DeviceRemoved(other)));
    assert_eq!(devices(&mut net, late).len(), limit - 1);
    let ended = net.ask(late, intent::RemoveDevice(other));
    assert_eq!(ended, Ok(Outcome::DeviceRemoved(other)));
}

#[test]
fn two_people_have_one_safety_number() {
    let mut net = world(&["alice", "bob", "carol"]);
    let mut number =
        |client: usize, user: &str| match net.ask(client, intent::SafetyNumber(user.into())) {
            Ok(Outcome::SafetyNumber { number, person }) => {
                assert_eq!(person.name.as_deref(), Some(user));
                number
            }
            other => panic!("{other:?}"),
        };
    let ours = number(0, "bob");
    assert_eq!(ours, number(1, "alice"));
    assert_ne!(ours, number(0, "carol"));
    // What is known is answered without the server.
    net.stop_server();
    let again = net.ask(0, intent::SafetyNumber("bob".into()));
    assert!(matches!(again, Ok(Outcome::SafetyNumber { number, .. }) if number == ours));
    let own = net.ask(0, intent::SafetyNumber("alice".into()));
    assert_eq!(own, Err(IntentError::Yourself));
}
