//! What `qpq` prints: lines for people, or one JSON object a line for scripts.

use qpq_crypto::safety::SafetyNumber;
use qpq_protocol::client::{
    Account, Body, Conversation, ConversationId, DeviceInfo, Kept, Kind, Message, Missing, Person,
    Sent, ServerInfo, Standing, Waiting,
};
use qpq_protocol::ids::{DeviceId, MessageId};
use qpq_server_example::hex::hex;
use qpq_server_example::printable::printable;
use qpq_server_example::printer::Printer;
use qpq_server_example::time::date;
use serde_json::{Value, json};

use crate::address::address;
use crate::failed::{Failed, intent_code};

/// What the account's first device is called, which has no id.
pub const FIRST_DEVICE: &str = "first";

/// What the commands have to show.
pub struct Output(Printer);

impl Output {
    pub const fn new(json: bool) -> Self {
        Self(Printer::new("qpq", json))
    }

    /// Prints one line, whole and at once.
    pub fn line(&self, human: &str, machine: &Value) -> Result<(), Failed> {
        self.0.line(human, machine).map_err(Failed::Output)
    }

    /// Says on standard error why it came to nothing.
    pub fn error(&self, why: &Failed) {
        self.0.error(why.code(), &why.to_string());
    }

    /// Tells people, not scripts, what goes on, on standard error.
    pub fn note(&self, text: &str) {
        self.0.note(text);
    }

    pub fn account(&self, verb: &str, account: &Account) -> Result<(), Failed> {
        let human = format!(
            "{verb} {}@{}\nidentity key {}\ndevice {}",
            account.name,
            printable(&account.domain),
            hex(account.identity_key.as_bytes()),
            device(account.device_id),
        );
        let machine = json!({
            "type": "account",
            "name": account.name,
            "domain": account.domain,
            "identity_key": hex(account.identity_key.as_bytes()),
            "device_id": hex(account.device_id.as_bytes()),
            "logged_in": account.logged_in,
        });
        self.line(&human, &machine)
    }

    /// A conversation, by what it is called and by the start of its id.
    pub fn conversation(
        &self,
        conversation: &Conversation,
        short: &str,
        unread: u64,
    ) -> Result<(), Failed> {
        let kind = match conversation.kind {
            Kind::Dm => "dm",
            Kind::Group => "group",
        };
        let standing = match conversation.standing {
            Standing::Forming => "forming",
            Standing::Active => "active",
            Standing::Rejoining => "rejoining",
            Standing::Over => "over",
        };
        let human = format!(
            "{}  {short}  {standing}, {} members, {} messages ({unread} unread), epoch {}",
            printable(&address(conversation)),
            conversation.members.len(),
            conversation.messages,
            conversation.epoch,
        );
        let machine = json!({
            "type": "conversation",
            "id": conversation.id.to_string(),
            "kind": kind,
            "name": conversation.name,
            "address": address(conversation),
            "standing": standing,
            "epoch": conversation.epoch,
            "members": conversation.members.iter().map(person).collect::<Vec<_>>(),
            "messages": conversation.messages,
            "unread": unread,
        });
        self.line(&human, &machine)
    }

    pub fn member(&self, member: &Person) -> Result<(), Failed> {
        let human = format!(
            "{}  {}",
            person_name(member),
            hex(member.identity_key.as_bytes())
        );
        let machine = json!({ "type": "member", "member": person(member) });
        self.line(&human, &machine)
    }

    /// A message of the conversation that is called so.
    pub fn message(&self, message: &Message, conversation: &Conversation) -> Result<(), Failed> {
        let human = format!(
            "{}  {}  {}: {}",
            date(message.sent_at),
            printable(&address(conversation)),
            person_name(&message.sender),
            printable(text(&message.body)),
        );
        self.line(&human, &message_line(message, &conversation.name))
    }

    pub fn sent(&self, line: u64, sent: &Sent) -> Result<(), Failed> {
        let mut human = "sent".to_owned();
        if !sent.undelivered.is_empty() {
            human = format!("sent, but not to {}", names(&sent.undelivered));
        }
        let machine = json!({
            "type": "sent",
            "line": line,
            "conversation": sent.conversation.to_string(),
            "message_id": sent.message_id.to_string(),
            "index": sent.index,
            "undelivered": sent.undelivered.iter().map(person).collect::<Vec<_>>(),
        });
        self.line(&human, &machine)
    }

    /// A line of standard input that was not sent, and will not be.
    pub fn not_sent(&self, line: u64, why: &Failed) -> Result<(), Failed> {
        let human = format!("line {line} was not sent: {}", printable(&why.to_string()));
        let machine = json!({
            "type": "not_sent",
            "line": line,
            "code": why.code(),
            "message": why.to_string(),
        });
        self.line(&human, &machine)
    }

    /// Somebody who is not in a new group, and why.
    pub fn missing(&self, conversation: ConversationId, one: &Missing) -> Result<(), Failed> {
        let human = format!(
            "without {}: {}",
            printable(&one.name),
            printable(&one.error.to_string())
        );
        let machine = json!({
            "type": "missing",
            "conversation": conversation.to_string(),
            "name": one.name,
            "code": intent_code(&one.error),
            "message": one.error.to_string(),
        });
        self.line(&human, &machine)
    }

    /// Something that is not done yet, and the id that names it.
    pub fn kept(&self, kept: Kept, line: Option<u64>) -> Result<(), Failed> {
        let (what, conversation) = match kept {
            Kept::Message { conversation, .. } => ("message", conversation),
            Kept::Conversation(id) => ("conversation", id),
            Kept::Change { conversation, .. } => ("change of members", conversation),
            Kept::Leaving(id) => ("leaving", id),
        };
        let id = crate::failed::id(kept);
        let of_line = line.map_or_else(String::new, |line| format!("line {line}: "));
        let machine = json!({
            "type": "kept",
            "what": what,
            "id": id,
            "conversation": conversation.to_string(),
            "line": line,
        });
        self.line(&format!("{of_line}{what} kept as {id}"), &machine)
    }

    /// A message of the same text waits already.
    pub fn like_kept(&self, like: MessageId, line: u64) -> Result<(), Failed> {
        match self.0.is_json() {
            true => {
                let machine = json!({ "type": "like_kept", "line": line, "id": like.to_string() });
                self.line("", &machine)
            }
            false => {
                self.note(&format!(
                    "one like it is kept already; this is a second one (the first: --id {like})"
                ));
                Ok(())
            }
        }
    }

    /// A message that waits to be sent, to the conversation that is called so.
    pub fn waiting(&self, waiting: &Waiting, conversation: &str) -> Result<(), Failed> {
        let state = match waiting.on_its_way {
            true => "on its way",
            false => "kept",
        };
        let human = format!(
            "{}  {state}  {}: {}",
            waiting.message_id,
            printable(conversation),
            printable(text(&waiting.body)),
        );
        let machine = json!({
            "type": "waiting",
            "id": waiting.message_id.to_string(),
            "conversation": waiting.conversation.to_string(),
            "on_its_way": waiting.on_its_way,
            "text": text_of(&waiting.body),
        });
        self.line(&human, &machine)
    }

    pub fn device(&self, info: &DeviceInfo) -> Result<(), Failed> {
        let human = format!(
            "{}  {}made {}, last seen {}{}",
            device(info.device_id),
            match info.name.as_str() {
                "" => String::new(),
                name => format!("{}, ", printable(name)),
            },
            date(info.created_at),
            date(info.last_seen),
            if info.own { " (this one)" } else { "" },
        );
        let machine = json!({
            "type": "device",
            "id": hex(info.device_id.as_bytes()),
            "name": info.name,
            "created_at_ms": info.created_at.as_millis(),
            "last_seen_ms": info.last_seen.as_millis(),
            "own": info.own,
        });
        self.line(&human, &machine)
    }

    pub fn device_removed(&self, id: DeviceId) -> Result<(), Failed> {
        let human = format!("removed {}", device(id));
        let machine = json!({ "type": "device_removed", "id": hex(id.as_bytes()) });
        self.line(&human, &machine)
    }

    pub fn safety_number(&self, with: &Person, number: &SafetyNumber) -> Result<(), Failed> {
        let digits = number.to_string();
        let groups: Vec<&str> = digits.split(' ').collect();
        let rows: Vec<String> = groups.chunks(4).map(|row| row.join(" ")).collect();
        let payload = hex(&number.qr_payload());
        let human = format!(
            "safety number with {}\n  {}\nQR code {payload}",
            person_name(with),
            rows.join("\n  "),
        );
        let machine = json!({
            "type": "safety_number",
            "person": person(with),
            "number": digits,
            "qr": payload,
        });
        self.line(&human, &machine)
    }

    pub fn server(&self, server: &ServerInfo, certificate: Option<[u8; 32]>) -> Result<(), Failed> {
        let certificate = certificate.map(|sha256| hex(&sha256));
        let suites: Vec<String> = server
            .ciphersuites
            .iter()
            .map(|suite| format!("0x{suite:04x}"))
            .collect();
        let human = format!(
            "domain {}\nversion {}, up for {} s\nsigning key {}\ncertificate sha256 {}\nMLS suites {}\nlongest payload {} bytes, wire version {}",
            printable(&server.domain),
            printable(&server.version),
            server.uptime.as_secs(),
            hex(&server.signing_key),
            certificate.as_deref().unwrap_or("unknown"),
            suites.join(", "),
            server.max_payload,
            server.wire_version,
        );
        let machine = json!({
            "type": "server",
            "domain": server.domain,
            "version": server.version,
            "uptime_ms": u64::try_from(server.uptime.as_millis()).unwrap_or(u64::MAX),
            "signing_key": hex(&server.signing_key),
            "certificate_sha256": certificate,
            "ciphersuites": server.ciphersuites,
            "max_payload": server.max_payload,
            "wire_version": server.wire_version,
            "features": server.features,
        });
        self.line(&human, &machine)
    }
}

/// A person for scripts.
pub fn person(person: &Person) -> Value {
    json!({
        "name": person.name,
        "identity_key": hex(person.identity_key.as_bytes()),
    })
}

/// A person for people: the name, or the start of the key, which is no name.
pub fn person_name(person: &Person) -> String {
    let key = || {
        let digits = hex(person.identity_key.as_bytes());
        format!("(key {})", digits.get(..12).unwrap_or(&digits))
    };
    let name = |name| format!("@{}", printable(name));
    person.name.as_deref().map_or_else(key, name)
}

/// Several people for people.
pub fn names(people: &[Person]) -> String {
    people
        .iter()
        .map(person_name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn text(body: &Body) -> &str {
    match body {
        Body::Text(text) => text,
        Body::TakenBack => "(taken back before it was sent)",
        _ => "(something that this version cannot show)",
    }
}

fn text_of(body: &Body) -> Option<&str> {
    match body {
        Body::Text(text) => Some(text),
        _ => None,
    }
}

/// A message as one JSON object. Its conversation and index name it for good.
pub fn message_line(message: &Message, conversation: &str) -> Value {
    json!({
        "type": "message",
        "conversation": message.conversation.to_string(),
        "conversation_name": conversation,
        "index": message.index,
        "sender": person(&message.sender),
        "own": message.own,
        "message_id": message.message_id.to_string(),
        "sent_at_ms": message.sent_at.as_millis(),
        "text": text_of(&message.body),
    })
}

fn device(id: DeviceId) -> String {
    match id.as_bytes() {
        [] => FIRST_DEVICE.to_owned(),
        id => hex(id),
    }
}
