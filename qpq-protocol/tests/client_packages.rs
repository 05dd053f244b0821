//! Key packages that a server says not to take: their private keys go only when nobody can have them.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{asked, assert_agree, back, go_away, group, method, settle, told, world};
use net::{Late, Lie, Net};
use qpq_protocol::client::{Event, UnreadableReason};
use qpq_protocol::status::Status;

const REFUSED: Lie = |method, said| match method {
    method::UPLOAD_KEY_PACKAGE => Err(Status::BadRequest.code()),
    _ => said,
};

/// Bob's pool is used up but for one package, and he is about to fill it.
fn world_with_a_low_pool() -> Net {
    let mut net = world(&["alice", "bob"]);
    settle(&mut net);
    go_away(&mut net, 1);
    for _ in 1..net.client_config.package_target {
        group(&mut net, 0, &["bob"]);
    }
    net.asked.clear();
    net
}

/// Alice invites bob with all packages that the server has of him; how often he joins, and finds no key.
fn invited_with_all(net: &mut Net) -> (usize, usize) {
    let joined = |event: &Event| matches!(event, Event::Joined { .. });
    let shut = |event: &Event| {
        let why = UnreadableReason::BadWelcome;
        matches!(event, Event::Unreadable { why: own, .. } if *own == why)
    };
    let before = told(net, 1, joined);
    go_away(net, 1);
    let groups: Vec<_> = (0..net.client_config.package_target)
        .map(|_| group(net, 0, &["bob"]))
        .collect();
    back(net, 1);
    settle(net);
    for id in groups {
        assert_agree(net, &[0, 1], id);
    }
    (told(net, 1, joined) - before, told(net, 1, shut))
}

/// The first answer is lost, and the second is no.
#[test]
fn a_package_that_may_have_been_taken_before_it_was_refused_opens_an_invitation() {
    let mut net = world_with_a_low_pool();
    net.late
        .insert((1, Late::Answer(method::UPLOAD_KEY_PACKAGE)));
    back(&mut net, 1);
    net.pass(Duration::from_secs(1));
    assert_eq!(asked(&net, method::UPLOAD_KEY_PACKAGE), 2);
    net.lie = Some(REFUSED);
    net.cut_client(1);
    net.late.clear();
    settle(&mut net);
    assert_eq!(asked(&net, method::UPLOAD_KEY_PACKAGE), 4, "each again");
    net.lie = None;
    assert_eq!(invited_with_all(&mut net), (3, 0));
}

/// The server takes it and says no: who had its word that nobody has the package keeps no key for it.
#[test]
fn a_package_that_is_refused_at_once_is_forgotten() {
    let mut net = world_with_a_low_pool();
    net.lie = Some(REFUSED);
    back(&mut net, 1);
    settle(&mut net);
    assert_eq!(asked(&net, method::UPLOAD_KEY_PACKAGE), 2);
    net.lie = None;
    // He comes in all the same: he is in the tree.
    assert_eq!(invited_with_all(&mut net), (3, 2));
}
