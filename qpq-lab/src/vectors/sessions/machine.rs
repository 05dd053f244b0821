//! A machine: a disk and the core that runs on it. Told an input, it gives one step of a recording.

use std::collections::BTreeMap;

use qpq_protocol::client::{self, Client, Intent};
use qpq_protocol::ids::Ticket;
use qpq_protocol::io::{Alpn, Core, Job, Lane, Output, PeerInfo, Topic};
use qpq_protocol::server::{self, Server};
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::{Command, Engine as _, Reply};
use qpq_protocol::time::Time;
use serde_json::{Value, json};

use super::event;
use super::input::{Input, stream_name};
use super::storage::Values;
use crate::vectors::VectorError;
use crate::vectors::json::{digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// What a recording needs of a core beside [`Core`].
pub trait Recorded: Core {
    fn event(event: &Self::Event) -> Value;
    /// The number of the intent; `None` if this core takes none.
    fn begin(&mut self, now: Time, intent: Intent) -> Option<u64>;
}

impl Recorded for Client {
    fn event(event: &client::Event) -> Value {
        event::client(event)
    }

    fn begin(&mut self, now: Time, intent: Intent) -> Option<u64> {
        Some(self.begin(now, intent).0)
    }
}

impl Recorded for Server {
    fn event(event: &server::Event) -> Value {
        event::server(event)
    }

    fn begin(&mut self, _now: Time, _intent: Intent) -> Option<u64> {
        None
    }
}

/// See the page of this module.
pub struct Machine<C: Recorded> {
    pub core: C,
    values: Values,
    disk: Memory,
    commands: BTreeMap<Ticket, Command>,
    jobs: BTreeMap<Ticket, Job>,
}

/// What came of an input.
pub struct Told<E> {
    /// As a file has it.
    pub step: Value,
    /// Outputs that are not the machine's own: connections, streams, events, wakes.
    pub outputs: Vec<Output<E>>,
    /// The number of the intent that was stated.
    pub intent: Option<u64>,
}

impl<C: Recorded> Machine<C> {
    /// A core on this disk.
    pub fn new(core: C, values: Values, disk: Memory) -> Self {
        Self {
            core,
            values,
            disk,
            commands: BTreeMap::new(),
            jobs: BTreeMap::new(),
        }
    }

    /// Power is lost: another core goes on with what is durable.
    pub fn restart(&mut self, core: C, values: Values) {
        *self = Self::new(core, values, core::mem::take(&mut self.disk));
    }

    /// The first storage command that waits for its reply.
    pub fn first_command(&self) -> Option<Ticket> {
        self.commands.keys().next().copied()
    }

    /// The first job that waits to be run.
    pub fn first_job(&self) -> Option<Ticket> {
        self.jobs.keys().next().copied()
    }

    /// Tells the core something and takes all its outputs.
    ///
    /// # Errors
    /// [`VectorError::Field`] if the input answers what the core never asked.
    pub fn tell(&mut self, now: Time, input: &Input) -> Result<Told<C::Event>> {
        let mut told = input.to_json();
        let mut stated = None;
        let core = &mut self.core;
        match input.clone() {
            Input::Start => {}
            Input::Connected(conn, address, ticket) => {
                let peer = PeerInfo {
                    address,
                    alpn: Alpn::Qpq,
                    certificate: None,
                };
                core.handle_connected(now, conn, peer, ticket);
            }
            Input::ConnectFailed(ticket, why) => core.handle_connect_failed(now, ticket, why),
            Input::Stream(conn, stream, input) => core.handle_stream(now, conn, stream, input),
            Input::Disconnected(conn) => core.handle_disconnected(now, conn),
            Input::Stored(ticket) => {
                let reply = self.carry_out(ticket, &mut told)?;
                self.core.handle_stored(now, ticket, reply);
            }
            Input::Unseen(ticket) => {
                self.carry_out(ticket, &mut told)?;
            }
            Input::Failed(ticket, failure) => {
                self.commands.remove(&ticket);
                core.handle_stored(now, ticket, Reply::Failed(failure));
            }
            Input::Computed(ticket) => {
                let job = self.jobs.remove(&ticket);
                let job = job.ok_or_else(|| wrong("ticket", "that of a job"))?;
                core.handle_computed(now, ticket, job.run());
            }
            Input::Timeout => core.handle_timeout(now),
            Input::Shutdown => core.handle_shutdown(now),
            Input::Intent(intent) => {
                stated = Recorded::begin(core, now, intent);
                let number = stated.ok_or_else(|| wrong("kind", "an input of a server"))?;
                told["intent"] = number.into();
            }
        }
        let (outputs, shown) = self.drain();
        let mut step = json!({"at": now.as_micros(), "in": told, "out": shown});
        if let Some((at, _)) = self.core.poll_timeout() {
            step["next"] = at.as_micros().into();
        }
        Ok(Told {
            step,
            outputs,
            intent: stated,
        })
    }

    /// Runs a command on the disk and notes the reply.
    fn carry_out(&mut self, ticket: Ticket, told: &mut Value) -> Result<Reply> {
        let command = self.commands.remove(&ticket);
        let command = command.ok_or_else(|| wrong("ticket", "that of a storage command"))?;
        let reply = self.disk.run(vec![command.clone()]).pop();
        let reply = reply.ok_or_else(|| wrong("ticket", "one that has a reply"))?;
        told["reply"] = self.values.reply(&command, &reply);
        Ok(reply)
    }

    fn drain(&mut self) -> (Vec<Output<C::Event>>, Vec<Value>) {
        let (mut outputs, mut shown) = (Vec::new(), Vec::new());
        while let Some(output) = self.core.poll_output() {
            shown.push(self.show(&output));
            match output {
                Output::Store {
                    ticket, command, ..
                } => {
                    self.commands.insert(ticket, command);
                }
                Output::Compute { ticket, job } => {
                    self.jobs.insert(ticket, job);
                }
                other => outputs.push(other),
            }
        }
        (outputs, shown)
    }

    fn show(&self, output: &Output<C::Event>) -> Value {
        match output {
            Output::Connect { ticket, target } => {
                json!({"kind": "connect", "ticket": ticket.0, "address": target.address})
            }
            Output::Open { conn, stream, dir } => json!({
                "kind": "open",
                "conn": conn.0,
                "stream": format!("own {}", stream.0),
                "dir": match dir {
                    qpq_protocol::ids::Dir::Bi => "bi",
                    qpq_protocol::ids::Dir::Uni => "uni",
                },
            }),
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => json!({
                "kind": "send",
                "conn": conn.0,
                "stream": stream_name(*stream),
                "bytes": digits(data),
                "fin": fin,
            }),
            Output::Reset { conn, stream, code } => json!({
                "kind": "reset",
                "conn": conn.0,
                "stream": stream_name(*stream),
                "code": code,
            }),
            Output::Admit { conn } => json!({"kind": "admit", "conn": conn.0}),
            Output::Close { conn, code } => {
                json!({"kind": "close", "conn": conn.0, "code": code})
            }
            Output::Store {
                ticket,
                lane,
                command,
            } => json!({
                "kind": "store",
                "ticket": ticket.0,
                "lane": match lane {
                    Lane::Ordered => 0,
                    Lane::Reads => 1,
                },
                "command": self.values.command(command),
            }),
            Output::Compute { ticket, .. } => json!({"kind": "compute", "ticket": ticket.0}),
            Output::Wake(wake) => {
                let (topic, key) = match &wake.topic {
                    Topic::Queue(key) => ("queue", digits(key)),
                    Topic::Session(key) => ("session", digits(key)),
                    Topic::Live(key) => ("live", digits(key)),
                };
                json!({"kind": "wake", "topic": topic, "key": key, "body": digits(&wake.body)})
            }
            Output::Event(event) => {
                let mut value = C::event(event);
                value["kind"] = "event".into();
                value
            }
            _ => json!({"kind": "unknown"}),
        }
    }
}
