//! What `qpq` prints: lines for people, or one JSON object a line for scripts.

use std::io::{self, Write as _};

use qpq_protocol::client::{
    Account, Body, Conversation, ConversationId, Kind, Message, Person, ServerInfo, Standing,
};
use qpq_protocol::ids::MessageId;
use qpq_protocol::time::UnixTime;
use qpq_server_example::hex::hex;
use serde_json::{Value, json};

use crate::failed::Failed;

/// Standard output, in one of two forms.
pub struct Output {
    json: bool,
}

impl Output {
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one line, whole and at once.
    pub fn line(&self, human: &str, machine: &Value) -> Result<(), Failed> {
        let line = match self.json {
            true => format!("{machine}\n"),
            false => format!("{human}\n"),
        };
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failed::Output(error.kind()))
    }

    /// Says on standard error why it came to nothing.
    pub fn error(&self, why: &Failed) {
        match self.json {
            true => json_error(why.code(), &why.to_string()),
            false => {
                // There is nobody left to tell if this fails.
                let _ = writeln!(io::stderr(), "qpq: {}", printable(&why.to_string()));
            }
        }
    }

    /// Tells people, not scripts, what goes on, on standard error.
    pub fn note(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", printable(text));
        }
    }

    pub fn account(&self, verb: &str, account: &Account) -> Result<(), Failed> {
        let human = format!(
            "{verb} {}@{}\nidentity key {}\ndevice {}",
            account.name,
            printable(&account.domain),
            hex(account.identity_key.as_bytes()),
            device(account),
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

    pub fn conversation(&self, conversation: &Conversation) -> Result<(), Failed> {
        let kind = match conversation.kind {
            Kind::Dm => "dm",
            Kind::Group => "group",
        };
        let standing = match conversation.standing {
            Standing::Forming => "forming",
            Standing::Active => "active",
            Standing::Over => "over",
            Standing::Broken => "broken",
            Standing::Rejoining => "rejoining",
        };
        let human = format!(
            "{kind} {}  {}  {standing}, {} members, {} messages ({} unread), epoch {}",
            printable(&conversation.name),
            short(conversation.id),
            conversation.members.len(),
            conversation.messages,
            conversation.unread,
            conversation.epoch,
        );
        let machine = json!({
            "type": "conversation",
            "id": conversation.id.to_string(),
            "kind": kind,
            "name": conversation.name,
            "standing": standing,
            "epoch": conversation.epoch,
            "members": conversation.members.iter().map(person).collect::<Vec<_>>(),
            "messages": conversation.messages,
            "unread": conversation.unread,
        });
        self.line(&human, &machine)
    }

    pub fn member(&self, member: &Person) -> Result<(), Failed> {
        let human = format!("{}  {}", name(member), hex(member.identity_key.as_bytes()));
        let machine = json!({ "type": "member", "member": person(member) });
        self.line(&human, &machine)
    }

    pub fn message(&self, message: &Message, conversation: &str) -> Result<(), Failed> {
        let text = match &message.body {
            Body::Text(text) => text.as_str(),
            _ => "(something that this version cannot show)",
        };
        let human = format!(
            "{}  {}  {}: {}",
            date(message.sent_at),
            printable(conversation),
            name(&message.sender),
            printable(text),
        );
        self.line(&human, &message_line(message, conversation))
    }

    pub fn sent(
        &self,
        line: u64,
        conversation: ConversationId,
        message_id: MessageId,
        index: u64,
        undelivered: &[Person],
    ) -> Result<(), Failed> {
        let mut human = "sent".to_owned();
        if !undelivered.is_empty() {
            let names: Vec<String> = undelivered.iter().map(name).collect();
            human = format!("sent, but not to {}: no room for it", names.join(", "));
        }
        let machine = json!({
            "type": "sent",
            "line": line,
            "conversation": conversation.to_string(),
            "message_id": message_id.to_string(),
            "index": index,
            "undelivered": undelivered.iter().map(person).collect::<Vec<_>>(),
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

/// A person for people: the name, or the start of the key.
pub fn name(person: &Person) -> String {
    let key = || {
        hex(person.identity_key.as_bytes())
            .chars()
            .take(12)
            .collect()
    };
    person.name.as_deref().map_or_else(key, printable)
}

/// Says on standard error, to a script, why it came to nothing.
pub fn json_error(code: &str, message: &str) {
    let line = json!({ "type": "error", "code": code, "message": message });
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "{line}");
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
        "text": match &message.body {
            Body::Text(text) => Some(text),
            _ => None,
        },
    })
}

/// The start of an id, enough to name the conversation by.
fn short(id: ConversationId) -> String {
    let id = id.to_string();
    // The last digits of a UUID v7 are random, its first ones are a date; a DM's are all random.
    id.chars().skip(id.len().saturating_sub(12)).collect()
}

fn device(account: &Account) -> String {
    match account.device_id.as_bytes() {
        [] => "the account's first".to_owned(),
        id => hex(id),
    }
}

/// Text of others without what could drive the terminal: no control characters, no marks that turn
/// the direction of what follows. A line break stays one, indented.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '\n' => "\n    ".to_owned(),
            '\t' => " ".to_owned(),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                char::REPLACEMENT_CHARACTER.to_string()
            }
            char if char.is_control() => char::REPLACEMENT_CHARACTER.to_string(),
            char => char.to_string(),
        })
        .collect()
}

/// A date in UTC, to the second.
fn date(unix: UnixTime) -> String {
    let seconds = unix.as_millis() / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day after 1970-01-01 (Howard Hinnant's `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = match month {
        0..=9 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: u64| date(UnixTime::from_millis(seconds * 1000));
        assert_eq!(at(0), "1970-01-01 00:00:00");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(at(1_795_257_845), "2026-11-21 10:44:05");
        // The largest there is: no overflow.
        date(UnixTime::from_millis(u64::MAX));
    }

    #[test]
    fn nothing_that_others_wrote_drives_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\u{202e}c\n\u{9b}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n    \u{fffd}d"
        );
    }
}
