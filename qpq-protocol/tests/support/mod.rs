//! A server core on the memory engine, in virtual time, and peers that speak raw frames to it.
//!
//! Time stands still except in [`World::advance`] and while [`World::call`] waits for an answer
//! that leaves later. Storage answers at once unless [`World::hold_storage`] is set.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::frame::{
    Decoded, Decoder, Header as _, PushHeader, ResponseHeader, encode_request,
};
use qpq_protocol::ids::{ConnId, Dir, IdentityKey, StreamId, Ticket};
use qpq_protocol::io::{Alpn, Core as _, Output, PeerInfo, StreamInput, Wake};
use qpq_protocol::limits::RateClass;
use qpq_protocol::method::Rpc;
use qpq_protocol::proto::{self, ErrorDetail, PushEvent};
use qpq_protocol::server::{Event, Server, ServerConfig};
use qpq_protocol::status::Status;
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::storage::{Command, Engine as _};
use qpq_protocol::time::{Time, UnixTime};
use qpq_protocol::wire;

pub mod account;

/// The date when a world begins: 2026-01-01.
pub const BEGIN: UnixTime = UnixTime::from_millis(1_767_225_600_000);

/// When a world begins.
pub const START: Time = Time::from_micros(1_000_000);

/// A refusal as the peer sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Refused {
    pub status: Status,
    pub detail: ErrorDetail,
}

/// What came back on a request stream.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A response frame: status, request id, payload.
    Response(Status, u32, Bytes),
    /// The stream was reset with this code.
    Reset(u64),
}

/// A server and its peers.
pub struct World {
    pub server: Server,
    pub memory: Memory,
    pub now: Time,
    pub events: Vec<Event>,
    pub wakes: Vec<Wake>,
    /// Storage commands are kept in `stored` until this is cleared and [`World::pump`] runs.
    pub hold_storage: bool,
    pub stored: VecDeque<(Ticket, Command)>,
    /// Bytes sent are not taken by the transport while this is set.
    pub hold_sent: bool,
    /// Bytes sent to this connection are not taken.
    pub hold_sent_of: Option<ConnId>,
    /// How many storage commands have run.
    pub commands: usize,
    peers: BTreeMap<ConnId, Peer>,
    next_conn: u64,
    config: ServerConfig,
}

#[derive(Default)]
struct Peer {
    next_stream: u64,
    answers: BTreeMap<u64, Vec<u8>>,
    done: BTreeMap<u64, Answer>,
    pushed: Vec<u8>,
    closed: Option<u64>,
    opened: usize,
}

/// Limits that tests do not run into by accident.
pub fn roomy() -> ServerConfig {
    let mut config = ServerConfig {
        opaque_suite: qpq_crypto::opaque::Suite::TEST,
        ..ServerConfig::default()
    };
    let limits = &mut config.limits;
    for class in RateClass::ALL {
        limits.rate_mut(*class).count = u32::MAX;
    }
    limits.queue_sender_share = 1;
    limits.memberships_a_day = usize::MAX;
    limits.memberships_open = usize::MAX;
    config
}

impl Default for World {
    fn default() -> Self {
        Self::new(roomy())
    }
}

impl World {
    /// A server that has started on an empty engine.
    pub fn new(config: ServerConfig) -> Self {
        Self::on(config, Memory::new(), [1; 32])
    }

    /// A server that has started, or was refused, on this engine.
    pub fn on(config: ServerConfig, memory: Memory, seed: [u8; 32]) -> Self {
        Self::starting_at(config, memory, seed, BEGIN)
    }

    /// The same, with a clock that says something else than the tests count with.
    pub fn starting_at(
        config: ServerConfig,
        memory: Memory,
        seed: [u8; 32],
        unix: UnixTime,
    ) -> Self {
        let now = START;
        let mut world = Self {
            server: Server::new(config.clone(), seed, now, unix),
            memory,
            now,
            events: Vec::new(),
            wakes: Vec::new(),
            hold_storage: false,
            stored: VecDeque::new(),
            hold_sent: false,
            hold_sent_of: None,
            commands: 0,
            peers: BTreeMap::new(),
            next_conn: 0,
            config,
        };
        world.pump();
        world
    }

    /// Stops the server without a word and starts another on what was durable.
    pub fn restart(self, seed: [u8; 32]) -> Self {
        let mut memory = self.memory;
        memory.crash();
        Self::on(self.config, memory, seed)
    }

    /// A new connection, from an address of its own.
    pub fn connect(&mut self) -> ConnId {
        let last = u8::try_from(self.next_conn % 250).unwrap_or(0) + 1;
        self.connect_from(SocketAddr::from(([10, 0, 0, last], 4000)))
    }

    /// A new connection from this address.
    pub fn connect_from(&mut self, address: SocketAddr) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.peers.insert(conn, Peer::default());
        let peer = PeerInfo {
            address,
            alpn: Alpn::Qpq,
            certificate: None,
        };
        self.server.handle_connected(self.now, conn, peer, None);
        self.pump();
        conn
    }

    /// The peer is gone.
    pub fn disconnect(&mut self, conn: ConnId) {
        self.server.handle_disconnected(self.now, conn);
        self.peers.remove(&conn);
        self.pump();
    }

    /// Opens a request stream without sending anything.
    pub fn open(&mut self, conn: ConnId) -> u64 {
        let peer = self.peers.get_mut(&conn).expect("a connection");
        peer.next_stream += 1;
        peer.next_stream - 1
    }

    /// Something happens on a request stream.
    pub fn input(&mut self, conn: ConnId, stream: u64, input: StreamInput) {
        let stream = StreamId::Peer(Dir::Bi, stream);
        self.server.handle_stream(self.now, conn, stream, input);
        self.pump();
    }

    /// Sends these bytes and the end on a new stream.
    pub fn send_raw(&mut self, conn: ConnId, bytes: &[u8]) -> u64 {
        let stream = self.open(conn);
        if !bytes.is_empty() {
            let bytes = Bytes::copy_from_slice(bytes);
            self.input(conn, stream, StreamInput::Data(bytes));
        }
        self.input(conn, stream, StreamInput::Fin);
        stream
    }

    /// Sends a request on a new stream.
    pub fn send<M: Rpc>(&mut self, conn: ConnId, request: &M::Request) -> u64 {
        let frame = encode_request(M::METHOD.id(), 7, request).expect("a frame");
        self.send_raw(conn, &frame)
    }

    /// What came back on a stream, if it is whole.
    pub fn answer(&self, conn: ConnId, stream: u64) -> Option<Answer> {
        self.peers.get(&conn)?.done.get(&stream).cloned()
    }

    /// What came back on a stream, which is waited for.
    pub fn wait_for(&mut self, conn: ConnId, stream: u64) -> Answer {
        for _ in 0..100_000 {
            if let Some(answer) = self.answer(conn, stream) {
                return answer;
            }
            let (at, _) = self
                .server
                .poll_timeout()
                .expect("an answer, or a deadline");
            self.now = self.now.max(at);
            self.server.handle_timeout(self.now);
            self.pump();
        }
        panic!("no answer");
    }

    /// Sends a request and waits for the response.
    pub fn call<M: Rpc>(
        &mut self,
        conn: ConnId,
        request: &M::Request,
    ) -> Result<M::Response, Refused> {
        let stream = self.send::<M>(conn, request);
        self.response::<M>(conn, stream)
    }

    /// Waits for the response on a stream.
    pub fn response<M: Rpc>(&mut self, conn: ConnId, stream: u64) -> Result<M::Response, Refused> {
        match self.wait_for(conn, stream) {
            Answer::Response(Status::Ok, 7, payload) => {
                Ok(wire::decode_response::<M>(payload).expect("a response"))
            }
            Answer::Response(status, 7, payload) => Err(Refused {
                status,
                detail: wire::decode_error(payload),
            }),
            other => panic!("{other:?}"),
        }
    }

    /// The pushes a connection got since this was last asked.
    pub fn pushes(&mut self, conn: ConnId) -> Vec<PushEvent> {
        let peer = self.peers.get_mut(&conn).expect("a connection");
        let mut bytes = Bytes::from(std::mem::take(&mut peer.pushed));
        let mut decoder = Decoder::<PushHeader>::new();
        let mut events = Vec::new();
        while let Some(decoded) = decoder.decode(&mut bytes).expect("push frames") {
            if let Decoded::Payload(payload) = decoded {
                events.push(wire::decode_push(payload).expect("a push"));
            }
        }
        decoder.finish().expect("whole push frames");
        events
    }

    /// The new messages a connection was told of since this was last asked.
    pub fn messages(&mut self, conn: ConnId) -> Vec<proto::NewMessagePush> {
        let events = self.pushes(conn).into_iter();
        events
            .filter_map(|push| match push.event {
                Some(proto::push_event::Event::NewMessage(message)) => Some(message),
                _ => None,
            })
            .collect()
    }

    /// The code a connection was closed with.
    pub fn closed(&self, conn: ConnId) -> Option<u64> {
        self.peers.get(&conn)?.closed
    }

    /// How many streams the server opened on a connection.
    pub fn opened(&self, conn: ConnId) -> usize {
        self.peers.get(&conn).map_or(0, |peer| peer.opened)
    }

    /// Lets time pass, deadline by deadline.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.server.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.server.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
        self.server.handle_timeout(end);
        self.pump();
    }

    /// Does what the core wants until it wants nothing more.
    pub fn pump(&mut self) {
        loop {
            self.drain();
            if self.hold_storage || self.stored.is_empty() {
                return;
            }
            self.run_storage(usize::MAX);
        }
    }

    /// Does what the core wants, but for storage.
    pub fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            self.carry_out(output);
        }
    }

    /// Runs the first commands that wait as one batch, and tells the core.
    pub fn run_storage(&mut self, most: usize) {
        let count = most.min(self.stored.len());
        let (tickets, batch): (Vec<_>, Vec<_>) = self.stored.drain(..count).unzip();
        self.commands += count;
        let replies = self.memory.run(batch);
        for (ticket, reply) in tickets.into_iter().zip(replies) {
            self.server.handle_stored(self.now, ticket, reply);
        }
    }

    fn carry_out(&mut self, output: Output<Event>) {
        match output {
            Output::Store {
                ticket, command, ..
            } => self.stored.push_back((ticket, command)),
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => self.sent(conn, stream, &data, fin),
            Output::Reset {
                conn,
                stream: StreamId::Peer(Dir::Bi, stream),
                code,
            } => {
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.answers.remove(&stream);
                    peer.done.insert(stream, Answer::Reset(code));
                }
            }
            Output::Close { conn, code } => {
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.closed = Some(code);
                }
                self.server.handle_disconnected(self.now, conn);
            }
            Output::Open { conn, .. } => {
                if let Some(peer) = self.peers.get_mut(&conn) {
                    peer.opened += 1;
                }
            }
            Output::Wake(wake) => self.wakes.push(wake),
            Output::Event(event) => self.events.push(event),
            _ => {}
        }
    }

    fn sent(&mut self, conn: ConnId, stream: StreamId, data: &Bytes, fin: bool) {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return;
        };
        match stream {
            StreamId::Peer(_, number) => {
                let answer = peer.answers.entry(number).or_default();
                answer.extend_from_slice(data);
                if fin {
                    let bytes = Bytes::from(std::mem::take(answer));
                    let header = ResponseHeader::read(&bytes).expect("a response header");
                    let payload = bytes.slice(ResponseHeader::LEN..);
                    assert_eq!(payload.len(), header.payload_len as usize);
                    let answer = Answer::Response(header.status, header.request_id, payload);
                    assert!(peer.done.insert(number, answer).is_none(), "answered twice");
                }
            }
            StreamId::Own(_) => peer.pushed.extend_from_slice(data),
        }
        if !self.hold_sent && self.hold_sent_of != Some(conn) {
            let sent = StreamInput::Sent(data.len());
            self.server.handle_stream(self.now, conn, stream, sent);
        }
    }

    /// The date now.
    pub fn unix(&self) -> UnixTime {
        BEGIN + self.now.since(START)
    }

    /// The key of all the server's signatures.
    pub fn signing_key(&self) -> IdentityKey {
        let started = self.events.iter().find_map(|event| match event {
            Event::Started { signing_key } => Some(*signing_key),
            _ => None,
        });
        started.expect("a server that has started")
    }
}
