//! Key packages and hybrid keys: protocol.md §5.12, §5.20 and §5.21.

use std::time::Duration;

use bytes::Bytes;
use qpq_crypto::identity::{Credential, DeviceId};
use qpq_crypto::mls::{Device, Suite};
use qpq_protocol::ids::ConnId;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use sha2::{Digest, Sha256};

use crate::requests::status;
use crate::support::account::User;
use crate::support::{BEGIN, Refused, World};

/// A key package of a user's default device.
pub fn key_package(user: &User, number: u8, last_resort: bool) -> Bytes {
    let credential = Credential {
        identity_key: user.secret.public(),
        device_id: DeviceId::DEFAULT,
        created_at_ms: BEGIN.as_millis(),
        certificate: None,
    };
    let mut device =
        Device::new(user.secret.default_device(), credential, Vec::new()).expect("a device");
    let package = device
        .key_package(&[number; 32], Suite::X25519, BEGIN.as_millis(), last_resort)
        .expect("a key package");
    package.bytes.into()
}

pub fn upload(
    world: &mut World,
    conn: ConnId,
    user: &User,
    package: &Bytes,
    last_resort: bool,
) -> Result<Bytes, Refused> {
    let request = proto::UploadKeyPackageRequest {
        identity_key: user.key(),
        package: package.clone(),
        device_id: Bytes::new(),
        last_resort,
        replace: false,
    };
    let done = world.call::<rpc::UploadKeyPackage>(conn, &request)?;
    Ok(done.fingerprint)
}

pub fn fetch(world: &mut World, conn: ConnId, user: &User) -> Bytes {
    let request = proto::FetchKeyPackageRequest {
        identity_key: user.key(),
        device_id: Bytes::new(),
    };
    let fetched = world.call::<rpc::FetchKeyPackage>(conn, &request);
    fetched.expect("an answer").package
}

pub fn count(world: &mut World, conn: ConnId, user: &User) -> (u32, bool) {
    let request = proto::CountKeyPackagesRequest {
        identity_key: user.key(),
        device_id: Bytes::new(),
    };
    let counted = world
        .call::<rpc::CountKeyPackages>(conn, &request)
        .expect("a count");
    (counted.count, counted.last_resort_used)
}

#[test]
fn a_key_package_is_given_out_once_then_the_last_resort() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let (one, two) = (key_package(&bob, 1, false), key_package(&bob, 2, false));
    let last = key_package(&bob, 3, true);
    let fingerprint = upload(&mut world, bobs, &bob, &one, false).expect("uploaded");
    assert_eq!(fingerprint.as_ref(), Sha256::digest(&one).as_slice());
    upload(&mut world, bobs, &bob, &two, false).expect("uploaded");
    upload(&mut world, bobs, &bob, &last, true).expect("uploaded");
    assert_eq!(count(&mut world, bobs, &bob), (2, false));
    assert!(fetch(&mut world, alices, &bob) == one);
    assert!(fetch(&mut world, alices, &bob) == two);
    assert_eq!(count(&mut world, bobs, &bob), (0, false));
    assert!(fetch(&mut world, alices, &bob) == last);
    assert!(fetch(&mut world, alices, &bob) == last);
    assert_eq!(count(&mut world, bobs, &bob), (0, true));
    let fresh = key_package(&bob, 4, true);
    upload(&mut world, bobs, &bob, &fresh, true).expect("uploaded");
    assert_eq!(count(&mut world, bobs, &bob), (0, false));
    assert!(fetch(&mut world, alices, &bob) == fresh);
}

#[test]
fn a_package_that_was_taken_is_not_put_back_by_a_retry() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let one = key_package(&bob, 1, false);
    upload(&mut world, bobs, &bob, &one, false).expect("uploaded");
    upload(&mut world, bobs, &bob, &one, false).expect("no error, nothing to do");
    assert_eq!(count(&mut world, bobs, &bob), (1, false));
    assert!(fetch(&mut world, alices, &bob) == one);
    upload(&mut world, bobs, &bob, &one, false).expect("no error, nothing to do");
    assert!(fetch(&mut world, alices, &bob).is_empty());
}

#[test]
fn two_who_fetch_at_once_get_different_packages() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (_, carols) = world.user("carol");
    let (bob, bobs) = world.user("bob");
    for number in 1..=2 {
        let package = key_package(&bob, number, false);
        upload(&mut world, bobs, &bob, &package, false).expect("uploaded");
    }
    let request = proto::FetchKeyPackageRequest {
        identity_key: bob.key(),
        device_id: Bytes::new(),
    };
    world.hold_storage = true;
    let one = world.send::<rpc::FetchKeyPackage>(alices, &request);
    let two = world.send::<rpc::FetchKeyPackage>(carols, &request);
    while !world.stored.is_empty() {
        world.run_storage(1);
        world.pump();
    }
    world.hold_storage = false;
    let one = world
        .response::<rpc::FetchKeyPackage>(alices, one)
        .expect("an answer");
    let two = world
        .response::<rpc::FetchKeyPackage>(carols, two)
        .expect("an answer");
    assert!(!one.package.is_empty() && !two.package.is_empty());
    assert!(one.package != two.package);
}

#[test]
fn one_package_of_each_device_is_fetched_at_once() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let request = proto::FetchKeyPackagesRequest {
        identity_key: bob.key(),
    };
    let none = world
        .call::<rpc::FetchKeyPackages>(alices, &request)
        .expect("an answer");
    assert!(none.packages.is_empty());
    let one = key_package(&bob, 1, false);
    upload(&mut world, bobs, &bob, &one, false).expect("uploaded");
    let fetched = world
        .call::<rpc::FetchKeyPackages>(alices, &request)
        .expect("an answer");
    let expected = proto::DeviceKeyPackage {
        device_id: Bytes::new(),
        package: one,
    };
    assert_eq!(fetched.packages, [expected]);
    let unknown = proto::FetchKeyPackagesRequest {
        identity_key: User::new("nobody").key(),
    };
    let refused = world.call::<rpc::FetchKeyPackages>(alices, &unknown);
    assert_eq!(status(refused), Status::NotFound);
}

#[test]
fn a_bad_package_is_refused() {
    let mut world = World::default();
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let mine = key_package(&alice, 1, false);
    let refused = upload(&mut world, bobs, &bob, &mine, false);
    assert_eq!(status(refused), Status::BadRequest, "somebody else's");
    let refused = upload(&mut world, alices, &alice, &mine, true);
    assert_eq!(status(refused), Status::BadRequest, "it is no last resort");
    let mut broken = mine.to_vec();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    let refused = upload(&mut world, alices, &alice, &broken.into(), false);
    assert_eq!(
        status(refused),
        Status::BadRequest,
        "its signature is wrong"
    );
    let garbage = Bytes::from_static(b"no key package");
    let refused = upload(&mut world, alices, &alice, &garbage, false);
    assert_eq!(status(refused), Status::BadRequest);
    world.advance(Duration::from_secs(400 * 24 * 3600));
    let conn = world.connect();
    alice.log_in(&mut world, conn).expect("logged in");
    let refused = upload(&mut world, conn, &alice, &mine, false);
    assert_eq!(status(refused), Status::BadRequest, "its lifetime is over");
}

#[test]
fn a_device_has_a_bounded_pool() {
    let mut config = crate::support::roomy();
    config.limits.key_packages = 2;
    let mut world = World::new(config);
    let (bob, bobs) = world.user("bob");
    for number in 1..=2 {
        let package = key_package(&bob, number, false);
        upload(&mut world, bobs, &bob, &package, false).expect("uploaded");
    }
    let third = key_package(&bob, 3, false);
    let refused = upload(&mut world, bobs, &bob, &third, false);
    assert_eq!(status(refused), Status::QuotaExceeded);
}

/// A device that was set back has lost the private keys of what it once uploaded.
#[test]
fn a_device_replaces_all_its_packages_at_once_and_nobody_elses() {
    let mut config = crate::support::roomy();
    config.limits.key_packages = 2;
    let mut world = World::new(config);
    let (alice, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let hers = key_package(&alice, 1, false);
    upload(&mut world, alices, &alice, &hers, false).expect("uploaded");
    let old = [1, 2].map(|number| key_package(&bob, number, false));
    for package in &old {
        upload(&mut world, bobs, &bob, package, false).expect("uploaded");
    }
    let old_last = key_package(&bob, 3, true);
    upload(&mut world, bobs, &bob, &old_last, true).expect("uploaded");
    let replace = |package: &Bytes| proto::UploadKeyPackageRequest {
        identity_key: bob.key(),
        package: package.clone(),
        device_id: Bytes::new(),
        last_resort: false,
        replace: true,
    };
    let stored = |world: &World| {
        let keys = world.memory.rows().map(|(key, _)| key);
        keys.filter(|key| key.starts_with(b"K")).count()
    };
    assert_eq!(stored(&world), 4);

    // The pool is full, and has room all the same: the others go in the same commit.
    let fresh = key_package(&bob, 4, false);
    let done = world.call::<rpc::UploadKeyPackage>(bobs, &replace(&fresh));
    done.expect("in place of the others");
    assert_eq!(count(&mut world, bobs, &bob), (1, false));
    assert_eq!(stored(&world), 2);
    let second = key_package(&bob, 5, false);
    upload(&mut world, bobs, &bob, &second, false).expect("beside it");
    // Its answer was lost: what came after it stays, and what went does not come back.
    let again = world.call::<rpc::UploadKeyPackage>(bobs, &replace(&fresh));
    again.expect("known");
    upload(&mut world, bobs, &bob, &old[0], false).expect("known");
    assert_eq!(count(&mut world, bobs, &bob), (2, false));

    // One that is refused replaces nothing.
    let broken = fresh.slice(..fresh.len() - 1);
    let refused = world.call::<rpc::UploadKeyPackage>(bobs, &replace(&broken));
    assert_eq!(status(refused), Status::BadRequest);
    let refused = world.call::<rpc::UploadKeyPackage>(alices, &replace(&fresh));
    assert_eq!(status(refused), Status::Forbidden);
    assert!(fetch(&mut world, alices, &bob) == fresh);
    assert!(fetch(&mut world, alices, &bob) == second);
    assert!(fetch(&mut world, alices, &bob).is_empty(), "no last resort");
    assert!(fetch(&mut world, bobs, &alice) == hers);
}

#[test]
fn hybrid_keys_are_signed_and_only_get_newer() {
    let mut world = World::default();
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let begin = BEGIN.as_millis();
    let signed = |number: u8, created_at_ms: u64| {
        let key = [number; 1216];
        let signature = qpq_crypto::proof::hybrid_key(&bob.secret, &key, created_at_ms);
        proto::UploadHybridKeyRequest {
            identity_key: bob.key(),
            hybrid_public_key: Bytes::copy_from_slice(&key),
            signature: Bytes::copy_from_slice(&signature),
            created_at_ms,
        }
    };
    let unsigned = proto::UploadHybridKeyRequest {
        signature: Bytes::from_static(&[0; 64]),
        ..signed(1, begin)
    };
    let refused = world.call::<rpc::UploadHybridKey>(bobs, &unsigned);
    assert_eq!(status(refused), Status::BadRequest);
    world
        .call::<rpc::UploadHybridKey>(bobs, &signed(2, begin))
        .expect("uploaded");
    world
        .call::<rpc::UploadHybridKey>(bobs, &signed(2, begin))
        .expect("the same again");
    let older = world.call::<rpc::UploadHybridKey>(bobs, &signed(1, begin - 1));
    assert_eq!(status(older), Status::Conflict);
    let future = world.call::<rpc::UploadHybridKey>(bobs, &signed(3, begin + 3_600_000));
    assert_eq!(status(future), Status::BadRequest);
    let request = proto::FetchHybridKeysRequest {
        identity_keys: vec![User::new("nobody").key(), bob.key()],
    };
    let keys = world
        .call::<rpc::FetchHybridKeys>(alices, &request)
        .expect("keys");
    assert!(keys.keys[0].is_empty() && keys.signatures[0].is_empty());
    assert_eq!(keys.keys[1].as_ref(), [2; 1216]);
    assert_eq!(keys.created_at_ms, [0, begin]);
    let request = proto::FetchHybridKeyRequest {
        identity_key: bob.key(),
    };
    let key = world
        .call::<rpc::FetchHybridKey>(alices, &request)
        .expect("a key");
    assert_eq!(key.signature, keys.signatures[1]);
}

#[test]
fn nobody_uploads_for_another_device() {
    let mut world = World::default();
    let (bob, bobs) = world.user("bob");
    let request = proto::UploadKeyPackageRequest {
        identity_key: bob.key(),
        package: key_package(&bob, 1, false),
        device_id: Bytes::copy_from_slice(DeviceId::new([7; 16]).as_bytes()),
        last_resort: false,
        replace: false,
    };
    let refused = world.call::<rpc::UploadKeyPackage>(bobs, &request);
    assert_eq!(status(refused), Status::Forbidden);
}

/// A core remembers rows that another one has changed since.
#[test]
fn no_answer_rests_on_what_one_core_remembers() {
    let mut one = World::default();
    let (_, alices) = one.user("alice");
    let (bob, bobs) = one.user("bob");
    let memory = std::mem::take(&mut one.memory);
    let mut other = World::on(crate::support::roomy(), memory, [2; 32]);
    let bobs_other = other.connect();
    bob.log_in(&mut other, bobs_other).expect("logged in");
    let to = |from: &mut World, to: &mut World| to.memory = std::mem::take(&mut from.memory);

    to(&mut other, &mut one);
    assert!(fetch(&mut one, alices, &bob).is_empty(), "none left");
    to(&mut one, &mut other);
    let first = key_package(&bob, 1, false);
    upload(&mut other, bobs_other, &bob, &first, false).expect("uploaded");
    to(&mut other, &mut one);
    assert!(fetch(&mut one, alices, &bob) == first);

    let last = key_package(&bob, 2, true);
    upload(&mut one, bobs, &bob, &last, true).expect("uploaded");
    for _ in 0..2 {
        assert!(fetch(&mut one, alices, &bob) == last);
    }
    to(&mut one, &mut other);
    let single = key_package(&bob, 3, false);
    upload(&mut other, bobs_other, &bob, &single, false).expect("uploaded");
    to(&mut other, &mut one);
    assert!(fetch(&mut one, alices, &bob) == single);
    assert!(fetch(&mut one, alices, &bob) == last);
}

#[test]
fn what_is_known_of_uploads_is_bounded_and_ends() {
    let mut config = crate::support::roomy();
    config.limits.key_package_uploads.count = 3;
    let mut world = World::new(config);
    let (_, alices) = world.user("alice");
    let (bob, bobs) = world.user("bob");
    let seen = |world: &World| {
        let mut keys = world.memory.rows().map(|(key, _)| key);
        keys.by_ref().filter(|key| key.starts_with(b"U")).count()
    };
    for number in 1..=3 {
        let package = key_package(&bob, number, true);
        upload(&mut world, bobs, &bob, &package, true).expect("uploaded");
        upload(&mut world, bobs, &bob, &package, true).expect("not counted again");
    }
    let fourth = key_package(&bob, 4, true);
    let refused = upload(&mut world, bobs, &bob, &fourth, true);
    assert_eq!(status(refused), Status::RateLimited);
    assert_eq!(seen(&world), 3);
    world.advance(Duration::from_secs(31 * 24 * 3600));
    let bobs = world.connect();
    bob.log_in(&mut world, bobs).expect("logged in");
    // What is still there is not there twice.
    let third = key_package(&bob, 3, true);
    upload(&mut world, bobs, &bob, &third, true).expect("known");
    world.advance(Duration::from_secs(3600));
    assert_eq!(seen(&world), 0);
    let conn = world.connect();
    User::new("alice")
        .log_in(&mut world, conn)
        .expect("logged in");
    assert!(fetch(&mut world, conn, &bob) == third);
    let _ = alices;
}
