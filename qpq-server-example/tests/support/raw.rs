//! A peer that sends whatever bytes a test likes, over a real socket: a core that decides nothing.

// Each test file is a crate of its own and uses what it needs.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qpq_adapter_tokio::{Client, Events};
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{
    Alpn, ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Target, Wake,
};
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::storage::{Memory, Reply};
use qpq_protocol::time::{Time, UnixTime};
use tokio::sync::Mutex;

/// Far longer than anything takes, so that a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back on a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// All bytes, then its end.
    Bytes(Vec<u8>),
    /// The peer gave it up, with this application error code.
    Reset(u64),
    /// The connection is gone.
    Closed,
}

#[derive(Clone, Debug)]
pub enum Event {
    Connected(ConnId),
    Refused(ConnectError),
    Answer(OwnStream, Answer),
}

#[derive(Default)]
pub struct Raw {
    outputs: VecDeque<Output<Event>>,
    streams: BTreeMap<OwnStream, (ConnId, Vec<u8>)>,
    connections: Vec<ConnId>,
    named: u64,
    /// Takes nothing of what the peer sends.
    deaf: bool,
    stopped: bool,
}

impl Raw {
    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn connect(&mut self, address: SocketAddr, alpn: Alpn) {
        self.named += 1;
        self.outputs.push_back(Output::Connect {
            ticket: Ticket(self.named),
            target: Target::new(address.to_string(), alpn),
        });
    }

    fn send(&mut self, conn: ConnId, bytes: Bytes, fin: bool) -> OwnStream {
        self.named += 1;
        let stream = OwnStream(self.named);
        self.streams.insert(stream, (conn, Vec::new()));
        self.outputs.push_back(Output::Open {
            conn,
            stream,
            dir: Dir::Bi,
        });
        self.outputs.push_back(Output::Send {
            conn,
            stream: StreamId::Own(stream),
            data: bytes,
            fin,
        });
        stream
    }
}

impl Core for Raw {
    type Event = Event;

    fn handle_connected(&mut self, _: Time, conn: ConnId, _: PeerInfo, _: Option<Ticket>) {
        self.connections.push(conn);
        self.event(Event::Connected(conn));
    }

    fn handle_connect_failed(&mut self, _: Time, _: Ticket, why: ConnectError) {
        self.event(Event::Refused(why));
    }

    fn handle_stream(&mut self, _: Time, _: ConnId, stream: StreamId, input: StreamInput) {
        let StreamId::Own(own) = stream else { return };
        match input {
            StreamInput::Data(data) => {
                if let Some((_, bytes)) = self.streams.get_mut(&own) {
                    bytes.extend_from_slice(&data);
                }
            }
            StreamInput::Fin => {
                if let Some((_, bytes)) = self.streams.remove(&own) {
                    self.event(Event::Answer(own, Answer::Bytes(bytes)));
                }
            }
            StreamInput::Reset(code) => {
                if self.streams.remove(&own).is_some() {
                    self.event(Event::Answer(own, Answer::Reset(code)));
                }
            }
            StreamInput::Stopped(_) | StreamInput::Sent(_) => {}
        }
    }

    fn handle_disconnected(&mut self, _: Time, conn: ConnId) {
        self.connections.retain(|one| *one != conn);
        let closed = self.streams.extract_if(.., |_, (of, _)| *of == conn);
        let closed: Vec<OwnStream> = closed.map(|(own, _)| own).collect();
        for own in closed {
            self.event(Event::Answer(own, Answer::Closed));
        }
    }

    fn handle_stored(&mut self, _: Time, _: Ticket, _: Reply) {}
    fn handle_computed(&mut self, _: Time, _: Ticket, _: JobResult) {}
    fn handle_wake(&mut self, _: Time, _: Wake) {}
    fn handle_clock(&mut self, _: Time, _: UnixTime) {}
    fn handle_timeout(&mut self, _: Time) {}

    fn handle_shutdown(&mut self, _: Time) {
        self.stopped = true;
        for conn in self.connections.drain(..) {
            self.outputs.push_back(Output::Close { conn, code: 0 });
        }
    }

    fn credit(&self, _: ConnId, _: StreamId) -> usize {
        if self.deaf { 0 } else { usize::MAX }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        None
    }

    fn is_shut_down(&self) -> bool {
        self.stopped && self.outputs.is_empty()
    }

    fn footprint(&self) -> usize {
        0
    }
}

/// One connection of a [`Raw`] peer.
#[derive(Clone)]
pub struct Peer {
    node: Client<Raw>,
    events: Arc<Mutex<Events<Raw>>>,
    conn: ConnId,
}

impl Peer {
    /// Connects; call it within a tokio runtime.
    pub async fn connect(server: SocketAddr, alpn: Alpn) -> Result<Self, ConnectError> {
        let config = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
        let opened = Client::open(&config, Raw::default(), Memory::new());
        let (node, events) = opened.unwrap();
        Self::connect_on(node, Arc::new(Mutex::new(events)), server, alpn).await
    }

    /// Connects from this local address.
    pub async fn connect_from(local: IpAddr, server: SocketAddr) -> Result<Self, ConnectError> {
        let config = QuicConfig::client(Trust::PinOnFirstUse { sha256: None });
        let local = SocketAddr::new(local, 0);
        let opened = Client::open_from(local, &config, Raw::default(), Memory::new());
        let (node, events) = opened.unwrap();
        Self::connect_on(node, Arc::new(Mutex::new(events)), server, Alpn::Qpq).await
    }

    /// One more connection of the same socket. Nobody else may be waiting for something there.
    pub async fn another(&self, server: SocketAddr) -> Result<Self, ConnectError> {
        let (node, events) = (self.node.clone(), self.events.clone());
        Self::connect_on(node, events, server, Alpn::Qpq).await
    }

    async fn connect_on(
        node: Client<Raw>,
        events: Arc<Mutex<Events<Raw>>>,
        server: SocketAddr,
        alpn: Alpn,
    ) -> Result<Self, ConnectError> {
        node.act(move |raw, _| raw.connect(server, alpn))
            .await
            .unwrap();
        loop {
            match next(&events).await {
                Event::Connected(conn) => return Ok(Self { node, events, conn }),
                Event::Refused(why) => return Err(why),
                Event::Answer(..) => {}
            }
        }
    }

    /// Sends these bytes on a stream of their own, then its end if `fin`, and waits for what comes.
    pub async fn send(&self, bytes: impl Into<Bytes>, fin: bool) -> Answer {
        let stream = self.begin(bytes, fin).await;
        self.answer(stream).await
    }

    /// Sends these bytes on a stream of their own, then its end if `fin`.
    pub async fn begin(&self, bytes: impl Into<Bytes>, fin: bool) -> OwnStream {
        let (conn, bytes) = (self.conn, bytes.into());
        let sent = self
            .node
            .act(move |raw, _| raw.send(conn, bytes, fin))
            .await;
        sent.unwrap()
    }

    /// Waits for what comes on a stream; what comes on others meanwhile is lost.
    pub async fn answer(&self, stream: OwnStream) -> Answer {
        loop {
            if let Event::Answer(of, answer) = next(&self.events).await
                && of == stream
            {
                return answer;
            }
        }
    }

    /// Takes nothing any more of what comes on any connection of its socket.
    pub async fn deafen(&self) {
        self.node.act(|raw, _| raw.deaf = true).await.unwrap();
    }

    /// Whether the connection stands.
    pub async fn stands(&self) -> bool {
        let conn = self.conn;
        let stands = self.node.act(move |raw, _| raw.connections.contains(&conn));
        stands.await.unwrap()
    }
}

async fn next(events: &Mutex<Events<Raw>>) -> Event {
    let next = tokio::time::timeout(PATIENCE, async { events.lock().await.next().await });
    next.await.expect("in time").expect("the peer lives")
}
