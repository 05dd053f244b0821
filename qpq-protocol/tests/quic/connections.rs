//! Handshakes, trust, closing, loss of a peer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::quic::{Done, Effect};

use crate::echo::Event;
use crate::pair::{Identity, Node, Pair, first_use};

pub fn failed(node: &mut Node) -> ConnectError {
    match node.take().as_slice() {
        [Event::ConnectFailed(_, why)] => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_sides_hear_of_a_connection_and_of_its_end() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.client.act(pair.now, |core| core.close(ours, 0));
    pair.run();
    assert_eq!(pair.client.events, [Event::Disconnected(ours)]);
    assert_eq!(pair.server.events, [Event::Disconnected(theirs)]);
    assert_eq!(pair.client.endpoint.connections(), 0);
    assert_eq!(pair.server.endpoint.connections(), 0);
    assert!(pair.is_at_rest(), "nobody has anything to wait for");
}

#[test]
fn ids_are_never_used_again_though_slots_are() {
    let mut pair = Pair::new();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let (ours, theirs) = pair.connect();
        assert!(seen.insert((ours, theirs)));
        pair.server.act(pair.now, |core| core.close(theirs, 0));
        pair.run();
        pair.client.take();
        pair.server.take();
    }
    assert_eq!(pair.server.endpoint.connections(), 0);
}

#[test]
fn datagrams_of_a_connection_that_is_gone_do_no_harm() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    pair.client.act(pair.now, |core| core.close(ours, 0));
    pair.run();
    pair.server.take();
    let (now, from) = (pair.now, pair.client.address);
    for datagram in core::mem::take(&mut pair.server.seen) {
        pair.server.receive(now, from, 0, &datagram);
    }
    pair.sleep(Duration::from_secs(20));
    assert_eq!(pair.server.take(), [], "no connection comes of a replay");
    assert_eq!(pair.server.endpoint.connections(), 0);
    pair.connect();
}

#[test]
fn outputs_for_what_does_not_exist_are_ignored() {
    use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId};
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    for conn in [theirs, ConnId(0), ConnId(7 << 24), ConnId(u64::MAX)] {
        pair.server.act(pair.now, |core| {
            for stream in [
                StreamId::Peer(Dir::Bi, 3),
                StreamId::Peer(Dir::Uni, 0),
                StreamId::Own(OwnStream(999)),
            ] {
                core.send(ConnId(1), stream, "x".into(), true);
                core.reset(conn, stream, u64::MAX);
                core.send(ConnId(conn.0 ^ 1), stream, "x".into(), false);
            }
            if conn != theirs {
                core.close(conn, 1);
            }
        });
    }
    pair.run();
    assert_eq!(pair.client.take(), []);
    pair.client
        .act(pair.now, |core| core.call(ours, "still there"));
    pair.run();
    assert_eq!(pair.client.answers().len(), 1);
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_five_seconds() {
    let mut pair = Pair::new();
    pair.server.mute = true;
    pair.dial();
    pair.sleep(Duration::from_millis(4_900));
    assert_eq!(pair.client.take(), []);
    pair.sleep(Duration::from_millis(100));
    assert_eq!(failed(&mut pair.client), ConnectError::Unreachable);
    pair.sleep(Duration::from_secs(60));
    assert_eq!(pair.client.endpoint.connections(), 0);
}

#[test]
fn a_client_that_says_no_more_is_dropped_and_gets_little_out_of_the_server() {
    let mut pair = Pair::new();
    pair.dial();
    pair.turn();
    pair.client.mute = true;
    pair.sleep(Duration::from_secs(4));
    assert_eq!(pair.server.endpoint.connections(), 1);
    pair.sleep(Duration::from_secs(60));
    assert_eq!(pair.server.endpoint.connections(), 0);
    assert_eq!(pair.server.take(), []);
    let (heard, said) = (
        pair.server.seen.iter().map(BytesMut::len).sum::<usize>(),
        pair.server.sent.1,
    );
    // Quinn fills up the datagram that reaches the limit.
    let most = 3 * heard + 1200;
    assert!(said < most, "{said} bytes for {heard}: RFC 9000 §8.1");
}

#[test]
fn above_a_number_of_handshakes_an_address_must_be_proven() {
    let mut plain = Pair::new();
    plain.connect();
    let mut pair = Pair::limited(|server, _| server.unproven_handshakes = 0);
    pair.connect();
    let round_trip = pair.latency * 2;
    let took = |pair: &Pair| pair.now - pair.epoch;
    assert!(took(&pair) >= round_trip);
    // The client's first datagram is answered by a Retry packet: type 3, not an Initial: type 0.
    let first = |pair: &Pair| pair.client.seen.first().map(|datagram| datagram[0] & 0x30);
    assert_eq!(first(&pair), Some(0x30));
    assert_eq!(first(&plain), Some(0x00));
}

#[test]
fn above_a_number_of_its_handshakes_an_address_must_be_proven_and_is_then_refused() {
    let mut pair = Pair::limited(|server, _| server.address_handshakes = 1);
    // The first one stays half open: what the server says is lost.
    pair.server.mute = true;
    pair.dial();
    pair.turn();
    pair.sleep(pair.latency);
    pair.server.mute = false;
    pair.client.mute = true;
    pair.sleep(pair.latency * 3);
    assert_eq!(pair.server.endpoint.connections(), 1);
    pair.client.mute = false;
    pair.dial();
    pair.sleep(pair.latency * 5);
    // A Retry packet, and then no connection.
    let retried = |datagram: &BytesMut| datagram[0] & 0xb0 == 0xb0;
    assert!(pair.client.seen.iter().any(retried));
    assert_eq!(failed(&mut pair.client), ConnectError::Refused);
}

#[test]
fn a_full_server_refuses() {
    for limit in ["connections", "handshakes"] {
        let mut pair = Pair::limited(|server, _| match limit {
            "connections" => server.connections = 0,
            _ => server.handshakes = 0,
        });
        pair.dial();
        pair.run();
        assert_eq!(failed(&mut pair.client), ConnectError::Refused, "{limit}");
        assert_eq!(pair.server.endpoint.connections(), 0);
    }
}

#[test]
fn room_comes_back_when_handshakes_and_connections_end() {
    let mut pair = Pair::limited(|server, _| (server.connections, server.handshakes) = (1, 1));
    for _ in 0..5 {
        let (ours, _) = pair.connect();
        pair.dial();
        pair.run();
        assert_eq!(failed(&mut pair.client), ConnectError::Refused);
        pair.client.act(pair.now, |core| core.close(ours, 0));
        pair.run();
        pair.client.take();
        pair.server.take();
    }
}

#[test]
fn silence_ends_a_connection_on_both_sides_and_keep_alive_prevents_that() {
    let mut pair = Pair::limited(|_, client| client.keep_alive = None);
    let (ours, theirs) = pair.connect();
    pair.sleep(Duration::from_secs(290));
    assert_eq!((pair.client.take(), pair.server.take()), (vec![], vec![]));
    pair.sleep(Duration::from_secs(20));
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);

    let mut pair = Pair::new();
    pair.connect();
    pair.sleep(Duration::from_secs(3600));
    assert_eq!((pair.client.take(), pair.server.take()), (vec![], vec![]));
}

#[test]
fn an_idle_connection_costs_nothing() {
    let mut pair = Pair::limited(|_, client| client.keep_alive = None);
    pair.connect();
    let before = (pair.client.sent, pair.server.sent);
    let turns = pair.run_for(Duration::from_secs(250));
    assert!(turns <= 4, "{turns} turns with nothing to do");
    assert_eq!((pair.client.sent, pair.server.sent), before);
}

#[test]
fn a_peer_that_vanishes_is_lost() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    pair.server.mute = true;
    pair.sleep(Duration::from_secs(400));
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
}

#[test]
fn a_server_that_starts_again_says_so_at_once() {
    let config = Identity::new().config();
    let mut pair = Pair::with(&config, &first_use());
    let (ours, _) = pair.connect();
    pair.server = Node::new("[::1]:5001", &config, pair.epoch, 77);
    pair.client.act(pair.now, |core| core.call(ours, "anyone?"));
    pair.sleep(Duration::from_millis(100));
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
    pair.connect();
}

#[test]
fn rubbish_makes_no_connection_and_no_flood() {
    let mut pair = Pair::new();
    pair.connect();
    let (now, from) = (pair.now, pair.client.address);
    let before = pair.server.sent.1;
    let mut heard = 0;
    for i in 0..5000_u64 {
        let length = pair.rng.below(1500) + 1;
        let mut datagram: BytesMut = (0..length)
            .map(|_| u8::try_from(pair.rng.below(256)).expect("below 256"))
            .collect();
        if i % 2 == 0 && length > 5 {
            // Looks like an Initial of version 1, or of a version unknown.
            datagram[0] = 0xc0 | (datagram[0] & 0x0f);
            datagram[1..5].copy_from_slice(&[0, 0, 0, u8::from(i % 4 == 0)]);
        }
        heard += datagram.len();
        pair.server.receive(now, from, 3, &datagram);
    }
    pair.client.mute = true;
    pair.turn();
    assert_eq!(pair.server.take(), []);
    assert_eq!(pair.server.endpoint.connections(), 1);
    assert!(pair.server.sent.1 - before < heard);
}

#[test]
fn a_stranger_of_another_version_gets_a_whole_answer() {
    let mut pair = Pair::new();
    let mut datagram = BytesMut::zeroed(1200);
    datagram[..7].copy_from_slice(&[0xc0, 0x57, 0x41, 0x49, 0x54, 1, 9]);
    let (now, from) = (pair.now, "[::1]:9".parse().expect("an address"));
    pair.server.receive(now, from, 0, &datagram);
    let transmit = pair.server.endpoint.poll_transmit(now, 10);
    let transmit = transmit.expect("version negotiation");
    assert_eq!(transmit.destination, from);
    assert_eq!(transmit.contents[1..5], [0, 0, 0, 0], "RFC 9000 §17.2.1");
}

#[test]
fn a_server_that_speaks_another_protocol_is_refused() {
    let mut pair = Pair::new();
    let address = pair.server.address.to_string();
    pair.client
        .act(pair.now, |core| core.connect(&address, Alpn::Federation));
    pair.run();
    assert_eq!(failed(&mut pair.client), ConnectError::WrongProtocol);
    assert_eq!(pair.server.take(), []);
}

/// Runs the one task of this node, which must be to look `name` up.
fn resolve(node: &mut Node, name: &str, addresses: Vec<SocketAddr>) -> Done {
    let effects = core::mem::take(&mut node.effects);
    let Ok([Effect::Task(task)]) = <[Effect; 1]>::try_from(effects) else {
        panic!("one task");
    };
    let mut asked = String::new();
    let done = task.run(|name| {
        name.clone_into(&mut asked);
        addresses
    });
    assert_eq!(asked, name);
    done
}

#[test]
fn a_name_is_resolved_and_its_addresses_are_tried_in_turn() {
    let mut pair = Pair::new();
    let ticket = pair
        .client
        .act(pair.now, |core| core.connect("localhost:5001", Alpn::Qpq));
    pair.turn();
    let dead: SocketAddr = "[::2]:5001".parse().expect("an address");
    let addresses = vec![dead, pair.server.address];
    let done = resolve(&mut pair.client, "localhost:5001", addresses.clone());
    pair.client.endpoint.handle_done(pair.now, done);
    pair.sleep(Duration::from_secs(6));
    let events = pair.client.take();
    assert!(
        matches!(events.as_slice(), [Event::Connected(_, _, Some(of))] if *of == ticket),
        "{events:?}"
    );
    // An answer nobody waits for: that of another client, to the same ticket.
    let mut other = Pair::new();
    let again = other
        .client
        .act(other.now, |core| core.connect("localhost:5001", Alpn::Qpq));
    assert_eq!(again, ticket);
    other.turn();
    let done = resolve(&mut other.client, "localhost:5001", addresses);
    pair.client.endpoint.handle_done(pair.now, done);
    pair.run();
    assert_eq!(pair.client.take(), []);
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    let mut pair = Pair::new();
    for wrong in [
        "",
        ":",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:70000",
        "::1",
    ] {
        pair.client
            .act(pair.now, |core| core.connect(wrong, Alpn::Qpq));
        pair.turn();
        assert_eq!(
            failed(&mut pair.client),
            ConnectError::BadAddress,
            "{wrong}"
        );
    }
}

#[test]
fn a_host_that_says_nobody_listens_ends_attempts_and_nothing_else() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    let host = pair.server.address.ip();
    let elsewhere = "::2".parse().expect("an address");
    pair.client.endpoint.handle_unreachable(pair.now, host);
    pair.server.mute = true;
    pair.dial();
    assert!(pair.client.endpoint.is_connecting());
    // Before anything was sent, it is about an earlier attempt.
    pair.client.endpoint.handle_unreachable(pair.now, host);
    pair.turn();
    assert!(pair.client.endpoint.is_connecting());
    pair.client.endpoint.handle_unreachable(pair.now, elsewhere);
    pair.turn();
    assert_eq!(pair.client.take(), []);
    pair.client.endpoint.handle_unreachable(pair.now, host);
    pair.turn();
    assert_eq!(failed(&mut pair.client), ConnectError::Unreachable);
    assert!(!pair.client.endpoint.is_connecting());
    pair.server.mute = false;
    pair.client
        .act(pair.now, |core| core.call(ours, "still there"));
    pair.run();
    assert_eq!(pair.client.answers().len(), 1);
}

#[test]
fn the_key_exchange_is_hybrid() {
    let mut pair = Pair::new();
    pair.dial();
    pair.turn();
    let share = 1184 + 32;
    assert!(
        pair.client.sent.1 > 1200,
        "a client's share of {share} bytes fits no single datagram"
    );
    pair.now += pair.latency;
    pair.turn();
    pair.now += pair.latency;
    pair.turn();
    let events = pair.client.take();
    assert!(
        matches!(events.as_slice(), [Event::Connected(..)]),
        "no second try: {events:?}"
    );
    assert!(pair.server.sent.1 > 1088 + 32, "the server chose it too");
}
