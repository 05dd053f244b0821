//! `key_layout`: the keys of both cores in storage.

use bytes::Bytes;
use qpq_protocol::client::keys::{self as client, Name};
use qpq_protocol::ids::{ChannelId, DeviceId, IdentityKey, MessageId};
use qpq_protocol::storage::keys::{self as server, PayloadId, QueueId, Range};
use serde_json::{Value, json};

use super::VectorError;
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// Keys of the server and the fields that each has.
const SERVER: [(&str, &[&str]); 45] = [
    ("meta", &["name"]),
    ("account", &["identity"]),
    ("name", &["name"]),
    ("device_set", &["identity"]),
    ("device", &["identity", "device"]),
    ("devices", &["identity"]),
    ("session", &["token_hash"]),
    ("sessions", &[]),
    ("device_session", &["identity", "device", "token_hash"]),
    ("device_sessions", &["identity", "device"]),
    ("channel", &["channel"]),
    ("channels", &[]),
    ("metadata", &["channel"]),
    ("group_info", &["channel", "piece"]),
    ("member", &["channel", "identity"]),
    ("members", &["channel"]),
    ("membership", &["identity", "channel"]),
    ("memberships", &["identity"]),
    ("given", &["identity"]),
    ("all_given", &[]),
    ("former", &["channel", "identity"]),
    ("formers", &[]),
    ("slot", &["channel", "number"]),
    ("slots", &[]),
    ("package_pool", &["identity", "device"]),
    ("package", &["identity", "device", "fingerprint"]),
    ("packages", &["identity", "device"]),
    ("package_seen", &["identity", "device", "fingerprint"]),
    ("packages_seen", &[]),
    ("hybrid_key", &["identity"]),
    ("devices_changed", &["identity"]),
    ("device_revoked", &["identity", "device"]),
    ("jobs", &[]),
    ("queue", &["identity", "device", "channel"]),
    ("queues", &["identity", "device"]),
    ("all_queues", &[]),
    ("entry", &["identity", "device", "channel", "number"]),
    ("payload", &["payload", "piece"]),
    (
        "payload_claim",
        &["payload", "identity", "device", "channel"],
    ),
    ("payload_check", &["payload"]),
    ("allowance", &["identity"]),
    ("allowances", &[]),
    ("dedupe", &["message", "identity", "method"]),
    ("expiry", &["number", "identity", "device", "channel"]),
    ("expired", &["number"]),
];

/// Keys of the client and the fields that each has.
const CLIENT: [(&str, &[&str]); 23] = [
    ("schema", &[]),
    ("writer", &[]),
    ("account", &[]),
    ("server", &[]),
    ("openings", &[]),
    ("clocks", &[]),
    ("moves", &["channel"]),
    ("hybrid", &["identity"]),
    ("conversation", &["channel"]),
    ("draft", &["channel"]),
    ("proofs", &["channel"]),
    ("forks", &["channel"]),
    ("merged", &["channel", "number"]),
    ("seen", &["channel", "number"]),
    ("package", &["reference"]),
    ("mls", &["row"]),
    ("known", &["channel", "number"]),
    ("outgoing", &["channel", "number"]),
    ("parked", &["channel", "number"]),
    ("queue", &["channel"]),
    ("contact", &["identity"]),
    ("sent", &["channel", "number"]),
    ("history", &["channel", "number"]),
];

pub(super) fn inputs() -> Result<Vec<Value>> {
    let mut cases = Vec::new();
    for (core, keys) in [("server", &SERVER[..]), ("client", &CLIENT[..])] {
        for (name, fields) in keys {
            let mut whole = json!({"core": core, "key": name});
            if core == "client" {
                whole["piece"] = 0.into();
            }
            for field in *fields {
                whole[*field] = sample(core, field);
            }
            cases.push(whole.clone());
            // The ids that may be empty, and numbers at the other end.
            let may_be_empty = |field: &str| match (core, *name) {
                ("server", "entry" | "queue" | "expiry" | "payload_claim") => field == "channel",
                ("client", "queue") => field == "channel",
                _ => false,
            };
            for field in fields
                .iter()
                .filter(|field| **field == "device" || may_be_empty(field))
            {
                let mut empty = whole.clone();
                empty[*field] = "".into();
                cases.push(empty);
            }
            if fields.contains(&"number") {
                let mut greatest = whole.clone();
                greatest["number"] = u64::MAX.to_string().into();
                cases.push(greatest);
            }
        }
    }
    let mut later = json!({"core": "client", "key": "account", "piece": 65_534});
    cases.push(later.clone());
    later["key"] = "history".into();
    later["channel"] = sample("client", "channel");
    later["number"] = "5".into();
    cases.push(later);
    Ok(cases)
}

fn sample(core: &str, field: &str) -> Value {
    match field {
        "name" => "schema".into(),
        "identity" => digits([0xaa; 32]),
        "device" => digits([0xdd; 16]),
        "channel" => digits([0xcc; 16]),
        "token_hash" => digits([0x44; 32]),
        "fingerprint" => digits([0xff; 32]),
        "payload" => digits([0x99; 16]),
        "message" => digits([0x77; 16]),
        "reference" => digits([0x66; 32]),
        "row" => digits([0x05, 0x01, 0x02]),
        "piece" if core == "server" => 258.into(),
        "method" => 200.into(),
        _ => "300".into(),
    }
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    let (core, key) = (case.text("core")?, case.text("key")?);
    let table = match core {
        "server" => &SERVER[..],
        "client" => &CLIENT[..],
        _ => return Err(wrong("core", "server or client")),
    };
    let found = table.iter().find(|(name, _)| *name == key);
    let (_, fields) = found.ok_or_else(|| wrong("key", "a known key"))?;
    let mut out = super::cases::inputs(case, fields)?;
    out["core"] = core.into();
    out["key"] = key.into();
    if core == "client" {
        let piece: u16 = case.number("piece")?;
        out["piece"] = piece.into();
        let whole = client_key(case, key)?;
        let stored = client::piece(&whole, piece);
        if client::split_piece(&stored) != Some((&whole, piece)) {
            return Err(VectorError::Broken("a key"));
        }
        out["bytes"] = digits(stored);
        return Ok(out);
    }
    match server_key(case, key)? {
        Key::One(key) => out["bytes"] = digits(key),
        Key::Many { start, end } => {
            out["start"] = digits(start);
            out["end"] = digits(end);
        }
    }
    Ok(out)
}

enum Key {
    One(Bytes),
    Many { start: Bytes, end: Bytes },
}

impl<R> From<server::Key<R>> for Key {
    fn from(key: server::Key<R>) -> Self {
        Self::One(key.into())
    }
}

impl<R> From<Range<R>> for Key {
    fn from(range: Range<R>) -> Self {
        let Range { start, end, .. } = range;
        Self::Many { start, end }
    }
}

fn server_key(case: &Value, key: &str) -> Result<Key> {
    let identity = || case.array("identity").map(IdentityKey);
    let device = || device(case);
    let payload = || case.array("payload").map(PayloadId);
    let queue = || {
        Ok(QueueId {
            recipient: identity()?,
            device: device()?,
            channel: optional_channel(case)?,
        })
    };
    let number = || case.number::<u64>("number");
    Ok(match key {
        "meta" => server::meta(case.text("name")?).into(),
        "account" => server::account(&identity()?).into(),
        "name" => server::name(case.text("name")?).into(),
        "device_set" => server::device_set(&identity()?).into(),
        "device" => server::device(&identity()?, &device()?).into(),
        "devices" => server::devices(&identity()?).into(),
        "session" => server::session(&case.array("token_hash")?).into(),
        "sessions" => server::sessions().into(),
        "device_session" => {
            server::device_session(&identity()?, &device()?, &case.array("token_hash")?).into()
        }
        "device_sessions" => server::device_sessions(&identity()?, Some(&device()?)).into(),
        "channel" => server::channel(&channel(case)?).into(),
        "channels" => server::channels().into(),
        "metadata" => server::metadata(&channel(case)?).into(),
        "group_info" => server::group_info(&channel(case)?, case.number("piece")?).into(),
        "member" => server::member(&channel(case)?, &identity()?).into(),
        "members" => server::members(&channel(case)?).into(),
        "membership" => server::membership(&identity()?, &channel(case)?).into(),
        "memberships" => server::memberships(&identity()?).into(),
        "given" => server::given(&identity()?).into(),
        "all_given" => server::all_given().into(),
        "former" => server::former(&channel(case)?, &identity()?).into(),
        "formers" => server::formers().into(),
        "slots" => server::slots().into(),
        "slot" => server::slot(&channel(case)?, number()?).into(),
        "package_pool" => server::package_pool(&identity()?, &device()?).into(),
        "package" => server::package(&identity()?, &device()?, &case.array("fingerprint")?).into(),
        "packages" => server::packages(&identity()?, &device()?).into(),
        "package_seen" => {
            server::package_seen(&identity()?, &device()?, &case.array("fingerprint")?).into()
        }
        "packages_seen" => server::packages_seen().into(),
        "hybrid_key" => server::hybrid_key(&identity()?).into(),
        "devices_changed" => server::devices_changed(&identity()?).into(),
        "device_revoked" => server::device_revoked(&identity()?, &device()?).into(),
        "jobs" => server::jobs().into(),
        "queue" => server::queue(&queue()?).into(),
        "queues" => server::queues(&identity()?, &device()?).into(),
        "all_queues" => server::all_queues().into(),
        "allowance" => server::allowance(&identity()?).into(),
        "allowances" => server::allowances().into(),
        "entry" => server::entry(&queue()?, number()?).into(),
        "payload" => server::payload(&payload()?, case.number("piece")?).into(),
        "payload_claim" => server::payload_claim(&payload()?, &queue()?).into(),
        "payload_check" => server::payload_check(&payload()?).into(),
        "dedupe" => {
            let message = MessageId(case.array("message")?);
            server::dedupe(&message, &identity()?, case.number("method")?).into()
        }
        "expiry" => server::expiry(number()?, &queue()?).into(),
        "expired" => server::expired(number()?).into(),
        _ => return Err(wrong("key", "a known key")),
    })
}

fn client_key(case: &Value, key: &str) -> Result<Vec<u8>> {
    let number = || case.number::<u64>("number");
    let name = match key {
        "schema" => return Ok(client::META_SCHEMA.to_vec()),
        "writer" => return Ok(client::META_WRITER.to_vec()),
        "history" => return Ok(client::history(channel(case)?, number()?)),
        "account" => Name::Account,
        "server" => Name::Server,
        "openings" => Name::Openings,
        "clocks" => Name::Clocks,
        "moves" => Name::Moves(channel(case)?),
        "hybrid" => Name::Hybrid(IdentityKey(case.array("identity")?)),
        "conversation" => Name::Conversation(channel(case)?),
        "draft" => Name::Draft(channel(case)?),
        "proofs" => Name::Proofs(channel(case)?),
        "forks" => Name::Forks(channel(case)?),
        "merged" => Name::Merged(channel(case)?, number()?),
        "seen" => Name::Seen(channel(case)?, number()?),
        "package" => Name::Package(case.bytes("reference")?),
        "mls" => Name::Mls(case.bytes("row")?),
        "known" => Name::Known(channel(case)?, number()?),
        "outgoing" => Name::Outgoing(channel(case)?, number()?),
        "parked" => Name::Parked(channel(case)?, number()?),
        "queue" => Name::Queue(optional_channel(case)?),
        "contact" => Name::Contact(IdentityKey(case.array("identity")?)),
        "sent" => Name::Sent(channel(case)?, number()?),
        _ => return Err(wrong("key", "a known key")),
    };
    let comes_back = Name::parse(&name.key()) == Some(name.clone());
    match comes_back && called(&name) == key {
        true => Ok(name.key()),
        false => Err(VectorError::Broken("a key")),
    }
}

/// What the vectors call a key: a new one has to be among them.
const fn called(name: &Name) -> &'static str {
    match name {
        Name::Account => "account",
        Name::Server => "server",
        Name::Openings => "openings",
        Name::Clocks => "clocks",
        Name::Moves(_) => "moves",
        Name::Hybrid(_) => "hybrid",
        Name::Conversation(_) => "conversation",
        Name::Draft(_) => "draft",
        Name::Proofs(_) => "proofs",
        Name::Forks(_) => "forks",
        Name::Merged(..) => "merged",
        Name::Seen(..) => "seen",
        Name::Package(_) => "package",
        Name::Mls(_) => "mls",
        Name::Known(..) => "known",
        Name::Outgoing(..) => "outgoing",
        Name::Parked(..) => "parked",
        Name::Queue(_) => "queue",
        Name::Contact(_) => "contact",
        Name::Sent(..) => "sent",
    }
}

fn device(case: &Value) -> Result<DeviceId> {
    let id = DeviceId::from_wire(&case.bytes("device")?);
    id.map_err(|_| wrong("device", "16 bytes or none"))
}

fn channel(case: &Value) -> Result<ChannelId> {
    case.array("channel").map(ChannelId)
}

fn optional_channel(case: &Value) -> Result<Option<ChannelId>> {
    match case.text("channel")? {
        "" => Ok(None),
        _ => channel(case).map(Some),
    }
}
