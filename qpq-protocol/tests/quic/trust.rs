//! Which servers are believed, and which identities are refused at the start.

use std::time::Duration;

use qpq_protocol::io::{Alpn, ConnectError};
use qpq_protocol::quic::{QuicConfig, Trust};
use qpq_protocol::time::UnixTime;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::connections::failed;
use crate::echo::Event;
use crate::pair::{Identity, Node, Pair, TODAY};

#[test]
fn only_the_first_certificate_seen_is_accepted_from_then_on() {
    let mut pair = Pair::new();
    pair.connect();
    pair.server = Node::new("[::1]:5001", &Identity::new().config(), pair.epoch, 3);
    pair.client.take();
    pair.dial();
    pair.run();
    let events = pair.client.take();
    let changed = |event: &Event| matches!(event, Event::ConnectFailed(_, why) if *why == ConnectError::CertificateChanged);
    assert!(events.iter().any(changed), "{events:?}");
}

#[test]
fn an_authority_vouches_for_names_and_dates() {
    let authority_key = KeyPair::generate().expect("keys");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).expect("signs");
    let issuer = Issuer::from_params(&authority, &authority_key);
    let key = KeyPair::generate().expect("keys");
    let mut own = CertificateParams::new(vec!["::1".into()]).expect("names");
    own.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let signed = own.signed_by(&key, &issuer).expect("signs");
    let server = |certificate: &[u8], key: &KeyPair| {
        QuicConfig::server(certificate.to_vec(), key.serialize_der(), &[Alpn::Qpq]).expect("key")
    };
    let trust = QuicConfig::client(Trust::Authority(root.der().to_vec()));

    let mut pair = Pair::with(&server(signed.der(), &key), &trust);
    pair.connect();

    // The date is the one that the embedder tells.
    let later = UnixTime::from_millis(TODAY.as_millis() + 4 * 366 * 86_400_000);
    pair.today = later;
    pair.sleep(Duration::from_secs(60));
    assert!(pair.client.core().unix >= later);
    pair.dial();
    pair.run();
    let why = failed(&mut pair.client);
    assert_eq!(why, ConnectError::CertificateUntrusted, "expired");

    // It goes on by itself between two times of telling.
    let mut pair = Pair::with(&server(signed.der(), &key), &trust);
    pair.now += Duration::from_secs(4 * 366 * 86_400);
    pair.dial();
    pair.run();
    let why = failed(&mut pair.client);
    assert_eq!(why, ConnectError::CertificateUntrusted, "expired");

    let other = CertificateParams::new(vec!["elsewhere.example".into()]).expect("names");
    let signed = other.signed_by(&key, &issuer).expect("signs");
    let mut pair = Pair::with(&server(signed.der(), &key), &trust);
    pair.dial();
    pair.run();
    let why = failed(&mut pair.client);
    assert_eq!(why, ConnectError::CertificateUntrusted, "another name");
}

#[test]
fn a_certificate_without_its_key_is_refused_at_the_start() {
    let (a, b) = (Identity::new(), Identity::new());
    let mixed = QuicConfig::server(a.certificate, b.key, &[Alpn::Qpq]).expect("it parses");
    let pair = Pair::new();
    let core = crate::echo::Echo::default();
    let made =
        qpq_protocol::quic::Endpoint::new(&mixed, core, pair.epoch, TODAY, [0; 32]).map(drop);
    assert_eq!(made, Err(qpq_protocol::quic::ConfigError::BadIdentity));
    let rubbish = QuicConfig::server(vec![1], vec![2], &[Alpn::Qpq]).map(drop);
    assert_eq!(rubbish, Err(qpq_protocol::quic::ConfigError::BadIdentity));
}
