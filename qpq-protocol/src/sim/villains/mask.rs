//! A client, and what is done in its name that its core would never do: requests of any bytes on its connection,
//! connections of nobody, answers that are asked for and not read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::client::{Client, Event};
use crate::frame::{Header as _, ResponseHeader};
use crate::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use crate::io::{
    Alpn, ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Target, Wake,
};
use crate::status::Status;
use crate::storage::Reply;
use crate::time::{Time, UnixTime};

/// What an answer of any length finds room in.
const CREDIT: usize = 64 * 1024;

/// How an errand goes about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// As a request is made: bytes, end, and the answer is read.
    Whole,
    /// The end never comes.
    Endless,
    /// The answer is never read.
    Unread,
}

/// On which connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Where {
    /// The one that the client has, with its session.
    Session,
    /// One of those that were opened for nothing else, by its place.
    Bare(usize),
}

/// A request that the core knows nothing of.
struct Errand {
    manner: Manner,
    answer: Vec<u8>,
}

/// See the page of this module.
pub(in crate::sim) struct Mask {
    client: Client,
    now: Time,
    outputs: VecDeque<Output<Event>>,
    names: Names,
    /// The connection that the client has.
    link: Option<ConnId>,
    /// Connections that were opened for errands alone, and how many were asked for.
    bare: BTreeSet<ConnId>,
    dialled: u64,
    errands: BTreeMap<(ConnId, OwnStream), Errand>,
    /// What was answered, and how often.
    told: BTreeMap<Status, usize>,
}

/// What the streams of the client and of the errands beside it are called outside: numbered upwards, all of them.
#[derive(Default)]
struct Names {
    last: u64,
    outer: BTreeMap<OwnStream, OwnStream>,
    inner: BTreeMap<(ConnId, OwnStream), OwnStream>,
}

impl Names {
    fn next(&mut self) -> OwnStream {
        self.last += 1;
        OwnStream(self.last)
    }

    fn open(&mut self, conn: ConnId, inner: OwnStream) -> OwnStream {
        let outer = self.next();
        self.outer.insert(inner, outer);
        self.inner.insert((conn, outer), inner);
        outer
    }

    fn outside(&self, stream: StreamId) -> StreamId {
        match stream {
            StreamId::Own(inner) => StreamId::Own(self.outer.get(&inner).copied().unwrap_or(inner)),
            StreamId::Peer(..) => stream,
        }
    }

    fn inside(&self, conn: ConnId, stream: StreamId) -> StreamId {
        match stream {
            StreamId::Own(outer) => {
                StreamId::Own(self.inner.get(&(conn, outer)).copied().unwrap_or(outer))
            }
            StreamId::Peer(..) => stream,
        }
    }

    fn forget(&mut self, conn: ConnId) {
        let outer = &mut self.outer;
        self.inner.retain(|(of, _), inner| {
            if *of == conn {
                outer.remove(inner);
            }
            *of != conn
        });
    }
}

impl Mask {
    pub(in crate::sim) fn new(client: Client) -> Self {
        Self {
            client,
            now: Time::ZERO,
            outputs: VecDeque::new(),
            names: Names::default(),
            link: None,
            bare: BTreeSet::new(),
            dialled: 0,
            errands: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// The client itself, for its intents.
    pub(in crate::sim) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Opens a connection that the client knows nothing of.
    pub(super) fn dial(&mut self, server: &str) {
        let ticket = Ticket(u64::MAX - self.dialled);
        self.dialled += 1;
        let target = Target::new(server.to_owned(), Alpn::Qpq);
        self.outputs.push_back(Output::Connect { ticket, target });
    }

    /// How many connections there are for errands alone.
    pub(super) fn bare(&self) -> usize {
        self.bare.len()
    }

    /// Sends these bytes on a stream of their own, if there is a connection.
    pub(super) fn send(&mut self, at: Where, bytes: Bytes, manner: Manner) {
        let conn = match at {
            Where::Session => self.link,
            Where::Bare(place) => self.bare.iter().nth(place).copied(),
        };
        let Some(conn) = conn else { return };
        let own = self.names.next();
        let errand = Errand {
            manner,
            answer: Vec::new(),
        };
        self.errands.insert((conn, own), errand);
        self.outputs.push_back(Output::Open {
            conn,
            stream: own,
            dir: Dir::Bi,
        });
        let (stream, data) = (StreamId::Own(own), bytes);
        self.outputs.push_back(Output::Send {
            conn,
            stream,
            data,
            fin: manner != Manner::Endless,
        });
    }

    /// What its errands were answered so far, and how often.
    pub(super) fn told(&self) -> &BTreeMap<Status, usize> {
        &self.told
    }

    fn is_ticket(&self, ticket: Ticket) -> bool {
        u64::MAX - ticket.0 < self.dialled
    }

    /// Whether a stream is none of the client's.
    fn is_errand(&self, conn: ConnId, stream: StreamId) -> bool {
        let known = match stream {
            StreamId::Own(own) => self.errands.contains_key(&(conn, own)),
            StreamId::Peer(..) => false,
        };
        known || self.bare.contains(&conn)
    }

    fn heard(&mut self, conn: ConnId, stream: StreamId, input: StreamInput) {
        let StreamId::Own(own) = stream else { return };
        match input {
            StreamInput::Data(data) => {
                if let Some(errand) = self.errands.get_mut(&(conn, own)) {
                    errand.answer.extend_from_slice(&data);
                }
            }
            StreamInput::Fin => {
                let errand = self.errands.remove(&(conn, own));
                let answer = errand.map(|errand| errand.answer).unwrap_or_default();
                if let Some(header) = ResponseHeader::read(&answer) {
                    *self.told.entry(header.status).or_default() += 1;
                }
            }
            StreamInput::Reset(_) => {
                self.errands.remove(&(conn, own));
                *self.told.entry(Status::Unavailable).or_default() += 1;
            }
            StreamInput::Stopped(_) | StreamInput::Sent(_) => {}
        }
    }
}

impl Core for Mask {
    type Event = Event;

    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        self.now = now;
        if ticket.is_some_and(|ticket| self.is_ticket(ticket)) {
            self.bare.insert(conn);
            return;
        }
        self.link = Some(conn);
        self.client.handle_connected(now, conn, peer, ticket);
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        self.now = now;
        if !self.is_ticket(ticket) {
            self.client.handle_connect_failed(now, ticket, why);
        }
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        self.now = now;
        if self.is_errand(conn, stream) {
            return self.heard(conn, stream, input);
        }
        let stream = self.names.inside(conn, stream);
        self.client.handle_stream(now, conn, stream, input);
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        self.now = now;
        self.errands.retain(|(of, _), _| *of != conn);
        self.names.forget(conn);
        if self.bare.remove(&conn) {
            return;
        }
        if self.link == Some(conn) {
            self.link = None;
        }
        self.client.handle_disconnected(now, conn);
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.now = now;
        self.client.handle_stored(now, ticket, reply);
    }

    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult) {
        self.now = now;
        self.client.handle_computed(now, ticket, result);
    }

    fn handle_wake(&mut self, now: Time, wake: Wake) {
        self.now = now;
        self.client.handle_wake(now, wake);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.now = now;
        self.client.handle_clock(now, unix);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.client.handle_timeout(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.now = now;
        self.client.handle_shutdown(now);
    }

    fn credit(&self, conn: ConnId, stream: StreamId) -> usize {
        if let StreamId::Own(own) = stream
            && let Some(errand) = self.errands.get(&(conn, own))
        {
            return if errand.manner == Manner::Unread {
                0
            } else {
                CREDIT
            };
        }
        if self.bare.contains(&conn) {
            return CREDIT;
        }
        self.client.credit(conn, self.names.inside(conn, stream))
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        Some(match self.client.poll_output()? {
            Output::Open { conn, stream, dir } => Output::Open {
                conn,
                stream: self.names.open(conn, stream),
                dir,
            },
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => Output::Send {
                conn,
                stream: self.names.outside(stream),
                data,
                fin,
            },
            Output::Reset { conn, stream, code } => Output::Reset {
                conn,
                stream: self.names.outside(stream),
                code,
            },
            other => other,
        })
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        if !self.outputs.is_empty() {
            return Some((self.now, "an errand waits"));
        }
        self.client.poll_timeout()
    }

    fn is_shut_down(&self) -> bool {
        self.client.is_shut_down()
    }

    fn footprint(&self) -> usize {
        self.client.footprint()
    }
}
