//! Nobody locks anybody out (protocol.md §5.27): whatever is guessed, by whomever and from wherever, a device that
//! has logged in before does so again, and so does everybody whose name was left alone.

mod support;

use core::time::Duration;
use std::net::SocketAddr;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use qpq_crypto::opaque;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::limits::Limits;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use support::account::{LoggedIn, Login, User};
use support::{Refused, World, roomy};

/// Where a villain is: the first of these hosts is the one where alice is, too.
const HOSTS: u8 = 5;

/// What a villain does.
#[derive(Clone, Debug)]
enum Act {
    /// Starts so many logins as alice or as one of made-up names, with a made-up ticket or none.
    Start(u8, Option<u8>, bool, u8),
    /// Guesses alice's password, to the end.
    Guess(u8),
    /// Waits so many seconds.
    Wait(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let start = (0..HOSTS, any::<Option<u8>>(), any::<bool>(), 1..60_u8);
    prop_oneof![
        6 => start.prop_map(|(host, name, ticket, times)| Act::Start(host, name, ticket, times)),
        2 => (0..HOSTS).prop_map(Act::Guess),
        2 => (0..2_000_u16).prop_map(Act::Wait),
    ]
}

/// A connection from this host.
fn connect(world: &mut World, host: u8) -> ConnId {
    world.connect_from(SocketAddr::from(([192, 0, 2, host], 4000)))
}

/// The guard of passwords as it is by default; nothing else is counted.
fn world() -> World {
    let mut config = roomy();
    let defaults = Limits::default();
    config.limits.logins_address = defaults.logins_address;
    config.limits.logins_name = defaults.logins_name;
    config.limits.logins_device = defaults.logins_device;
    World::new(config)
}

/// Somebody who has logged in before, and from where.
struct Owner {
    user: User,
    host: u8,
    login: LoggedIn,
}

impl Owner {
    fn new(world: &mut World, name: &str, host: u8) -> Self {
        let user = User::new(name);
        let conn = connect(world, host);
        user.register(world, conn).unwrap();
        let login = user.log_in(world, conn).unwrap();
        world.disconnect(conn);
        Self { user, host, login }
    }

    fn log_in(&mut self, world: &mut World, ticket: Bytes) -> Result<(), Refused> {
        let conn = connect(world, self.host);
        let login = Login {
            ticket,
            ..Login::default()
        };
        let login = self.user.log_in_as(world, conn, login);
        world.disconnect(conn);
        self.login = login?;
        Ok(())
    }
}

fn misbehave(world: &mut World, alice: &User, act: &Act, request: &Bytes) {
    match act {
        Act::Start(host, name, ticket, times) => {
            let name = name.map(|number| format!("made.up{number}"));
            let start = proto::OpaqueLoginStartRequest {
                username: name.unwrap_or_else(|| alice.name.clone()),
                request: request.clone(),
                ticket: match ticket {
                    true => Bytes::from_static(&[7; 32]),
                    false => Bytes::new(),
                },
            };
            for _ in 0..*times {
                let conn = connect(world, *host);
                let answer = world.call::<rpc::OpaqueLoginStart>(conn, &start);
                if let Err(refused) = answer {
                    assert_eq!(refused.status, Status::RateLimited);
                }
                world.disconnect(conn);
            }
        }
        Act::Guess(host) => {
            let conn = connect(world, *host);
            let guess = alice.log_in_with(world, conn, DeviceId::DEFAULT, b"a guess");
            let refused = guess.unwrap_err().status;
            let fits = matches!(refused, Status::Unauthorized | Status::RateLimited);
            assert!(fits, "{refused:?}");
            world.disconnect(conn);
        }
        Act::Wait(seconds) => world.advance(Duration::from_secs((*seconds).into())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_locked_out_by_guesses(acts in vec(act(), 1..16)) {
        let mut world = world();
        let mut alice = Owner::new(&mut world, "alice", 0);
        let mut bob = Owner::new(&mut world, "bob", HOSTS);
        let (_, request) = opaque::client::login_start(&[1; 32], b"a guess").unwrap();
        let request = Bytes::from(request);
        for act in acts {
            misbehave(&mut world, &alice.user, &act, &request);
            // Her device is known by its ticket, from where the villain is as well.
            let ticket = alice.login.ticket.clone();
            prop_assert!(alice.log_in(&mut world, ticket).is_ok());
            // Nobody guesses at his name, so he needs none.
            prop_assert!(bob.log_in(&mut world, Bytes::new()).is_ok());
        }
    }
}
