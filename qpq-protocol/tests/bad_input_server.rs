//! Bad input to the server core: each row gets the status or reset of protocol.md, and everything
//! else goes on.

mod support;

mod bad_input {
    use std::time::Duration;

    use bytes::Bytes;
    use qpq_crypto::identity::IdentitySecret;
    use qpq_crypto::proof;
    use qpq_protocol::frame::{MAX_PAYLOAD, encode_request};
    use qpq_protocol::ids::{ConnId, DeviceId, Dir, StreamId};
    use qpq_protocol::io::{Core as _, StreamInput};
    use qpq_protocol::method::{Method, Rpc, Visitor, rpc};
    use qpq_protocol::proto;
    use qpq_protocol::server::{Event, StartError};
    use qpq_protocol::status::{AppCode, Status};
    use qpq_protocol::storage::keys;
    use qpq_protocol::storage::memory::{Fault, Memory};
    use qpq_protocol::storage::{Command, Commit, Engine as _, Failure, Reply};

    use super::support::account::User;
    use super::support::{Answer, World, roomy};

    /// Streams that a connection may have open.
    const STREAMS: usize = 128;

    /// A header, and nothing of the payload it promises.
    fn header(method: u16, payload_len: u32) -> Vec<u8> {
        let mut bytes = method.to_be_bytes().to_vec();
        bytes.extend_from_slice(&7_u32.to_be_bytes());
        bytes.extend_from_slice(&payload_len.to_be_bytes());
        bytes
    }

    fn health() -> Bytes {
        encode_request(802, 7, &proto::HealthRequest {}).unwrap()
    }

    /// The stream before it and after it, and another connection, are served as if nothing was.
    fn goes_on(world: &mut World, conn: ConnId) {
        for conn in [conn, world.connect()] {
            let request = proto::HealthRequest {};
            assert_eq!(
                world.call::<rpc::Health>(conn, &request).unwrap().status,
                "ok"
            );
            assert_eq!(world.closed(conn), None);
        }
    }

    fn reset_with(code: AppCode) -> Option<Answer> {
        Some(Answer::Reset(code.code()))
    }

    #[track_caller]
    fn refused<T: core::fmt::Debug>(
        result: Result<T, super::support::Refused>,
        status: Status,
    ) -> String {
        let refused = result.unwrap_err();
        assert_eq!(refused.status, status, "{}", refused.detail.message);
        assert!(!refused.detail.message.is_empty());
        refused.detail.message
    }

    #[test]
    fn garbage_on_a_stream() {
        let mut world = World::default();
        let conn = world.connect();
        // The first ten bytes are read as a header, which promises more than there is.
        let stream = world.send_raw(conn, b"\x00\xc8\x00\x00\x00\x01\x00\x00\x00\x40garbage");
        assert_eq!(world.answer(conn, stream), reset_with(AppCode::Frame));
        let stream = world.send_raw(conn, b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert!(matches!(
            world.answer(conn, stream),
            Some(Answer::Reset(_) | Answer::Response(Status::UnknownMethod, ..))
        ));
        let fault = Event::PeerFault {
            conn,
            code: AppCode::Frame,
        };
        assert!(world.events.contains(&fault));
        goes_on(&mut world, conn);
    }

    #[test]
    fn fin_inside_a_header() {
        let mut world = World::default();
        let conn = world.connect();
        for length in 0..10 {
            let stream = world.send_raw(conn, &health()[..length]);
            assert_eq!(
                world.answer(conn, stream),
                reset_with(AppCode::Frame),
                "{length}"
            );
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn two_requests_on_one_stream() {
        let mut world = World::default();
        let conn = world.connect();
        let stream = world.send_raw(conn, &[health(), health()].concat());
        assert_eq!(world.answer(conn, stream), reset_with(AppCode::Frame));
        // In two pieces as well, and before the end of the stream.
        let stream = world.open(conn);
        world.input(conn, stream, StreamInput::Data(health()));
        assert_eq!(world.answer(conn, stream), None, "runs only at its end");
        world.input(conn, stream, StreamInput::Data(Bytes::from_static(b"x")));
        assert_eq!(world.answer(conn, stream), reset_with(AppCode::Frame));
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_length_over_4_mib() {
        let mut world = World::default();
        let conn = world.connect();
        let over = u32::try_from(MAX_PAYLOAD).unwrap() + 1;
        for length in [over, u32::MAX] {
            let stream = world.open(conn);
            let before = world.server.footprint();
            world.input(conn, stream, StreamInput::Data(header(200, length).into()));
            assert_eq!(world.answer(conn, stream), reset_with(AppCode::TooLarge));
            assert_eq!(world.server.footprint(), before, "nothing is set aside");
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_length_over_what_the_method_takes() {
        let mut world = World::default();
        let (_, conn) = world.user("alice");
        let length = u32::try_from(Method::Health.max_request()).unwrap() + 1;
        let stream = world.open(conn);
        world.input(conn, stream, StreamInput::Data(header(802, length).into()));
        assert!(matches!(
            world.answer(conn, stream),
            Some(Answer::Response(Status::BadRequest, 7, _))
        ));
        goes_on(&mut world, conn);
    }

    #[test]
    fn more_than_64_kib_without_a_session() {
        let mut world = World::default();
        let conn = world.connect();
        for (method, status) in [(200, Status::BadRequest), (206, Status::Unauthorized)] {
            let stream = world.open(conn);
            let bytes = header(method, 64 * 1024 + 1).into();
            world.input(conn, stream, StreamInput::Data(bytes));
            let Some(Answer::Response(answered, ..)) = world.answer(conn, stream) else {
                panic!("no answer from the header alone");
            };
            assert_eq!(answered, status);
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn more_than_64_kib_at_once_without_a_session() {
        let mut world = World::default();
        let conn = world.connect();
        let answers: Vec<_> = (0..2)
            .map(|_| {
                let stream = world.open(conn);
                let bytes = [&header(102, 60 * 1024)[..], &[0; 40 * 1024]].concat();
                world.input(conn, stream, StreamInput::Data(bytes.into()));
                world.answer(conn, stream)
            })
            .collect();
        assert_eq!(answers[0], None);
        let last = &answers[1];
        assert!(
            matches!(last, Some(Answer::Response(Status::Unavailable, ..))),
            "{last:?}"
        );
        goes_on(&mut world, conn);
    }

    #[test]
    fn somebody_elses_queue_and_keys() {
        let mut world = World::default();
        let (alice, _) = world.user("alice");
        let (_, conn) = world.user("mallory");
        let fetch = proto::FetchRequest {
            recipient_key: alice.key(),
            ..Default::default()
        };
        refused(world.call::<rpc::Fetch>(conn, &fetch), Status::Forbidden);
        let ack = proto::AckRequest {
            recipient_key: alice.key(),
            seq_up_to: 1,
            ..Default::default()
        };
        refused(world.call::<rpc::Ack>(conn, &ack), Status::Forbidden);
        let count = proto::CountKeyPackagesRequest {
            identity_key: alice.key(),
            ..Default::default()
        };
        refused(
            world.call::<rpc::CountKeyPackages>(conn, &count),
            Status::Forbidden,
        );
        goes_on(&mut world, conn);
    }

    #[test]
    fn an_unknown_method() {
        let mut world = World::default();
        let conn = world.connect();
        for id in [0, 99, 906, 1000, u16::MAX] {
            let stream = world.send_raw(conn, &header(id, 0));
            let answer = world.answer(conn, stream);
            assert!(
                matches!(answer, Some(Answer::Response(Status::UnknownMethod, 7, _))),
                "{id}"
            );
        }
        goes_on(&mut world, conn);
    }

    /// Sends a body to a method.
    struct Body(Vec<u8>);

    impl Visitor for Body {
        type Output = Vec<u8>;

        fn visit<M: Rpc>(self) -> Vec<u8> {
            let length = u32::try_from(self.0.len()).unwrap();
            [header(M::METHOD.id(), length), self.0].concat()
        }
    }

    #[test]
    fn a_body_that_is_not_protobuf() {
        let mut world = World::default();
        let conn = world.connect();
        for method in [
            Method::Health,
            Method::OpaqueLoginStart,
            Method::ResumeSession,
        ] {
            for body in [&[0xff; 8][..], b"\x0a\xff", b"\x0b", b"\x00\x00"] {
                let stream = world.send_raw(conn, &method.visit(Body(body.to_vec())));
                let answer = world.wait_for(conn, stream);
                assert!(
                    matches!(answer, Answer::Response(Status::BadRequest, 7, _)),
                    "{} {body:?} {answer:?}",
                    method.name()
                );
            }
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn wrong_field_lengths() {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let request = proto::ResolveIdentityRequest {
            identity_key: alice.key().slice(1..),
        };
        let message = refused(
            world.call::<rpc::ResolveIdentity>(conn, &request),
            Status::BadRequest,
        );
        assert!(
            message.contains("identity_key"),
            "names the field: {message}"
        );
        for username in ["", "Alice", "a b", "ä", &"a".repeat(33)] {
            let request = proto::OpaqueLoginStartRequest {
                username: username.to_owned(),
                request: Bytes::from_static(&[0; 96]),
                ..proto::OpaqueLoginStartRequest::default()
            };
            let result = world.call::<rpc::OpaqueLoginStart>(conn, &request);
            assert!(refused(result, Status::BadRequest).contains("username"));
        }
        for length in [1, 31, 33] {
            let request = proto::ResumeSessionRequest {
                auth: Some(proto::Auth {
                    access_token: vec![1; length].into(),
                    device_id: Bytes::new(),
                }),
                ..proto::ResumeSessionRequest::default()
            };
            let result = world.call::<rpc::ResumeSession>(conn, &request);
            assert!(refused(result, Status::BadRequest).contains("access_token"));
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_request_without_a_session() {
        let mut world = World::default();
        let conn = world.connect();
        for method in Method::ALL {
            use qpq_protocol::method::Caller;
            let anonymous = matches!(
                method.caller(),
                Caller::Anonymous | Caller::SessionOrSealed | Caller::Federation
            );
            let stream = world.send_raw(conn, &method.visit(Body(Vec::new())));
            let Answer::Response(status, ..) = world.wait_for(conn, stream) else {
                panic!("{} was not answered", method.name());
            };
            // Methods of later versions say so to everybody.
            if !anonymous && status != Status::Unavailable {
                assert_eq!(status, Status::Unauthorized, "{}", method.name());
            }
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_token_that_is_wrong_or_of_another_device() {
        let mut world = World::default();
        let conn = world.connect();
        let alice = User::new("alice");
        alice.register(&mut world, conn).unwrap();
        let token = alice.log_in(&mut world, conn).unwrap().token;
        let other = world.connect();
        for (access_token, device_id) in [
            (Bytes::from_static(&[0; 32]), Bytes::new()),
            (token, Bytes::from_static(&[1; 16])),
        ] {
            let request = proto::ResumeSessionRequest {
                auth: Some(proto::Auth {
                    access_token,
                    device_id,
                }),
                ..proto::ResumeSessionRequest::default()
            };
            let result = world.call::<rpc::ResumeSession>(other, &request);
            refused(result, Status::Unauthorized);
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn somebody_elses_identity_key_at_registration() {
        let mut world = World::default();
        let (alice, _) = world.user("alice");
        let conn = world.connect();
        let mallory = User::new("mallory");
        let mut request = mallory.registration(&mut world, conn).unwrap();
        request.identity_key = alice.key();
        let result = world.call::<rpc::OpaqueRegisterFinish>(conn, &request);
        refused(result, Status::Forbidden);
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_name_that_is_taken() {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let thief = User {
            name: "alice".to_owned(),
            ..User::new("thief")
        };
        refused(thief.register(&mut world, conn), Status::Conflict);
        // Another name for the same key is refused too.
        let again = User {
            name: "alice2".to_owned(),
            ..User::new("alice")
        };
        refused(again.register(&mut world, conn), Status::Conflict);
        assert!(alice.log_in(&mut world, conn).is_ok());
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_registration_signed_at_another_time() {
        let mut world = World::default();
        let conn = world.connect();
        let alice = User::new("alice");
        let request = alice.registration(&mut world, conn).unwrap();
        let late = 301_000;
        for time_ms in [request.time_ms - late, request.time_ms + late] {
            let signature = proof::register(
                &alice.secret,
                "localhost",
                "alice",
                &request.upload,
                &request.sealed_identity,
                time_ms,
            );
            let request = proto::OpaqueRegisterFinishRequest {
                time_ms,
                signature: Bytes::copy_from_slice(&signature),
                ..request.clone()
            };
            let result = world.call::<rpc::OpaqueRegisterFinish>(conn, &request);
            refused(result, Status::BadRequest);
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_wrong_password_and_an_unknown_name_look_the_same() {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let fresh = world.connect();
        let wrong = alice.log_in_with(&mut world, fresh, DeviceId::DEFAULT, b"guess");
        let nobody = User::new("nobody");
        let unknown = nobody.log_in(&mut world, fresh);
        assert_eq!(
            refused(wrong, Status::Unauthorized),
            refused(unknown, Status::Unauthorized)
        );
        let request = proto::ResolveIdentityRequest {
            identity_key: alice.key(),
        };
        let result = world.call::<rpc::ResolveIdentity>(fresh, &request);
        refused(result, Status::Unauthorized);
        let request = proto::ResolveUserRequest {
            username: "nobody".to_owned(),
        };
        refused(
            world.call::<rpc::ResolveUser>(conn, &request),
            Status::NotFound,
        );
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_login_that_nobody_started_or_that_is_too_late() {
        let mut world = World::default();
        let (_, conn) = world.user("alice");
        let finish = proto::OpaqueLoginFinishRequest {
            username: "alice".to_owned(),
            finalization: Bytes::from_static(&[0; 64]),
            ..Default::default()
        };
        let result = world.call::<rpc::OpaqueLoginFinish>(conn, &finish);
        refused(result, Status::BadRequest);
        let (_, request) = qpq_crypto::opaque::client::login_start(&[1; 32], b"x").unwrap();
        let start = proto::OpaqueLoginStartRequest {
            username: "alice".to_owned(),
            request: request.into(),
            ..proto::OpaqueLoginStartRequest::default()
        };
        world.call::<rpc::OpaqueLoginStart>(conn, &start).unwrap();
        world.advance(Duration::from_secs(31));
        let result = world.call::<rpc::OpaqueLoginFinish>(conn, &finish);
        refused(result, Status::BadRequest);
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_device_certificate_by_somebody_else() {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let device = IdentitySecret::from_seed([9; 32]);
        let request = |signer: &IdentitySecret| {
            let id = DeviceId::new([1; 16]);
            let key = qpq_protocol::ids::DeviceKey(*device.public().as_bytes());
            let credential = qpq_crypto::identity::Credential::issue(signer, id, key, 5);
            proto::RegisterDeviceRequest {
                device: Some(proto::Device {
                    device_id: Bytes::copy_from_slice(id.as_bytes()),
                    device_key: Bytes::copy_from_slice(key.as_bytes()),
                    certificate: Bytes::copy_from_slice(&credential.certificate.unwrap()),
                    created_at_ms: 5,
                    ..Default::default()
                }),
            }
        };
        let forged = request(&IdentitySecret::from_seed([8; 32]));
        refused(
            world.call::<rpc::RegisterDevice>(conn, &forged),
            Status::Forbidden,
        );
        world
            .call::<rpc::RegisterDevice>(conn, &request(&alice.secret))
            .unwrap();
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_database_of_a_newer_version() {
        let mut memory = Memory::new();
        memory.run(vec![Command::Commit(Commit {
            puts: vec![(
                keys::meta("schema").into(),
                Bytes::from_static(&[0, 0, 0, 2]),
            )],
            ..Commit::default()
        })]);
        let before = memory.clone();
        let mut world = World::on(roomy(), memory, [1; 32]);
        let error = StartError::NewerData { found: 2, known: 1 };
        assert_eq!(world.events, [Event::Refused(error)]);
        let conn = world.connect();
        let request = proto::HealthRequest {};
        let message = refused(
            world.call::<rpc::Health>(conn, &request),
            Status::Unavailable,
        );
        assert!(message.contains("newer program"), "{message}");
        assert!(world.memory.rows().eq(before.rows()), "nothing was touched");
    }

    #[test]
    fn a_damaged_database() {
        let mut memory = Memory::new();
        memory.run(vec![Command::Commit(Commit {
            puts: vec![
                (
                    keys::meta("schema").into(),
                    Bytes::from_static(&[0, 0, 0, 1]),
                ),
                (keys::meta("secrets").into(), Bytes::from_static(b"rubbish")),
            ],
            ..Commit::default()
        })]);
        let world = World::on(roomy(), memory, [1; 32]);
        assert_eq!(world.events, [Event::Refused(StartError::Damaged)]);
    }

    #[test]
    fn a_full_disk() {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let bob = User::new("bob");
        let request = bob.registration(&mut world, conn).unwrap();
        // The first batch reads, the second one writes.
        world.hold_storage = true;
        let stream = world.send::<rpc::OpaqueRegisterFinish>(conn, &request);
        world.run_storage(1);
        world.pump();
        world.memory.fail_next(Fault::Full);
        world.hold_storage = false;
        world.pump();
        let result = world.response::<rpc::OpaqueRegisterFinish>(conn, stream);
        assert!(refused(result, Status::Unavailable).contains("full"));
        assert!(world.events.contains(&Event::StorageFailed(Failure::Full)));
        // Reading goes on, and so does writing once there is room.
        assert!(alice.log_in(&mut world, conn).is_ok());
        let result = world.call::<rpc::OpaqueRegisterFinish>(conn, &request);
        assert!(result.unwrap().success);
        assert!(bob.log_in(&mut world, conn).is_ok());
        goes_on(&mut world, conn);
    }

    #[test]
    fn storage_that_fails_at_the_start_or_answers_nonsense() {
        let mut memory = Memory::new();
        memory.fail_next(Fault::Unavailable);
        let mut world = World::on(roomy(), memory, [1; 32]);
        let conn = world.connect();
        let request = proto::HealthRequest {};
        refused(
            world.call::<rpc::Health>(conn, &request),
            Status::Unavailable,
        );
        world.advance(Duration::from_secs(2));
        goes_on(&mut world, conn);

        let (_, conn) = world.user("alice");
        world.hold_storage = true;
        let request = proto::ResolveUserRequest {
            username: "alice".to_owned(),
        };
        let stream = world.send::<rpc::ResolveUser>(conn, &request);
        let (ticket, _) = world.stored.pop_front().unwrap();
        world
            .server
            .handle_stored(world.now, ticket, Reply::Committed);
        world.hold_storage = false;
        world.pump();
        refused(
            world.response::<rpc::ResolveUser>(conn, stream),
            Status::Internal,
        );
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_request_that_never_ends() {
        let mut world = World::default();
        let (_, conn) = world.user("alice");
        for _ in 0..2 {
            let stream = world.open(conn);
            world.input(conn, stream, StreamInput::Data(health().slice(..5)));
            world.advance(Duration::from_secs(9));
            assert_eq!(world.answer(conn, stream), None);
            world.advance(Duration::from_secs(2));
            assert_eq!(world.answer(conn, stream), reset_with(AppCode::Timeout));
            world.advance(Duration::from_secs(100));
        }
        goes_on(&mut world, conn);
    }

    #[test]
    fn too_many_streams_and_too_much_at_once() {
        let mut world = World::default();
        let (_, conn) = world.user("alice");
        let mut streams = Vec::new();
        for _ in 0..=STREAMS {
            let stream = world.open(conn);
            world.input(conn, stream, StreamInput::Data(health().slice(..5)));
            streams.push(stream);
        }
        let one_more = world.answer(conn, streams[STREAMS]);
        assert_eq!(one_more, reset_with(AppCode::Overloaded));
        for stream in &streams[..STREAMS] {
            world.input(conn, *stream, StreamInput::Data(health().slice(5..)));
            world.input(conn, *stream, StreamInput::Fin);
            let answer = world.answer(conn, *stream);
            assert!(matches!(answer, Some(Answer::Response(Status::Ok, ..))));
        }
        // Two requests of 4 MiB fit the connection's buffer but for what they cost beside.
        let most = u32::try_from(MAX_PAYLOAD).unwrap();
        let answers: Vec<_> = (0..2)
            .map(|_| {
                let stream = world.open(conn);
                let bytes = [&header(206, most)[..], &vec![0; MAX_PAYLOAD - 1]].concat();
                world.input(conn, stream, StreamInput::Data(bytes.into()));
                world.answer(conn, stream)
            })
            .collect();
        assert_eq!(answers[0], None);
        assert!(matches!(
            answers[1],
            Some(Answer::Response(Status::Unavailable, ..))
        ));
        goes_on(&mut world, conn);
    }

    #[test]
    fn a_peer_that_does_not_read() {
        let mut world = World::default();
        let (_, conn) = world.user("alice");
        world.hold_sent = true;
        let first = world.open(conn) + 1;
        let mut answered = first;
        while world.server.credit(conn, StreamId::Peer(Dir::Bi, answered)) > 0 {
            let stream = world.send::<rpc::GetServerInfo>(conn, &proto::GetServerInfoRequest {});
            if world.answer(conn, stream) == reset_with(AppCode::Overloaded) {
                break;
            }
            answered += 1;
            assert!(answered < 10_000, "no end");
        }
        let most = first + STREAMS as u64;
        assert_eq!(answered, most, "as many as there may be streams");
        world.hold_sent = false;
        let other = world.connect();
        goes_on(&mut world, other);
    }

    #[test]
    fn a_stream_that_clients_do_not_open() {
        let mut world = World::default();
        let conn = world.connect();
        let stream = StreamId::Peer(Dir::Uni, 0);
        let data = StreamInput::Data(Bytes::from_static(b"hello"));
        world.server.handle_stream(world.now, conn, stream, data);
        world.pump();
        let fault = Event::PeerFault {
            conn,
            code: AppCode::Frame,
        };
        assert!(world.events.contains(&fault));
        goes_on(&mut world, conn);
    }

    #[test]
    fn too_many_requests_a_second() {
        let mut config = roomy();
        config.limits.address_requests.count = 5;
        let mut world = World::new(config);
        let conn = world.connect();
        let request = proto::HealthRequest {};
        for _ in 0..5 {
            world.call::<rpc::Health>(conn, &request).unwrap();
        }
        let limited = world.call::<rpc::Health>(conn, &request).unwrap_err();
        assert_eq!(limited.status, Status::RateLimited);
        assert!(limited.detail.retry_after_ms > 0);
        let other = world.connect();
        assert!(
            world.call::<rpc::Health>(other, &request).is_ok(),
            "from elsewhere"
        );
        world.advance(Duration::from_millis(
            2 * u64::from(limited.detail.retry_after_ms),
        ));
        assert!(world.call::<rpc::Health>(conn, &request).is_ok());
    }

    #[test]
    fn a_method_of_a_later_version() {
        let mut world = World::default();
        let (_, conn) = world.user("alice");
        for method in [
            Method::UploadBlob,
            Method::SetPresence,
            Method::RelayEnqueue,
        ] {
            let stream = world.send_raw(conn, &method.visit(Body(Vec::new())));
            let Answer::Response(status, _, detail) = world.wait_for(conn, stream) else {
                panic!("not answered");
            };
            assert_eq!(status, Status::Unavailable);
            let message = qpq_protocol::wire::decode_error(detail).message;
            assert!(message.contains("not in this version"), "{message}");
        }
    }
}
