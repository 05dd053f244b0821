//! What cores tell their embedders, in a file.

use qpq_protocol::client::{
    Account, Body, Conversation, Event, Kind, Message, Outcome, Person, Standing,
};
use qpq_protocol::server;
use serde_json::{Value, json};

use super::input::failure_name;
use crate::vectors::json::digits;

/// An event of the client core.
pub fn client(event: &Event) -> Value {
    match event {
        Event::Opened { account } => {
            json!({"event": "opened", "account": account.as_ref().map(who)})
        }
        Event::Connected { .. } => json!({"event": "connected"}),
        Event::Disconnected { why, retry_in } => json!({
            "event": "disconnected",
            "why": variant(why),
            "retry_in_micros": micros(*retry_in),
        }),
        Event::LoggedIn { account } => json!({"event": "logged_in", "account": who(account)}),
        Event::LoggedOut => json!({"event": "logged_out"}),
        Event::Synced => json!({"event": "synced"}),
        Event::Message(message) => json!({"event": "message", "message": said(message)}),
        Event::Joined { conversation } => {
            json!({"event": "joined", "conversation": talk(conversation)})
        }
        Event::Membership {
            conversation,
            by,
            added,
            removed,
            epoch,
        } => json!({
            "event": "membership",
            "conversation": digits(conversation.as_bytes()),
            "by": person(by),
            "added": people(added),
            "removed": people(removed),
            "epoch": epoch,
        }),
        Event::Renamed { conversation, name } => json!({
            "event": "renamed",
            "conversation": digits(conversation.as_bytes()),
            "name": name,
        }),
        Event::Removed { conversation } => {
            json!({"event": "removed", "conversation": digits(conversation.as_bytes())})
        }
        Event::Unreadable {
            conversation,
            seq,
            why,
        } => json!({
            "event": "unreadable",
            "conversation": digits(conversation.as_bytes()),
            "seq": seq,
            "why": variant(why),
        }),
        Event::KeyChanged {
            name,
            known,
            claimed,
        } => json!({
            "event": "key_changed",
            "name": name,
            "known": digits(known),
            "claimed": digits(claimed),
        }),
        Event::StorageTrouble(failure) => {
            json!({"event": "storage_trouble", "why": failure_name(*failure)})
        }
        Event::Fatal(fatal) => json!({"event": "fatal", "why": variant(fatal)}),
        Event::Done {
            intent,
            outcome: reached,
        } => json!({"event": "done", "intent": intent.0, "outcome": outcome(reached)}),
        Event::Failed { intent, error } => {
            json!({"event": "failed", "intent": intent.0, "error": variant(error)})
        }
        other => json!({"event": variant(other)}),
    }
}

/// An event of the server core.
pub fn server(event: &server::Event) -> Value {
    match event {
        server::Event::Started { signing_key } => {
            json!({"event": "started", "signing_key": digits(signing_key)})
        }
        server::Event::Refused(why) => json!({"event": "refused", "why": variant(why)}),
        server::Event::StorageFailed(failure) => {
            json!({"event": "storage_failed", "why": failure_name(*failure)})
        }
        server::Event::PeerFault { conn, code } => {
            json!({"event": "peer_fault", "conn": conn.0, "code": code.code()})
        }
        other => json!({"event": variant(other)}),
    }
}

fn outcome(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::LoggedIn(account) => json!({"logged_in": who(account)}),
        Outcome::LoggedOut => "logged_out".into(),
        Outcome::Account(account) => json!({"account": account.as_ref().map(who)}),
        Outcome::Conversation(conversation) => json!({"conversation": talk(conversation)}),
        Outcome::Conversations(all) => {
            json!({"conversations": all.iter().map(talk).collect::<Vec<_>>()})
        }
        Outcome::Changed(conversation) => json!({"changed": talk(conversation)}),
        Outcome::Left(conversation) => json!({"left": digits(conversation.as_bytes())}),
        Outcome::Sent(sent) => json!({
            "sent": digits(sent.message_id.as_bytes()),
            "conversation": digits(sent.conversation.as_bytes()),
            "index": sent.index,
            "undelivered": people(&sent.undelivered),
        }),
        Outcome::Members(members) => json!({"members": people(members)}),
        Outcome::Messages(messages) => {
            json!({"history": messages.iter().map(said).collect::<Vec<_>>()})
        }
        Outcome::Read => "read".into(),
        Outcome::Server(info) => json!({"server": {
            "domain": info.domain,
            "signing_key": digits(info.signing_key),
            "wire_version": info.wire_version,
            "version": info.version,
        }}),
        other => variant(other),
    }
}

fn who(account: &Account) -> Value {
    json!({
        "name": account.name,
        "domain": account.domain,
        "identity_key": digits(account.identity_key),
        "device_id": digits(account.device_id.as_bytes()),
        "logged_in": account.logged_in,
    })
}

fn person(person: &Person) -> Value {
    json!({"identity_key": digits(person.identity_key), "name": person.name})
}

fn people(people: &[Person]) -> Vec<Value> {
    people.iter().map(person).collect()
}

fn talk(conversation: &Conversation) -> Value {
    json!({
        "id": digits(conversation.id.as_bytes()),
        "kind": match conversation.kind {
            Kind::Dm => "dm",
            Kind::Group => "group",
        },
        "name": conversation.name,
        "standing": match conversation.standing {
            Standing::Forming => "forming",
            Standing::Active => "active",
            Standing::Over => "over",
            Standing::Rejoining => "rejoining",
        },
        "epoch": conversation.epoch,
        "members": people(&conversation.members),
        "messages_stored": conversation.messages,
        "unread": conversation.unread,
    })
}

fn said(message: &Message) -> Value {
    json!({
        "conversation": digits(message.conversation.as_bytes()),
        "index": message.index,
        "sender": person(&message.sender),
        "own": message.own,
        "message_id": digits(message.message_id.as_bytes()),
        "sent_at_ms": message.sent_at.as_millis(),
        "text": match &message.body {
            Body::Text(text) => Some(text),
            _ => None,
        },
    })
}

fn micros(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The name of an error: that of its variant in the crate's documentation.
fn variant(of: &impl core::fmt::Debug) -> Value {
    let text = format!("{of:?}");
    let name = text.split(|c: char| !c.is_ascii_alphanumeric()).next();
    name.unwrap_or_default().into()
}
