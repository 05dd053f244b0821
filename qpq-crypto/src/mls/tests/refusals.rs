//! What is not let in: changed bytes, foreign bytes, leaves that lie about their owner, groups
//! that lose their profile. Nothing panics, and nothing that is refused leaves a trace.

use openmls::{
    extensions::Extensions,
    prelude::{
        BasicCredential, CredentialWithKey, KeyPackageIn, LeafNodeIndex, LeafNodeParameters,
        OpenMlsProvider as _, ProtocolVersion,
        tls_codec::{DeserializeBytes as _, Serialize as _},
    },
};
use proptest::prelude::*;

use super::*;

/// Every variant of `bytes` with one bit of one byte turned.
fn tampered(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).map(|at| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << (at % 8);
        changed
    })
}

/// A device whose certificate is for another key.
fn impostor(name: u8) -> Phone {
    let identity = IdentitySecret::from_seed([name; 32]);
    let certified = DeviceSecret::from_seed([1; 32]).public();
    let credential = Credential::issue(&identity, DeviceId::new([name; 16]), certified, NOW);
    let device = Device::new(DeviceSecret::from_seed([2; 32]), credential, []).unwrap();
    Phone::with(name, device)
}

#[test]
fn a_key_package_says_whose_it_is() {
    for suite in Suite::OFFERED {
        let mut phone = Phone::new(1);
        for last_resort in [false, true] {
            let made = phone
                .device
                .key_package(&[last_resort as u8; 32], suite, NOW, last_resort)
                .unwrap();
            let info = inspect_key_package(&made.bytes, NOW).unwrap();
            assert_eq!(info.suite, suite);
            assert_eq!(info.credential, *phone.device.credential());
            assert_eq!(info.device_key, phone.device.secret().public());
            assert_eq!(info.reference, made.reference);
            assert_eq!(info.last_resort, last_resort);
            assert!(inspect_key_package(&made.bytes, info.not_before).is_ok());
            assert!(inspect_key_package(&made.bytes, info.not_after).is_ok());
            for outside in [info.not_before - 1, info.not_after + 1] {
                assert_eq!(
                    inspect_key_package(&made.bytes, outside),
                    Err(KeyPackageError::Expired)
                );
            }
        }
        let held = phone.device.key_packages().unwrap();
        assert_eq!(held.len(), 2);
        assert!(
            held.iter()
                .all(|k| k.created_at_ms == NOW && k.suite == suite)
        );
        phone.device.delete_key_package(&held[0].reference);
        assert_eq!(phone.device.key_packages().unwrap(), held[1..]);
    }
}

#[test]
fn the_default_device_needs_no_certificate() {
    let identity = IdentitySecret::from_seed([1; 32]);
    let secret = identity.default_device();
    let credential = Credential::issue(&identity, DeviceId::DEFAULT, secret.public(), NOW);
    let device = Device::new(secret, credential, []).unwrap();
    let mut phones = vec![Phone::with(1, device), Phone::new(2)];
    let package = phones[0].key_package(Suite::X25519).bytes;
    let info = inspect_key_package(&package, NOW).unwrap();
    assert_eq!(info.credential, credential);
    assert_eq!(info.device_key.as_bytes(), identity.public().as_bytes());
    let groups = together(Suite::X25519, &mut phones);
    assert!(groups[1].members()[0].device_id.is_default());
}

#[test]
fn a_last_resort_key_package_serves_twice() {
    let mut phone = Phone::new(9);
    let package = phone
        .device
        .key_package(&[9; 32], Suite::X25519, NOW, true)
        .unwrap();
    for founder in [1, 2] {
        let mut founder = Phone::new(founder);
        let id = [founder.name];
        let mut group = Group::create(&mut founder.device, &[1; 32], Suite::X25519, &id).unwrap();
        let out = group
            .add(&mut founder.device, &[2; 32], &[&package.bytes], NOW)
            .unwrap();
        let welcome = out.welcome.unwrap();
        let named = welcome_references(&welcome).unwrap();
        assert!(named.iter().eq([&package.reference]));
        Group::join(&mut phone.device, &welcome, None, Policy::Qpq).unwrap();
    }
    assert_eq!(phone.device.groups(), [[1], [2]]);
}

#[test]
fn tampered_key_packages_are_refused() {
    let bytes = Phone::new(1).key_package(Suite::MlKem768X25519).bytes;
    for changed in tampered(&bytes) {
        assert!(inspect_key_package(&changed, NOW).is_err());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(
        inspect_key_package(&longer, NOW),
        Err(KeyPackageError::Malformed)
    );
}

#[test]
fn tampered_welcomes_are_refused_and_use_nothing_up() {
    let (mut founder, mut phone) = (Phone::new(1), Phone::new(2));
    let package = phone.key_package(Suite::X25519).bytes;
    let mut group = Group::create(&mut founder.device, &[1; 32], Suite::X25519, GROUP).unwrap();
    let out = group
        .add(&mut founder.device, &[2; 32], &[&package], NOW)
        .unwrap();
    let welcome = out.welcome.unwrap();
    for changed in tampered(&welcome) {
        assert!(Group::join(&mut phone.device, &changed, None, Policy::Qpq).is_err());
    }
    assert!(phone.device.take_batch().is_empty());
    Group::join(&mut phone.device, &welcome, None, Policy::Qpq).unwrap();
    assert_eq!(
        Group::join(&mut phone.device, &out.commit, None, Policy::Qpq).err(),
        Some(JoinError::Malformed)
    );
}

#[test]
fn tampered_group_infos_are_refused() {
    let mut phones = names([1, 2]);
    let groups = together(Suite::X25519, &mut phones);
    let group_info = groups[0].group_info(&phones[0].device).unwrap();
    let device = &mut phones[1].device;
    for changed in tampered(&group_info) {
        assert!(Group::rejoin(device, &[1; 32], &changed, None, Policy::Qpq).is_err());
    }
    assert!(device.take_batch().is_empty());
    assert!(Group::load(device, GROUP).unwrap().is_some());
}

#[test]
fn tampered_messages_are_refused_and_the_true_one_still_reads() {
    let mut phones = names([1, 2, 3]);
    let mut groups = together(Suite::X25519, &mut phones);
    let [sender, receiver, third] = phones.as_mut_slice() else {
        unreachable!()
    };
    let said = groups[0]
        .encrypt(&mut sender.device, &[1; 32], b"x")
        .unwrap();
    let leave = groups[2].leave(&mut third.device, &[3; 32]).unwrap();
    let update = groups[0].update(&mut sender.device, &[2; 32]).unwrap();
    groups[0].confirm_pending(&mut sender.device).unwrap();
    for message in [said, leave, update.commit] {
        let epoch = groups[1].epoch();
        for changed in tampered(&message) {
            groups[1]
                .process(&mut receiver.device, &changed)
                .unwrap_err();
        }
        assert_eq!(groups[1].epoch(), epoch);
        assert!(receiver.device.take_batch().is_empty());
        groups[1].process(&mut receiver.device, &message).unwrap();
        receiver.save();
    }
    assert_eq!(
        groups[1].epoch_authenticator(),
        groups[0].epoch_authenticator()
    );
}

#[test]
fn messages_of_another_group_are_void() {
    let mut phones = names([1, 2]);
    let mut groups = together(Suite::X25519, &mut phones);
    let mut other =
        Group::create(&mut phones[0].device, &[1; 32], Suite::X25519, b"other").unwrap();
    let message = other
        .encrypt(&mut phones[0].device, &[2; 32], b"x")
        .unwrap();
    let error = groups[1]
        .process(&mut phones[1].device, &message)
        .unwrap_err();
    assert_eq!(error.kind, ProcessErrorKind::Void);
}

#[test]
fn key_packages_are_refused_by_name() {
    let mut phones = names([1, 2]);
    let mut groups = together(Suite::X25519, &mut phones);
    let good = Phone::new(3).key_package(Suite::X25519).bytes;
    let other_suite = Phone::new(4).key_package(Suite::MlKem768X25519).bytes;
    let lying = impostor(5).key_package(Suite::X25519).bytes;
    let member = phones[1].key_package(Suite::X25519).bytes;

    let mut add =
        |packages: &[&[u8]], now| groups[0].add(&mut phones[0].device, &[9; 32], packages, now);
    let refused = |index, error| Err(GroupError::KeyPackage { index, error });
    assert_eq!(
        add(&[&good, &other_suite], NOW),
        refused(1, KeyPackageError::Suite(0x004F))
    );
    assert_eq!(
        add(&[&good, &lying], NOW),
        refused(1, KeyPackageError::Leaf(BadLeaf::Certificate))
    );
    assert_eq!(add(&[&good], NOW * 2), refused(0, KeyPackageError::Expired));
    assert_eq!(
        add(&[b"no key package"], NOW),
        refused(0, KeyPackageError::Suite(0x206B))
    );
    assert_eq!(
        add(&[&good, &member], NOW),
        refused(1, KeyPackageError::AlreadyIn)
    );
    assert_eq!(
        add(&[&good, &good], NOW),
        refused(1, KeyPackageError::AlreadyIn)
    );
    assert!(add(&[&good], NOW).is_ok(), "nothing was left behind");
}

#[test]
fn a_group_with_an_impostor_is_not_joined() {
    let (mut founder, mut phone) = (impostor(1), Phone::new(2));
    let package = phone.key_package(Suite::X25519).bytes;
    let mut group = Group::create(&mut founder.device, &[1; 32], Suite::X25519, GROUP).unwrap();
    let out = group
        .add(&mut founder.device, &[2; 32], &[&package], NOW)
        .unwrap();
    assert_eq!(
        Group::join(&mut phone.device, &out.welcome.unwrap(), None, Policy::Qpq).err(),
        Some(JoinError::Leaf {
            leaf: 0,
            error: BadLeaf::Certificate
        })
    );
}

/// The first member turns bad and commits something; what the second makes of it.
fn bad_commit(commit: impl FnOnce(&mut Group, &mut Device) -> Vec<u8>) -> ProcessError {
    let mut phones = names([1, 2]);
    let mut groups = together(Suite::X25519, &mut phones);
    let [bad, good] = phones.as_mut_slice() else {
        unreachable!()
    };
    let message = commit(&mut groups[0], &mut bad.device);
    let error = groups[1].process(&mut good.device, &message).unwrap_err();
    assert!(good.device.take_batch().is_empty());

    // It goes on as if nothing had been.
    let out = groups[1].update(&mut good.device, &[7; 32]).unwrap();
    groups[1].confirm_pending(&mut good.device).unwrap();
    assert!(!out.commit.is_empty());
    error
}

#[test]
fn commits_that_let_impostors_in_are_void() {
    let error = bad_commit(|group, device| {
        let lying = impostor(5).key_package(Suite::X25519).bytes;
        group.policy = Policy::Interop;
        group.add(device, &[1; 32], &[&lying], NOW).unwrap().commit
    });
    assert_eq!(error.kind, ProcessErrorKind::Void);
    assert_eq!(error.reason, BadLeaf::Certificate.to_string());
}

/// A key package of ours but for the lifetime in its leaf, which ends an hour from now by the
/// clock of this machine.
fn ending_key_package(phone: &mut Phone) -> Vec<u8> {
    let key_package = openmls::prelude::KeyPackage::builder()
        .leaf_node_capabilities(super::super::suite::capabilities(Suite::X25519))
        .key_package_lifetime(openmls::prelude::Lifetime::new(3600))
        .build(
            Suite::X25519.ciphersuite(),
            &phone.device.seeded(&[8; 32]),
            phone.device.signer(),
            phone.device.credential_with_key(),
        )
        .unwrap();
    super::super::codec::encode(key_package.key_package()).unwrap()
}

#[test]
fn leaves_that_end_by_the_members_clocks_are_void() {
    let ending = ending_key_package(&mut Phone::new(5));
    assert_eq!(
        inspect_key_package(&ending, NOW),
        Err(KeyPackageError::Lifetime)
    );
    let error = bad_commit(|group, device| {
        let add =
            |group: &mut Group, device: &mut Device| group.add(device, &[1; 32], &[&ending], NOW);
        let refused = GroupError::KeyPackage {
            index: 0,
            error: KeyPackageError::Lifetime,
        };
        assert_eq!(add(group, device), Err(refused));
        group.policy = Policy::Interop;
        add(group, device).unwrap().commit
    });
    assert_eq!(error.kind, ProcessErrorKind::Void);
    assert_eq!(error.reason, KeyPackageError::Lifetime.to_string());
}

#[test]
fn updates_that_change_hands_are_void() {
    let error = bad_commit(|group, device| {
        // A valid credential for this very key, but of another account.
        let identity = IdentitySecret::from_seed([66; 32]);
        let key = device.secret().public();
        let credential = Credential::issue(&identity, DeviceId::new([66; 16]), key, NOW);
        let provider = device.seeded(&[1; 32]);
        let leaf = LeafNodeParameters::builder()
            .with_credential_with_key(CredentialWithKey {
                credential: BasicCredential::new(credential.encode()).into(),
                signature_key: key.as_bytes().as_slice().into(),
            })
            .build();
        group
            .mls
            .commit_builder()
            .force_self_update(true)
            .leaf_node_parameters(leaf)
            .load_psks(provider.storage())
            .unwrap()
            .build(provider.rand(), provider.crypto(), device.signer(), |_| {
                true
            })
            .unwrap()
            .stage_commit(&provider)
            .unwrap()
            .into_commit()
            .tls_serialize_detached()
            .unwrap()
    });
    assert_eq!(error.kind, ProcessErrorKind::Void);
    assert_eq!(error.reason, BadLeaf::Changed.to_string());
}

#[test]
fn commits_that_drop_the_profile_are_void() {
    let error = bad_commit(|group, device| {
        group
            .mls
            .update_group_context_extensions(
                &device.seeded(&[1; 32]),
                Extensions::empty(),
                device.signer(),
            )
            .unwrap()
            .0
            .tls_serialize_detached()
            .unwrap()
    });
    assert_eq!(error.kind, ProcessErrorKind::Void);
}

/// A proposal is committed by the member who commits next, so one that is not about its sender alone would
/// make others do what they never meant.
#[test]
fn a_member_proposes_only_to_leave() {
    let removes_another = bad_commit(|group, device| {
        let (provider, signer) = (device.seeded(&[1; 32]), device.signer());
        let good = LeafNodeIndex::new(1);
        let proposed = group.mls.propose_remove_member(&provider, signer, good);
        proposed.unwrap().0.tls_serialize_detached().unwrap()
    });
    let adds_a_friend = bad_commit(|group, device| {
        let friend = Phone::new(5).key_package(Suite::X25519).bytes;
        let friend = KeyPackageIn::tls_deserialize_exact_bytes(&friend).unwrap();
        let (provider, signer) = (device.seeded(&[1; 32]), device.signer());
        let friend = friend
            .validate(provider.crypto(), ProtocolVersion::Mls10)
            .unwrap();
        let proposed = group.mls.propose_add_member(&provider, signer, &friend);
        proposed.unwrap().0.tls_serialize_detached().unwrap()
    });
    for error in [removes_another, adds_a_friend] {
        assert_eq!(error.kind, ProcessErrorKind::Void);
        assert!(error.reason.contains("only to leave"), "{}", error.reason);
    }
}

#[test]
fn a_group_is_not_made_or_joined_over() {
    let mut phones = names([1, 2]);
    let _groups = together(Suite::X25519, &mut phones);
    assert_eq!(
        Group::create(&mut phones[0].device, &[1; 32], Suite::X25519, GROUP).err(),
        Some(GroupError::Exists)
    );
    let mut founder = Phone::new(3);
    let package = phones[1].key_package(Suite::X25519).bytes;
    let mut group = Group::create(&mut founder.device, &[1; 32], Suite::X25519, GROUP).unwrap();
    let out = group
        .add(&mut founder.device, &[2; 32], &[&package], NOW)
        .unwrap();
    let join = |device: &mut Device| {
        Group::join(device, out.welcome.as_deref().unwrap(), None, Policy::Qpq)
    };
    assert_eq!(join(&mut phones[1].device).err(), Some(JoinError::Exists));
    phones[1].group().delete(&mut phones[1].device).unwrap();
    assert!(join(&mut phones[1].device).is_ok());
}

#[test]
fn what_is_not_stored_is_forgotten() {
    let mut phones = names([1, 2]);
    let mut groups = together(Suite::X25519, &mut phones);
    let first = groups[0]
        .encrypt(&mut phones[0].device, &[1; 32], b"x")
        .unwrap();
    phones[0].device.rollback();
    let mut again = phones[0].group();
    let second = again
        .encrypt(&mut phones[0].device, &[1; 32], b"x")
        .unwrap();
    assert_eq!(first, second);
}

#[test]
fn an_operation_without_a_seed_cannot_draw() {
    let phone = Phone::new(1);
    let provider = phone.device.unseeded();
    use openmls_traits::random::OpenMlsRand;
    assert!(provider.rand().random_vec(1).is_err());
    assert!(provider.rand().random_array::<1>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_do_not_panic(
        head in prop::sample::select(vec![
            vec![],
            vec![0, 1, 0, 1],
            vec![0, 1, 0, 2],
            vec![0, 1, 0, 3, 0, 0x4F],
            vec![0, 1, 0, 4],
            vec![0, 1, 0, 0x4F],
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [head, tail].concat();
        let mut phone = Phone::new(1);
        let mut group =
            Group::create(&mut phone.device, &[1; 32], Suite::X25519, GROUP).unwrap();
        prop_assert!(inspect_key_package(&bytes, NOW).is_err());
        prop_assert!(group.process(&mut phone.device, &bytes).is_err());
        prop_assert!(Group::join(&mut phone.device, &bytes, Some(&bytes), Policy::Interop).is_err());
        prop_assert!(
            Group::rejoin(&mut phone.device, &[1; 32], &bytes, Some(&bytes), Policy::Interop).is_err()
        );
        let _ = welcome_references(&bytes);
    }
}
