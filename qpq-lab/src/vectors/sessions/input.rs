//! What a core is told, as data: in memory and in a file.

use std::net::SocketAddr;

use bytes::Bytes;
use qpq_protocol::client::Intent;
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{ConnectError, StreamInput};
use qpq_protocol::storage::Failure;
use serde_json::{Value, json};

use super::intent;
use crate::vectors::VectorError;
use crate::vectors::json::{Fields, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// Something that a core, or only its disk, is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Nothing: what the core puts out by itself when it starts.
    Start,
    Connected(ConnId, SocketAddr, Option<Ticket>),
    ConnectFailed(Ticket, ConnectError),
    Stream(ConnId, StreamId, StreamInput),
    Disconnected(ConnId),
    /// The disk carries out this command and the core gets the reply.
    Stored(Ticket),
    /// The disk carries out this command; the power goes before the core gets the reply.
    Unseen(Ticket),
    /// The disk refuses this command.
    Failed(Ticket, Failure),
    /// The job is run.
    Computed(Ticket),
    Timeout,
    Shutdown,
    Intent(Intent),
}

impl Input {
    /// As a file has it; what the disk replied is put beside it by anyone who runs the disk.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Start => json!({"kind": "start"}),
            Self::Connected(conn, address, ticket) => {
                let mut value =
                    json!({"kind": "connected", "conn": conn.0, "address": address.to_string()});
                if let Some(ticket) = ticket {
                    value["ticket"] = ticket.0.into();
                }
                value
            }
            Self::ConnectFailed(ticket, why) => {
                json!({"kind": "connect_failed", "ticket": ticket.0, "why": reason(why)})
            }
            Self::Stream(conn, stream, input) => {
                let mut value = json!({"conn": conn.0, "stream": stream_name(*stream)});
                let (kind, field, content) = match input {
                    StreamInput::Data(data) => ("data", "bytes", digits(data)),
                    StreamInput::Fin => ("fin", "", Value::Null),
                    StreamInput::Reset(code) => ("reset", "code", (*code).into()),
                    StreamInput::Stopped(code) => ("stopped", "code", (*code).into()),
                    StreamInput::Sent(count) => ("sent", "count", (*count).into()),
                };
                value["kind"] = kind.into();
                if !content.is_null() {
                    value[field] = content;
                }
                value
            }
            Self::Disconnected(conn) => json!({"kind": "disconnected", "conn": conn.0}),
            Self::Stored(ticket) => json!({"kind": "stored", "ticket": ticket.0}),
            Self::Unseen(ticket) => json!({"kind": "unseen", "ticket": ticket.0}),
            Self::Failed(ticket, failure) => {
                json!({"kind": "failed", "ticket": ticket.0, "why": failure_name(*failure)})
            }
            Self::Computed(ticket) => json!({"kind": "computed", "ticket": ticket.0}),
            Self::Timeout => json!({"kind": "timeout"}),
            Self::Shutdown => json!({"kind": "shutdown"}),
            Self::Intent(intent) => intent::to_json(intent),
        }
    }

    /// From a file.
    pub fn from_json(value: &Value) -> Result<Self> {
        let conn = || value.number("conn").map(ConnId);
        let ticket = || value.number("ticket").map(Ticket);
        let stream = |input| Ok(Self::Stream(conn()?, parse_stream(value)?, input));
        match value.text("kind")? {
            "start" => Ok(Self::Start),
            "connected" => {
                let address = value.text("address")?.parse();
                let address = address.map_err(|_| wrong("address", "ip:port"))?;
                let ticket = match value.get_field("ticket") {
                    Some(_) => Some(ticket()?),
                    None => None,
                };
                Ok(Self::Connected(conn()?, address, ticket))
            }
            "connect_failed" => {
                let why = value.text("why")?;
                let found = REASONS.iter().find(|(_, name)| *name == why);
                let (why, _) = found.ok_or_else(|| wrong("why", "a known reason"))?;
                Ok(Self::ConnectFailed(ticket()?, why.clone()))
            }
            "data" => stream(StreamInput::Data(Bytes::from(value.bytes("bytes")?))),
            "fin" => stream(StreamInput::Fin),
            "reset" => stream(StreamInput::Reset(value.number("code")?)),
            "stopped" => stream(StreamInput::Stopped(value.number("code")?)),
            "sent" => stream(StreamInput::Sent(value.number("count")?)),
            "disconnected" => Ok(Self::Disconnected(conn()?)),
            "stored" => Ok(Self::Stored(ticket()?)),
            "unseen" => Ok(Self::Unseen(ticket()?)),
            "failed" => {
                let why = value.text("why")?;
                let mut all = [Failure::Full, Failure::Unavailable, Failure::Unknown].into_iter();
                let failure = all.find(|failure| failure_name(*failure) == why);
                let failure = failure.ok_or_else(|| wrong("why", "a known failure"))?;
                Ok(Self::Failed(ticket()?, failure))
            }
            "computed" => Ok(Self::Computed(ticket()?)),
            "timeout" => Ok(Self::Timeout),
            "shutdown" => Ok(Self::Shutdown),
            _ => {
                let intent = intent::from_json(value)?;
                intent
                    .map(Self::Intent)
                    .ok_or_else(|| wrong("kind", "a known input"))
            }
        }
    }
}

const REASONS: [(ConnectError, &str); 6] = [
    (ConnectError::Unreachable, "unreachable"),
    (ConnectError::CertificateChanged, "certificate_changed"),
    (ConnectError::CertificateUntrusted, "certificate_untrusted"),
    (ConnectError::WrongProtocol, "wrong_protocol"),
    (ConnectError::BadAddress, "bad_address"),
    (ConnectError::Refused, "refused"),
];

/// The name of a reason in a file.
pub fn reason(why: &ConnectError) -> &'static str {
    let found = REASONS.iter().find(|(reason, _)| reason == why);
    found.map_or("", |(_, name)| name)
}

/// The name of a failure in a file.
pub const fn failure_name(failure: Failure) -> &'static str {
    match failure {
        Failure::Full => "full",
        Failure::Unavailable => "unavailable",
        Failure::Unknown => "unknown",
    }
}

/// The name of a stream in a file: `own 3`, `peer bi 0`, `peer uni 0`.
pub fn stream_name(stream: StreamId) -> String {
    match stream {
        StreamId::Own(own) => format!("own {}", own.0),
        StreamId::Peer(Dir::Bi, number) => format!("peer bi {number}"),
        StreamId::Peer(Dir::Uni, number) => format!("peer uni {number}"),
    }
}

fn parse_stream(value: &Value) -> Result<StreamId> {
    let (who, number) = value.text("stream")?.rsplit_once(' ').unwrap_or_default();
    let number = number.parse().map_err(|_| wrong("stream", "a stream"))?;
    match who {
        "own" => Ok(StreamId::Own(OwnStream(number))),
        "peer bi" => Ok(StreamId::Peer(Dir::Bi, number)),
        "peer uni" => Ok(StreamId::Peer(Dir::Uni, number)),
        _ => Err(wrong("stream", "a stream")),
    }
}
