//! Each class of rates is shown refusing over its own path (protocol.md §5.27), with its name and when
//! to ask again.

use bytes::Bytes;
use qpq_crypto::opaque;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::limits::RateClass;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;

use crate::key_packages::{key_package, upload};
use crate::requests::{channel_id, commit, create_group, message};
use crate::support::account::{Login, User};
use crate::support::{Refused, World, roomy};

/// Two users, and what the tests have in hand of them.
struct Scene {
    world: World,
    alice: User,
    alices: ConnId,
    bob: User,
    ticket: Bytes,
}

impl Scene {
    /// A server on which everything but this class is roomy, and this one allows twice.
    fn new(class: RateClass) -> Self {
        let mut world = World::new(roomy());
        let (alice, _) = world.user("alice");
        let (bob, _) = world.user("bob");
        let memory = std::mem::take(&mut world.memory);
        let mut config = roomy();
        config.limits.rate_mut(class).count = 2;
        let mut world = World::on(config, memory, [3; 32]);
        let alices = world.connect();
        let ticket = alice.log_in(&mut world, alices).expect("logged in").ticket;
        Self {
            world,
            alice,
            alices,
            bob,
            ticket,
        }
    }

    /// Does for the time of this number what the class counts.
    fn act(&mut self, class: RateClass, number: u8) -> Result<(), Refused> {
        let Self {
            world,
            alice,
            alices,
            bob,
            ticket,
        } = self;
        let conn = *alices;
        match class {
            RateClass::AddressRequests => {
                let stranger = world.connect_from(([192, 0, 2, 1], 5).into());
                let request = proto::HealthRequest {};
                world.call::<rpc::Health>(stranger, &request).map(drop)
            }
            RateClass::AccountRequests => {
                let request = proto::HealthRequest {};
                world.call::<rpc::Health>(conn, &request).map(drop)
            }
            RateClass::Enqueues | RateClass::EnqueueRecipients => {
                let request = message(bob, number.into(), b"hello");
                world.call::<rpc::Enqueue>(conn, &request).map(drop)
            }
            RateClass::Commits => {
                if number == 0 {
                    create_group(world, conn, 1, &[bob]);
                }
                let request = commit(&channel_id(1), number.into(), b"a commit");
                world.call::<rpc::SubmitCommit>(conn, &request).map(drop)
            }
            RateClass::Rotations => {
                if number == 0 {
                    create_group(world, conn, 1, &[bob]);
                }
                let request = proto::RotateKeysRequest {
                    channel_id: channel_id(1),
                };
                world.call::<rpc::RotateKeys>(conn, &request).map(drop)
            }
            RateClass::LoginsAddress | RateClass::LoginsName => guess(world, alice, &Bytes::new()),
            RateClass::LoginsDevice => guess(world, alice, ticket),
            RateClass::Registrations => {
                let stranger = world.connect_from(([192, 0, 2, 1], 5).into());
                User::new(&format!("carol{number}")).register(world, stranger)
            }
            RateClass::LoopbackRegistrations => {
                let stranger = world.connect_from(([127, 0, 0, 1], 5).into());
                User::new(&format!("carol{number}")).register(world, stranger)
            }
            RateClass::KeyPackageFetches | RateClass::KeyPackageTargets => {
                let request = proto::FetchKeyPackagesRequest {
                    identity_key: bob.key(),
                };
                let fetched = world.call::<rpc::FetchKeyPackages>(conn, &request);
                fetched.map(drop)
            }
            RateClass::KeyPackageUploads => {
                let package = key_package(alice, number, false);
                upload(world, conn, alice, &package, false).map(drop)
            }
            RateClass::Resolves => {
                let request = proto::ResolveUserRequest {
                    username: "bob".to_owned(),
                };
                world.call::<rpc::ResolveUser>(conn, &request).map(drop)
            }
            RateClass::NewChannels => {
                let request = proto::CreateChannelRequest {
                    channel_id: channel_id(number),
                    ..proto::CreateChannelRequest::default()
                };
                world.call::<rpc::CreateChannel>(conn, &request).map(drop)
            }
            RateClass::DeviceChanges => {
                let request = alice.device(number + 1);
                world.call::<rpc::RegisterDevice>(conn, &request).map(drop)
            }
            RateClass::FreshRevocations => {
                let request = alice.device(number + 1);
                world.call::<rpc::RegisterDevice>(conn, &request)?;
                let request = proto::RevokeDeviceRequest {
                    device_id: Bytes::copy_from_slice(DeviceId::new([number + 1; 16]).as_bytes()),
                };
                world.call::<rpc::RevokeDevice>(conn, &request).map(drop)
            }
        }
    }
}

/// The first half of a login, which is never finished.
fn guess(world: &mut World, user: &User, ticket: &Bytes) -> Result<(), Refused> {
    let conn = world.connect_from(([192, 0, 2, 1], 5).into());
    let (_, request) = opaque::client::login_start(&[1; 32], b"a guess").expect("OPAQUE");
    let start = proto::OpaqueLoginStartRequest {
        username: user.name.clone(),
        request: request.into(),
        ticket: ticket.clone(),
    };
    world.call::<rpc::OpaqueLoginStart>(conn, &start).map(drop)
}

#[test]
fn every_class_of_rates_refuses_and_says_which_and_until_when() {
    for class in RateClass::ALL {
        let mut scene = Scene::new(*class);
        // A class in which the login of the scene has counted already.
        let mut number = 0;
        let refused = loop {
            match scene.act(*class, number) {
                Ok(()) => number += 1,
                Err(refused) => break refused,
            }
            assert!(number <= 2, "{} does not refuse", class.name());
        };
        assert_eq!(refused.status, Status::RateLimited, "{}", class.name());
        let name = format!("`{}`", class.name());
        assert!(
            refused.detail.message.contains(&name),
            "{name}: {}",
            refused.detail.message
        );
        let wait = core::time::Duration::from_millis(refused.detail.retry_after_ms.into());
        assert!(!wait.is_zero());
        scene
            .world
            .advance(wait + core::time::Duration::from_millis(10));
        let login = Login::default();
        let conn = scene.world.connect();
        if scene.alice.log_in_as(&mut scene.world, conn, login).is_ok() {
            scene.alices = conn;
        }
        let again = scene.act(*class, number);
        assert!(again.is_ok(), "{}: {again:?}", class.name());
    }
}
