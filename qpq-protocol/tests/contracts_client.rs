//! The contracts of architecture.md, for the client core, under random inputs.

#[path = "support/client_embedder.rs"]
mod client_embedder;
#[path = "support/net.rs"]
mod net;
#[path = "support/story.rs"]
mod story;

mod contracts {
    use std::collections::BTreeMap;

    use std::time::Duration;

    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use qpq_protocol::client::{Client, Intent, Outcome, intent};

    use qpq_protocol::ids::{ChannelId, Dir, StreamId, Ticket};
    use qpq_protocol::io::{Core as _, Job, MAX_SLEEP, Output, StreamInput};

    use qpq_protocol::storage::{Failure, Reply};
    use qpq_protocol::time::Time;

    use super::client_embedder::{Act, Embedder, Start, sketch};
    use super::net::{Birth, Input, Net, password};
    use super::story::{STORY, say};

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
                Input::Said(intent) => {
                    core.begin(now, intent);
                }
            }
            all.push(drain(&mut core, &mut jobs));
        }
        all
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

    fn says() -> impl Strategy<Value = Intent> {
        let id = || {
            prop_oneof![Just(0u8), Just(1u8), Just(2u8),].prop_map(|which| match which {
                0 => STORY.dm,
                1 => STORY.group,
                _ => ChannelId([9; 16]),
            })
        };
        prop_oneof![
            Just(intent::Register::new("zoe", password("secret")).into()),
            Just(intent::Dm("dave".to_owned()).into()),
            Just(intent::CreateGroup::new("friends", &["bob", "dave"]).into()),
            (id(), "[a-z]{0,9}").prop_map(|(id, text)| intent::Send::new(id, text).into()),
            id().prop_map(|id| intent::Invite::new(id, "carol").into()),
            id().prop_map(|id| intent::Leave(id).into()),
            id().prop_map(|id| intent::History {
                conversation: id,
                before: None,
                limit: 100,
            }
            .into()),
            (id(), 0..9u64).prop_map(|(conversation, up_to)| {
                intent::MarkRead {
                    conversation,
                    up_to,
                }
                .into()
            }),
            Just(intent::Conversations.into()),
            Just(intent::ServerInfo.into()),
            Just(intent::Logout.into()),
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
            4 => (any::<u8>(), any::<u64>(), any::<u16>(), any::<u8>())
                .prop_map(|(n, seed, at, byte)| Act::Altered(n, seed, at, byte)),
            1 => (0..16u8).prop_map(Act::Flood),
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
            1 => Just(Act::TakenOver),
            1 => Just(Act::Shutdown),
        ]
    }

    impl Arbitrary for Start {
        type Parameters = ();
        type Strategy = BoxedStrategy<Self>;

        fn arbitrary_with((): ()) -> Self::Strategy {
            prop_oneof![Just(Self::Blank), Just(Self::Opening), Just(Self::Ready)].boxed()
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

    /// Goes on until the core is shut down, and no further.
    fn run_down(embedder: &mut Embedder) {
        for _ in 0..200 {
            if embedder.core.is_shut_down() {
                break;
            }
            embedder.act(Act::Stored(None));
            embedder.act(Act::Timeout);
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
            run_down(&mut embedder);
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
                say(&mut net, client, intent::Register::new(name, password("secret")));
            }
            let Outcome::Conversation(dm) = say(&mut net, 0, intent::Dm("bob".into())) else {
                panic!("no conversation");
            };
            net.pass(Duration::from_secs(1));
            net.clients[held].hold = true;
            let intent = net.begin(0, intent::Send::new(dm.id, "slowly"));
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

    /// 1: what had ended with a commit that comes to nothing ends all the same, before nobody asks any more.
    #[test]
    fn client_ends_what_had_ended_in_vain() {
        let mark = intent::MarkRead {
            conversation: STORY.dm,
            up_to: 1,
        };
        let send = intent::Send::new(STORY.dm, "hello");
        for said in [Intent::from(mark), send.into()] {
            for fault in [Act::TakenOver, Act::Stored(Some(0)), Act::Stored(Some(3))] {
                let mut embedder = Embedder::new(Start::Ready);
                while !embedder.is_idle() {
                    embedder.act(Act::Stored(None));
                }
                embedder.act(Act::Say(said.clone()));
                if matches!(said, Intent::Send(_)) {
                    // What it is encrypted with is durable, and the server has taken it.
                    while !embedder.is_idle() {
                        embedder.act(Act::Stored(None));
                    }
                    (0..9).for_each(|request| embedder.act(Act::Answer(request, 0, 1)));
                }
                assert!(!embedder.is_idle(), "the end waits for a commit");
                embedder.act(Act::Shutdown);
                embedder.act(Act::Sleep(u32::MAX));
                embedder.act(Act::Timeout);
                assert!(!embedder.core.is_shut_down());
                embedder.act(fault);
                run_down(&mut embedder);
                assert!(embedder.core.is_shut_down());
                assert_eq!(embedder.ended.len(), 1);
            }
        }
    }

    /// 6: a client that has nothing to do only looks for news, every five minutes.
    #[test]
    fn client_costs_nothing_when_idle() {
        let mut net = Net::new();
        let client = net.add_client();
        say(
            &mut net,
            client,
            intent::Register::new("alice", password("secret")),
        );
        net.pass(Duration::from_secs(60));
        let node = &mut net.clients[client];
        let due = node.core.poll_timeout().map(|(_, reason)| reason);
        assert_eq!(due, Some("look for news"));
        let run = node.commands_run;
        let events = node.events.len();
        let bytes = net.bytes;
        net.pass(Duration::from_secs(3600));
        assert_eq!(net.clients[client].commands_run, run);
        assert_eq!(net.clients[client].events.len(), events);
        // Twelve times a request of 10 bytes and its answer.
        assert!(net.bytes - bytes <= 12 * 32, "{}", net.bytes - bytes);
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
