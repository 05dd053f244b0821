//! What an embedder may rely on: how it ends, what time it is, in which form sockets have datagrams.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::quic::Received;

use crate::connections::failed;
use crate::echo::Event;
use crate::pair::{Identity, Pair, TODAY, first_use};

#[test]
fn a_shutdown_closes_what_stands_and_what_is_half_open() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.dial();
    pair.turn();
    pair.now += pair.latency;
    pair.turn();
    assert_eq!(pair.server.endpoint.connections(), 2);
    pair.server.endpoint.handle_shutdown(pair.now);
    pair.run();
    assert!(pair.server.endpoint.is_shut_down());
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
    let events = pair.client.take();
    assert!(events.contains(&Event::Disconnected(ours)), "{events:?}");
    // Nobody gets in any more.
    pair.sleep(Duration::from_secs(10));
    pair.client.take();
    pair.dial();
    pair.run();
    assert_eq!(failed(&mut pair.client), ConnectError::Refused);
}

#[test]
fn a_shutdown_ends_connections_that_the_core_forgot() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| core.lazy = true);
    pair.server.endpoint.handle_shutdown(pair.now);
    pair.run();
    assert!(pair.server.endpoint.is_shut_down());
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
}

#[test]
fn a_shutdown_that_takes_too_long_is_cut_short() {
    let mut pair = Pair::limited(|server, _| server.shutdown = Duration::from_secs(45));
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| core.stubborn = true);
    pair.server.endpoint.handle_shutdown(pair.now);
    pair.sleep(Duration::from_secs(44));
    // Asking again does not begin it again.
    pair.server.endpoint.handle_shutdown(pair.now);
    pair.turn();
    assert_eq!((pair.server.take(), pair.client.take()), (vec![], vec![]));
    assert!(!pair.server.endpoint.is_shut_down());
    pair.sleep(Duration::from_secs(1));
    assert!(pair.server.endpoint.is_shut_down());
    pair.run();
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)], "was told");
}

#[test]
fn the_core_is_told_the_date_at_the_start_and_every_minute() {
    let mut pair = Pair::limited(|server, _| server.clock = Duration::from_secs(60));
    pair.turn();
    assert_eq!(pair.server.core().unix, TODAY);
    pair.sleep(Duration::from_secs(59));
    assert_eq!(pair.server.core().unix, TODAY);
    pair.sleep(Duration::from_secs(1));
    assert_eq!(pair.server.core().unix, TODAY + Duration::from_secs(60));
    assert_eq!(pair.client.core().unix, TODAY, "at the start only");
}

#[test]
fn datagrams_that_the_system_joined_are_taken_apart() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    let call = Bytes::from(vec![7; 10_000]);
    pair.client
        .act(pair.now, |core| core.call(ours, call.clone()));
    let (now, from) = (pair.now, pair.client.address);
    let transmit = pair.client.endpoint.poll_transmit(now, 10);
    let transmit = transmit.expect("a call");
    let stride = transmit.segment_size.expect("more than one datagram");
    let received = Received {
        socket: None,
        remote: from,
        local_ip: None,
        ecn: 0,
        contents: transmit.contents,
        stride,
    };
    pair.server.endpoint.handle_datagrams(now, &received);
    pair.run();
    assert_eq!(pair.client.answers().into_values().next(), Some(call));
}

#[test]
fn much_that_came_in_is_worth_answering_before_more_is_read() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    // Whether each run of datagrams, without a transmit between them, made it worth one.
    let mut worth = |length: usize| {
        let call = Bytes::from(vec![7; length]);
        pair.client.act(pair.now, |core| core.call(ours, call));
        let (now, remote) = (pair.now, pair.client.address);
        let mut worth = Vec::new();
        while let Some(run) = pair.client.endpoint.poll_transmit(now, 2) {
            let received = Received {
                socket: None,
                remote,
                local_ip: None,
                ecn: 0,
                contents: run.contents,
                stride: run.segment_size.unwrap_or(run.contents.len()),
            };
            let server = &mut pair.server.endpoint;
            worth.push(server.handle_datagrams(now, &received));
        }
        pair.run();
        worth
    };
    assert_eq!(worth(100), [false]);
    assert_eq!(worth(9_000), [false, false, true, true]);
    assert_eq!(worth(100), [false], "counted from the last transmit");
}

#[test]
fn a_socket_for_both_families_gets_addresses_in_its_own_form() {
    let config = Identity::new().config();
    let config = config.on_socket("[::]:5001".parse().expect("an address"), true);
    let mut pair = Pair::with(&config, &first_use());
    pair.server.address = "[::ffff:192.0.2.1]:5001".parse().expect("an address");
    pair.client.address = "[::ffff:192.0.2.2]:40000".parse().expect("an address");
    pair.client
        .act(pair.now, |core| core.connect("192.0.2.1:5001", Alpn::Qpq));
    // The client's socket is for IPv4 only.
    let v4 = |of: &str| of.parse::<SocketAddr>().expect("an address");
    let (now, seen_as) = (pair.now, pair.client.address);
    let transmit = pair.client.endpoint.poll_transmit(now, 1).expect("a try");
    assert_eq!(transmit.destination, v4("192.0.2.1:5001"));
    let hello = transmit.contents.to_vec();
    pair.server.receive(now, seen_as, 0, &hello);
    let answer = pair
        .server
        .endpoint
        .poll_transmit(now, 1)
        .expect("an answer");
    assert_eq!(answer.destination, seen_as);
    let answer = answer.contents.to_vec();
    pair.client.receive(now, pair.server.address, 0, &answer);
    assert!(
        pair.client.endpoint.poll_transmit(now, 1).is_some(),
        "goes on"
    );
}

#[test]
fn the_cores_deadline_is_met_to_the_microsecond() {
    let mut pair = Pair::new();
    let after = Duration::from_micros(1_234_567);
    let at = pair.client.endpoint.act(pair.now, |core, now| {
        core.alarm = Some(now + after);
        now + after
    });
    pair.run();
    assert_eq!(pair.client.core().alarms, 1);
    assert_eq!(pair.client.core().now, at);
    assert_eq!(pair.now - pair.epoch, after);
}
