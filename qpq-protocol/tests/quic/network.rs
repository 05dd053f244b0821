//! A network that changes, an endpoint that is to be quiet, and what a certificate may weigh.

use std::time::Duration;

use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::quic::{Effect, QuicConfig};

use crate::connections::failed;
use crate::echo::Event;
use crate::pair::{Pair, first_use};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Gives the client another address for each time it wants to bind another socket; how often it did.
fn rebind(pair: &mut Pair) -> usize {
    let mut effects = core::mem::take(&mut pair.client.effects);
    while let Some(effect) = pair.client.endpoint.poll_effect() {
        effects.push(effect);
    }
    let rebinds = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Rebind));
    let rebinds = rebinds.count();
    for _ in 0..rebinds {
        let port = pair.client.address.port() + 1;
        pair.client.address.set_port(port);
        pair.client.endpoint.handle_rebound(pair.now);
    }
    rebinds
}

/// Whether a call of the client is answered within this time.
fn is_answered(pair: &mut Pair, on: qpq_protocol::ids::ConnId, within: Duration) -> bool {
    pair.client.act(pair.now, |core| core.call(on, "there?"));
    pair.sleep(within);
    let told = pair.client.take();
    matches!(told.as_slice(), [Event::Answer(..)])
}

#[test]
fn a_connection_goes_on_over_another_path() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.client.endpoint.handle_network_changed(pair.now);
    assert_eq!(rebind(&mut pair), 1);
    // What is for the old address is lost from now on, so the client says where it is before it has
    // anything to say.
    pair.sleep(pair.latency * 5);
    pair.server.act(pair.now, |core| core.push(theirs, "news"));
    pair.sleep(pair.latency * 5);
    assert_eq!(pair.client.take(), [Event::Push(ours, "news".into())]);
    assert!(is_answered(&mut pair, ours, Duration::from_secs(1)));
    assert!(pair.server.take().is_empty(), "it is the same connection");
}

#[test]
fn a_socket_that_others_connect_to_stays() {
    let mut pair = Pair::new();
    pair.connect();
    pair.server.endpoint.handle_network_changed(pair.now);
    pair.run();
    let rebinds = |effect: &Effect| matches!(effect, Effect::Rebind);
    assert!(!pair.server.effects.iter().any(rebinds));
}

#[test]
fn a_change_every_millisecond_moves_it_once_a_second() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    let (mut rebinds, before) = (0, pair.client.sent.0);
    for _ in 0..3500 {
        pair.client.endpoint.handle_network_changed(pair.now);
        pair.sleep(MILLISECOND);
        rebinds += rebind(&mut pair);
    }
    assert_eq!(rebinds, 4, "at 0, 1, 2 and 3 seconds");
    let sent = pair.client.sent.0 - before;
    assert!(sent < 40, "{sent} datagrams");
    // The last change is attended to, too.
    pair.sleep(Duration::from_secs(1));
    assert_eq!(rebind(&mut pair), 1);
    assert!(is_answered(&mut pair, ours, Duration::from_secs(1)));
    pair.sleep(Duration::from_secs(10));
    assert_eq!(rebind(&mut pair), 0);
}

#[test]
fn an_attempt_begins_again_on_another_network() {
    let mut pair = Pair::new();
    pair.client.mute = true;
    pair.dial();
    pair.sleep(Duration::from_millis(1500));
    pair.client.mute = false;
    pair.client.endpoint.handle_network_changed(pair.now);
    rebind(&mut pair);
    // Otherwise it would repeat its first datagram a second and a half from now.
    pair.sleep(pair.latency * 4);
    let told = pair.client.take();
    assert!(
        matches!(told.as_slice(), [Event::Connected(..)]),
        "{told:?}"
    );
}

#[test]
fn who_is_suspended_sends_nothing_but_one_farewell() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    let before = pair.client.sent.0;
    assert!(!pair.client.endpoint.is_quiet());
    pair.client.act(pair.now, |core| core.call(ours, "unheard"));
    pair.client.endpoint.handle_suspend(pair.now);
    pair.turn();
    assert!(pair.client.endpoint.is_quiet());
    assert_eq!(pair.client.sent.0 - before, 1, "the farewell");
    pair.run();
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);

    // Whatever happens in an hour.
    let (from, mut seen) = (pair.server.address, pair.client.seen.clone());
    seen.push(bytes::BytesMut::from(&[0xc0; 1200][..]));
    for _ in 0..60 {
        for datagram in &seen {
            pair.client.receive(pair.now, from, 0, datagram);
        }
        pair.client.endpoint.handle_network_changed(pair.now);
        pair.client.endpoint.handle_reconnect(pair.now);
        pair.client.endpoint.handle_suspend(pair.now);
        pair.dial();
        pair.sleep(Duration::from_secs(60));
        assert_eq!(failed(&mut pair.client), ConnectError::Refused);
    }
    assert_eq!(pair.client.sent.0 - before, 1, "nothing");
    assert_eq!(pair.client.endpoint.connections(), 0);
    assert_eq!(rebind(&mut pair), 0);

    pair.client.endpoint.handle_resume(pair.now);
    pair.turn();
    assert_eq!(rebind(&mut pair), 1, "the system may have taken the socket");
    let (again, _) = pair.connect();
    assert!(is_answered(&mut pair, again, Duration::from_secs(1)));
}

#[test]
fn who_is_suspended_while_it_connects_is_not_connected() {
    let mut pair = Pair::new();
    pair.dial();
    pair.turn();
    pair.client.endpoint.handle_suspend(pair.now);
    pair.turn();
    assert!(matches!(
        pair.client.take().as_slice(),
        [Event::ConnectFailed(..)]
    ));
    pair.sleep(Duration::from_secs(30));
    assert_eq!(pair.client.take(), []);
    assert_eq!(pair.server.endpoint.connections(), 0);
}

/// A server whose certificate names this many hosts; its length in bytes.
fn heavy(hosts: usize) -> (Pair, usize) {
    let names: Vec<String> = (0..hosts).map(|i| format!("host-{i:05}.example")).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("rcgen works");
    let certificate = made.cert.der().to_vec();
    let length = certificate.len();
    let key = made.signing_key.serialize_der();
    let config = QuicConfig::server(certificate, key, &[Alpn::Qpq]).expect("the key parses");
    (Pair::with(&config, &first_use()), length)
}

#[test]
fn a_certificate_is_told_as_its_hash_however_long_it_is() {
    let (mut pair, length) = heavy(3000);
    assert!((60_000..65_000).contains(&length), "{length}");
    pair.dial();
    pair.run();
    let told = pair.client.take();
    let [Event::Connected(_, peer, _)] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(peer.certificate.is_some());
}
