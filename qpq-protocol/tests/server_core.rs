//! The server core from outside: raw frames against the memory engine.

mod support;

use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use support::World;

#[test]
fn a_fresh_server_says_who_it_is() {
    let mut world = World::default();
    let conn = world.connect();
    let health = world
        .call::<rpc::Health>(conn, &proto::HealthRequest {})
        .unwrap();
    assert_eq!(health.status, "ok");
    let info = world
        .call::<rpc::GetServerInfo>(conn, &proto::GetServerInfoRequest {})
        .unwrap();
    assert_eq!(info.domain, "localhost");
    assert_eq!(info.signing_key.as_ref(), world.signing_key().as_bytes());
    assert_eq!(info.max_payload, 4 * 1024 * 1024);
}

#[test]
fn a_server_keeps_its_keys_over_a_restart() {
    let world = World::default();
    let key = world.signing_key();
    assert_eq!(world.restart([9; 32]).signing_key(), key);
    assert_ne!(
        World::on(support::roomy(), Default::default(), [9; 32]).signing_key(),
        key
    );
}
