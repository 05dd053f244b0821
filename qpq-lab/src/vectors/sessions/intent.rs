//! What an app asks of a client, as a file has it. What an intent leaves open is left out.

use qpq_protocol::client::intent::{self, Invitation, Password};
use qpq_protocol::client::{ConversationId, Intent, Kept};
use qpq_protocol::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::vectors::VectorError;
use crate::vectors::json::{Fields, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// As a file has it. Passwords of vectors are text.
pub fn to_json(intent: &Intent) -> Value {
    let of = |id: &ConversationId| digits(id.as_bytes());
    let secret = |password: &Password| String::from_utf8_lossy(password.as_bytes()).into_owned();
    match intent {
        Intent::Register(asked) => {
            let mut value = json!({
                "kind": "register", "name": asked.name, "password": secret(&asked.password),
            });
            if asked.invitation != Invitation::default() {
                value["invitation"] = String::from_utf8_lossy(asked.invitation.as_bytes()).into();
            }
            value
        }
        Intent::Login(asked) => {
            let mut value =
                json!({"kind": "login", "name": asked.name, "password": secret(&asked.password)});
            if let Some(device) = &asked.in_place_of {
                value["in_place_of"] = digits(device.as_bytes());
            }
            value
        }
        Intent::Logout(_) => json!({"kind": "logout"}),
        Intent::WhoAmI(_) => json!({"kind": "who_am_i"}),
        Intent::ServerInfo(_) => json!({"kind": "server_info"}),
        Intent::Dm(asked) => json!({"kind": "dm", "user": asked.0}),
        Intent::CreateGroup(asked) => {
            let mut value =
                json!({"kind": "create_group", "name": asked.name, "members": asked.members});
            if let Some(id) = &asked.id {
                value["id"] = of(id);
            }
            value
        }
        Intent::Invite(asked) => {
            json!({"kind": "invite", "conversation": of(&asked.conversation), "user": asked.user})
        }
        Intent::Remove(asked) => {
            json!({"kind": "remove", "conversation": of(&asked.conversation), "user": asked.user})
        }
        Intent::Leave(asked) => json!({"kind": "leave", "conversation": of(&asked.0)}),
        Intent::Members(asked) => json!({"kind": "members", "conversation": of(&asked.0)}),
        Intent::Conversations(_) => json!({"kind": "conversations"}),
        Intent::Send(asked) => {
            let mut value = json!({"kind": "send", "conversation": of(&asked.conversation), "text": asked.text});
            if let Some(id) = &asked.message_id {
                value["message_id"] = digits(id.as_bytes());
            }
            value
        }
        Intent::Outbox(_) => json!({"kind": "outbox"}),
        Intent::TakeBack(asked) => {
            let mut value = kept_to_json(asked.0);
            value["kind"] = "take_back".into();
            value
        }
        Intent::Devices(_) => json!({"kind": "devices"}),
        Intent::RemoveDevice(asked) => {
            json!({"kind": "remove_device", "device": digits(asked.0.as_bytes())})
        }
        Intent::SafetyNumber(asked) => json!({"kind": "safety_number", "user": asked.0}),
        Intent::History(asked) => {
            let mut value = json!({"kind": "history", "conversation": of(&asked.conversation), "limit": asked.limit});
            if let Some(before) = asked.before {
                value["before"] = before.into();
            }
            value
        }
        Intent::Unread(asked) => {
            json!({"kind": "unread", "conversation": of(&asked.conversation), "limit": asked.limit})
        }
        Intent::MarkRead(asked) => {
            json!({"kind": "mark_read", "conversation": of(&asked.conversation), "up_to": asked.up_to})
        }
    }
}

fn kept_to_json(kept: Kept) -> Value {
    match kept {
        Kept::Message {
            conversation,
            message_id,
        } => {
            json!({"kept": "message", "conversation": digits(conversation.as_bytes()), "message_id": digits(message_id.as_bytes())})
        }
        Kept::Conversation(id) => {
            json!({"kept": "conversation", "conversation": digits(id.as_bytes())})
        }
        Kept::Change {
            conversation,
            identity_key,
        } => {
            json!({"kept": "change", "conversation": digits(conversation.as_bytes()), "identity_key": digits(identity_key.as_bytes())})
        }
        Kept::Leaving(id) => json!({"kept": "leaving", "conversation": digits(id.as_bytes())}),
    }
}

/// From a file; `None` if it is none.
pub fn from_json(value: &Value) -> Result<Option<Intent>> {
    let own = |name| value.text(name).map(str::to_owned);
    let conversation = || value.array("conversation").map(ChannelId);
    let password = || {
        let text = value.text("password")?;
        Ok::<_, VectorError>(Password::from(Zeroizing::new(text.as_bytes().to_vec())))
    };
    let device = |name| {
        let bytes = value.bytes(name)?;
        DeviceId::from_wire(&bytes).map_err(|_| wrong(name, "the id of a device"))
    };
    Ok(Some(match value.text("kind")? {
        "register" => intent::Register {
            invitation: given(value, "invitation", own)?.unwrap_or_default().into(),
            ..intent::Register::new(own("name")?, password()?)
        }
        .into(),
        "login" => intent::Login {
            in_place_of: given(value, "in_place_of", device)?,
            ..intent::Login::new(own("name")?, password()?)
        }
        .into(),
        "logout" => intent::Logout.into(),
        "who_am_i" => intent::WhoAmI.into(),
        "server_info" => intent::ServerInfo.into(),
        "dm" => intent::Dm(own("user")?).into(),
        "create_group" => {
            let members = value.list("members")?.iter();
            let members = members.filter_map(Value::as_str).map(str::to_owned);
            intent::CreateGroup {
                id: given(value, "id", |name| value.array(name).map(ChannelId))?,
                name: own("name")?,
                members: members.collect(),
            }
            .into()
        }
        "invite" => intent::Invite::new(conversation()?, own("user")?).into(),
        "remove" => intent::Remove::new(conversation()?, own("user")?).into(),
        "leave" => intent::Leave(conversation()?).into(),
        "members" => intent::Members(conversation()?).into(),
        "conversations" => intent::Conversations.into(),
        "send" => intent::Send {
            conversation: conversation()?,
            text: own("text")?,
            message_id: given(value, "message_id", |name| value.array(name).map(MessageId))?,
        }
        .into(),
        "outbox" => intent::Outbox.into(),
        "take_back" => intent::TakeBack(kept_from_json(value)?).into(),
        "devices" => intent::Devices.into(),
        "remove_device" => intent::RemoveDevice(device("device")?).into(),
        "safety_number" => intent::SafetyNumber(own("user")?).into(),
        "history" => intent::History {
            conversation: conversation()?,
            before: given(value, "before", |name| value.number(name))?,
            limit: value.number("limit")?,
        }
        .into(),
        "unread" => intent::Unread {
            conversation: conversation()?,
            limit: value.number("limit")?,
        }
        .into(),
        "mark_read" => intent::MarkRead {
            conversation: conversation()?,
            up_to: value.number("up_to")?,
        }
        .into(),
        _ => return Ok(None),
    }))
}

fn kept_from_json(value: &Value) -> Result<Kept> {
    let conversation = value.array("conversation").map(ChannelId)?;
    match value.text("kept")? {
        "message" => Ok(Kept::Message {
            conversation,
            message_id: MessageId(value.array("message_id")?),
        }),
        "conversation" => Ok(Kept::Conversation(conversation)),
        "change" => Ok(Kept::Change {
            conversation,
            identity_key: IdentityKey(value.array("identity_key")?),
        }),
        "leaving" => Ok(Kept::Leaving(conversation)),
        _ => Err(wrong("kept", "something that is kept")),
    }
}

/// A field, if it is there.
fn given<'a, T>(
    value: &Value,
    name: &'a str,
    read: impl FnOnce(&'a str) -> Result<T>,
) -> Result<Option<T>> {
    let there = value.get_field(name).map(|_| read(name));
    there.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_intent_comes_back_from_its_json() {
        let conversation = ChannelId([1; 16]);
        let message_id = MessageId([2; 16]);
        let identity_key = IdentityKey([3; 32]);
        let device = DeviceId::new([4; 16]);
        let password = || Zeroizing::new(b"secret".to_vec());
        let (before, limit, up_to) = (Some(9), 5, 7);
        let intents: Vec<Intent> = vec![
            intent::Register::new("alice", password()).into(),
            intent::Register {
                invitation: "open sesame".to_owned().into(),
                ..intent::Register::new("alice", password())
            }
            .into(),
            intent::Login::new("alice", password()).into(),
            intent::Login {
                in_place_of: Some(device),
                ..intent::Login::new("alice", password())
            }
            .into(),
            intent::Logout.into(),
            intent::WhoAmI.into(),
            intent::ServerInfo.into(),
            intent::Dm("bob".to_owned()).into(),
            intent::CreateGroup::new("friends", &["bob", "carol"]).into(),
            intent::CreateGroup {
                id: Some(conversation),
                ..intent::CreateGroup::new("friends", &[])
            }
            .into(),
            intent::Invite::new(conversation, "bob").into(),
            intent::Remove::new(conversation, "bob").into(),
            intent::Leave(conversation).into(),
            intent::Members(conversation).into(),
            intent::Conversations.into(),
            intent::Send::new(conversation, "hello").into(),
            intent::Send {
                message_id: Some(message_id),
                ..intent::Send::new(conversation, "hello")
            }
            .into(),
            intent::Outbox.into(),
            intent::TakeBack(Kept::Message {
                conversation,
                message_id,
            })
            .into(),
            intent::TakeBack(Kept::Conversation(conversation)).into(),
            intent::TakeBack(Kept::Change {
                conversation,
                identity_key,
            })
            .into(),
            intent::TakeBack(Kept::Leaving(conversation)).into(),
            intent::Devices.into(),
            intent::RemoveDevice(device).into(),
            intent::RemoveDevice(DeviceId::DEFAULT).into(),
            intent::SafetyNumber("bob".to_owned()).into(),
            intent::History {
                conversation,
                before,
                limit,
            }
            .into(),
            intent::Unread {
                conversation,
                limit,
            }
            .into(),
            intent::MarkRead {
                conversation,
                up_to,
            }
            .into(),
        ];
        for intent in intents {
            let value = to_json(&intent);
            let again = from_json(&value)
                .expect("a form that is read")
                .expect("an intent");
            assert_eq!(to_json(&again), value);
            assert_eq!(format!("{again:?}"), format!("{intent:?}"));
        }
    }
}
