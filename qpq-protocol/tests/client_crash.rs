//! Machines lose power at every single storage command: nothing is lost, nothing comes twice, no
//! group forks.

#[path = "support/net.rs"]
mod net;

use std::collections::BTreeSet;
use std::time::Duration;

use net::people::world;
use net::{Crash, Net, Snapshot, password};
use qpq_protocol::client::{
    Body, Conversation, Event, IntentError, Message, Outcome, Standing, intent,
};
use qpq_protocol::ids::ChannelId;

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// Three registered users.
fn registered() -> Snapshot {
    world(&NAMES).snapshot()
}

fn conversations(net: &mut Net, client: usize) -> Vec<Conversation> {
    loop {
        match net.ask(client, intent::Conversations) {
            Ok(Outcome::Conversations(all)) => return all,
            Err(IntentError::TimedOut | IntentError::HeldBack) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn history(net: &mut Net, client: usize, id: ChannelId) -> Vec<Message> {
    loop {
        match net.ask(
            client,
            intent::History {
                conversation: id,
                before: None,
                limit: 1000,
            },
        ) {
            Ok(Outcome::Messages(all)) => return all,
            Err(IntentError::TimedOut | IntentError::HeldBack) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn text(message: &Message) -> &str {
    match &message.body {
        Body::Text(text) => text,
        _ => "?",
    }
}

/// What a careful app does: if it does not know whether something was done, it looks.
fn make_group(net: &mut Net, client: usize) -> ChannelId {
    loop {
        match net.ask(client, intent::CreateGroup::new("friends", &["bob"])) {
            Ok(Outcome::Conversation(group)) => return group.id,
            Err(IntentError::TimedOut | IntentError::HeldBack) => {}
            other => panic!("{other:?}"),
        }
        if let Some(group) = conversations(net, client).first() {
            let id = group.id;
            assert!(net.until(|_| true));
            net.pass(Duration::from_secs(120));
            return id;
        }
    }
}

fn say(net: &mut Net, client: usize, id: ChannelId, what: &str) {
    loop {
        match net.ask(client, intent::Send::new(id, what)) {
            Ok(Outcome::Sent { .. }) => return,
            Err(IntentError::TimedOut | IntentError::HeldBack) => {}
            other => panic!("{other:?}"),
        }
        if history(net, client, id)
            .iter()
            .any(|message| text(message) == what)
        {
            net.pass(Duration::from_secs(120));
            return;
        }
    }
}

fn invite(net: &mut Net, client: usize, id: ChannelId, name: &str) {
    loop {
        match net.ask(client, intent::Invite::new(id, name)) {
            Ok(_) | Err(IntentError::AlreadyMember { .. }) => return,
            Err(IntentError::TimedOut) => net.pass(Duration::from_secs(120)),
            other => panic!("{other:?}"),
        }
    }
}

/// Three people, a group, a change of members, messages from everyone.
fn story(net: &mut Net) -> ChannelId {
    let id = make_group(net, 0);
    net.pass(Duration::from_secs(60));
    say(net, 0, id, "one");
    say(net, 1, id, "two");
    invite(net, 1, id, "carol");
    net.pass(Duration::from_secs(60));
    say(net, 0, id, "three");
    say(net, 2, id, "four");
    say(net, 1, id, "five");
    net.pass(Duration::from_secs(120));
    id
}

/// Nothing lost, nothing twice, one group.
fn check(net: &mut Net, id: ChannelId, case: &str) {
    let views: Vec<_> = (0..NAMES.len())
        .map(|client| {
            let mut all = conversations(net, client);
            all.retain(|one| one.id == id);
            assert_eq!(all.len(), 1, "{case}: client {client}");
            all.remove(0)
        })
        .collect();
    for view in &views {
        assert_eq!(view.standing, Standing::Active, "{case}");
        assert_eq!(view.epoch, views[0].epoch, "{case}");
        assert_eq!(view.members, views[0].members, "{case}");
        assert_eq!(view.members.len(), NAMES.len(), "{case}");
    }
    for client in 0..NAMES.len() {
        let all = history(net, client, id);
        let mut texts: Vec<_> = all.iter().map(text).collect();
        texts.sort_unstable();
        let expected: &[&str] = match client {
            // Carol came after the second message.
            2 => &["five", "four", "three"],
            _ => &["five", "four", "one", "three", "two"],
        };
        assert_eq!(texts, expected, "{case}: client {client}");
        // The app heard of no message twice, over all starts; what it missed is in the history.
        let mut told = BTreeSet::new();
        for event in &net.clients[client].events {
            match event {
                Event::Message(message) if message.conversation == id => {
                    assert!(told.insert(message.index), "{case}: client {client} twice");
                }
                Event::Unreadable { .. } => panic!("{case}: client {client}: {event:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn clients_lose_power_at_every_storage_command() {
    let start = registered();
    for client in 0..NAMES.len() {
        for after in [false, true] {
            let mut at = 1;
            loop {
                let mut net = Net::resume(&start);
                net.clients[client].lose_power(Crash { at, after });
                let id = story(&mut net);
                check(
                    &mut net,
                    id,
                    &format!("client {client}, command {at}, {after}"),
                );
                if net.crashes == 0 {
                    break;
                }
                at += 1;
            }
            assert!(at > 10, "the story has {at} commands");
        }
    }
}

#[test]
fn the_server_loses_power_at_every_storage_command() {
    let start = registered();
    for after in [false, true] {
        let mut at = 1 + usize::from(after);
        loop {
            let mut net = Net::resume(&start);
            let server = net.server.as_mut().expect("a server");
            server.lose_power(Crash { at, after });
            let id = story(&mut net);
            check(&mut net, id, &format!("server, command {at}, {after}"));
            if net.crashes == 0 {
                break;
            }
            at += 5;
        }
        assert!(at > 10, "the story has {at} commands");
    }
}

#[test]
fn a_registration_survives_a_loss_of_power_at_every_storage_command() {
    let mut at = 1;
    loop {
        for after in [false, true] {
            let mut net = Net::new();
            let client = net.add_client();
            net.clients[client].lose_power(Crash { at, after });
            let mut ended = net.ask(client, intent::Register::new("zoe", password("x")));
            for _ in 0..3 {
                ended = match ended {
                    Err(IntentError::TimedOut) => {
                        net.ask(client, intent::Register::new("zoe", password("x")))
                    }
                    Err(IntentError::NameTaken | IntentError::OtherAccount { .. }) => {
                        net.ask(client, intent::Login::new("zoe", password("x")))
                    }
                    other => other,
                };
            }
            let case = format!("command {at}, {after}");
            assert!(
                matches!(ended, Ok(Outcome::LoggedIn(_))),
                "{case}: {ended:?}"
            );
            if net.crashes == 0 {
                assert!(at > 5, "a registration has {at} commands");
                return;
            }
        }
        at += 1;
    }
}
