//! A server, and answers of it that are not what it would say: lists with holes, in another order, without end;
//! numbers, keys and proofs of nobody; refusals without a reason.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;

use super::aims::Aims;
use super::rubbish;
use crate::frame::{Decoded, Decoder, Header as _, RequestHeader, ResponseHeader};
use crate::ids::{ConnId, Dir, StreamId, Ticket};
use crate::io::{ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Wake};
use crate::method::Method;
use crate::proto;
use crate::rng::Rng;
use crate::server::{Event, Server};
use crate::sim::{below, pick};
use crate::status::Status;
use crate::storage::Reply;
use crate::time::{Time, UnixTime};

/// The most that is kept of a request.
const HEEDED: usize = 64 * 1024;

/// See the page of this module. It tells the truth until it is told to lie.
pub(in crate::sim) struct Liar {
    server: Server,
    now: Time,
    /// Until when it lies, and what it draws its lies from.
    lies: Option<(Time, Rng)>,
    /// What else it is going to say.
    aims: Aims,
    /// The requests that are not answered, as much of them as matters.
    asked: BTreeMap<(ConnId, u64), Asked>,
    /// Streams whose answer is another one than the server gave, and what is left to be sent of both.
    changed: BTreeMap<(ConnId, u64), Owed>,
}

/// A request, as far as it has come; its head alone, if nothing else matters.
#[derive(Default)]
struct Asked(Vec<u8>);

impl Asked {
    fn method(&self) -> Option<Method> {
        let id = self.0.first_chunk::<2>().copied().map(u16::from_be_bytes)?;
        Method::try_from(id).ok()
    }
}

struct Owed {
    /// Bytes that the transport has to take.
    ours: usize,
    /// Bytes that the server believes it has to.
    theirs: usize,
}

impl Liar {
    pub(in crate::sim) fn new(server: Server) -> Self {
        Self {
            server,
            now: Time::ZERO,
            lies: None,
            aims: Aims::default(),
            asked: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    /// The server itself.
    pub(in crate::sim) fn server(&self) -> &Server {
        &self.server
    }

    /// It lies until then.
    pub(super) fn lie(&mut self, until: Time, rng: Rng) {
        self.lies = Some((until, rng));
    }

    pub(super) fn tell_truth(&mut self) {
        self.lies = None;
        self.aims = Aims::default();
    }

    pub(super) fn aims(&mut self) -> &mut Aims {
        &mut self.aims
    }

    /// How much of a request is to be kept.
    fn heeded(&self) -> usize {
        match (self.aims.is_any(), self.lies.is_some()) {
            (true, _) => HEEDED,
            (false, true) => RequestHeader::LEN,
            (false, false) => 0,
        }
    }

    /// Another answer, if this is where it has something to say.
    fn aim(&mut self, method: Method, asked: &Asked, answer: &Bytes) -> Option<Bytes> {
        let (header, payload) = parts(answer)?;
        if header.status != Status::Ok {
            return None;
        }
        let request = asked.0.get(RequestHeader::LEN..)?;
        let (status, payload) = self.aims.answer(method, request, &payload)?;
        frame(header, status, &payload)
    }

    /// Another answer, if it lies now and to this one.
    fn twist(&mut self, method: Method, answer: &Bytes) -> Option<Bytes> {
        let now = self.now;
        let (until, rng) = self.lies.as_mut()?;
        if *until < now || rng.below(3) > 0 {
            return None;
        }
        let (header, payload) = parts(answer)?;
        let (status, payload) = match (header.status, rng.below(8)) {
            (Status::Ok, 0) => (refusal(rng), detail(rng)),
            (Status::Ok, 1) => (Status::Ok, rubbish(rng, 100)),
            (Status::Ok, _) => (Status::Ok, lie(method, payload, rng)?),
            (_, 0) => (Status::Ok, Vec::new()),
            _ => (refusal(rng), detail(rng)),
        };
        frame(header, status, &payload)
    }
}

/// The head of an answer, and the rest.
fn parts(answer: &Bytes) -> Option<(ResponseHeader, Bytes)> {
    let mut rest = answer.clone();
    let mut decoder = Decoder::<ResponseHeader>::new();
    match decoder.decode(&mut rest) {
        Ok(Some(Decoded::Header(header))) => Some((header, answer.slice(ResponseHeader::LEN..))),
        _ => None,
    }
}

/// An answer to the same request.
fn frame(header: ResponseHeader, status: Status, payload: &[u8]) -> Option<Bytes> {
    let header = ResponseHeader {
        status,
        request_id: header.request_id,
        payload_len: u32::try_from(payload.len()).ok()?,
    };
    let mut frame = BytesMut::new();
    header.write(&mut frame);
    frame.extend_from_slice(payload);
    Some(frame.freeze())
}

fn refusal(rng: &mut Rng) -> Status {
    let all = [
        Status::BadRequest,
        Status::Unauthorized,
        Status::Forbidden,
        Status::NotFound,
        Status::RateLimited,
        Status::Conflict,
        Status::QuotaExceeded,
        Status::Unavailable,
        Status::Internal,
    ];
    pick(rng, &all)
}

fn detail(rng: &mut Rng) -> Vec<u8> {
    let detail = proto::ErrorDetail {
        message: "no".to_owned(),
        retry_after_ms: u32::try_from(rng.below(60_000)).unwrap_or_default(),
        slot: rng.below(100),
        commit_hash: Bytes::copy_from_slice(&rng.bytes::<32>()),
        ..Default::default()
    };
    detail.encode_to_vec()
}

/// Another answer of the same type. `None` where there is nothing to lie about.
fn lie(method: Method, payload: Bytes, rng: &mut Rng) -> Option<Vec<u8>> {
    match method {
        Method::ListQueues => change(payload, rng, queues),
        Method::Fetch => change(payload, rng, envelopes),
        Method::FetchKeyPackages => change(payload, rng, packages),
        Method::ListGroupMembers => change(payload, rng, members),
        Method::CreateChannel => change(
            payload,
            rng,
            |answer: &mut proto::CreateChannelResponse, rng| {
                answer.was_new = rng.below(2) == 0;
                answer.slot = rng.below(4);
            },
        ),
        Method::SubmitCommit => change(
            payload,
            rng,
            |answer: &mut proto::SubmitCommitResponse, rng| {
                answer.next_slot = number(answer.next_slot, rng);
                answer.commit_proof = rubbish(rng, 80).into();
            },
        ),
        Method::BatchEnqueue => change(
            payload,
            rng,
            |answer: &mut proto::BatchEnqueueResponse, rng| {
                answer.duplicate = rng.below(2) == 0;
                for seq in &mut answer.seqs {
                    *seq = number(*seq, rng);
                }
            },
        ),
        Method::CountKeyPackages => change(
            payload,
            rng,
            |answer: &mut proto::CountKeyPackagesResponse, rng| {
                answer.count = u32::try_from(rng.below(200)).unwrap_or_default();
                answer.last_resort_used = rng.below(2) == 0;
            },
        ),
        Method::ResolveUser => change(
            payload,
            rng,
            |answer: &mut proto::ResolveUserResponse, rng| {
                answer.identity_key = Bytes::copy_from_slice(&rng.bytes::<32>());
            },
        ),
        Method::ResolveIdentity => change(
            payload,
            rng,
            |answer: &mut proto::ResolveIdentityResponse, rng| {
                answer.username = format!("user{}", rng.below(5));
            },
        ),
        Method::GetServerInfo => change(
            payload,
            rng,
            |answer: &mut proto::GetServerInfoResponse, rng| {
                answer.signing_key = Bytes::copy_from_slice(&rng.bytes::<32>());
            },
        ),
        _ => None,
    }
}

fn change<M: Message + Default>(
    payload: Bytes,
    rng: &mut Rng,
    change: impl FnOnce(&mut M, &mut Rng),
) -> Option<Vec<u8>> {
    let mut answer = M::decode(payload).ok()?;
    change(&mut answer, rng);
    Some(answer.encode_to_vec())
}

/// Another number: near, far, or the last there is.
fn number(was: u64, rng: &mut Rng) -> u64 {
    match rng.below(5) {
        0 => was.saturating_sub(1 + rng.below(3)),
        1 => was.saturating_add(1 + rng.below(3)),
        2 => was.saturating_add(1_000_000),
        3 => u64::MAX,
        _ => 0,
    }
}

/// A list in which something is missing, is there twice, or stands elsewhere.
fn shuffle<T: Clone>(list: &mut Vec<T>, rng: &mut Rng) {
    if list.is_empty() {
        return;
    }
    let place = below(rng, list.len());
    match rng.below(4) {
        0 => {
            list.remove(place);
        }
        1 => {
            let again = list[place].clone();
            list.push(again);
        }
        2 => list.reverse(),
        _ => list.clear(),
    }
}

fn queues(answer: &mut proto::ListQueuesResponse, rng: &mut Rng) {
    match rng.below(3) {
        0 => shuffle(&mut answer.queues, rng),
        1 => {
            for queue in &mut answer.queues {
                match rng.below(4) {
                    0 => queue.first_seq = number(queue.first_seq, rng),
                    1 => queue.next_seq = number(queue.next_seq, rng),
                    2 => queue.slot = number(queue.slot, rng),
                    _ => queue.members_version = number(queue.members_version, rng),
                }
            }
        }
        _ => {
            for _ in 0..rng.below(200) {
                answer.queues.push(proto::Queue {
                    channel_id: Bytes::copy_from_slice(&rng.bytes::<16>()),
                    first_seq: rng.below(9),
                    next_seq: rng.below(9),
                    slot: rng.below(9),
                    members_version: rng.below(9),
                });
            }
        }
    }
}

fn envelopes(answer: &mut proto::FetchResponse, rng: &mut Rng) {
    match rng.below(7) {
        0 => shuffle(&mut answer.payloads, rng),
        1 => answer.first_seq = number(answer.first_seq, rng),
        2 => answer.next_seq = number(answer.next_seq, rng),
        3 => answer.overrun = !answer.overrun,
        _ => {
            let count = answer.payloads.len();
            let Some(envelope) = answer.payloads.get_mut(below(rng, count)) else {
                return;
            };
            match rng.below(6) {
                0 => envelope.seq = number(envelope.seq, rng),
                1 => envelope.slot = Some(number(envelope.slot.unwrap_or_default(), rng)),
                2 => envelope.sender_key = Bytes::copy_from_slice(&rng.bytes::<32>()),
                3 => envelope.commit_proof = rubbish(rng, 80).into(),
                4 => envelope.expired = true,
                _ => envelope.data = rubbish(rng, 300).into(),
            }
        }
    }
}

fn packages(answer: &mut proto::FetchKeyPackagesResponse, rng: &mut Rng) {
    if rng.below(2) == 0 {
        return shuffle(&mut answer.packages, rng);
    }
    for package in &mut answer.packages {
        let mut bytes = package.package.to_vec();
        let place = below(rng, bytes.len());
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1;
        }
        package.package = bytes.into();
    }
}

fn members(answer: &mut proto::ListGroupMembersResponse, rng: &mut Rng) {
    match rng.below(3) {
        0 => shuffle(&mut answer.member_keys, rng),
        1 => {
            let stranger = Bytes::copy_from_slice(&rng.bytes::<32>());
            answer.member_keys.push(stranger);
        }
        _ => answer.members_version = number(answer.members_version, rng),
    }
}

impl Core for Liar {
    type Event = Event;

    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        self.now = now;
        self.server.handle_connected(now, conn, peer, ticket);
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        self.now = now;
        self.server.handle_connect_failed(now, ticket, why);
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, mut input: StreamInput) {
        self.now = now;
        let heeded = self.heeded();
        if let StreamId::Peer(Dir::Bi, number) = stream {
            let key = (conn, number);
            match &mut input {
                StreamInput::Data(data) if heeded > 0 => {
                    let asked = self.asked.entry(key).or_default();
                    let wanted = heeded.saturating_sub(asked.0.len());
                    let head = data.get(..wanted.min(data.remaining()));
                    asked.0.extend_from_slice(head.unwrap_or_default());
                }
                StreamInput::Reset(_) | StreamInput::Stopped(_) => {
                    self.asked.remove(&key);
                    self.changed.remove(&key);
                }
                StreamInput::Sent(sent) => {
                    if let Some(owed) = self.changed.get_mut(&key) {
                        owed.ours = owed.ours.saturating_sub(*sent);
                        if owed.ours > 0 {
                            return;
                        }
                        *sent = owed.theirs;
                        self.changed.remove(&key);
                    }
                }
                _ => {}
            }
        }
        self.server.handle_stream(now, conn, stream, input);
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        self.now = now;
        self.asked.retain(|(of, _), _| *of != conn);
        self.changed.retain(|(of, _), _| *of != conn);
        self.server.handle_disconnected(now, conn);
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.now = now;
        self.server.handle_stored(now, ticket, reply);
    }

    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult) {
        self.now = now;
        self.server.handle_computed(now, ticket, result);
    }

    fn handle_wake(&mut self, now: Time, wake: Wake) {
        self.now = now;
        self.server.handle_wake(now, wake);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.now = now;
        self.server.handle_clock(now, unix);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        self.server.handle_timeout(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.now = now;
        self.server.handle_shutdown(now);
    }

    fn credit(&self, conn: ConnId, stream: StreamId) -> usize {
        self.server.credit(conn, stream)
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        let output = self.server.poll_output()?;
        let Output::Send {
            conn,
            stream: StreamId::Peer(Dir::Bi, number),
            data,
            fin: true,
        } = &output
        else {
            return Some(output);
        };
        let key = (*conn, *number);
        let twisted = self.asked.remove(&key).and_then(|asked| {
            let method = asked.method()?;
            let aimed = self.aim(method, &asked, data);
            aimed.or_else(|| self.twist(method, data))
        });
        let Some(twisted) = twisted else {
            return Some(output);
        };
        let owed = Owed {
            ours: twisted.len(),
            theirs: data.len(),
        };
        self.changed.insert(key, owed);
        Some(Output::Send {
            conn: *conn,
            stream: StreamId::Peer(Dir::Bi, *number),
            data: twisted,
            fin: true,
        })
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        self.server.poll_timeout()
    }

    fn is_shut_down(&self) -> bool {
        self.server.is_shut_down()
    }

    fn footprint(&self) -> usize {
        self.server.footprint()
    }
}
