//! [`Caller`]: a core that keeps so many calls in flight on each of so many connections.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{
    Alpn, ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Target, Wake,
};
use qpq_protocol::storage::{Command, Engine, Reply};
use qpq_protocol::time::{Time, UnixTime};

use super::meter::Meter;

/// Handshakes at a time: their datagrams fit the buffer of the server's socket, whenever it runs.
const CONNECTING: usize = 16;
/// Bits of a stream's number that say which flight it is.
const FLIGHT_BITS: u32 = 24;

/// How many calls at a time, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::Args)]
pub struct Load {
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// Calls in flight on each; 0 keeps the connections and is silent
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
}

impl Load {
    /// So many connections, so many calls in flight on each.
    pub const fn new(connections: usize, in_flight: usize) -> Self {
        Self {
            connections,
            in_flight,
        }
    }
}

/// What is asked, as whole request frames. Connections are numbered from 0.
pub trait Requests: Send + 'static {
    /// The first request of a connection, answered before all others.
    fn first(&mut self, connection: usize) -> Option<Bytes>;
    /// The next one; `None` when there are no more.
    fn next(&mut self, connection: usize) -> Option<Bytes>;
}

/// See the module.
pub struct Caller<R> {
    server: String,
    load: Load,
    requests: R,
    meter: Arc<Meter>,
    outputs: VecDeque<Output<Infallible>>,
    asked: usize,
    lines: Vec<ConnId>,
    /// Connections on which calls may begin.
    ready: usize,
    /// First requests, then calls; a flight's place is in its streams' numbers.
    flights: Vec<Flight>,
    streams: u64,
}

struct Flight {
    line: usize,
    is_first: bool,
    started: Option<Instant>,
    /// The first byte of the answer.
    status: Option<u8>,
}

impl<R: Requests> Caller<R> {
    /// A core that calls `server` as soon as it runs.
    pub fn new(server: String, load: Load, requests: R, meter: Arc<Meter>) -> Self {
        let mut caller = Self {
            server,
            load,
            requests,
            meter,
            outputs: VecDeque::new(),
            asked: 0,
            lines: Vec::new(),
            ready: 0,
            flights: Vec::new(),
            streams: 0,
        };
        for _ in 0..CONNECTING.min(load.connections) {
            caller.connect();
        }
        caller
    }

    fn connect(&mut self) {
        if self.asked < self.load.connections {
            self.outputs.push_back(Output::Connect {
                ticket: Ticket(self.asked as u64),
                target: Target::new(self.server.clone(), Alpn::Qpq),
            });
            self.asked += 1;
        }
    }

    /// Sends a request on a stream of its own.
    fn send(&mut self, flight: usize, frame: Bytes) {
        let started = self.meter.start();
        let Some(state) = self.flights.get_mut(flight) else {
            return;
        };
        (state.started, state.status) = (started, None);
        let Some(&conn) = self.lines.get(state.line) else {
            return;
        };
        self.streams += 1;
        let stream = OwnStream(self.streams << FLIGHT_BITS | flight as u64);
        self.outputs.push_back(Output::Open {
            conn,
            stream,
            dir: Dir::Bi,
        });
        self.outputs.push_back(Output::Send {
            conn,
            stream: StreamId::Own(stream),
            data: frame,
            fin: true,
        });
    }

    fn is_ready(&mut self) {
        self.ready += 1;
        self.connect();
        if self.ready < self.load.connections {
            return;
        }
        self.meter.begin();
        for line in 0..self.lines.len() {
            for _ in 0..self.load.in_flight {
                if let Some(frame) = self.requests.next(line) {
                    self.flights.push(Flight::new(line, false));
                    self.send(self.flights.len() - 1, frame);
                }
            }
        }
    }

    /// The answer on a stream of ours is whole.
    fn answered(&mut self, number: usize) {
        let Some(flight) = self.flights.get(number) else {
            return;
        };
        let (line, is_first, started) = (flight.line, flight.is_first, flight.started);
        match flight.status {
            Some(0) if is_first => self.is_ready(),
            Some(0) => {
                self.meter.answered(started);
                if let Some(frame) = self.requests.next(line) {
                    self.send(number, frame);
                }
            }
            Some(status) => self.meter.fail(format!("answered with status {status}")),
            None => self.meter.fail("answered with nothing"),
        }
    }
}

impl Flight {
    const fn new(line: usize, is_first: bool) -> Self {
        Self {
            line,
            is_first,
            started: None,
            status: None,
        }
    }
}

impl<R: Requests> Core for Caller<R> {
    type Event = Infallible;

    fn handle_connected(&mut self, _: Time, conn: ConnId, _: PeerInfo, _: Option<Ticket>) {
        let line = self.lines.len();
        self.lines.push(conn);
        match self.requests.first(line) {
            Some(frame) => {
                self.flights.push(Flight::new(line, true));
                self.send(self.flights.len() - 1, frame);
            }
            None => self.is_ready(),
        }
    }

    fn handle_connect_failed(&mut self, _: Time, _: Ticket, why: ConnectError) {
        self.meter.fail(why.to_string());
    }

    fn handle_stream(&mut self, _: Time, _: ConnId, stream: StreamId, input: StreamInput) {
        let StreamId::Own(OwnStream(number)) = stream else {
            return;
        };
        let number = (number & ((1 << FLIGHT_BITS) - 1)) as usize;
        match input {
            StreamInput::Data(bytes) => {
                if let Some(flight) = self.flights.get_mut(number) {
                    flight.status = flight.status.or(bytes.first().copied());
                }
            }
            StreamInput::Fin => self.answered(number),
            StreamInput::Reset(code) => self.meter.fail(format!("reset with code {code}")),
            StreamInput::Stopped(_) | StreamInput::Sent(_) => {}
        }
    }

    fn handle_disconnected(&mut self, _: Time, _: ConnId) {
        self.meter.fail("a connection was lost");
    }

    fn handle_stored(&mut self, _: Time, _: Ticket, _: Reply) {}
    fn handle_computed(&mut self, _: Time, _: Ticket, _: JobResult) {}
    fn handle_wake(&mut self, _: Time, _: Wake) {}
    fn handle_clock(&mut self, _: Time, _: UnixTime) {}
    fn handle_timeout(&mut self, _: Time) {}
    fn handle_shutdown(&mut self, _: Time) {}

    fn credit(&self, _: ConnId, _: StreamId) -> usize {
        usize::MAX
    }

    fn poll_output(&mut self) -> Option<Output<Infallible>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        None
    }

    fn is_shut_down(&self) -> bool {
        true
    }

    fn footprint(&self) -> usize {
        0
    }
}

/// A caller keeps nothing.
pub struct NoStore;

impl Engine for NoStore {
    fn run(&mut self, _: Vec<Command>) -> Vec<Reply> {
        Vec::new()
    }
}
