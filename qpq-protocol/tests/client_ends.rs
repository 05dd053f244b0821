//! What each kind of intents gives, as whoever asks by its type gets it.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{settle, world};
use net::{Net, password};
use qpq_protocol::ask::{Ask, TakesIntents as _};
use qpq_protocol::client::{Body, Client, Event, Intent, IntentError, Kept, Standing, intent};

/// Asks, and waits for the end as its type has it.
fn end<A>(net: &mut Net, client: usize, asked: A) -> Result<A::End, IntentError>
where
    A: Ask<Intent = Intent, Event = Event, Error = IntentError>,
{
    let id = net.begin(client, asked.into_intent());
    net.until(|net| net.result(client, id).is_some());
    let mut events = net.clients[client].events.iter();
    let told = events.find(|event| Client::end_of(event) == Some(id));
    A::end(told.expect("an end").clone())
}

#[test]
fn each_kind_gives_what_its_type_says() {
    let mut net = world(&["alice", "bob", "carol"]);
    let info = end(&mut net, 0, intent::ServerInfo).expect("is told");
    assert_eq!(info.domain, net.server_config.domain);

    let dm = end(&mut net, 0, intent::Dm("bob".to_owned())).expect("opens");
    let made = intent::CreateGroup::new("friends", &["bob", "zoe"]);
    let made = end(&mut net, 0, made).expect("makes");
    let missing: Vec<&str> = made.missing.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(missing, ["zoe"]);
    let group = made.conversation.id;
    let whole = intent::CreateGroup::new("others", &["bob"]);
    let whole = end(&mut net, 0, whole).expect("makes");
    assert!(whole.missing.is_empty());

    let grown = end(&mut net, 0, intent::Invite::new(group, "carol")).expect("invites");
    assert_eq!(grown.members.len(), 3);
    let members = end(&mut net, 0, intent::Members(group)).expect("is in it");
    assert_eq!(members, grown.members);
    let shrunk = end(&mut net, 0, intent::Remove::new(group, "carol")).expect("removes");
    assert_eq!(shrunk.members.len(), 2);
    let all = end(&mut net, 0, intent::Conversations).expect("lists");
    assert_eq!(all.len(), 3);

    let sent = end(&mut net, 0, intent::Send::new(dm.id, "hello")).expect("sends");
    assert_eq!((sent.conversation, sent.index), (dm.id, 0));
    settle(&mut net);
    let unread = intent::Unread {
        conversation: dm.id,
        limit: 9,
    };
    assert_eq!(end(&mut net, 1, unread).expect("reads").len(), 1);
    let mark = intent::MarkRead {
        conversation: dm.id,
        up_to: 1,
    };
    assert_eq!(end(&mut net, 1, mark), Ok(()));
    assert_eq!(end(&mut net, 1, unread), Ok(Vec::new()));
    let history = intent::History {
        conversation: dm.id,
        before: None,
        limit: 9,
    };
    let history = end(&mut net, 1, history).expect("reads");
    let text = history.last().map(|message| message.body.clone());
    assert_eq!(text, Some(Body::Text("hello".to_owned())));

    let (person, ours) = end(&mut net, 0, intent::SafetyNumber("bob".to_owned())).expect("makes");
    assert_eq!(person.name.as_deref(), Some("bob"));
    let (_, theirs) = end(&mut net, 1, intent::SafetyNumber("alice".to_owned())).expect("makes");
    assert_eq!(ours, theirs);
    assert_eq!(end(&mut net, 1, intent::Leave(dm.id)), Ok(()));
}

#[test]
fn each_kind_about_the_account_and_what_is_kept_gives_what_its_type_says() {
    let mut net = world(&["alice", "bob"]);
    let dm = end(&mut net, 0, intent::Dm("bob".to_owned())).expect("opens");
    assert_eq!(dm.standing, Standing::Active);
    let second = net.add_client();
    let login = intent::Login::new("alice", password("secret"));
    let account = end(&mut net, second, login).expect("logs in");
    let devices = end(&mut net, 0, intent::Devices).expect("lists");
    assert_eq!(devices.len(), 2);
    assert_eq!(
        end(&mut net, second, intent::WhoAmI),
        Ok(Some(account.clone()))
    );
    let removed = end(&mut net, 0, intent::RemoveDevice(account.device_id));
    assert_eq!(removed, Ok(()));

    net.stop_server();
    let said = net.begin(0, intent::Send::new(dm.id, "too early"));
    net.pass(Duration::from_secs(1));
    assert_eq!(net.result(0, said), None);
    let waiting = end(&mut net, 0, intent::Outbox).expect("lists");
    let [waiting] = waiting.as_slice() else {
        panic!("{waiting:?}");
    };
    let kept = Kept::Message {
        conversation: waiting.conversation,
        message_id: waiting.message_id,
    };
    assert_eq!(end(&mut net, 0, intent::TakeBack(kept)), Ok(()));
    let again = end(&mut net, 0, intent::TakeBack(kept));
    assert_eq!(again, Err(IntentError::NotKept));

    net.start_server();
    settle(&mut net);
    assert_eq!(end(&mut net, 0, intent::Logout), Ok(()));
    let third = net.add_client();
    let carol = intent::Register::new("carol", password("secret"));
    let account = end(&mut net, third, carol).expect("registers");
    assert_eq!(account.name, "carol");
}
