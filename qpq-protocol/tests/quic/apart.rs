//! Connections with a socket of their own: nobody on the way, the server included, can tell whose else they are.

use std::time::Duration;

use bytes::BytesMut;
use qpq_protocol::ids::ConnId;
use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::quic::{Effect, SocketId};

use crate::echo::Event;
use crate::pair::{Pair, address_of};

const FIRST: SocketId = SocketId(1);

/// One more connection of the client's, with a socket of its own.
fn connect_apart(pair: &mut Pair) -> (ConnId, ConnId) {
    let address = pair.server.address.to_string();
    pair.client
        .act(pair.now, |core| core.connect_apart(&address, Alpn::Qpq));
    pair.run();
    let (ours, theirs) = (pair.client.take(), pair.server.take());
    match (&ours[..], &theirs[..]) {
        ([Event::Connected(ours, ..)], [Event::Connected(theirs, peer, _)]) => {
            assert_eq!(peer.address, address_of(pair.client.address, Some(FIRST)));
            (*ours, *theirs)
        }
        other => panic!("{other:?}"),
    }
}

fn is_answered(pair: &mut Pair, on: ConnId) -> bool {
    pair.client.act(pair.now, |core| core.call(on, "there?"));
    pair.run();
    let told = pair.client.take();
    matches!(told.as_slice(), [Event::Answer(..)])
}

/// Which sockets were to be opened and closed so far.
fn sockets(pair: &Pair) -> (Vec<SocketId>, Vec<SocketId>) {
    let effects = || pair.client.effects.iter();
    let opened = effects().filter_map(|effect| match effect {
        Effect::OpenSocket(socket) => Some(*socket),
        _ => None,
    });
    let closed = effects().filter_map(|effect| match effect {
        Effect::CloseSocket(socket) => Some(*socket),
        _ => None,
    });
    (opened.collect(), closed.collect())
}

#[test]
fn it_has_a_socket_of_its_own_that_goes_with_it() {
    let mut pair = Pair::new();
    let (first, _) = pair.connect();
    let (ours, theirs) = connect_apart(&mut pair);
    assert!(is_answered(&mut pair, first) && is_answered(&mut pair, ours));
    assert_eq!(sockets(&pair), (vec![FIRST], vec![]));
    pair.client.act(pair.now, |core| core.close(ours, 0));
    pair.run();
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
    assert_eq!(sockets(&pair), (vec![FIRST], vec![FIRST]));
    pair.client.take();
    assert!(is_answered(&mut pair, first), "it goes on");
}

/// Who has seen datagrams of one connection sends them to the socket of another, to learn whether both are one
/// device's.
#[test]
fn what_comes_to_another_socket_is_not_heard() {
    let mut pair = Pair::new();
    let (first, first_there) = pair.connect();
    let (ours, theirs) = connect_apart(&mut pair);
    for (conn, other) in [(first_there, Some(FIRST)), (theirs, None)] {
        pair.server.act(pair.now, |core| core.push(conn, "news"));
        pair.turn();
        let mut strays = pair.client.intercept();
        assert!(!strays.is_empty());
        // Of no connection at all.
        strays.push(BytesMut::from(&[0x5a; 1200][..]));
        let sent = pair.client.sent;
        let server = pair.server.address;
        for stray in strays {
            pair.client.receive_at(pair.now, other, server, 0, &stray);
        }
        pair.turn();
        assert!(pair.client.take().is_empty());
        assert_eq!(pair.client.sent, sent, "nothing is answered");
        // Sent again, to where it belongs.
        pair.run();
        let told = pair.client.take();
        assert!(matches!(told.as_slice(), [Event::Push(..)]), "{told:?}");
    }
    pair.run();
    pair.client.take();
    assert!(is_answered(&mut pair, first) && is_answered(&mut pair, ours));
}

/// Its own socket answers to datagrams of a connection that is over: the peer may have forgotten that.
#[test]
fn nothing_is_reset_there() {
    let mut pair = Pair::new();
    let (first, first_there) = pair.connect();
    connect_apart(&mut pair);
    pair.server
        .act(pair.now, |core| core.push(first_there, "n".repeat(500)));
    pair.turn();
    let strays = pair.client.intercept();
    pair.client.act(pair.now, |core| core.close(first, 0));
    pair.sleep(Duration::from_secs(30));
    let server = pair.server.address;
    for (socket, answers) in [(Some(FIRST), 0), (None, 1)] {
        pair.sleep(Duration::from_secs(1));
        let sent = pair.client.sent.0;
        pair.client
            .receive_at(pair.now, socket, server, 0, &strays[0]);
        pair.turn();
        assert_eq!(pair.client.sent.0 - sent, answers, "{socket:?}");
    }
}

#[test]
fn without_a_socket_it_comes_to_nothing() {
    let mut pair = Pair::new();
    let (first, _) = pair.connect();
    let address = pair.server.address.to_string();
    let connect = |core: &mut crate::echo::Echo| core.connect_apart(&address, Alpn::Qpq);
    let ticket = pair.client.act(pair.now, connect);
    pair.client.mute = true;
    pair.turn();
    pair.client.mute = false;
    pair.client.endpoint.handle_no_socket(pair.now, FIRST);
    pair.run();
    let failed = Event::ConnectFailed(ticket, ConnectError::Refused);
    assert_eq!(pair.client.take(), [failed]);
    pair.sleep(Duration::from_secs(10));
    assert_eq!(sockets(&pair), (vec![FIRST], vec![FIRST]));
    assert!(is_answered(&mut pair, first));
}

#[test]
fn it_ends_where_the_network_changes() {
    let mut pair = Pair::new();
    let (first, _) = pair.connect();
    let (ours, _) = connect_apart(&mut pair);
    pair.client.endpoint.handle_network_changed(pair.now);
    pair.client.endpoint.handle_rebound(pair.now);
    pair.run();
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
    assert_eq!(sockets(&pair), (vec![FIRST], vec![FIRST]));
    assert!(is_answered(&mut pair, first), "it goes on");
}
