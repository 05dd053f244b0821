//! A core that answers every stream with what came on it, and checks what a core may rely on.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use qpq_protocol::io::{
    Alpn, ConnectError, Core, Job, JobResult, Lane, Output, PeerInfo, Reason, StreamInput, Target,
    Wake,
};
use qpq_protocol::storage::{Command, Reply};
use qpq_protocol::time::{Time, UnixTime};

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Connected(ConnId, PeerInfo, Option<Ticket>),
    ConnectFailed(Ticket, ConnectError),
    Disconnected(ConnId),
    /// A stream of ours was answered to its end.
    Answer(ConnId, OwnStream, Bytes),
    /// A stream for one direction came to its end.
    Push(ConnId, Bytes),
    Reset(ConnId, StreamId, u64),
    Stopped(ConnId, StreamId, u64),
    Stored(Ticket, Reply),
    Computed(Ticket, Option<u64>),
}

/// See the module.
#[derive(Default)]
pub struct Echo {
    outputs: VecDeque<Output<Event>>,
    /// What has arrived on streams that are collected.
    pub collected: BTreeMap<(ConnId, StreamId), Vec<u8>>,
    /// Connections that stand, and bytes given to each that the transport has not taken.
    pub conns: BTreeMap<ConnId, usize>,
    /// The same by stream; `None` once nothing more may be sent.
    unsent: BTreeMap<(ConnId, StreamId), Option<usize>>,
    /// The last stream of the peer that was heard of.
    heard: BTreeMap<(ConnId, Dir), u64>,
    gone: Vec<ConnId>,
    next: u64,
    pub now: Time,
    pub unix: UnixTime,
    /// Bytes taken of each stream; `None`: any number.
    pub credit: Option<usize>,
    /// Streams that peers open are read and not answered.
    pub silent: bool,
    /// Admits nobody who connects.
    pub strict: bool,
    /// Does not close connections at a shutdown.
    pub lazy: bool,
    /// Never finishes a shutdown.
    pub stubborn: bool,
    /// Fires once.
    pub alarm: Option<Time>,
    pub alarms: usize,
    /// Further calls to make on a connection, one for each answer: a closed loop.
    pub again: u64,
    pub answers: u64,
    /// Tells only of this answer, by its number, if it is not 0.
    pub last: u64,
    /// How often it was asked for its deadline: at least once a turn.
    pub asked: Cell<usize>,
    shutting_down: bool,
}

impl Echo {
    pub fn admit(&mut self, conn: ConnId) {
        self.outputs.push_back(Output::Admit { conn });
    }

    pub fn connect(&mut self, address: &str, alpn: Alpn) -> Ticket {
        self.connect_to(Target::new(address.into(), alpn))
    }

    /// On a socket of its own.
    pub fn connect_apart(&mut self, address: &str, alpn: Alpn) -> Ticket {
        let target = Target::new(address.into(), alpn);
        self.connect_to(Target {
            apart: true,
            ..target
        })
    }

    fn connect_to(&mut self, target: Target) -> Ticket {
        let ticket = Ticket(self.number());
        self.outputs.push_back(Output::Connect { ticket, target });
        ticket
    }

    /// Opens a stream and sends all of it.
    pub fn call(&mut self, conn: ConnId, data: impl Into<Bytes>) -> OwnStream {
        self.start(conn, Dir::Bi, data.into(), true)
    }

    pub fn push(&mut self, conn: ConnId, data: impl Into<Bytes>) -> OwnStream {
        self.start(conn, Dir::Uni, data.into(), true)
    }

    pub fn start(&mut self, conn: ConnId, dir: Dir, data: Bytes, fin: bool) -> OwnStream {
        let stream = OwnStream(self.number());
        self.outputs.push_back(Output::Open { conn, stream, dir });
        self.send(conn, StreamId::Own(stream), data, fin);
        stream
    }

    pub fn send(&mut self, conn: ConnId, stream: StreamId, data: Bytes, fin: bool) {
        if let Some(all) = self.conns.get_mut(&conn) {
            let Some(unsent) = self.unsent.entry((conn, stream)).or_insert(Some(0)) else {
                return;
            };
            *unsent += data.len();
            *all += data.len();
        }
        self.outputs.push_back(Output::Send {
            conn,
            stream,
            data,
            fin,
        });
    }

    pub fn reset(&mut self, conn: ConnId, stream: StreamId, code: u64) {
        let unheard = match stream {
            StreamId::Peer(dir, index) => self.heard.get(&(conn, dir)).is_none_or(|&n| n < index),
            StreamId::Own(_) => false,
        };
        if !unheard {
            self.drop_unsent(conn, stream);
        }
        self.outputs.push_back(Output::Reset { conn, stream, code });
    }

    /// What was given for this stream and not taken will not be.
    fn drop_unsent(&mut self, conn: ConnId, stream: StreamId) {
        let unsent = self.unsent.insert((conn, stream), None).flatten();
        if let Some(all) = self.conns.get_mut(&conn) {
            *all -= unsent.unwrap_or(0);
        }
    }

    pub fn close(&mut self, conn: ConnId, code: u64) {
        self.outputs.push_back(Output::Close { conn, code });
    }

    pub fn store(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.number());
        let lane = Lane::Ordered;
        self.outputs.push_back(Output::Store {
            ticket,
            lane,
            command,
        });
        ticket
    }

    pub fn compute(&mut self, job: impl FnOnce() -> u64 + Send + 'static) -> Ticket {
        let ticket = Ticket(self.number());
        let job = Job::new(job);
        self.outputs.push_back(Output::Compute { ticket, job });
        ticket
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn at(&mut self, now: Time) {
        assert!(now >= self.now, "time went back");
        self.now = now;
    }
}

impl Core for Echo {
    type Event = Event;

    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        self.at(now);
        assert!(!self.gone.contains(&conn), "an id was used again");
        assert!(self.conns.insert(conn, 0).is_none(), "connected twice");
        if ticket.is_none() && !self.strict {
            self.admit(conn);
        }
        self.tell(Event::Connected(conn, peer, ticket));
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        self.at(now);
        self.tell(Event::ConnectFailed(ticket, why));
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        self.at(now);
        if let StreamId::Peer(dir, index) = stream {
            let heard = self.heard.entry((conn, dir)).or_default();
            *heard = index.max(*heard);
        }
        let Some(all) = self.conns.get_mut(&conn) else {
            panic!("a stream of a connection that does not stand");
        };
        match (stream, input) {
            (_, StreamInput::Sent(bytes)) => {
                if let Some(Some(unsent)) = self.unsent.get_mut(&(conn, stream)) {
                    *unsent = unsent.checked_sub(bytes).expect("more sent than given");
                    *all -= bytes;
                    // Streams that are over are forgotten, or a long run would fill memory.
                    if *unsent == 0 {
                        self.unsent.remove(&(conn, stream));
                    }
                }
            }
            (StreamId::Peer(Dir::Bi, _), StreamInput::Data(data)) if !self.silent => {
                self.send(conn, stream, data, false);
            }
            (StreamId::Peer(Dir::Bi, _), StreamInput::Fin) if !self.silent => {
                self.send(conn, stream, Bytes::new(), true);
            }
            (_, StreamInput::Data(data)) => {
                assert!(self.credit.is_none_or(|credit| data.len() <= credit));
                let all = self.collected.entry((conn, stream)).or_default();
                all.extend_from_slice(&data);
            }
            (_, StreamInput::Fin) => {
                let all = self.collected.remove(&(conn, stream)).unwrap_or_default();
                let all = Bytes::from(all);
                match stream {
                    StreamId::Own(own) => {
                        self.answers += 1;
                        if self.again > 0 {
                            self.again -= 1;
                            self.call(conn, all.clone());
                        }
                        if self.last == 0 || self.last == self.answers {
                            self.tell(Event::Answer(conn, own, all));
                        }
                    }
                    StreamId::Peer(..) => self.tell(Event::Push(conn, all)),
                }
            }
            (_, StreamInput::Reset(code)) => {
                self.collected.remove(&(conn, stream));
                self.tell(Event::Reset(conn, stream, code));
            }
            (_, StreamInput::Stopped(code)) => {
                self.drop_unsent(conn, stream);
                self.tell(Event::Stopped(conn, stream, code));
            }
        }
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        self.at(now);
        assert!(self.conns.remove(&conn).is_some(), "disconnected twice");
        self.gone.push(conn);
        self.tell(Event::Disconnected(conn));
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.at(now);
        self.tell(Event::Stored(ticket, reply));
    }

    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult) {
        self.at(now);
        self.tell(Event::Computed(ticket, result.get()));
    }

    fn handle_wake(&mut self, now: Time, _: Wake) {
        self.at(now);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.at(now);
        self.unix = unix;
    }

    fn handle_timeout(&mut self, now: Time) {
        self.at(now);
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.alarms += 1;
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.at(now);
        self.shutting_down = true;
        if !self.lazy && !self.stubborn {
            for conn in self.conns.keys().copied().collect::<Vec<_>>() {
                self.close(conn, 4);
            }
        }
    }

    fn credit(&self, conn: ConnId, _: StreamId) -> usize {
        assert!(self.conns.contains_key(&conn));
        self.credit.unwrap_or(usize::MAX)
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        self.asked.set(self.asked.get() + 1);
        match self.outputs.is_empty() {
            true => self.alarm.map(|at| (at, "alarm")),
            false => Some((self.now, "output")),
        }
    }

    fn is_shut_down(&self) -> bool {
        self.shutting_down && !self.stubborn && (self.lazy || self.conns.is_empty())
    }

    fn footprint(&self) -> usize {
        self.collected.values().map(Vec::len).sum()
    }
}
