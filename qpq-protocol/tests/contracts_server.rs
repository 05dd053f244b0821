//! The contracts of architecture.md, for the server core, under random inputs.

#[path = "support/server_embedder.rs"]
mod server_embedder;
mod support;

mod contracts {

    use std::time::Duration;

    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use qpq_protocol::frame::encode_request;
    use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId};
    use qpq_protocol::io::{Core as _, StreamInput, Topic, Wake};
    use qpq_protocol::method::{Method, rpc};
    use qpq_protocol::proto;
    use qpq_protocol::status::Status;
    use qpq_protocol::time::Time;

    use qpq_protocol::storage::{Command, Failure, Reply};

    use super::server_embedder::{Act, Embedder, nothing_is_stranded, tight};
    use super::support::account::User;
    use super::support::{Answer, World, roomy};

    fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..most).prop_map(Bytes::from)
    }

    /// A request frame of any method, with a payload that is empty, random, or right.
    fn request() -> impl Strategy<Value = Bytes> {
        let method = prop_oneof![
            4 => proptest::sample::select(Method::ALL).prop_map(Method::id),
            1 => any::<u16>(),
        ];
        let random = (method, any::<u32>(), bytes(300)).prop_map(|(method, id, payload)| {
            let mut frame = Vec::new();
            frame.extend_from_slice(&method.to_be_bytes());
            frame.extend_from_slice(&id.to_be_bytes());
            frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(&payload);
            Bytes::from(frame)
        });
        let login = "[a-c]".prop_map(|username| {
            let request = proto::OpaqueLoginStartRequest {
                username,
                request: login_request(),
                ..proto::OpaqueLoginStartRequest::default()
            };
            encode_request(102, 1, &request).unwrap()
        });
        let health = Just(encode_request(802, 1, &proto::HealthRequest {}).unwrap());
        let long = (any::<u32>(), bytes(100)).prop_map(|(length, payload)| {
            let mut frame = vec![0, 200, 0, 0, 0, 1];
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&payload);
            Bytes::from(frame)
        });
        prop_oneof![3 => random, 2 => login, 2 => health, 1 => long]
    }

    fn login_request() -> Bytes {
        let (_, request) = qpq_crypto::opaque::client::login_start(&[6; 32], b"password").unwrap();
        request.into()
    }

    fn input() -> impl Strategy<Value = StreamInput> {
        prop_oneof![
            bytes(40).prop_map(StreamInput::Data),
            Just(StreamInput::Fin),
            any::<u64>().prop_map(StreamInput::Reset),
            any::<u64>().prop_map(StreamInput::Stopped),
            any::<usize>().prop_map(StreamInput::Sent),
            (0..200_usize).prop_map(StreamInput::Sent),
        ]
    }

    fn stream() -> impl Strategy<Value = StreamId> {
        prop_oneof![
            (0..6_u64).prop_map(|number| StreamId::Peer(Dir::Bi, number)),
            any::<u64>().prop_map(|number| StreamId::Peer(Dir::Bi, number)),
            any::<u64>().prop_map(|number| StreamId::Peer(Dir::Uni, number)),
            (0..3_u64).prop_map(|number| StreamId::Own(OwnStream(number))),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        let failure = prop_oneof![
            Just(Failure::Full),
            Just(Failure::Unavailable),
            Just(Failure::Unknown)
        ];
        prop_oneof![
            vec(proptest::option::of(bytes(50)), 0..4).prop_map(Reply::Values),
            (vec((bytes(20), bytes(50)), 0..3), any::<bool>())
                .prop_map(|(rows, more)| Reply::Rows { rows, more }),
            Just(Reply::Committed),
            Just(Reply::Conflict),
            failure.prop_map(Reply::Failed),
        ]
    }

    fn wake() -> impl Strategy<Value = Wake> {
        let topic = prop_oneof![
            bytes(70).prop_map(Topic::Queue),
            bytes(70).prop_map(Topic::Session),
            any::<[u8; 32]>().prop_map(Topic::Live),
        ];
        (topic, bytes(1200)).prop_map(|(topic, body)| Wake { topic, body })
    }

    fn act() -> impl Strategy<Value = Act> {
        let conn = || 0..4_u8;
        let number = || 0..6_u8;
        // The beginning of a request, its header whole or nearly so.
        let part = (conn(), number(), request(), 5..40_usize)
            .prop_map(|(c, s, frame, cut)| Act::Data(c, s, frame.slice(..cut.min(frame.len()))));
        prop_oneof![
            4 => part,
            3 => conn().prop_map(Act::Connect),
            1 => conn().prop_map(Act::Disconnect),
            3 => (conn(), number(), bytes(30)).prop_map(|(c, s, b)| Act::Data(c, s, b)),
            2 => (conn(), number()).prop_map(|(c, s)| Act::Fin(c, s)),
            8 => (conn(), number(), request()).prop_map(|(c, s, b)| Act::Request(c, s, b)),
            3 => (conn(), stream(), input()).prop_map(|(c, s, i)| Act::Stream(c, s, i)),
            10 => Just(Act::Stored),
            2 => (0..40_u64, reply()).prop_map(|(t, r)| Act::Reply(t, r)),
            1 => any::<u64>().prop_map(Act::ConnectFailed),
            1 => any::<u64>().prop_map(Act::Computed),
            2 => wake().prop_map(Act::Wake),
            1 => any::<u64>().prop_map(Act::Clock),
            2 => Just(Act::Timeout),
            2 => any::<u32>().prop_map(Act::Sleep),
            1 => any::<u32>().prop_map(Act::Back),
            6 => Just(Act::Drain),
            1 => Just(Act::Shutdown),
        ]
    }

    /// What a peer does that is greedy or slow.
    fn greedy() -> impl Strategy<Value = Act> {
        let conn = || 0..4_u8;
        let number = || 0..6_u8;
        let announced = (conn(), number(), any::<bool>(), 0..8_000_u32).prop_map(
            |(conn, stream, sealed, length)| {
                let method: u16 = if sealed { 205 } else { 102 };
                let mut frame = method.to_be_bytes().to_vec();
                frame.extend_from_slice(&1_u32.to_be_bytes());
                frame.extend_from_slice(&length.to_be_bytes());
                Act::Data(conn, stream, frame.into())
            },
        );
        let part = (conn(), number(), 1..4_000_usize)
            .prop_map(|(conn, stream, length)| Act::Data(conn, stream, vec![0; length].into()));
        let taken = (conn(), number(), 1..60_usize).prop_map(|(conn, stream, bytes)| {
            let stream = StreamId::Peer(Dir::Bi, stream.into());
            Act::Stream(conn, stream, StreamInput::Sent(bytes))
        });
        prop_oneof![
            4 => conn().prop_map(Act::Connect),
            1 => conn().prop_map(Act::Disconnect),
            8 => announced,
            8 => part,
            1 => (conn(), number()).prop_map(|(conn, stream)| Act::Data(conn, stream, Bytes::new())),
            3 => (conn(), number()).prop_map(|(conn, stream)| Act::Fin(conn, stream)),
            8 => (conn(), number(), request()).prop_map(|(c, s, b)| Act::Request(c, s, b)),
            2 => taken,
            4 => Just(Act::Stored),
            2 => Just(Act::Timeout),
            2 => (0..12_000_000_u32).prop_map(Act::Sleep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// 1 and 2: any order and batching, no panic, no ticket twice, and never more held than the
        /// limits add up to.
        #[test]
        fn server_takes_any_inputs_in_any_order(acts in vec(act(), 0..120)) {
            let config = tight();
            let most = config.limits.footprint();
            let mut embedder = Embedder::new(config);
            for act in acts {
                embedder.act(act);
                prop_assert!(embedder.server.poll_timeout().is_none_or(|(at, _)| at <= embedder.now
                    + qpq_protocol::io::MAX_SLEEP));
                embedder.take();
                prop_assert!(embedder.server.footprint() <= most);
            }
            embedder.drain();
            prop_assert!(embedder.server.footprint() <= most);
        }

        /// 1: the same of peers that are greedy or slow with whatever can be held: announced and never
        /// sent, sent in part, asked and never read, opened without a first byte, silent.
        #[test]
        fn server_bounds_what_greedy_peers_hold(acts in vec(greedy(), 0..200)) {
            let config = tight();
            let most = config.limits.footprint();
            let mut embedder = Embedder::new(config);
            embedder.drain();
            while !embedder.stored.is_empty() {
                embedder.store();
                embedder.drain();
            }
            for act in acts {
                embedder.act(act);
                embedder.drain();
                prop_assert!(embedder.server.footprint() <= most);
            }
            for conn in 0..4 {
                embedder.act(Act::Disconnect(conn));
            }
            embedder.drain();
            nothing_is_stranded(&mut embedder);
        }

        /// 1: what is held is given back when everybody has gone.
        #[test]
        fn server_gives_everything_back(acts in vec(act(), 0..120)) {
            let mut config = tight();
            config.limits.cached_bytes = 0;
            let mut embedder = Embedder::new(config);
            // The tables that rates are counted in are there from the beginning.
            embedder.drain();
            let empty = embedder.server.footprint();
            for act in acts {
                embedder.act(act);
            }
            for conn in 0..4 {
                embedder.act(Act::Disconnect(conn));
            }
            embedder.drain();
            while !embedder.stored.is_empty() {
                embedder.store();
                embedder.drain();
            }
            nothing_is_stranded(&mut embedder);
            prop_assert_eq!(embedder.server.footprint(), empty);
        }

        /// 3: nothing waits for a timer that does nothing.
        #[test]
        fn server_strands_nothing(acts in vec(act(), 0..80)) {
            let mut embedder = Embedder::new(tight());
            for act in acts {
                embedder.act(act);
            }
            nothing_is_stranded(&mut embedder);
        }

        /// 4: the same inputs and seed, the same outputs.
        #[test]
        fn server_is_deterministic(acts in vec(act(), 0..80)) {
            let [one, other] = [acts.clone(), acts].map(|acts| {
                let mut embedder = Embedder::new(tight());
                for act in acts {
                    embedder.act(act);
                }
                embedder.drain();
                embedder.trace
            });
            prop_assert_eq!(one, other);
        }

        /// 4: however a stream's bytes are split, the outputs are the same.
        #[test]
        fn server_does_not_see_how_bytes_are_split(
            requests in vec((request(), bytes(3)), 1..6),
            cuts in vec(1..40_usize, 1..20),
        ) {
            let run = |cuts: &[usize]| {
                let mut embedder = Embedder::new(roomy());
                embedder.drain();
                for _ in 0..3 {
                    embedder.store();
                    embedder.drain();
                }
                embedder.act(Act::Connect(1));
                for (number, (frame, extra)) in (0..).zip(&requests) {
                    let mut rest = Bytes::from([frame.as_ref(), extra.as_ref()].concat());
                    for cut in cuts.iter().cycle() {
                        if rest.is_empty() {
                            break;
                        }
                        let piece = rest.split_to((*cut).min(rest.len()));
                        embedder.act(Act::Data(1, number, piece));
                    }
                    embedder.act(Act::Fin(1, number));
                    embedder.drain();
                    while !embedder.stored.is_empty() {
                        embedder.store();
                        embedder.drain();
                    }
                }
                embedder.trace
            };
            prop_assert_eq!(run(&[usize::MAX]), run(&cuts));
        }
    }

    /// What a user was told, in a world that loses what is not durable.
    fn told(world: &World, conn: ConnId, stream: u64) -> bool {
        matches!(
            world.answer(conn, stream),
            Some(Answer::Response(Status::Ok, ..))
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        /// 5: nothing is said before it is durable. Users register while storage answers in batches
        /// of any size; then the power fails. Whoever was told so is registered; and a name that
        /// was said to be taken is.
        #[test]
        fn server_says_nothing_before_it_is_durable(
            names in vec("[a-d]", 1..8),
            batches in vec(1..4_usize, 0..30),
        ) {
            let mut world = World::default();
            let conn = world.connect();
            let mut sent = Vec::new();
            for (number, name) in (0_u8..).zip(&names) {
                // Other keys for the same names: all but one must be refused.
                let mut user = User::new(&format!("{name}{number}"));
                user.name = name.clone();
                let request = user.registration(&mut world, conn).unwrap();
                sent.push((user, request));
            }
            world.hold_storage = true;
            let sent: Vec<_> = sent
                .into_iter()
                .map(|(user, request)| {
                    let stream = world.send::<rpc::OpaqueRegisterFinish>(conn, &request);
                    (user, stream)
                })
                .collect();
            for batch in batches {
                world.run_storage(batch);
                world.pump();
                world.advance(Duration::from_millis(5));
            }
            // What still waits is lost with the power.
            let known: Vec<_> = sent
                .iter()
                .map(|(user, stream)| (user, world.answer(conn, *stream), told(&world, conn, *stream)))
                .collect();
            let taken: Vec<&str> = known
                .iter()
                .filter(|(_, answer, _)| {
                    matches!(answer, Some(Answer::Response(Status::Conflict, ..)))
                })
                .map(|(user, ..)| user.name.as_str())
                .collect();
            let mut after = world.restart([4; 32]);
            let conn = after.connect();
            for (user, _, told) in &known {
                if *told {
                    prop_assert!(user.log_in(&mut after, conn).is_ok(), "{} is lost", user.name);
                }
            }
            for name in taken {
                let stranger = User::new(&format!("stranger-{name}"));
                let newcomer = User { name: name.to_owned(), ..stranger };
                let refused = newcomer.register(&mut after, conn).unwrap_err();
                prop_assert_eq!(refused.status, Status::Conflict, "{} was not taken", name);
            }
        }
    }

    /// 5: an answer that rests on a change of somebody else waits for that change.
    #[test]
    fn server_holds_answers_that_rest_on_what_is_not_durable() {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let (_, sender) = world.user("bob");
        for id in 1..=3_u8 {
            let mut message_id = [id; 16];
            message_id[6] = 0x70;
            message_id[8] = 0x80;
            let request = proto::EnqueueRequest {
                recipient_key: alice.key(),
                payload: Bytes::from_static(b"hello"),
                message_id: Bytes::copy_from_slice(&message_id),
                ..Default::default()
            };
            world.call::<rpc::Enqueue>(sender, &request).unwrap();
        }
        let ack = |seq_up_to| proto::AckRequest {
            recipient_key: alice.key(),
            seq_up_to,
            ..Default::default()
        };
        world.call::<rpc::Ack>(conn, &ack(1)).unwrap();
        // All are acked, and not yet durably; the first one once more. The second request reads the queue before
        // the first one changes it, and hears of it afterwards: nothing is left to do, but to say so would be too
        // early.
        world.hold_storage = true;
        let first = world.send::<rpc::Ack>(conn, &ack(3));
        let second = world.send::<rpc::Ack>(conn, &ack(1));
        while !matches!(world.stored.front(), Some((_, Command::Commit(_)))) {
            assert!(!world.stored.is_empty());
            world.run_storage(1);
            world.drain();
        }
        assert_eq!(world.answer(conn, second), None, "told before it is so");

        // The first one fails: the second one runs again.
        let (ticket, _) = world.stored.pop_front().unwrap();
        let failed = Reply::Failed(Failure::Unavailable);
        world.server.handle_stored(world.now, ticket, failed);
        world.hold_storage = false;
        world.pump();
        let status = |answer| match answer {
            Some(Answer::Response(status, ..)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(world.answer(conn, first)), Status::Unavailable);
        assert_eq!(status(world.answer(conn, second)), Status::Ok);
        let fetch = proto::FetchRequest {
            recipient_key: alice.key(),
            ..Default::default()
        };
        let left = world.call::<rpc::Fetch>(conn, &fetch).unwrap();
        assert_eq!(left.first_seq, 2);
    }

    /// 6: idle connections with a session have no timer and no output, and cost what the limits say: two
    /// hundred of them are as quiet as none, beside what the server does by itself.
    #[test]
    fn server_does_nothing_for_idle_connections() {
        let (none, many) = (an_idle_hour(0), an_idle_hour(200));
        assert_eq!(many.footprint, 200 * qpq_protocol::limits::CONNECTION);
        assert_eq!(many.timer, none.timer, "no timer for any of them");
        assert_eq!(many.commands, none.commands);
    }

    struct Idle {
        /// What so many more connections hold.
        footprint: usize,
        /// What the server waits for.
        timer: Option<(Time, &'static str)>,
        /// Storage commands of the hour.
        commands: usize,
    }

    fn an_idle_hour(connections: usize) -> Idle {
        let mut config = roomy();
        config.limits.account_connections = 300;
        let mut world = World::new(config);
        let (alice, first) = world.user("alice");
        let stream = world.send::<rpc::Health>(first, &proto::HealthRequest {});
        assert!(told(&world, first, stream));
        let conn = world.connect();
        let resume = proto::ResumeSessionRequest {
            auth: Some(proto::Auth {
                access_token: alice.log_in(&mut world, conn).unwrap().token,
                ..Default::default()
            }),
            ..Default::default()
        };
        world.call::<rpc::ResumeSession>(conn, &resume).unwrap();
        world.advance(Duration::from_secs(120));
        let before = world.server.footprint();
        for _ in 0..connections {
            let conn = world.connect();
            world.call::<rpc::ResumeSession>(conn, &resume).unwrap();
        }
        let footprint = world.server.footprint() - before;
        world.advance(Duration::from_secs(60));
        let timer = world.server.poll_timeout();
        let (commands, told) = (world.commands, world.events.len());
        world.advance(Duration::from_secs(3600));
        assert_eq!(world.events.len(), told, "nothing is told");
        Idle {
            footprint,
            timer,
            commands: world.commands - commands,
        }
    }
}
