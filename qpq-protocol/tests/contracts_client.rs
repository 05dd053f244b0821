//! The contracts of architecture.md, for the client core, under random inputs.

#[path = "support/net.rs"]
mod net;

mod contracts {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;
    use std::sync::LazyLock;
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message as _;
    use qpq_protocol::client::{Client, Event, Outcome};
    use qpq_protocol::frame::{Decoded, Decoder, Header as _, PushHeader, RequestHeader};
    use qpq_protocol::frame::{encode_push, encode_response};
    use qpq_protocol::ids::{ChannelId, ConnId, Dir, IdentityKey, StreamId, Ticket};
    use qpq_protocol::io::{
        Alpn, ConnectError, Core as _, Job, MAX_SLEEP, Output, PeerInfo, StreamInput, Topic, Wake,
    };
    use qpq_protocol::proto;
    use qpq_protocol::status::Status;
    use qpq_protocol::storage::memory::{Fault, Memory};
    use qpq_protocol::storage::{Command, Engine as _, Failure, Reply};
    use qpq_protocol::time::{Time, UnixTime};

    use super::net::{Birth, Input, Net, Say};

    /// A real life of a client, told from its embedder's side, and what it left behind.
    struct Story {
        /// From the first start: registers, makes a DM and a group, talks.
        birth: Birth,
        trace: Vec<(Time, Input)>,
        /// Its disk at the end, and what a start on it begins with.
        disk: Memory,
        reborn: Birth,
        identity_key: IdentityKey,
        dm: ChannelId,
        group: ChannelId,
        /// What came to it after that while it ran on: messages, a commit.
        envelopes: Vec<(Bytes, proto::Envelope)>,
    }

    static STORY: LazyLock<Story> = LazyLock::new(tell_story);

    fn tell_story() -> Story {
        let mut net = Net::new();
        for name in ["bob", "carol"] {
            let client = net.add_client();
            say(&mut net, client, &Say::Register(name));
        }
        let alice = net.add_silent_client();
        let birth = net.last_birth.clone().expect("a birth");
        net.clients[alice].trace = Some(Vec::new());
        let Outcome::LoggedIn(account) = say(&mut net, alice, &Say::Register("alice")) else {
            panic!("no login");
        };
        let Outcome::Conversation(dm) = say(&mut net, alice, &Say::Dm("bob")) else {
            panic!("no conversation");
        };
        let Outcome::Conversation(group) = say(&mut net, alice, &Say::Group(&["bob"])) else {
            panic!("no conversation");
        };
        net.pass(Duration::from_secs(5));
        for id in [dm.id, group.id] {
            say(&mut net, alice, &Say::Send(id, "from alice".to_owned()));
            say(&mut net, 0, &Say::Send(id, "from bob".to_owned()));
        }
        say(&mut net, alice, &Say::History(dm.id));
        net.pass(Duration::from_secs(5));
        let trace = net.clients[alice].trace.take().expect("a trace");

        net.restart(alice);
        let reborn = net.last_birth.clone().expect("a birth");
        let disk = net.clients[alice].disk.clone();
        net.clients[alice].trace = Some(Vec::new());
        net.pass(Duration::from_secs(5));
        for number in 0..3 {
            say(&mut net, 0, &Say::Send(dm.id, format!("later {number}")));
            say(&mut net, 0, &Say::Send(group.id, format!("later {number}")));
        }
        say(&mut net, 0, &Say::Invite(group.id, "carol"));
        net.pass(Duration::from_secs(5));
        say(
            &mut net,
            0,
            &Say::Send(group.id, "in the next epoch".to_owned()),
        );
        net.pass(Duration::from_secs(5));
        let later = net.clients[alice].trace.take().expect("a trace");
        Story {
            birth,
            trace,
            disk,
            reborn,
            identity_key: account.identity_key,
            dm: dm.id,
            group: group.id,
            envelopes: pushed(&later),
        }
    }

    fn say(net: &mut Net, client: usize, say: &Say) -> Outcome {
        let intent = net.say(client, say);
        net.until(|net| net.result(client, intent).is_some());
        net.result(client, intent)
            .expect("an end")
            .expect("a good end")
    }

    /// The envelopes in the pushes of a trace.
    fn pushed(trace: &[(Time, Input)]) -> Vec<(Bytes, proto::Envelope)> {
        let mut decoders: BTreeMap<(ConnId, StreamId), Decoder<PushHeader>> = BTreeMap::new();
        let mut envelopes = Vec::new();
        for (_, input) in trace {
            let Input::Stream(conn, stream @ StreamId::Peer(..), StreamInput::Data(data)) = input
            else {
                continue;
            };
            let decoder = decoders.entry((*conn, *stream)).or_default();
            let mut data = data.clone();
            while let Some(decoded) = decoder.decode(&mut data).expect("frames") {
                if let Decoded::Payload(payload) = decoded
                    && let Ok(push) = proto::PushEvent::decode(payload)
                    && let Some(proto::push_event::Event::NewMessage(news)) = push.event
                    && let Some(envelope) = news.envelope
                {
                    envelopes.push((news.channel_id, envelope));
                }
            }
        }
        assert!(envelopes.len() >= 8, "{}", envelopes.len());
        envelopes
    }

    /// What can be compared of an output. Of sealed values only the keys: openmls stores the time
    /// of the wall clock.
    fn sketch(output: &Output<Event>) -> String {
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

    /// Runs a trace through a new core; what it put out after each input.
    fn replay(
        birth: &Birth,
        trace: &[(Time, Input)],
        cut: impl Fn(usize) -> usize,
    ) -> Vec<Vec<String>> {
        let mut core = birth.client();
        let mut jobs: BTreeMap<Ticket, Job> = BTreeMap::new();
        let mut all = Vec::new();
        let drain = |core: &mut Client, jobs: &mut BTreeMap<Ticket, Job>| {
            let mut outputs = Vec::new();
            while let Some(output) = core.poll_output() {
                outputs.push(sketch(&output));
                if let Output::Compute { ticket, job } = output {
                    jobs.insert(ticket, job);
                }
            }
            outputs
        };
        all.push(drain(&mut core, &mut jobs));
        for (number, (now, input)) in trace.iter().enumerate() {
            let now = *now;
            match input.clone() {
                Input::Connected(conn, peer, ticket) => {
                    core.handle_connected(now, conn, peer, ticket);
                }
                Input::ConnectFailed(ticket, why) => core.handle_connect_failed(now, ticket, why),
                Input::Stream(conn, stream, StreamInput::Data(mut data)) => {
                    let piece = cut(number).max(1);
                    while !data.is_empty() {
                        let part = data.split_to(piece.min(data.len()));
                        core.handle_stream(now, conn, stream, StreamInput::Data(part));
                    }
                }
                Input::Stream(conn, stream, input) => core.handle_stream(now, conn, stream, input),
                Input::Disconnected(conn) => core.handle_disconnected(now, conn),
                Input::Stored(ticket, reply) => core.handle_stored(now, ticket, reply),
                Input::Computed(ticket) => {
                    if let Some(job) = jobs.remove(&ticket) {
                        core.handle_computed(now, ticket, job.run());
                    }
                }
                Input::Timeout => core.handle_timeout(now),
                Input::Said(say) => {
                    say.to(&mut core, now);
                }
            }
            all.push(drain(&mut core, &mut jobs));
        }
        all
    }

    /// One input, or one thing that the embedder does. Numbers choose among what there is.
    #[derive(Clone, Debug)]
    enum Act {
        Connected,
        /// One that nobody asked for.
        Stranger(u8),
        ConnectFailed(u8),
        Disconnected,
        /// Answers the request: right if there is such an answer, with this status and seed.
        Answer(u8, u8, u64),
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
        /// A reply that fits no command.
        Reply(u64, Reply),
        Computed,
        Say(Say),
        Clock(u64),
        Wake,
        Timeout,
        Sleep(u32),
        Back(u32),
        Drain,
        Shutdown,
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..64).prop_map(Bytes::from)
    }

    fn stream() -> impl Strategy<Value = StreamId> {
        prop_oneof![
            (0..4u64).prop_map(|number| StreamId::Peer(Dir::Uni, number)),
            (0..4u64).prop_map(|number| StreamId::Peer(Dir::Bi, number)),
            (0..40u64).prop_map(|number| StreamId::Own(qpq_protocol::ids::OwnStream(number))),
        ]
    }

    fn stream_input() -> impl Strategy<Value = StreamInput> {
        prop_oneof![
            bytes().prop_map(StreamInput::Data),
            Just(StreamInput::Fin),
            (0..9u64).prop_map(StreamInput::Reset),
            (0..9u64).prop_map(StreamInput::Stopped),
            (0..9usize).prop_map(StreamInput::Sent),
        ]
    }

    fn says() -> impl Strategy<Value = Say> {
        let id = || {
            prop_oneof![Just(0u8), Just(1u8), Just(2u8),].prop_map(|which| match which {
                0 => STORY.dm,
                1 => STORY.group,
                _ => ChannelId([9; 16]),
            })
        };
        prop_oneof![
            Just(Say::Register("zoe")),
            Just(Say::Dm("dave")),
            Just(Say::Group(&["bob", "dave"])),
            (id(), "[a-z]{0,9}").prop_map(|(id, text)| Say::Send(id, text)),
            id().prop_map(|id| Say::Invite(id, "carol")),
            id().prop_map(Say::Leave),
            id().prop_map(Say::History),
            (id(), 0..9u64).prop_map(|(id, up_to)| Say::MarkRead(id, up_to)),
            Just(Say::Conversations),
            Just(Say::ServerInfo),
            Just(Say::Logout),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let rows = vec((bytes(), bytes()), 0..3);
        prop_oneof![
            Just(Reply::Committed),
            Just(Reply::Conflict),
            Just(Reply::Failed(Failure::Unknown)),
            vec(proptest::option::of(bytes()), 0..3).prop_map(Reply::Values),
            (rows, any::<bool>()).prop_map(|(rows, more)| Reply::Rows { rows, more }),
        ]
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Connected),
            20 => (any::<u8>(), 0..3u8, any::<u64>()).prop_map(|(n, status, seed)| {
                Act::Answer(n, status, seed)
            }),
            20 => (0..40u8, 0..3u8).prop_map(|(which, stream)| Act::Envelope(which, stream)),
            20 => Just(Act::Stored(None)),
            2 => any::<u8>().prop_map(|fault| Act::Stored(Some(fault))),
            8 => says().prop_map(Act::Say),
            4 => Just(Act::Computed),
            6 => Just(Act::Timeout),
            6 => any::<u32>().prop_map(Act::Sleep),
            4 => Just(Act::Drain),
            1 => any::<u8>().prop_map(Act::Stranger),
            1 => any::<u8>().prop_map(Act::ConnectFailed),
            1 => Just(Act::Disconnected),
            1 => (any::<u8>(), bytes()).prop_map(|(n, data)| Act::Garbage(n, data)),
            1 => any::<u8>().prop_map(Act::Fin),
            1 => any::<u8>().prop_map(Act::Reset),
            2 => (any::<bool>(), 0..6i32).prop_map(|(group, change)| Act::Membership(group, change)),
            1 => (0..4u8, bytes()).prop_map(|(n, data)| Act::PushBytes(n, data)),
            1 => (0..4u8).prop_map(Act::PushEnd),
            2 => (stream(), stream_input()).prop_map(|(stream, input)| Act::Stream(stream, input)),
            1 => (any::<u64>(), reply()).prop_map(|(ticket, reply)| Act::Reply(ticket, reply)),
            1 => any::<u64>().prop_map(Act::Clock),
            1 => Just(Act::Wake),
            1 => any::<u32>().prop_map(Act::Back),
            1 => Just(Act::Shutdown),
        ]
    }

    /// How far a client is when its acts begin.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Start {
        /// Never used.
        Blank,
        /// About to load the story's state.
        Opening,
        /// Its session stands.
        Ready,
    }

    impl Arbitrary for Start {
        type Parameters = ();
        type Strategy = BoxedStrategy<Self>;

        fn arbitrary_with((): ()) -> Self::Strategy {
            prop_oneof![Just(Self::Blank), Just(Self::Opening), Just(Self::Ready)].boxed()
        }
    }

    /// Drives a client by acts, and watches it.
    struct Embedder {
        core: Client,
        disk: Memory,
        now: Time,
        connects: Vec<Ticket>,
        conn: Option<ConnId>,
        last_conn: u64,
        /// Requests that were not answered: stream, method, id, request.
        requests: Vec<(StreamId, u16, u32, Bytes)>,
        commands: Vec<(Ticket, Command)>,
        /// The commit that was polled and not answered.
        flying: Option<Ticket>,
        jobs: Vec<(Ticket, Job)>,
        outputs: Vec<String>,
        ended: BTreeSet<u64>,
        asked: u64,
    }

    impl Embedder {
        fn new(start: Start) -> Self {
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
                }
                assert!(
                    embedder
                        .outputs
                        .iter()
                        .any(|output| output.contains("LoggedIn"))
                );
            }
            embedder
        }

        fn drain(&mut self) {
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
                        commit_hash: Bytes::new(),
                    };
                    encode_response(status, id, &detail).expect("a frame")
                }
            };
            self.input(stream, StreamInput::Data(frame));
            self.input(stream, StreamInput::Fin);
        }

        fn push(&mut self, stream: u8, event: proto::PushEvent) {
            let frame = encode_push(1000, &event).expect("a frame");
            let stream = StreamId::Peer(Dir::Uni, stream.into());
            self.input(stream, StreamInput::Data(frame));
        }

        fn act(&mut self, act: Act) {
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
                Act::Say(say) => {
                    self.asked += 1;
                    say.to(&mut self.core, self.now);
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

    fn peer() -> PeerInfo {
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
                signing_key: Bytes::copy_from_slice(&[3; 32]),
                ..Default::default()
            }),
            _ => encode_response(Status::Ok, id, &proto::AckResponse {}).expect("a frame"),
        }
    }

    fn nothing_is_stranded(embedder: &mut Embedder) {
        embedder.drain();
        for _ in 0..1000 {
            let Some((at, reason)) = embedder.core.poll_timeout() else {
                return;
            };
            embedder.now = embedder.now.max(at);
            let before = embedder.outputs.len();
            embedder.core.handle_timeout(embedder.now);
            embedder.drain();
            let moved = embedder
                .core
                .poll_timeout()
                .is_none_or(|(next, _)| next > at);
            assert!(moved || embedder.outputs.len() > before, "{reason}");
            // A client that nobody answers keeps trying: an hour of that is enough.
            if at > STORY.reborn.now + Duration::from_secs(3600) {
                return;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// 1, 2 and 5: any inputs in any order; nothing panics, nothing is seen before it is
        /// durable, every intent ends at most once, what is held is bounded.
        #[test]
        fn client_takes_any_inputs_in_any_order(
            start: Start,
            acts in vec(act(), 0..200),
        ) {
            let mut embedder = Embedder::new(start);
            for act in acts {
                embedder.act(act);
                let timeout = embedder.core.poll_timeout();
                prop_assert!(timeout.is_none_or(|(at, _)| at <= embedder.now + MAX_SLEEP), "{timeout:?}");
            }
            prop_assert!(embedder.core.footprint() < 32 * 1024 * 1024);
        }

        /// 3: at a deadline something happens, or the deadline moves.
        #[test]
        fn client_strands_nothing(start: Start, acts in vec(act(), 0..120)) {
            let mut embedder = Embedder::new(start);
            for act in acts {
                embedder.act(act);
            }
            nothing_is_stranded(&mut embedder);
        }

        /// 1: every intent ends when the core is shut down, whatever came before.
        #[test]
        fn client_ends_every_intent(start: Start, acts in vec(act(), 0..120)) {
            let mut embedder = Embedder::new(start);
            for act in acts {
                embedder.act(act);
            }
            embedder.act(Act::Shutdown);
            for _ in 0..200 {
                embedder.act(Act::Stored(None));
                embedder.act(Act::Timeout);
            }
            prop_assert!(embedder.core.is_shut_down());
            prop_assert_eq!(u64::try_from(embedder.ended.len()).unwrap(), embedder.asked);
        }

        /// 4: the same inputs and seed, the same outputs.
        #[test]
        fn client_is_deterministic(start: Start, acts in vec(act(), 0..100)) {
            let [one, other] = [acts.clone(), acts].map(|acts| {
                let mut embedder = Embedder::new(start);
                for act in acts {
                    embedder.act(act);
                }
                embedder.outputs
            });
            prop_assert_eq!(one, other);
        }

        /// 4: any split of the bytes of a stream gives the same outputs after each of them.
        #[test]
        fn client_does_not_mind_how_bytes_are_split(pieces in vec(1..200usize, 1..20)) {
            let story = &*STORY;
            let cut = |number: usize| pieces[number % pieces.len()];
            let whole = replay(&story.birth, &story.trace, |_| usize::MAX);
            let split = replay(&story.birth, &story.trace, cut);
            prop_assert_eq!(whole, split);
        }

        /// 5: storage that answers late delays everything that follows and loses nothing.
        #[test]
        fn client_waits_for_storage(held in 0..2usize, rounds in 1..40usize) {
            let mut net = Net::new();
            for name in ["alice", "bob"] {
                let client = net.add_client();
                say(&mut net, client, &Say::Register(name));
            }
            let Outcome::Conversation(dm) = say(&mut net, 0, &Say::Dm("bob")) else {
                panic!("no conversation");
            };
            net.pass(Duration::from_secs(1));
            net.clients[held].hold = true;
            let intent = net.say(0, &Say::Send(dm.id, "slowly".to_owned()));
            for _ in 0..rounds {
                net.turn();
            }
            net.pass(Duration::from_secs(1));
            prop_assert!(net.texts(1).is_empty());
            prop_assert_eq!(net.result(0, intent).is_some(), held == 1);
            net.clients[held].hold = false;
            net.pass(Duration::from_secs(1));
            prop_assert_eq!(net.texts(1).len(), 1);
            prop_assert!(net.result(0, intent).is_some());
        }
    }

    /// 6: a client that has nothing to do does nothing and needs no timer.
    #[test]
    fn client_costs_nothing_when_idle() {
        let mut net = Net::new();
        let client = net.add_client();
        say(&mut net, client, &Say::Register("alice"));
        net.pass(Duration::from_secs(60));
        let node = &mut net.clients[client];
        assert_eq!(node.core.poll_timeout(), None);
        let run = node.commands_run;
        let events = node.events.len();
        let bytes = net.bytes;
        net.pass(Duration::from_secs(3600));
        assert_eq!(net.clients[client].commands_run, run);
        assert_eq!(net.clients[client].events.len(), events);
        assert_eq!(net.bytes, bytes);
        assert_eq!(net.clients[client].core.footprint(), 0);
    }

    /// The replay is that of the story: it ends as the story did.
    #[test]
    fn client_replays_its_own_story() {
        let story = &*STORY;
        let outputs = replay(&story.birth, &story.trace, |_| usize::MAX);
        let all: Vec<String> = outputs.concat();
        assert!(all.iter().any(|output| output.contains("LoggedIn")));
        assert!(all.iter().any(|output| output.contains("from bob")));
    }
}
