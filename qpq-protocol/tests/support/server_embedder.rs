//! An embedder of a server core that does anything in any order, for peers that may be hostile.
#![allow(dead_code)]

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, Dir, StreamId, Ticket};
use qpq_protocol::io::{Alpn, ConnectError, Core as _, Job, Output, PeerInfo, StreamInput, Wake};
use qpq_protocol::server::{Event, Server, ServerConfig};
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::{Command, Engine as _, Reply};
use qpq_protocol::time::{Time, UnixTime};

use crate::support::{BEGIN, roomy};

/// One input, or one thing that the embedder does.
#[derive(Clone, Debug)]
pub enum Act {
    Connect(u8),
    Disconnect(u8),
    Data(u8, u8, Bytes),
    Fin(u8, u8),
    /// A whole, well-formed request.
    Request(u8, u8, Bytes),
    Stream(u8, StreamId, StreamInput),
    /// The oldest storage command is carried out.
    Stored,
    /// A reply that fits no command.
    Reply(u64, Reply),
    ConnectFailed(u64),
    Computed(u64),
    Wake(Wake),
    Clock(u64),
    Timeout,
    Sleep(u32),
    /// Time goes back.
    Back(u32),
    Drain,
    Shutdown,
}

/// A core with whatever its embedder keeps.
pub struct Embedder {
    pub server: Server,
    memory: Memory,
    pub now: Time,
    pub stored: VecDeque<(Ticket, Command)>,
    taken: VecDeque<Output<Event>>,
    tickets: BTreeSet<Ticket>,
    pub trace: Vec<String>,
    /// What was sent on peers' streams, for who looks into it.
    pub answers: Vec<Bytes>,
}

impl Embedder {
    /// A core on an empty store.
    pub fn new(config: ServerConfig) -> Self {
        Self::on(config, Memory::new())
    }

    /// A core on this store.
    pub fn on(config: ServerConfig, memory: Memory) -> Self {
        let now = Time::from_micros(5_000_000);
        Self {
            server: Server::new(config, [8; 32], now, BEGIN),
            memory,
            now,
            stored: VecDeque::new(),
            taken: VecDeque::new(),
            tickets: BTreeSet::new(),
            trace: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn stream(&mut self, conn: u8, number: u8, input: StreamInput) {
        let stream = StreamId::Peer(Dir::Bi, number.into());
        let conn = ConnId(conn.into());
        self.server.handle_stream(self.now, conn, stream, input);
    }

    /// Takes what the core wants, to be carried out later.
    pub fn take(&mut self) {
        while let Some(output) = self.server.poll_output() {
            self.taken.push_back(output);
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.taken.pop_front().or_else(|| self.server.poll_output()) {
            self.trace.push(format!("{output:?}"));
            match output {
                Output::Store {
                    ticket, command, ..
                } => {
                    assert!(self.tickets.insert(ticket), "a ticket was used twice");
                    self.stored.push_back((ticket, command));
                }
                Output::Send {
                    stream: StreamId::Peer(..),
                    data,
                    ..
                } => self.answers.push(data),
                Output::Close { conn, .. } => self.server.handle_disconnected(self.now, conn),
                _ => {}
            }
        }
    }

    pub fn store(&mut self) {
        if let Some((ticket, command)) = self.stored.pop_front()
            && let Some(reply) = self.memory.run(vec![command]).pop()
        {
            self.server.handle_stored(self.now, ticket, reply);
        }
    }

    pub fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Connect(conn) => {
                let peer = PeerInfo {
                    address: SocketAddr::from(([10, 0, 0, conn], 1)),
                    alpn: Alpn::Qpq,
                    certificate: None,
                };
                let conn = ConnId(conn.into());
                self.server.handle_connected(now, conn, peer, None);
            }
            Act::Disconnect(conn) => self.server.handle_disconnected(now, ConnId(conn.into())),
            Act::Data(conn, stream, bytes) => {
                self.stream(conn, stream, StreamInput::Data(bytes));
            }
            Act::Fin(conn, stream) => self.stream(conn, stream, StreamInput::Fin),
            Act::Request(conn, stream, frame) => {
                self.stream(conn, stream, StreamInput::Data(frame));
                self.stream(conn, stream, StreamInput::Fin);
            }
            Act::Stream(conn, stream, input) => {
                let conn = ConnId(conn.into());
                self.server.handle_stream(now, conn, stream, input);
            }
            Act::Stored => self.store(),
            Act::Reply(ticket, reply) => self.server.handle_stored(now, Ticket(ticket), reply),
            Act::ConnectFailed(ticket) => {
                let why = ConnectError::Unreachable;
                self.server.handle_connect_failed(now, Ticket(ticket), why);
            }
            Act::Computed(ticket) => {
                let result = Job::new(|| 1).run();
                self.server.handle_computed(now, Ticket(ticket), result);
            }
            Act::Wake(wake) => self.server.handle_wake(now, wake),
            Act::Clock(millis) => self.server.handle_clock(now, UnixTime::from_millis(millis)),
            Act::Timeout => self.server.handle_timeout(now),
            Act::Sleep(micros) => self.now = now + Duration::from_micros(micros.into()),
            Act::Back(micros) => {
                let back = now.as_micros().saturating_sub(micros.into());
                self.server.handle_timeout(Time::from_micros(back));
            }
            Act::Drain => self.drain(),
            Act::Shutdown => self.server.handle_shutdown(now),
        }
    }
}

/// Small enough for random inputs to reach every bound.
pub fn tight() -> ServerConfig {
    let mut config = roomy();
    let limits = &mut config.limits;
    limits.connections = 3;
    limits.anonymous_connections = 1;
    limits.streams = 4;
    limits.anonymous_streams = 4;
    limits.connection_buffer = 6_000;
    limits.total_buffer = 10_000;
    limits.small_buffer = 5_000;
    limits.anonymous_buffer = 10_000;
    limits.anonymous_small_buffer = 5_000;
    limits.connection_unsent = 300;
    limits.answer = 1_500;
    limits.total_unsent = 2_000;
    limits.long_answers = 1;
    limits.cached_rows = 8;
    limits.away_devices = 2;
    limits.cached_bytes = 4_000;
    limits.rate_counters = 4;
    config
}

/// Every deadline does something: it emits, or it moves.
pub fn nothing_is_stranded(embedder: &mut Embedder) {
    for _ in 0..200 {
        embedder.drain();
        let Some((at, reason)) = embedder.server.poll_timeout() else {
            return;
        };
        embedder.now = embedder.now.max(at);
        embedder.server.handle_timeout(embedder.now);
        let outputs = embedder.trace.len();
        embedder.drain();
        let moved = embedder
            .server
            .poll_timeout()
            .is_none_or(|(next, _)| next > at);
        assert!(
            moved || embedder.trace.len() > outputs,
            "stuck at: {reason}"
        );
    }
    panic!("deadlines without end");
}
