//! Accounts and sessions (methods 100 to 105, protocol.md §5.15-5.18) through raw frames.

mod support;

use core::time::Duration;

use bytes::Bytes;
use qpq_crypto::opaque;
use qpq_protocol::ids::{ConnId, DeviceId};
use qpq_protocol::io::{Core as _, Topic};
use qpq_protocol::limits::Limits;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::server::{Event, ServerConfig};
use qpq_protocol::status::Status;
use qpq_protocol::time::UnixTime;
use support::account::{LoggedIn, Login, User};
use support::{Answer, BEGIN, Refused, World, roomy};

fn resume(
    world: &mut World,
    conn: ConnId,
    login: &LoggedIn,
) -> Result<proto::ResumeSessionResponse, Refused> {
    resume_with(world, conn, login, None)
}

fn resume_with(
    world: &mut World,
    conn: ConnId,
    login: &LoggedIn,
    chain: Option<proto::Chain>,
) -> Result<proto::ResumeSessionResponse, Refused> {
    let request = proto::ResumeSessionRequest {
        auth: Some(proto::Auth {
            access_token: login.token.clone(),
            device_id: Bytes::new(),
        }),
        chain,
    };
    world.call::<rpc::ResumeSession>(conn, &request)
}

/// Any call that needs a session.
fn whoami(world: &mut World, conn: ConnId, user: &User) -> Result<String, Refused> {
    let request = proto::ResolveIdentityRequest {
        identity_key: user.key(),
    };
    let found = world.call::<rpc::ResolveIdentity>(conn, &request);
    found.map(|found| found.username)
}

#[test]
fn a_new_password_ends_all_sessions() {
    let mut world = World::default();
    let (mut alice, conn) = world.user("alice");
    let other = world.connect();
    let login = alice.log_in(&mut world, other).unwrap();
    let old = alice.password.clone();
    alice.password = b"a new password".to_vec();
    world.advance(Duration::from_secs(1));
    let fresh = world.connect();
    alice.register(&mut world, fresh).unwrap();
    assert_eq!(world.closed(conn), Some(0));
    assert_eq!(world.closed(other), Some(0));
    let refused = resume(&mut world, fresh, &login).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
    let refused = alice
        .log_in_with(&mut world, fresh, DeviceId::DEFAULT, &old)
        .unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
    assert!(alice.log_in(&mut world, fresh).is_ok());
    assert_eq!(whoami(&mut world, fresh, &alice).unwrap(), "alice");
    assert!(
        world
            .wakes
            .iter()
            .any(|wake| matches!(&wake.topic, Topic::Session(_)))
    );
}

#[test]
fn a_registration_again_is_the_same_or_later() {
    let mut world = World::default();
    let conn = world.connect();
    let alice = User::new("alice");
    let first = alice.registration(&mut world, conn).unwrap();
    world.advance(Duration::from_secs(1));
    let second = alice.registration(&mut world, conn).unwrap();
    let send = |world: &mut World, request| world.call::<rpc::OpaqueRegisterFinish>(conn, request);
    assert!(send(&mut world, &second).unwrap().success);
    assert!(
        send(&mut world, &second).unwrap().success,
        "the answer was lost"
    );
    let refused = send(&mut world, &first).unwrap_err();
    assert_eq!(
        refused.status,
        Status::Conflict,
        "an older password does not come back"
    );
}

#[test]
fn a_new_device_needs_only_the_password() {
    let mut world = World::default();
    let (alice, _) = world.user("alice");
    let conn = world.connect();
    let id = DeviceId::new([1; 16]);
    let login = alice
        .log_in_with(&mut world, conn, id, &alice.password)
        .unwrap();
    // The export key comes from a login of one's own.
    let (state, request) = opaque::client::login_start(&[1; 32], &alice.password).unwrap();
    let start = proto::OpaqueLoginStartRequest {
        username: "alice".to_owned(),
        request: request.into(),
        ..proto::OpaqueLoginStartRequest::default()
    };
    let answer = world.call::<rpc::OpaqueLoginStart>(conn, &start).unwrap();
    let done = state
        .finish(
            &[2; 32],
            opaque::Suite::TEST,
            "localhost",
            "alice",
            &alice.password,
            &answer.response,
        )
        .unwrap();
    let opened = opaque::open_identity(&done.export_key, &login.sealed_identity).unwrap();
    assert_eq!(opened.public(), alice.secret.public());
}

#[test]
fn a_session_lasts_30_days_from_its_last_use() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let login = alice.log_in(&mut world, conn).unwrap();
    const DAY: Duration = Duration::from_secs(24 * 3600);
    assert_eq!(
        login.expires_at_ms,
        (world.unix() + 30 * DAY).as_millis() - 5
    );
    world.advance(29 * DAY);
    let fresh = world.connect();
    let resumed = resume(&mut world, fresh, &login).unwrap();
    assert!(resumed.expires_at_ms > login.expires_at_ms);
    world.advance(29 * DAY);
    let fresh = world.connect();
    let again = resume(&mut world, fresh, &login).unwrap();
    let soon = resume(&mut world, fresh, &login).unwrap();
    assert_eq!(
        soon.expires_at_ms, again.expires_at_ms,
        "not moved each time"
    );
    world.advance(31 * DAY);
    let fresh = world.connect();
    let refused = resume(&mut world, fresh, &login).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
}

/// protocol.md §5.30: nothing ends by one wrong clock, at a start or while the server runs.
#[test]
fn a_clock_that_jumps_ends_no_session() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let login = alice.log_in(&mut world, conn).unwrap();
    world.advance(Duration::from_secs(3600));
    let right = world.unix();
    let ahead = right + 365 * DAY;
    world.server.handle_clock(world.now, ahead);
    world.pump();
    let doubted =
        |event: &Event| matches!(event, Event::ClockDoubted { says, .. } if *says == ahead);
    assert_eq!(
        world.events.iter().filter(|event| doubted(event)).count(),
        1
    );
    let fresh = world.connect();
    assert!(resume(&mut world, fresh, &login).is_ok());
    world.advance(Duration::from_secs(61));
    assert_eq!(whoami(&mut world, conn, &alice).unwrap(), "alice");
    // One that is opened meanwhile is not over when the clock has come back, and does not last a year.
    let opened = alice.log_in(&mut world, fresh).unwrap();
    let back = right + Duration::from_secs(61);
    world.server.handle_clock(world.now, back);
    world.pump();
    assert!(world.events.contains(&Event::ClockBelieved { says: back }));
    let resumed = resume(&mut world, fresh, &opened).unwrap();
    assert_eq!(resumed.expires_at_ms, (back + 30 * DAY).as_millis());
    // A clock that falls back ends nothing either, once it is right again.
    world
        .server
        .handle_clock(world.now, UnixTime::from_millis(1000));
    let opened = alice.log_in(&mut world, fresh).unwrap();
    world.server.handle_clock(world.now, back);
    assert!(resume(&mut world, fresh, &opened).is_ok());
}

#[test]
fn a_start_with_a_wrong_clock_ends_no_session_until_a_day_has_run() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let start = |accept_clock| {
        let mut world = World::default();
        let (alice, conn) = world.user("alice");
        let login = alice.log_in(&mut world, conn).unwrap();
        let config = ServerConfig {
            accept_clock,
            ..roomy()
        };
        let memory = core::mem::take(&mut world.memory);
        (
            World::starting_at(config, memory, [2; 32], BEGIN + 365 * DAY),
            login,
        )
    };
    let (mut world, login) = start(false);
    let conn = world.connect();
    assert!(resume(&mut world, conn, &login).is_ok());
    world.advance(DAY - Duration::from_secs(700));
    let conn = world.connect();
    assert!(resume(&mut world, conn, &login).is_ok());
    // What begins now lasts from the clock's date, in case that is the right one.
    world.server.handle_clock(world.now, BEGIN + 396 * DAY);
    world.advance(DAY);
    world.server.handle_clock(world.now, BEGIN + 397 * DAY);
    let conn = world.connect();
    assert!(resume(&mut world, conn, &login).is_err(), "a day has run");
    let (mut world, login) = start(true);
    let conn = world.connect();
    assert!(
        resume(&mut world, conn, &login).is_err(),
        "the operator said so"
    );
}

#[test]
fn the_session_used_longest_ago_makes_room() {
    let mut config = roomy();
    config.limits.sessions = 2;
    let mut world = World::new(config);
    let alice = User::new("alice");
    let first = world.connect();
    alice.register(&mut world, first).unwrap();
    let (mut conns, mut logins) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        world.advance(Duration::from_secs(10));
        let conn = world.connect();
        conns.push(conn);
        logins.push(alice.log_in(&mut world, conn).unwrap());
    }
    assert_eq!(world.closed(conns[0]), Some(0));
    assert_eq!(world.closed(conns[1]), None);
    let fresh = world.connect();
    assert!(resume(&mut world, fresh, &logins[0]).is_err());
    assert!(resume(&mut world, fresh, &logins[1]).is_ok());
}

#[test]
fn a_session_that_ended_elsewhere_is_noticed_within_a_minute() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    // Another core on the same store ends it, and its wake is lost.
    let sessions: Vec<Bytes> = world
        .memory
        .rows()
        .filter(|(key, _)| key.starts_with(b"t"))
        .map(|(key, _)| key.clone())
        .collect();
    assert_eq!(sessions.len(), 1);
    qpq_protocol::storage::Engine::run(
        &mut world.memory,
        vec![qpq_protocol::storage::Command::Commit(
            qpq_protocol::storage::Commit {
                deletes: sessions,
                ..Default::default()
            },
        )],
    );
    assert!(whoami(&mut world, conn, &alice).is_ok());
    world.advance(Duration::from_secs(61));
    let refused = whoami(&mut world, conn, &alice).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
    let refused = whoami(&mut world, conn, &alice).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
}

#[test]
fn a_wake_from_another_core_closes_ended_sessions() {
    let (mut one, mut other) = (World::default(), World::default());
    let (alice, conn) = one.user("alice");
    let (_, same) = other.user("alice");
    one.call::<rpc::Logout>(conn, &proto::LogoutRequest {})
        .unwrap();
    let mut wakes = core::mem::take(&mut one.wakes);
    for wake in wakes.drain(..) {
        other.server.handle_wake(other.now, wake);
    }
    other.pump();
    // Both worlds have the same seed, so the sessions have the same token.
    assert_eq!(other.closed(same), Some(0));
    assert_eq!(one.closed(conn), None, "the answer of Logout could leave");
    let _ = alice;
}

#[test]
fn answers_that_could_tell_something_leave_at_multiples_of_5_ms() {
    let mut world = World::default();
    let conn = world.connect();
    let (_, request) = opaque::client::login_start(&[1; 32], b"x").unwrap();
    let start = proto::OpaqueLoginStartRequest {
        username: "nobody".to_owned(),
        request: request.into(),
        ..proto::OpaqueLoginStartRequest::default()
    };
    let came = world.now;
    let stream = world.send::<rpc::OpaqueLoginStart>(conn, &start);
    assert_eq!(world.answer(conn, stream), None);
    world.advance(Duration::from_micros(4_999));
    assert_eq!(world.answer(conn, stream), None);
    world.advance(Duration::from_micros(1));
    assert!(matches!(
        world.answer(conn, stream),
        Some(Answer::Response(Status::Ok, ..))
    ));
    assert_eq!(world.now.since(came), Duration::from_millis(5));
    // One that storage makes wait leaves at a later multiple.
    world.hold_storage = true;
    let stream = world.send::<rpc::OpaqueLoginStart>(conn, &start);
    world.advance(Duration::from_micros(7_123));
    world.hold_storage = false;
    world.pump();
    world.advance(Duration::from_micros(2_876));
    assert_eq!(world.answer(conn, stream), None);
    world.advance(Duration::from_micros(1));
    assert!(world.answer(conn, stream).is_some());
}

#[test]
fn logins_and_registrations_have_rates_that_resuming_does_not() {
    let mut config = roomy();
    config.limits.logins_address.count = 3;
    config.limits.registrations.count = 1;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    let mut login = alice.log_in(&mut world, conn).unwrap();
    for _ in 0..10 {
        login = alice.log_in(&mut world, conn).unwrap();
    }
    for _ in 0..3 {
        let refused = alice
            .log_in_with(&mut world, conn, DeviceId::DEFAULT, b"a guess")
            .unwrap_err();
        assert_eq!(refused.status, Status::Unauthorized);
    }
    let refused = alice.log_in(&mut world, conn).unwrap_err();
    assert_eq!(refused.status, Status::RateLimited);
    assert!(refused.detail.message.contains("`logins_address`"));
    assert!(refused.detail.retry_after_ms > 0);
    for _ in 0..10 {
        assert!(resume(&mut world, conn, &login).is_ok());
    }
    let elsewhere = world.connect();
    assert!(
        alice.log_in(&mut world, elsewhere).is_ok(),
        "the name is not locked"
    );
    let bob = User::new("bob");
    let refused = bob.register(&mut world, conn).unwrap_err();
    assert_eq!(refused.status, Status::RateLimited);
    assert!(refused.detail.message.contains("`registrations`"));
    assert!(refused.detail.retry_after_ms > 3_500_000);
}

/// protocol.md §5.27: whoever guesses keeps out nobody who has logged in before, and nobody in another
/// way than by the limits that protect the password.
#[test]
fn a_device_with_its_ticket_is_not_kept_out_by_guesses() {
    let mut config = roomy();
    let defaults = Limits::default();
    config.limits.logins_address = defaults.logins_address;
    config.limits.logins_name = defaults.logins_name;
    config.limits.logins_device = defaults.logins_device;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    let mut login = alice.log_in(&mut world, conn).unwrap();
    let (_, request) = opaque::client::login_start(&[1; 32], b"a guess").unwrap();
    let mut start = proto::OpaqueLoginStartRequest {
        username: "alice".to_owned(),
        request: request.into(),
        ..proto::OpaqueLoginStartRequest::default()
    };
    let guess = |world: &mut World, conn, start: &_| {
        world.call::<rpc::OpaqueLoginStart>(conn, start).map(|_| ())
    };
    let mut guesses = 0;
    let elsewhere = loop {
        let villain = world.connect();
        let refused = loop {
            match guess(&mut world, villain, &start) {
                Ok(()) => guesses += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.status, Status::RateLimited);
        if refused.detail.message.contains("`logins_name`") {
            break villain;
        }
        assert!(refused.detail.message.contains("`logins_address`"));
    };
    assert!((99..=100).contains(&guesses), "{guesses} guesses");
    start.ticket = Bytes::from_static(&[7; 32]);
    assert!(
        guess(&mut world, elsewhere, &start).is_err(),
        "a made-up ticket"
    );
    assert!(alice.log_in(&mut world, conn).is_err(), "without a ticket");

    for _ in 0..30 {
        let with_ticket = Login {
            ticket: login.ticket.clone(),
            ..Login::default()
        };
        let next = alice.log_in_as(&mut world, conn, with_ticket).unwrap();
        assert_ne!(next.ticket, login.ticket);
        login = next;
    }
    assert!(resume(&mut world, elsewhere, &login).is_ok());

    // Who has stolen a ticket guesses ten times.
    start.ticket = login.ticket.clone();
    for _ in 0..10 {
        guess(&mut world, elsewhere, &start).unwrap();
    }
    let refused = guess(&mut world, elsewhere, &start).unwrap_err();
    assert!(refused.detail.message.contains("`logins_device`"));
    // An unknown name has no tickets either.
    start.username = "nobody".to_owned();
    guess(&mut world, elsewhere, &start).unwrap();
}

/// Whoever makes up names fills no memory with them: what is closed stays closed, and nobody else is refused.
#[test]
fn made_up_names_make_the_server_forget_nothing() {
    let mut config = roomy();
    config.limits.rate_counters = 2048;
    config.limits.logins_name.count = 5;
    config.limits.registrations.count = 1;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    let (bob, _) = world.user("bob");
    let (_, request) = opaque::client::login_start(&[1; 32], b"a guess").unwrap();
    let guess = |world: &mut World, username: &str| {
        let start = proto::OpaqueLoginStartRequest {
            username: username.to_owned(),
            request: Bytes::copy_from_slice(&request),
            ..proto::OpaqueLoginStartRequest::default()
        };
        let villain = world.connect();
        let answer = world.call::<rpc::OpaqueLoginStart>(villain, &start);
        world.disconnect(villain);
        answer.map(drop).map_err(|refused| refused.status)
    };
    for _ in 0..5 {
        assert_eq!(guess(&mut world, "alice"), Ok(()));
    }
    let before = world.server.footprint();
    for number in 0..1500 {
        assert_eq!(guess(&mut world, &format!("made.up{number}")), Ok(()));
    }
    assert!(world.server.footprint() <= before);
    assert_eq!(guess(&mut world, "alice"), Err(Status::RateLimited));
    let again = User::new("carol").register(&mut world, conn);
    assert_eq!(again.unwrap_err().status, Status::RateLimited);
    let elsewhere = world.connect();
    assert!(bob.log_in(&mut world, elsewhere).is_ok());
    let _ = alice;
}

#[test]
fn passwords_are_protected_by_all_cores_together() {
    let mut config = roomy();
    config.cores = 4;
    config.limits.logins_name.count = 10;
    config.limits.registrations.count = 1;
    let mut world = World::new(config);
    let (alice, conn) = world.user("alice");
    for _ in 0..3 {
        let guessed = alice.log_in_with(&mut world, conn, DeviceId::DEFAULT, b"a guess");
        assert_eq!(guessed.unwrap_err().status, Status::Unauthorized);
    }
    let refused = alice.log_in(&mut world, conn).unwrap_err();
    assert_eq!(refused.status, Status::RateLimited, "a quarter, rounded up");
    let refused = User::new("bob").register(&mut world, conn).unwrap_err();
    assert_eq!(refused.status, Status::RateLimited, "never less than one");
}

#[test]
fn registrations_from_the_own_machine_have_a_wider_limit() {
    let mut config = roomy();
    config.limits.registrations = Limits::default().registrations;
    config.limits.loopback_registrations.count = 8;
    let mut world = World::new(config);
    for (address, most) in [("127.0.0.1:9", 8), ("[::1]:9", 8), ("192.0.2.1:9", 5)] {
        let conn = world.connect_from(address.parse().unwrap());
        let allowed = (0..20)
            .take_while(|number| {
                let user = User::new(&format!("{address}{number}").replace([':', '[', ']'], "-"));
                user.register(&mut world, conn).is_ok()
            })
            .count();
        assert_eq!(allowed, most, "{address}");
    }
}

fn chain(known: &[u8], next: u8) -> Option<proto::Chain> {
    let opening = |number: &u8| Bytes::copy_from_slice(&[*number; 16]);
    Some(proto::Chain {
        known: known.iter().map(opening).collect(),
        next: opening(&next),
    })
}

/// protocol.md §5.31: each device has a chain of openings, which is durable and answers repeats alike.
#[test]
fn the_server_holds_the_newest_opening_of_each_device() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let with = |chain| Login {
        chain,
        ..Login::default()
    };
    let login = alice
        .log_in_as(&mut world, conn, with(chain(&[], 1)))
        .unwrap();
    assert_eq!(login.last, "", "it held none");
    let other = Login {
        device: DeviceId::new([8; 16]),
        ..with(chain(&[], 50))
    };
    let elsewhere = world.connect();
    let opened = alice.log_in_as(&mut world, elsewhere, other).unwrap();
    assert_eq!(opened.last, "", "another device has another chain");
    let last = |world: &mut World, conn, known: &[u8], next| {
        let resumed = resume_with(world, conn, &login, chain(known, next)).unwrap();
        resumed.last.first().copied()
    };
    assert_eq!(last(&mut world, conn, &[1], 2), Some(1));
    assert_eq!(last(&mut world, conn, &[1], 2), Some(1), "the same again");
    assert_eq!(last(&mut world, conn, &[2], 3), Some(2));
    let mut world = world.restart([5; 32]);
    let conn = world.connect();
    assert_eq!(last(&mut world, conn, &[1], 4), Some(3), "it was set back");
    assert_eq!(
        last(&mut world, conn, &[1, 4], 5),
        Some(3),
        "the answer was lost"
    );
    let again = alice
        .log_in_as(&mut world, conn, with(chain(&[5], 6)))
        .unwrap();
    assert_eq!(again.last.as_ref(), [5; 16]);
    assert!(resume(&mut world, conn, &again).unwrap().last.is_empty());
}

#[test]
fn no_secret_is_stored_in_the_clear() {
    let mut world = World::default();
    let (alice, conn) = world.user("alice");
    let login = alice.log_in(&mut world, conn).unwrap();
    let holds = |needle: &[u8]| {
        let mut rows = world.memory.rows();
        rows.any(|(key, value)| {
            [key, value]
                .iter()
                .any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
        })
    };
    assert!(!holds(&login.token) && !holds(&login.ticket));
    assert!(!holds(&alice.password));
    assert!(!holds(alice.secret.seed()));
    assert!(holds(b"alice"), "the search finds what is there");
}
