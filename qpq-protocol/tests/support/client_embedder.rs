//! An embedder of a client core that does anything in any order, and a server that may be hostile:
//! what the core's contracts forbid is an assertion here.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::client::{Client, Event, Intent, keys};
use qpq_protocol::frame::{Header as _, MAX_PAYLOAD, RequestHeader, encode_push, encode_response};
use qpq_protocol::ids::{ConnId, Dir, StreamId, Ticket};
use qpq_protocol::io::{
    Alpn, ConnectError, Core as _, Job, Output, PeerInfo, StreamInput, Topic, Wake,
};
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use qpq_protocol::storage::memory::{Fault, Memory};
use qpq_protocol::storage::{Command, Commit, Engine as _, Reply};
use qpq_protocol::time::{Time, UnixTime};

use crate::story::STORY;

/// One input, or one thing that the embedder does. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub enum Act {
    Connected,
    /// One that nobody asked for.
    Stranger(u8),
    ConnectFailed(u8),
    Disconnected,
    /// Answers the request: right if there is such an answer, with this status and seed.
    Answer(u8, u8, u64),
    /// The right answer, but for one byte of it: where, and what it is.
    Altered(u8, u64, u16, u8),
    /// As many bytes as the core takes now, on a push stream or, from 8, on one of its requests'.
    Flood(u8),
    /// An answer of a whole frame that is full of one empty field, by its key: a hundred times as much,
    /// were it decoded as it comes.
    Swollen(u8, u8),
    /// Random bytes as an answer's.
    Garbage(u8, Bytes),
    Fin(u8),
    Reset(u8),
    /// A push with one of the story's envelopes.
    Envelope(u8, u8),
    Membership(bool, i32),
    PushBytes(u8, Bytes),
    PushEnd(u8),
    Stream(StreamId, StreamInput),
    /// The oldest storage command is carried out, or fails.
    Stored(Option<u8>),
    /// Another process opens the same data.
    TakenOver,
    /// A reply that fits no command.
    Reply(u64, Reply),
    Computed,
    Say(Intent),
    Clock(u64),
    Wake,
    Timeout,
    Sleep(u32),
    Back(u32),
    Drain,
    Shutdown,
}

/// How far a client is when its acts begin.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Start {
    /// Never used.
    Blank,
    /// About to load the story's state.
    Opening,
    /// Its session stands.
    Ready,
}

/// Drives a client by acts, and watches it.
pub struct Embedder {
    pub core: Client,
    pub disk: Memory,
    pub now: Time,
    connects: Vec<Ticket>,
    conn: Option<ConnId>,
    last_conn: u64,
    /// Requests that were not answered: stream, method, id, request.
    requests: Vec<(StreamId, u16, u32, Bytes)>,
    commands: Vec<(Ticket, Command)>,
    /// The commit that was polled and not answered.
    flying: Option<Ticket>,
    jobs: Vec<(Ticket, Job)>,
    pub outputs: Vec<String>,
    pub ended: BTreeSet<u64>,
    pub asked: u64,
}

impl Embedder {
    pub fn new(start: Start) -> Self {
        let story = &*STORY;
        let established = start != Start::Blank;
        let birth = if established {
            &story.reborn
        } else {
            &story.birth
        };
        let mut embedder = Self {
            core: birth.client(),
            disk: if established {
                story.disk.clone()
            } else {
                Memory::new()
            },
            now: birth.now,
            connects: Vec::new(),
            conn: None,
            last_conn: 0,
            requests: Vec::new(),
            commands: Vec::new(),
            flying: None,
            jobs: Vec::new(),
            outputs: Vec::new(),
            ended: BTreeSet::new(),
            asked: 0,
        };
        if start == Start::Ready {
            for seed in 0..20 {
                embedder.act(Act::Connected);
                embedder.act(Act::Stored(None));
                embedder.act(Act::Answer(0, 0, seed * 11));
                if embedder.is_logged_in() {
                    break;
                }
            }
            assert!(embedder.is_logged_in());
        }
        embedder
    }

    /// Whether nothing is to be stored.
    pub fn is_idle(&self) -> bool {
        self.commands.is_empty()
    }

    fn is_logged_in(&self) -> bool {
        let mut outputs = self.outputs.iter();
        outputs.any(|output| output.contains("LoggedIn"))
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            // 5: nothing is seen while what it follows from is not durable.
            assert_eq!(self.flying, None, "{output:?}");
            self.outputs.push(sketch(&output));
            match output {
                Output::Connect { ticket, .. } => self.connects.push(ticket),
                Output::Send {
                    stream, data, fin, ..
                } => {
                    assert!(fin);
                    let header = RequestHeader::read(&data).expect("a request");
                    let payload = data.slice(RequestHeader::LEN..);
                    self.requests
                        .push((stream, header.method_id, header.request_id, payload));
                }
                Output::Close { conn, .. } if self.conn == Some(conn) => self.gone(),
                Output::Store {
                    ticket, command, ..
                } => {
                    // The fence of the opening holds nothing back: nothing is known yet.
                    if let Command::Commit(commit) = &command
                        && !commit.puts.iter().any(|(key, _)| key.starts_with(b"meta/"))
                    {
                        self.flying = Some(ticket);
                    }
                    self.commands.push((ticket, command));
                }
                Output::Compute { ticket, job } => self.jobs.push((ticket, job)),
                Output::Event(Event::Done { intent, .. } | Event::Failed { intent, .. }) => {
                    // Each intent ends once.
                    assert!(self.ended.insert(intent.0), "{intent:?}");
                }
                _ => {}
            }
        }
    }

    fn gone(&mut self) {
        self.conn = None;
        self.requests.clear();
    }

    fn store(&mut self, fault: Option<u8>) {
        if self.commands.is_empty() {
            return;
        }
        let (ticket, command) = self.commands.remove(0);
        if let Some(fault) = fault {
            self.disk.fail_next(match fault % 4 {
                0 => Fault::Full,
                1 => Fault::Unavailable,
                2 => Fault::UnknownMade,
                _ => Fault::UnknownLost,
            });
        }
        for reply in self.disk.run(vec![command]) {
            if self.flying == Some(ticket) {
                self.flying = None;
            }
            self.core.handle_stored(self.now, ticket, reply);
        }
    }

    fn take_over(&mut self) {
        let writer = keys::piece(keys::META_WRITER, 0).into();
        let commit = Commit {
            puts: vec![(writer, Bytes::from_static(b"another"))],
            ..Commit::default()
        };
        self.disk.run(vec![Command::Commit(commit)]);
    }

    fn input(&mut self, stream: StreamId, input: StreamInput) {
        if let Some(conn) = self.conn {
            self.core.handle_stream(self.now, conn, stream, input);
        }
    }

    fn answer(&mut self, which: u8, status: u8, seed: u64) {
        if self.requests.is_empty() {
            return;
        }
        let at = usize::from(which) % self.requests.len();
        let (stream, method, id, request) = self.requests.remove(at);
        let frame = match status {
            0 => right_answer(method, id, &request, seed),
            _ => {
                let all = Status::ALL;
                let status = all[usize::try_from(seed).unwrap_or(0) % all.len()];
                let detail = proto::ErrorDetail {
                    message: "no".to_owned(),
                    retry_after_ms: u32::try_from(seed >> 32).unwrap_or(0),
                    slot: seed % 9,
                    ..proto::ErrorDetail::default()
                };
                encode_response(status, id, &detail).expect("a frame")
            }
        };
        self.input(stream, StreamInput::Data(frame));
        self.input(stream, StreamInput::Fin);
    }

    fn answer_altered(&mut self, which: u8, seed: u64, at: u16, byte: u8) {
        if self.requests.is_empty() {
            return;
        }
        let at_request = usize::from(which) % self.requests.len();
        let (stream, method, id, request) = self.requests.remove(at_request);
        let mut frame = right_answer(method, id, &request, seed).to_vec();
        let at = usize::from(at) % frame.len();
        frame[at] = byte;
        self.input(stream, StreamInput::Data(frame.into()));
        self.input(stream, StreamInput::Fin);
    }

    fn flood(&mut self, stream: u8) {
        const LENGTH: [u8; 4] = [0x00, 0x3f, 0xff, 0xff];
        // The header of a frame of 4 MiB, and what it begins with.
        let (stream, header) = match stream.checked_sub(8) {
            None => {
                let stream = StreamId::Peer(Dir::Uni, stream.into());
                (stream, [&[0x03, 0xe8], &LENGTH[..]].concat())
            }
            Some(_) if self.requests.is_empty() => return,
            Some(which) => {
                let (stream, _, id, _) = self.requests[usize::from(which) % self.requests.len()];
                (stream, [&[0], &id.to_be_bytes()[..], &LENGTH].concat())
            }
        };
        if let Some(conn) = self.conn {
            let mut data = vec![0; self.core.credit(conn, stream)];
            for (to, byte) in data.iter_mut().zip(header) {
                *to = byte;
            }
            self.input(stream, StreamInput::Data(data.into()));
        }
    }

    fn swollen(&mut self, which: u8, key: u8) {
        let Some(conn) = self.conn.filter(|_| !self.requests.is_empty()) else {
            return;
        };
        let at = usize::from(which) % self.requests.len();
        let (stream, _, id, _) = self.requests.remove(at);
        let header = [&[0], &id.to_be_bytes()[..], &[0, 0x40, 0, 0]].concat();
        self.input(stream, StreamInput::Data(header.into()));
        let mut payload = SWOLLEN[usize::from(key % 2)].clone();
        while !payload.is_empty() {
            let credit = self.core.credit(conn, stream).min(payload.len());
            if credit == 0 {
                return;
            }
            self.input(stream, StreamInput::Data(payload.split_to(credit)));
        }
        self.input(stream, StreamInput::Fin);
    }

    fn push(&mut self, stream: u8, event: proto::PushEvent) {
        let frame = encode_push(1000, &event).expect("a frame");
        let stream = StreamId::Peer(Dir::Uni, stream.into());
        self.input(stream, StreamInput::Data(frame));
    }

    pub fn act(&mut self, act: Act) {
        match act {
            Act::Connected => {
                if let Some(ticket) = self.connects.pop() {
                    self.last_conn += 1;
                    let conn = ConnId(self.last_conn);
                    self.conn = Some(conn);
                    self.core
                        .handle_connected(self.now, conn, peer(), Some(ticket));
                }
            }
            Act::Stranger(conn) => {
                let conn = ConnId(1_000_000 + u64::from(conn));
                self.core.handle_connected(self.now, conn, peer(), None);
            }
            Act::ConnectFailed(which) => {
                let ticket = self.connects.pop().unwrap_or(Ticket(which.into()));
                let why = ConnectError::Unreachable;
                self.core.handle_connect_failed(self.now, ticket, why);
            }
            Act::Disconnected => {
                if let Some(conn) = self.conn {
                    self.core.handle_disconnected(self.now, conn);
                    self.gone();
                }
            }
            Act::Answer(which, status, seed) => self.answer(which, status, seed),
            Act::Altered(which, seed, at, byte) => self.answer_altered(which, seed, at, byte),
            Act::Flood(stream) => self.flood(stream),
            Act::Swollen(which, key) => self.swollen(which, key),
            Act::Garbage(which, data) => {
                if !self.requests.is_empty() {
                    let at = usize::from(which) % self.requests.len();
                    let stream = self.requests[at].0;
                    self.input(stream, StreamInput::Data(data));
                }
            }
            Act::Fin(which) | Act::Reset(which) => {
                if !self.requests.is_empty() {
                    let at = usize::from(which) % self.requests.len();
                    let (stream, ..) = self.requests.remove(at);
                    let input = match act {
                        Act::Fin(_) => StreamInput::Fin,
                        _ => StreamInput::Reset(3),
                    };
                    self.input(stream, input);
                }
            }
            Act::Envelope(which, stream) => {
                let all = &STORY.envelopes;
                let (channel_id, envelope) = all[usize::from(which) % all.len()].clone();
                let news = proto::NewMessagePush {
                    channel_id,
                    seq: envelope.seq,
                    envelope: (which < 30).then_some(envelope),
                };
                self.push(stream, news.into());
            }
            Act::Membership(group, change) => {
                let id = if group { STORY.group } else { STORY.dm };
                let news = proto::MembershipPush {
                    channel_id: Bytes::copy_from_slice(id.as_bytes()),
                    member_key: Bytes::copy_from_slice(STORY.identity_key.as_bytes()),
                    change,
                };
                self.push(0, news.into());
            }
            Act::PushBytes(stream, data) => {
                let stream = StreamId::Peer(Dir::Uni, stream.into());
                self.input(stream, StreamInput::Data(data));
            }
            Act::PushEnd(stream) => {
                let stream = StreamId::Peer(Dir::Uni, stream.into());
                self.input(stream, StreamInput::Fin);
            }
            Act::Stream(stream, input) => self.input(stream, input),
            Act::Stored(fault) => self.store(fault),
            Act::TakenOver => self.take_over(),
            Act::Reply(ticket, reply) => {
                let ticket = Ticket(ticket.max(1_000_000));
                self.core.handle_stored(self.now, ticket, reply);
            }
            Act::Computed => {
                if let Some((ticket, job)) = self.jobs.pop() {
                    self.core.handle_computed(self.now, ticket, job.run());
                } else {
                    let result = Job::new(|| 7u8).run();
                    self.core
                        .handle_computed(self.now, Ticket(1_000_000), result);
                }
            }
            Act::Say(intent) => {
                self.asked += 1;
                self.core.begin(self.now, intent);
            }
            Act::Clock(unix) => {
                self.core
                    .handle_clock(self.now, UnixTime::from_millis(unix >> 20));
            }
            Act::Wake => {
                let wake = Wake {
                    topic: Topic::Live([0; 32]),
                    body: Bytes::new(),
                };
                self.core.handle_wake(self.now, wake);
            }
            Act::Timeout => {
                if let Some((at, _)) = self.core.poll_timeout() {
                    self.now = self.now.max(at);
                }
                self.core.handle_timeout(self.now);
            }
            Act::Sleep(micros) => self.now = self.now + Duration::from_micros(micros.into()),
            Act::Back(micros) => {
                let back = self.now.as_micros().saturating_sub(micros.into());
                self.core.handle_timeout(Time::from_micros(back));
            }
            Act::Drain => {}
            Act::Shutdown => self.core.handle_shutdown(self.now),
        }
        self.drain();
    }
}

/// The first and the second field of a message, empty, as often as fits into a frame.
pub static SWOLLEN: LazyLock<[Bytes; 2]> =
    LazyLock::new(|| [0x0a, 0x12].map(|key| [key, 0].repeat(MAX_PAYLOAD / 2).into()));

pub fn peer() -> PeerInfo {
    PeerInfo {
        address: SocketAddr::from(([127, 0, 0, 1], 5001)),
        alpn: Alpn::Qpq,
        certificate: None,
    }
}

/// What a server that means well might say.
fn right_answer(method: u16, id: u32, request: &Bytes, seed: u64) -> Bytes {
    let story = &*STORY;
    let key = Bytes::copy_from_slice(story.identity_key.as_bytes());
    let channels = [story.dm, story.group].map(|id| Bytes::copy_from_slice(id.as_bytes()));
    let ok = |message: &dyn Fn() -> Bytes| message();
    macro_rules! frame {
        ($message:expr) => {
            ok(&|| encode_response(Status::Ok, id, &$message).expect("a frame"))
        };
    }
    match method {
        104 => frame!(proto::ResumeSessionResponse {
            identity_key: key.clone(),
            expires_at_ms: u64::MAX,
            ..proto::ResumeSessionResponse::default()
        }),
        201 => {
            let asked = proto::FetchRequest::decode(request.clone()).expect("a request");
            let payloads: Vec<_> = story
                .envelopes
                .iter()
                .filter(|(channel, envelope)| {
                    *channel == asked.channel_id && envelope.seq > asked.after_seq
                })
                .map(|(_, envelope)| envelope.clone())
                .take(1 + usize::try_from(seed % 5).unwrap_or(0))
                .collect();
            frame!(proto::FetchResponse {
                payloads: payloads.clone(),
                first_seq: 1,
                next_seq: asked.after_seq + 1 + seed % 7,
                overrun: seed.is_multiple_of(50),
            })
        }
        206 => frame!(proto::SubmitCommitResponse::default()),
        207 => {
            let asked = proto::ListQueuesRequest::decode(request.clone()).expect("a request");
            let queues: Vec<_> = channels
                .iter()
                .filter(|_| asked.after.is_empty())
                .map(|channel_id| proto::Queue {
                    channel_id: channel_id.clone(),
                    first_seq: 1,
                    next_seq: 3 + seed % 6,
                    slot: seed % 4,
                    members_version: seed % 3,
                })
                .collect();
            frame!(proto::ListQueuesResponse {
                queues: queues.clone()
            })
        }
        305 => frame!(proto::FetchKeyPackagesResponse::default()),
        306 => frame!(proto::CountKeyPackagesResponse {
            count: u32::try_from(seed % 5).unwrap_or(0),
            last_resort_used: seed.is_multiple_of(7),
        }),
        400 => frame!(proto::CreateChannelResponse {
            channel_id: channels[0].clone(),
            was_new: true,
            slot: 0,
        }),
        412 => frame!(proto::ListGroupMembersResponse {
            member_keys: vec![key.clone()],
            sealed_metadata: Bytes::new(),
            version: 0,
            members_version: seed % 5,
        }),
        500 => frame!(proto::ResolveUserResponse {
            identity_key: Bytes::copy_from_slice(&[u8::try_from(seed % 5).unwrap_or(0); 32]),
            ..Default::default()
        }),
        501 => frame!(proto::ResolveIdentityResponse {
            username: format!("user{}", seed % 5),
        }),
        803 => frame!(proto::GetServerInfoResponse {
            domain: "localhost".to_owned(),
            signing_key: Bytes::copy_from_slice(&story.server_key),
            ..Default::default()
        }),
        _ => encode_response(Status::Ok, id, &proto::AckResponse {}).expect("a frame"),
    }
}

/// What can be compared of an output. Of sealed values only the keys: openmls stores the time
/// of the wall clock.
pub fn sketch(output: &Output<Event>) -> String {
    match output {
        Output::Store {
            ticket,
            command: Command::Commit(commit),
            ..
        } => {
            let keys: Vec<_> = commit.puts.iter().map(|(key, _)| key).collect();
            format!("{ticket:?} {keys:?} {:?}", commit.deletes)
        }
        other => format!("{other:?}"),
    }
}
