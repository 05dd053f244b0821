//! `qpq-lab feed`: what a core does with raw bytes, a line for each file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use qpq_lab::feed::{self, Did, Frame, Role, Side, Streams};
use qpq_protocol::method::Method;
use qpq_protocol::status::AppCode;
use qpq_server_example::printable::printable;
use qpq_server_example::printer::Printer;
use serde_json::{Value, json};

use crate::failed::Failed;

/// What to feed to whom.
#[derive(Args, Clone, Debug)]
pub struct Feed {
    /// A directory with a file for each stream; directories in it are not looked into
    dir: PathBuf,
    /// Which core takes the bytes
    #[arg(long, value_enum, default_value_t = Core::Server)]
    core: Core,
    /// What all randomness of the core comes from: the same bytes and the same seed give the same line
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Core {
    /// As a stranger's request
    Server,
    /// As the answer to the client's first request, and again as a stream of pushes
    Client,
}

/// How often what happened.
#[derive(Default)]
struct Tally {
    files: usize,
    bytes: usize,
    /// Streams that were answered, that were reset, and whose connection was closed.
    answered: usize,
    reset: usize,
    closed: usize,
    panicked: usize,
}

/// Feeds every file to a core of its own.
pub fn run(feed: &Feed, printer: Printer) -> Result<(), Failed> {
    let side = match feed.core {
        Core::Server => Side::Server,
        Core::Client => Side::Client,
    };
    let mut tally = Tally::default();
    for stream in Streams::of(&feed.dir)? {
        let (name, bytes) = stream?;
        tally.files += 1;
        tally.bytes += bytes.len();
        let (human, mut machine) = match feed::feed(side, &bytes, feed.seed) {
            Ok(all) => {
                all.iter().for_each(|did| tally.count(did));
                let human: Vec<String> = all.iter().map(told).collect();
                let machine: Value = all.iter().map(|did| (role(did), object(did))).collect();
                (human.join("; "), machine)
            }
            Err(panicked) => {
                tally.panicked += 1;
                (panicked.to_string(), json!({"panicked": panicked.0}))
            }
        };
        machine["type"] = "fed".into();
        machine["file"] = name.as_str().into();
        machine["bytes"] = bytes.len().into();
        let human = format!(
            "{}  {} bytes  {}",
            printable(&name),
            bytes.len(),
            printable(&human)
        );
        printer.line(&human, &machine).map_err(Failed::Output)?;
    }
    tally.say(printer)
}

impl Tally {
    fn count(&mut self, did: &Did) {
        let is_answer = |frame: &Frame| matches!(frame, Frame::Response { .. });
        self.answered += usize::from(did.sent.iter().any(is_answer));
        self.reset += usize::from(did.reset.is_some());
        self.closed += usize::from(did.closed.is_some());
    }

    fn say(&self, printer: Printer) -> Result<(), Failed> {
        let Self {
            files,
            bytes,
            answered,
            reset,
            closed,
            panicked,
        } = *self;
        if panicked > 0 {
            return Err(Failed::Panicked { panicked, files });
        }
        let human = format!(
            "ok {bytes} bytes in {files} files: {answered} answered, {reset} reset, {closed} connections closed"
        );
        let machine = json!({
            "type": "feed_ok",
            "files": files,
            "bytes": bytes,
            "answered": answered,
            "reset": reset,
            "closed": closed,
        });
        printer.line(&human, &machine).map_err(Failed::Output)
    }
}

fn role(did: &Did) -> String {
    let role = match did.role {
        Role::Request => "request",
        Role::Answer => "answer",
        Role::Push => "push",
    };
    role.to_owned()
}

/// What a core did, for people.
fn told(did: &Did) -> String {
    let frames = did.sent.iter().map(|frame| match frame {
        Frame::Request {
            method_id,
            request_id,
        } => format!("asks {} as {request_id}", method(*method_id)),
        Frame::Response {
            status,
            request_id,
            payload,
            detail,
        } => {
            let why = detail
                .as_ref()
                .map_or_else(String::new, |why| format!(" ({why})"));
            format!(
                "answers {} to {request_id}{why}, {payload} bytes",
                status.name()
            )
        }
    });
    let mut told: Vec<String> = frames.collect();
    told.extend(
        did.reset
            .map(|code| format!("resets with {}", code_name(code))),
    );
    told.extend(
        did.closed
            .map(|code| format!("closes with {}", code_name(code))),
    );
    told.extend(did.events.iter().map(|event| format!("tells {event}")));
    if told.is_empty() {
        told.push("does nothing".to_owned());
    }
    format!("{} ({} taken): {}", role(did), did.taken, told.join(", "))
}

/// The same for scripts.
fn object(did: &Did) -> Value {
    let frame = |frame: &Frame| match frame {
        Frame::Request {
            method_id,
            request_id,
        } => json!({"method": method(*method_id), "request_id": request_id}),
        Frame::Response {
            status,
            request_id,
            payload,
            detail,
        } => json!({
            "status": status.name(),
            "request_id": request_id,
            "payload": payload,
            "detail": detail,
        }),
    };
    json!({
        "taken": did.taken,
        "sent": did.sent.iter().map(frame).collect::<Vec<_>>(),
        "reset": did.reset.map(code_name),
        "closed": did.closed.map(code_name),
        "events": did.events,
    })
}

fn method(id: u16) -> String {
    Method::try_from(id).map_or_else(|_| id.to_string(), |method| method.name().to_owned())
}

fn code_name(code: u64) -> String {
    AppCode::from_code(code).map_or_else(|| code.to_string(), |code| code.name().to_owned())
}
