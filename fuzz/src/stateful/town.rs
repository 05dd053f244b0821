//! A server with users, and genuine requests of every method that it answers: what targets change, so
//! that they get further than a refusal.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message as _;
use qpq_crypto::hybrid::HybridSecret;
use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret};
use qpq_crypto::mls::{Device, Suite};
use qpq_crypto::opaque;
use qpq_crypto::proof;
use qpq_protocol::frame::encode_request;
use qpq_protocol::ids::ConnId;
use qpq_protocol::method::{Method, Rpc, rpc};
use qpq_protocol::proto;
use qpq_protocol::storage::memory::Memory;

use crate::requests::{commit, create_group, in_channel, message, message_id};
use crate::server_embedder::tight;
use crate::support::account::{DOMAIN, User};
use crate::support::{BEGIN, World};

/// A server's store, and what its users may ask.
pub(super) struct Town {
    pub store: Memory,
    /// Requests that resume a session of each user, Carol's with a registered device.
    pub resume: [Bytes; 3],
    pub requests: Vec<Genuine>,
}

/// A request that the server answers well, at least once.
pub(super) struct Genuine {
    /// Whose session it needs, by the number in [`Town::resume`].
    #[cfg_attr(not(test), expect(dead_code, reason = "targets try all sessions"))]
    pub of: Option<usize>,
    pub method: Method,
    pub payload: Vec<u8>,
}

/// With this seed the embedders' servers draw what the requests of a login answer.
pub(super) const SEED: [u8; 32] = [8; 32];

pub(super) static TOWN: LazyLock<Town> = LazyLock::new(|| {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (carol, carols) = world.user("carol");
    let channels = [
        create_group(&mut world, conn, 1, &[&bob]),
        create_group(&mut world, conn, 2, &[&bob]),
    ];
    let first = proto::SubmitCommitRequest {
        message_id: message_id(4),
        ..commit(&channels[1], 0, b"commit")
    };
    let committed = world.call::<rpc::SubmitCommit>(conn, &first);
    committed.expect("committed");
    for number in 0..3 {
        let sent = message(&alice, 100 + number, b"for alice");
        world.call::<rpc::Enqueue>(bobs, &sent).expect("sent");
    }
    for last_resort in [false, true] {
        let upload = key_package(&bob, last_resort);
        let uploaded = world.call::<rpc::UploadKeyPackage>(bobs, &upload);
        uploaded.expect("uploaded");
    }
    world
        .call::<rpc::UploadHybridKey>(bobs, &hybrid_key(&bob))
        .expect("uploaded");
    let registered = register(&mut world, &carol, carols);
    let [alices, bobs] = [&alice, &bob].map(|user| user.log_in(&mut world, conn));
    let sessions = [(alices, &[][..]), (bobs, &[]), (Ok(registered), &[3; 16])];
    let resume = sessions.map(|(session, device)| {
        let auth = proto::Auth {
            access_token: session.expect("a session").token,
            device_id: Bytes::copy_from_slice(device),
        };
        proto::ResumeSessionRequest {
            auth: Some(auth),
            ..Default::default()
        }
    });
    let mut requests = anonymous(&mut world, &alice, &resume[0]);
    requests.extend(in_session(&alice, &bob, &carol, &channels));
    Town {
        store: world.memory,
        resume: resume.map(|request| {
            encode_request(Method::ResumeSession.id(), 1, &request).expect("a frame")
        }),
        requests,
    }
});

fn genuine<M: Rpc>(of: Option<usize>, request: &M::Request) -> Genuine {
    Genuine {
        of,
        method: M::METHOD,
        payload: request.encode_to_vec(),
    }
}

/// Two devices; what a session of the first is.
fn register(world: &mut World, user: &User, conn: ConnId) -> crate::support::account::LoggedIn {
    let sessions = [3, 4].map(|number| {
        let device = DeviceId::new([number; 16]);
        let session = user.log_in_with(world, conn, device, &user.password);
        let request = device_request(user, number);
        let registered = world.call::<rpc::RegisterDevice>(conn, &request);
        registered.expect("registered");
        session.expect("a session")
    });
    let [first, _] = sessions;
    first
}

/// What anybody may ask.
fn anonymous(
    world: &mut World,
    alice: &User,
    resume: &proto::ResumeSessionRequest,
) -> Vec<Genuine> {
    let zoe = User::new("zoe");
    let conn = world.connect();
    let (_, request) = opaque::client::registration_start(&[3; 32], &zoe.password).expect("OPAQUE");
    let register = proto::OpaqueRegisterStartRequest {
        username: zoe.name.clone(),
        request: request.into(),
    };
    let registration = zoe.registration(world, conn).expect("an answer");
    let [start, finish] = login(world, alice);
    vec![
        genuine::<rpc::OpaqueRegisterStart>(None, &register),
        genuine::<rpc::OpaqueRegisterFinish>(None, &registration),
        start,
        finish,
        genuine::<rpc::ResumeSession>(None, resume),
        genuine::<rpc::Health>(None, &proto::HealthRequest {}),
        genuine::<rpc::GetServerInfo>(None, &proto::GetServerInfoRequest::default()),
    ]
}

/// Both requests of a login. The second answers what the first is answered on the first connection of a
/// server that has just started on [`SEED`].
fn login(world: &World, user: &User) -> [Genuine; 2] {
    let mut twin = World::on(tight(), world.memory.clone(), SEED);
    let conn = twin.connect();
    let (state, request) = opaque::client::login_start(&[6; 32], &user.password).expect("OPAQUE");
    let start = proto::OpaqueLoginStartRequest {
        username: user.name.clone(),
        request: request.into(),
        ..Default::default()
    };
    let answer = twin
        .call::<rpc::OpaqueLoginStart>(conn, &start)
        .expect("an answer");
    let done = state
        .finish(
            &[7; 32],
            opaque::Suite::TEST,
            DOMAIN,
            &user.name,
            &user.password,
            &answer.response,
        )
        .expect("OPAQUE");
    let finish = proto::OpaqueLoginFinishRequest {
        username: user.name.clone(),
        finalization: done.finalization.into(),
        ..Default::default()
    };
    [
        genuine::<rpc::OpaqueLoginStart>(None, &start),
        genuine::<rpc::OpaqueLoginFinish>(None, &finish),
    ]
}

/// What users may ask, most of it Alice.
fn in_session(alice: &User, bob: &User, carol: &User, channels: &[Bytes; 2]) -> Vec<Genuine> {
    let [channel, committed] = channels;
    let fetch = proto::FetchRequest {
        recipient_key: alice.key(),
        ..Default::default()
    };
    let in_group = proto::FetchRequest {
        channel_id: channel.clone(),
        ..fetch.clone()
    };
    let of = Some(0);
    let mut requests = vec![
        genuine::<rpc::Enqueue>(of, &message(bob, 1, b"hello")),
        genuine::<rpc::Enqueue>(of, &in_channel(channel, 0, message(bob, 2, b"hello"))),
        genuine::<rpc::BatchEnqueue>(
            of,
            &proto::BatchEnqueueRequest {
                recipient_keys: vec![alice.key(), bob.key()],
                payload: Bytes::from_static(b"hello"),
                message_id: message_id(3),
                want_proof: true,
                ..Default::default()
            },
        ),
        genuine::<rpc::Fetch>(of, &fetch),
        genuine::<rpc::Fetch>(of, &in_group),
        genuine::<rpc::FetchWait>(
            of,
            &proto::FetchWaitRequest {
                recipient_key: alice.key(),
                timeout_ms: 5000,
                ..Default::default()
            },
        ),
        genuine::<rpc::Peek>(
            of,
            &proto::PeekRequest {
                recipient_key: alice.key(),
                ..Default::default()
            },
        ),
        genuine::<rpc::Ack>(
            of,
            &proto::AckRequest {
                recipient_key: alice.key(),
                seq_up_to: 2,
                ..Default::default()
            },
        ),
        genuine::<rpc::ListQueues>(of, &proto::ListQueuesRequest::default()),
        genuine::<rpc::SubmitCommit>(of, &commit(channel, 0, b"commit")),
        genuine::<rpc::Logout>(of, &proto::LogoutRequest::default()),
    ];
    requests.extend(about_keys(alice, bob));
    requests.extend(about_channels(bob, carol, [channel, committed]));
    requests.extend([
        genuine::<rpc::ResolveUser>(
            of,
            &proto::ResolveUserRequest {
                username: bob.name.clone(),
            },
        ),
        genuine::<rpc::ResolveIdentity>(
            of,
            &proto::ResolveIdentityRequest {
                identity_key: bob.key(),
            },
        ),
        genuine::<rpc::RegisterDevice>(of, &device_request(alice, 3)),
        genuine::<rpc::ListDevices>(
            of,
            &proto::ListDevicesRequest {
                identity_key: carol.key(),
            },
        ),
        genuine::<rpc::RevokeDevice>(
            Some(2),
            &proto::RevokeDeviceRequest {
                device_id: Bytes::from_static(&[4; 16]),
            },
        ),
    ]);
    requests
}

fn about_keys(alice: &User, bob: &User) -> Vec<Genuine> {
    let of = Some(0);
    vec![
        genuine::<rpc::UploadKeyPackage>(of, &key_package(alice, false)),
        genuine::<rpc::FetchKeyPackage>(
            of,
            &proto::FetchKeyPackageRequest {
                identity_key: bob.key(),
                ..Default::default()
            },
        ),
        genuine::<rpc::FetchKeyPackages>(
            of,
            &proto::FetchKeyPackagesRequest {
                identity_key: bob.key(),
            },
        ),
        genuine::<rpc::CountKeyPackages>(
            of,
            &proto::CountKeyPackagesRequest {
                identity_key: alice.key(),
                device_id: Bytes::new(),
            },
        ),
        genuine::<rpc::UploadHybridKey>(of, &hybrid_key(alice)),
        genuine::<rpc::FetchHybridKey>(
            of,
            &proto::FetchHybridKeyRequest {
                identity_key: bob.key(),
            },
        ),
        genuine::<rpc::FetchHybridKeys>(
            of,
            &proto::FetchHybridKeysRequest {
                identity_keys: vec![bob.key(), alice.key()],
            },
        ),
    ]
}

fn about_channels(bob: &User, carol: &User, [channel, committed]: [&Bytes; 2]) -> Vec<Genuine> {
    let of = Some(0);
    vec![
        genuine::<rpc::CreateChannel>(
            of,
            &proto::CreateChannelRequest {
                peer_key: bob.key(),
                ..Default::default()
            },
        ),
        genuine::<rpc::AddMember>(
            of,
            &proto::AddMemberRequest {
                channel_id: channel.clone(),
                member_key: carol.key(),
            },
        ),
        genuine::<rpc::RemoveMember>(
            of,
            &proto::RemoveMemberRequest {
                channel_id: channel.clone(),
                member_key: bob.key(),
            },
        ),
        genuine::<rpc::ListGroupMembers>(
            of,
            &proto::ListGroupMembersRequest {
                channel_id: channel.clone(),
            },
        ),
        genuine::<rpc::GetGroupInfo>(
            of,
            &proto::GetGroupInfoRequest {
                channel_id: committed.clone(),
            },
        ),
        genuine::<rpc::RotateKeys>(
            of,
            &proto::RotateKeysRequest {
                channel_id: committed.clone(),
            },
        ),
    ]
}

fn key_package(user: &User, last_resort: bool) -> proto::UploadKeyPackageRequest {
    let credential = Credential {
        identity_key: user.secret.public(),
        device_id: DeviceId::DEFAULT,
        created_at_ms: BEGIN.as_millis(),
        certificate: None,
    };
    let device = Device::new(user.secret.default_device(), credential, []);
    let seed = [u8::from(last_resort); 32];
    let package =
        device
            .expect("a device")
            .key_package(&seed, Suite::X25519, BEGIN.as_millis(), last_resort);
    proto::UploadKeyPackageRequest {
        identity_key: user.key(),
        package: package.expect("a key package").bytes.into(),
        device_id: Bytes::new(),
        last_resort,
        replace: false,
    }
}

fn hybrid_key(user: &User) -> proto::UploadHybridKeyRequest {
    let key = HybridSecret::derive(user.secret.seed(), 0).public();
    let time_ms = BEGIN.as_millis();
    let signature = proof::hybrid_key(&user.secret, key.as_bytes(), time_ms);
    proto::UploadHybridKeyRequest {
        identity_key: user.key(),
        hybrid_public_key: Bytes::copy_from_slice(key.as_bytes()),
        signature: Bytes::copy_from_slice(&signature),
        created_at_ms: time_ms,
    }
}

fn device_request(user: &User, number: u8) -> proto::RegisterDeviceRequest {
    let (id, secret) = (
        DeviceId::new([number; 16]),
        DeviceSecret::from_seed([number; 32]),
    );
    let credential = Credential::issue(&user.secret, id, secret.public(), 5);
    proto::RegisterDeviceRequest {
        device: Some(proto::Device {
            device_id: Bytes::copy_from_slice(id.as_bytes()),
            device_key: Bytes::copy_from_slice(secret.public().as_bytes()),
            name: "a device".to_owned(),
            certificate: credential
                .certificate
                .map(|certificate| Bytes::copy_from_slice(&certificate))
                .unwrap_or_default(),
            created_at_ms: 5,
            last_seen_ms: 0,
        }),
    }
}
