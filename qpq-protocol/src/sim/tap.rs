//! What passes the boundary of a core: whole requests, answers and pushes, seen from outside, and
//! whatever breaks the rules there.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::contract::Contract;
use crate::frame::{Decoded, Decoder, Header as _, PushHeader, RequestHeader, ResponseHeader};
use crate::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use crate::io::{ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Wake};
use crate::method::Method;
use crate::proto;
use crate::status::Status;
use crate::storage::Reply;
use crate::time::{Time, UnixTime};

/// A request of a client: its connection and its stream.
pub(super) type Call = (ConnId, OwnStream);

/// Something whole that left a core, or came to it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Seen {
    /// A client asked.
    Asked {
        call: Call,
        method: Method,
        request: Bytes,
    },
    /// It was answered with this status, or its stream was reset.
    Heard { call: Call, status: Option<Status> },
    /// It does not wait any more for what it asked there, on one stream or on all.
    GaveUp {
        conn: ConnId,
        stream: Option<OwnStream>,
    },
    /// A server answered.
    Answered {
        method: Method,
        request: Bytes,
        status: Status,
        response: Bytes,
    },
    /// A server pushed.
    Pushed(proto::PushEvent),
    /// Bytes that are no frame of ours.
    Nonsense,
    /// The core was told what it need not reckon with.
    Broken(&'static str),
}

/// A core that is listened to.
pub(super) struct Tap<C> {
    core: C,
    contract: Contract,
    /// Requests as they come in, responses as they go out, by the stream of the peer.
    requests: BTreeMap<(ConnId, u64), Vec<u8>>,
    answers: BTreeMap<(ConnId, u64), Vec<u8>>,
    /// Requests as they go out.
    asking: BTreeMap<Call, Vec<u8>>,
    /// Answers as they begin: their status.
    hearing: BTreeMap<Call, Option<Status>>,
    pushing: BTreeMap<(ConnId, OwnStream), Decoder<PushHeader>>,
    seen: RefCell<Vec<Seen>>,
}

impl<C: Core> Tap<C> {
    pub(super) fn new(core: C) -> Self {
        Self {
            core,
            contract: Contract::default(),
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            asking: BTreeMap::new(),
            hearing: BTreeMap::new(),
            pushing: BTreeMap::new(),
            seen: RefCell::default(),
        }
    }

    /// The core itself, for its intents.
    pub(super) fn core(&mut self) -> &mut C {
        &mut self.core
    }

    /// What was seen since this was asked last.
    pub(super) fn take_seen(&self) -> Vec<Seen> {
        self.seen.take()
    }

    fn sends(&mut self, conn: ConnId, stream: StreamId, data: &Bytes, fin: bool) {
        match stream {
            StreamId::Peer(_, number) => {
                let answer = self.answers.entry((conn, number)).or_default();
                answer.extend_from_slice(data);
                if fin {
                    let answer = self.answers.remove(&(conn, number)).unwrap_or_default();
                    // The client may have taken its request back meanwhile.
                    if let Some(request) = self.requests.remove(&(conn, number)) {
                        self.see(answered(request.into(), answer.into()));
                    }
                }
            }
            StreamId::Own(own) => {
                if let Some(request) = self.asking.get_mut(&(conn, own)) {
                    request.extend_from_slice(data);
                    if fin {
                        let request = self.asking.remove(&(conn, own)).unwrap_or_default();
                        self.hearing.insert((conn, own), None);
                        self.see(asked((conn, own), request.into()));
                    }
                } else if let Some(decoder) = self.pushing.get_mut(&(conn, own)) {
                    let mut data = data.clone();
                    while let Ok(Some(decoded)) = decoder.decode(&mut data) {
                        if let Decoded::Payload(payload) = decoded {
                            let event = proto::PushEvent::decode(payload).ok();
                            self.seen
                                .borrow_mut()
                                .push(event.map_or(Seen::Nonsense, Seen::Pushed));
                        }
                    }
                }
            }
        }
    }

    fn see(&self, seen: Option<Seen>) {
        self.seen.borrow_mut().push(seen.unwrap_or(Seen::Nonsense));
    }

    fn hold(&self, broken: Option<&'static str>) {
        if let Some(what) = broken {
            self.seen.borrow_mut().push(Seen::Broken(what));
        }
    }

    fn hears(&mut self, call: Call, input: &StreamInput) {
        let Some(status) = self.hearing.get_mut(&call) else {
            return;
        };
        match input {
            StreamInput::Data(data) => {
                let first = data.first().copied();
                *status = status.or(first.map(Status::from_wire));
            }
            StreamInput::Fin | StreamInput::Reset(_) => {
                let status = match input {
                    StreamInput::Fin => *status,
                    _ => None,
                };
                self.hearing.remove(&call);
                self.seen.borrow_mut().push(Seen::Heard { call, status });
            }
            StreamInput::Stopped(_) | StreamInput::Sent(_) => {}
        }
    }

    fn forget(&mut self, conn: ConnId) {
        let stream = None;
        self.seen.borrow_mut().push(Seen::GaveUp { conn, stream });
        self.requests.retain(|(of, _), _| *of != conn);
        self.answers.retain(|(of, _), _| *of != conn);
        self.asking.retain(|(of, _), _| *of != conn);
        self.hearing.retain(|(of, _), _| *of != conn);
        self.pushing.retain(|(of, _), _| *of != conn);
    }
}

fn frame<H: crate::frame::Header>(mut bytes: Bytes) -> Option<(H, Bytes)> {
    let mut decoder = Decoder::<H>::new();
    let Ok(Some(Decoded::Header(header))) = decoder.decode(&mut bytes) else {
        return None;
    };
    match decoder.decode(&mut bytes) {
        Ok(Some(Decoded::Payload(payload))) if bytes.is_empty() => Some((header, payload)),
        _ => None,
    }
}

fn asked(call: Call, request: Bytes) -> Option<Seen> {
    let (header, request) = frame::<RequestHeader>(request)?;
    let method = Method::try_from(header.method_id).ok()?;
    Some(Seen::Asked {
        call,
        method,
        request,
    })
}

fn answered(request: Bytes, answer: Bytes) -> Option<Seen> {
    // What did not fit was dropped; then the answer is a refusal and the request unknown.
    let method = request.get(..RequestHeader::LEN).and_then(|_| {
        let method = request.first_chunk::<2>().copied().map(u16::from_be_bytes);
        Method::try_from(method?).ok()
    })?;
    let (header, response) = frame::<ResponseHeader>(answer)?;
    let request = request.slice(RequestHeader::LEN..);
    Some(Seen::Answered {
        method,
        request,
        status: header.status,
        response,
    })
}

impl<C: Core> Core for Tap<C> {
    type Event = C::Event;

    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        let broken = self.contract.connected(conn, ticket);
        self.hold(broken);
        self.core.handle_connected(now, conn, peer, ticket);
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        let broken = self.contract.connect_failed(ticket);
        self.hold(broken);
        self.core.handle_connect_failed(now, ticket, why);
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        let credit = self.core.credit(conn, stream);
        let broken = self.contract.stream(conn, stream, &input, credit);
        self.hold(broken);
        match (stream, &input) {
            (StreamId::Peer(Dir::Bi, number), StreamInput::Data(data)) => {
                let request = self.requests.entry((conn, number)).or_default();
                request.extend_from_slice(data);
            }
            (StreamId::Peer(Dir::Bi, number), StreamInput::Reset(_)) => {
                self.requests.remove(&(conn, number));
            }
            (StreamId::Own(own), input) => self.hears((conn, own), input),
            _ => {}
        }
        self.core.handle_stream(now, conn, stream, input);
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        let broken = self.contract.disconnected(conn);
        self.hold(broken);
        self.forget(conn);
        self.core.handle_disconnected(now, conn);
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.core.handle_stored(now, ticket, reply);
    }

    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult) {
        self.core.handle_computed(now, ticket, result);
    }

    fn handle_wake(&mut self, now: Time, wake: Wake) {
        self.core.handle_wake(now, wake);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.core.handle_clock(now, unix);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.core.handle_timeout(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.core.handle_shutdown(now);
    }

    fn credit(&self, conn: ConnId, stream: StreamId) -> usize {
        self.core.credit(conn, stream)
    }

    fn poll_output(&mut self) -> Option<Output<C::Event>> {
        let output = self.core.poll_output()?;
        match &output {
            Output::Connect { ticket, .. } => self.contract.connect(*ticket),
            Output::Open { conn, stream, .. } => {
                self.contract.opened(*conn, StreamId::Own(*stream));
            }
            Output::Send {
                conn, stream, data, ..
            } => self.contract.gave(*conn, *stream, data.len()),
            _ => {}
        }
        match &output {
            Output::Open {
                conn,
                stream,
                dir: Dir::Bi,
            } => {
                self.asking.insert((*conn, *stream), Vec::new());
            }
            Output::Open {
                conn,
                stream,
                dir: Dir::Uni,
            } => {
                self.pushing.insert((*conn, *stream), Decoder::new());
            }
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => self.sends(*conn, *stream, data, *fin),
            Output::Reset {
                conn,
                stream: StreamId::Peer(_, number),
                ..
            } => {
                self.requests.remove(&(*conn, *number));
                self.answers.remove(&(*conn, *number));
            }
            Output::Reset {
                conn,
                stream: StreamId::Own(own),
                ..
            } => {
                self.asking.remove(&(*conn, *own));
                self.pushing.remove(&(*conn, *own));
                if self.hearing.remove(&(*conn, *own)).is_some() {
                    let (conn, stream) = (*conn, Some(*own));
                    self.seen.borrow_mut().push(Seen::GaveUp { conn, stream });
                }
            }
            _ => {}
        }
        Some(output)
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        self.core.poll_timeout()
    }

    fn is_shut_down(&self) -> bool {
        self.core.is_shut_down()
    }

    fn footprint(&self) -> usize {
        self.core.footprint()
    }
}
