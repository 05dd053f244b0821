//! The server core from outside: raw frames against the memory engine.

mod support;

use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use support::World;
use support::account::User;

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

#[test]
fn an_account_registers_logs_in_resumes_and_logs_out() {
    let mut world = World::default();
    let conn = world.connect();
    let alice = User::new("alice");
    alice.register(&mut world, conn).unwrap();
    let login = alice.log_in(&mut world, conn).unwrap();
    assert_eq!(login.token.len(), 32);
    assert!(!login.sealed_identity.is_empty());
    let resolve = proto::ResolveUserRequest {
        username: "alice".to_owned(),
    };
    let found = world.call::<rpc::ResolveUser>(conn, &resolve).unwrap();
    assert_eq!(found.identity_key, alice.key());

    let mut world = world.restart([2; 32]);
    let conn = world.connect();
    let resume = proto::ResumeSessionRequest {
        auth: Some(proto::Auth {
            access_token: login.token.clone(),
            device_id: Default::default(),
        }),
        ..proto::ResumeSessionRequest::default()
    };
    let resumed = world.call::<rpc::ResumeSession>(conn, &resume).unwrap();
    assert_eq!(resumed.identity_key, alice.key());
    let back = proto::ResolveIdentityRequest {
        identity_key: alice.key(),
    };
    let found = world.call::<rpc::ResolveIdentity>(conn, &back).unwrap();
    assert_eq!(found.username, "alice");
    world
        .call::<rpc::Logout>(conn, &proto::LogoutRequest {})
        .unwrap();
    let refused = world.call::<rpc::ResolveIdentity>(conn, &back).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
    let refused = world.call::<rpc::ResumeSession>(conn, &resume).unwrap_err();
    assert_eq!(refused.status, Status::Unauthorized);
}
