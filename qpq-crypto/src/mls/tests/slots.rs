//! Commits in their slots: what is void for all, and what is one member's own failure.

use openmls::extensions::{Extension, ExtensionType, Extensions, UnknownExtension};
use openmls::prelude::{
    Capabilities, CapabilitiesBuilder, LeafNode, LeafNodeIndex, ProtocolVersion,
    tls_codec::Serialize as _,
};

use super::{crowd::Crowd, *};

fn take(crowd: &mut Crowd, who: usize, by: usize, commit: &[u8]) -> Result<(), ProcessErrorKind> {
    let committer = crowd.identity(by);
    let got = crowd.act(who, |group, device, _| {
        group.process_commit(device, &committer, commit)
    });
    match got {
        Ok(Processed::Commit { .. }) => Ok(()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind),
    }
}

fn update(crowd: &mut Crowd, who: usize) -> CommitOut {
    crowd.act(who, |group, device, seed| {
        group.update(device, &seed).unwrap()
    })
}

fn confirm(crowd: &mut Crowd, who: usize) {
    crowd.act(who, |group, device, _| {
        group.confirm_pending(device).unwrap()
    });
}

/// Where the epoch stands in a private message: behind version, format and the group's id.
const EPOCH: usize = 4 + 1 + GROUP.len();

#[test]
fn a_commit_of_another_epoch_is_void() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let out = update(&mut crowd, 0);
    for epoch in [0, 2, 1 << 40, u64::MAX] {
        let mut commit = out.commit.clone();
        commit[EPOCH..EPOCH + 8].copy_from_slice(&u64::to_be_bytes(epoch));
        assert_eq!(take(&mut crowd, 1, 0, &commit), Err(ProcessErrorKind::Void));
    }
    confirm(&mut crowd, 0);
    for who in [1, 2] {
        assert_eq!(take(&mut crowd, who, 0, &out.commit), Ok(()));
        // And the one of before, again.
        assert_eq!(
            take(&mut crowd, who, 0, &out.commit),
            Err(ProcessErrorKind::Void)
        );
    }
    crowd.agree(&[0, 1, 2]);
}

#[test]
fn a_commit_in_a_slot_that_another_got_is_void() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let out = update(&mut crowd, 0);
    assert_eq!(
        take(&mut crowd, 1, 2, &out.commit),
        Err(ProcessErrorKind::Void)
    );
    assert_eq!(take(&mut crowd, 1, 0, &out.commit), Ok(()));
    assert_eq!(take(&mut crowd, 2, 0, &out.commit), Ok(()));
    confirm(&mut crowd, 0);
    crowd.agree(&[0, 1, 2]);
}

#[test]
fn an_external_commit_in_a_slot_that_another_got_is_void() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let group_info = {
        let phone = &crowd.phones[0];
        phone.group().group_info(&phone.device).unwrap()
    };
    let seed = crowd.phones[2].seed();
    let device = &mut crowd.phones[2].device;
    let (_, out) = Group::rejoin(device, &seed, &group_info, None, Policy::Qpq).unwrap();
    crowd.phones[2].save();
    assert_eq!(
        take(&mut crowd, 0, 1, &out.commit),
        Err(ProcessErrorKind::Void)
    );
    assert_eq!(take(&mut crowd, 0, 2, &out.commit), Ok(()));
    assert_eq!(take(&mut crowd, 1, 2, &out.commit), Ok(()));
    crowd.agree(&[0, 1, 2]);
}

/// Anybody can write a member's leaf into a message; only that account can have the slot with it.
#[test]
fn an_own_commit_that_one_did_not_send_is_void_unless_ones_account_has_the_slot() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let out = update(&mut crowd, 0);
    crowd.act(0, |group, device, _| group.clear_pending(device).unwrap());
    assert_eq!(
        take(&mut crowd, 0, 1, &out.commit),
        Err(ProcessErrorKind::Void)
    );
    let of_a_copy = take(&mut crowd, 0, 0, &out.commit);
    assert_eq!(of_a_copy, Err(ProcessErrorKind::PathOrTag));
}

#[test]
fn a_path_that_is_spoiled_for_one_is_that_ones_failure() {
    let mut crowd = Crowd::new(Suite::X25519, 4);
    let out = crowd.act(0, |group, device, seed| {
        group.update_spoiled_for(device, &seed, 2).unwrap()
    });
    confirm(&mut crowd, 0);
    for who in [1, 3] {
        assert_eq!(take(&mut crowd, who, 0, &out.commit), Ok(()));
    }
    assert_eq!(
        take(&mut crowd, 2, 0, &out.commit),
        Err(ProcessErrorKind::PathOrTag)
    );
    crowd.agree(&[0, 1, 3]);

    let seed = crowd.phones[2].seed();
    let device = &mut crowd.phones[2].device;
    let (_, back) = Group::rejoin(device, &seed, &out.group_info, None, Policy::Qpq).unwrap();
    crowd.phones[2].save();
    for who in [0, 1, 3] {
        assert_eq!(take(&mut crowd, who, 2, &back.commit), Ok(()));
    }
    crowd.agree(&[0, 1, 2, 3]);
}

/// A proposal that some were sent and others not: nobody keeps it, so that all say the same.
#[test]
fn a_commit_that_refers_to_a_proposal_is_void_for_who_has_it_and_who_has_not() {
    let mut crowd = Crowd::new(Suite::X25519, 4);
    let leave = crowd.act(3, |group, device, seed| group.leave(device, &seed).unwrap());
    for who in [0, 1] {
        crowd.process(who, &leave).unwrap();
    }
    let out = crowd.act(0, |group, device, seed| {
        group
            .commit_pending_proposals(device, &seed)
            .unwrap()
            .unwrap()
    });
    for who in [1, 2, 3] {
        assert_eq!(
            take(&mut crowd, who, 0, &out.commit),
            Err(ProcessErrorKind::Void)
        );
    }
}

/// A generation that a message used up for one and not for another is no reason to say void.
#[test]
fn a_used_up_generation_is_that_ones_failure() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    // Encrypted from the same state, so under the same key.
    let before = crowd.phones[0].disk.clone();
    let leave = crowd.act(0, |group, device, seed| group.leave(device, &seed).unwrap());
    crowd.phones[0].disk = before;
    crowd.phones[0].restart();
    crowd.process(1, &leave).unwrap();
    let out = update(&mut crowd, 0);
    confirm(&mut crowd, 0);
    assert_eq!(take(&mut crowd, 2, 0, &out.commit), Ok(()));
    assert_eq!(
        take(&mut crowd, 1, 0, &out.commit),
        Err(ProcessErrorKind::PathOrTag)
    );
}

#[test]
fn whatever_else_is_in_the_slot_is_void() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let said = crowd.act(0, |group, device, seed| {
        group.encrypt(device, &seed, b"x").unwrap()
    });
    let removes_another = crowd.act(0, |group, device, seed| {
        let (provider, signer) = (device.seeded(&seed), device.signer());
        let proposed = group
            .mls
            .propose_remove_member(&provider, signer, LeafNodeIndex::new(1));
        proposed.unwrap().0.tls_serialize_detached().unwrap()
    });
    let mut other = Group::create(
        &mut crowd.phones[0].device,
        &[1; 32],
        Suite::X25519,
        b"other",
    )
    .unwrap();
    let elsewhere = other.update(&mut crowd.phones[0].device, &[2; 32]).unwrap();
    for message in [said, removes_another, elsewhere.commit, b"nothing".to_vec()] {
        assert_eq!(
            take(&mut crowd, 1, 0, &message),
            Err(ProcessErrorKind::Void)
        );
    }
}

/// Two key packages that are good alone and not together, as of one who means ill.
#[test]
fn key_packages_that_cannot_be_added_are_named() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let good: Vec<_> = [5, 6]
        .map(|name| Phone::new(name).key_package(Suite::X25519).bytes)
        .into();
    let member = crowd.phones[1].key_package(Suite::X25519).bytes;
    let greased = greased(&mut Phone::new(7));
    assert!(
        inspect_key_package(&greased, NOW).is_ok(),
        "the inspection does not see it"
    );
    let packages: Vec<&[u8]> = vec![&good[0], &member, &greased, &good[1], &good[0]];
    let (refused, out) = crowd.act(0, |group, device, seed| {
        assert!(group.add(device, &seed, &packages, NOW).is_err());
        let refused = group.not_addable(device, &seed, &packages, NOW).unwrap();
        let kept = (0..)
            .zip(&packages)
            .filter(|(index, _)| !refused.contains(index));
        let kept: Vec<&[u8]> = kept.map(|(_, package)| *package).collect();
        (refused, group.add(device, &seed, &kept, NOW).unwrap())
    });
    assert_eq!(refused, [1, 2, 4]);
    assert_eq!(take(&mut crowd, 1, 0, &out.commit), Ok(()));
    confirm(&mut crowd, 0);
    crowd.agree(&[0, 1]);
    assert_eq!(crowd.phones[0].group().members().len(), 4);
}

/// What our leaves can, to be changed.
fn capabilities() -> CapabilitiesBuilder {
    let own = super::super::suite::capabilities(Suite::X25519);
    let suites = own.ciphersuites().iter();
    Capabilities::builder()
        .versions(own.versions().to_vec())
        .ciphersuites(
            suites
                .filter_map(|suite| (*suite).try_into().ok())
                .collect(),
        )
        .credentials(own.credentials().to_vec())
        .extensions(own.extensions().to_vec())
}

/// A key package of ours whose leaf carries an extension that openmls does not match with the
/// capability that lists it.
fn greased(phone: &mut Phone) -> Vec<u8> {
    const GREASE: u16 = 0x1A1A;
    let own = super::super::suite::capabilities(Suite::X25519);
    let extensions = own.extensions().iter().copied();
    let extensions = extensions.chain([ExtensionType::Grease(GREASE)]).collect();
    let extension = Extension::Unknown(GREASE, UnknownExtension(vec![1]));
    let capabilities = capabilities().extensions(extensions).build();
    package_with(phone, capabilities, Extensions::single(extension).unwrap())
}

/// A key package of ours with this in its leaf.
fn package_with(
    phone: &mut Phone,
    capabilities: Capabilities,
    extensions: Extensions<LeafNode>,
) -> Vec<u8> {
    let validity = super::super::key_package::Validity::starting(NOW, false);
    let made = openmls::prelude::KeyPackage::builder()
        .leaf_node_capabilities(capabilities)
        .leaf_node_extensions(extensions)
        .key_package_lifetime(super::super::device::open_lifetime())
        .key_package_extensions(validity.extensions().unwrap())
        .build(
            Suite::X25519.ciphersuite(),
            &phone.device.seeded(&[8; 32]),
            phone.device.signer(),
            phone.device.credential_with_key(),
        )
        .unwrap();
    super::super::codec::encode(made.key_package()).unwrap()
}

/// The inspection refuses what adding would: a leaf that can't what the group wants of all.
#[test]
fn a_leaf_has_to_name_all_that_a_group_wants_of_it() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let phone = &mut crowd.phones[1];
    let whole = package_with(phone, capabilities().build(), Extensions::empty());
    assert!(inspect_key_package(&whole, NOW).is_ok());
    let lacking = [
        (
            capabilities().versions(Vec::new()),
            KeyPackageError::Capabilities,
        ),
        (
            capabilities().versions(vec![ProtocolVersion::Other(2)]),
            KeyPackageError::Capabilities,
        ),
        (
            capabilities().ciphersuites(Vec::new()),
            KeyPackageError::Capabilities,
        ),
        (
            capabilities().credentials(Vec::new()),
            KeyPackageError::Capabilities,
        ),
        // The key package has one of these: openmls itself looks at that.
        (
            capabilities().extensions(Vec::new()),
            KeyPackageError::Invalid,
        ),
    ];
    for (capabilities, error) in lacking {
        let package = package_with(phone, capabilities.build(), Extensions::empty());
        assert_eq!(inspect_key_package(&package, NOW).err(), Some(error));
    }
}

#[test]
fn a_welcome_takes_the_place_of_a_group_only_when_it_is_whole() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let who = crowd.identity(2);
    let out = crowd.act(0, |group, device, seed| {
        group.remove(device, &seed, &who).unwrap()
    });
    crowd.commit(0, &[1], &out);
    let package = crowd.phones[2].key_package(Suite::X25519).bytes;
    let out = crowd.act(0, |group, device, seed| {
        group.add(device, &seed, &[&package], NOW).unwrap()
    });
    crowd.commit(0, &[1], &out);
    let welcome = out.welcome.unwrap();
    let mut join = |welcome: &[u8]| {
        let device = &mut crowd.phones[2].device;
        Group::join_in_place(device, welcome, None, Policy::Qpq).map(|group| group.epoch())
    };
    let mut spoiled = welcome.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    assert!(join(&spoiled).is_err());
    assert_eq!(crowd.phones[2].group().epoch(), 1, "what it held is there");
    let device = &mut crowd.phones[2].device;
    let joined = Group::join_in_place(device, &welcome, None, Policy::Qpq).unwrap();
    assert_eq!(joined.epoch(), 3);
    crowd.phones[2].save();
    crowd.phones[2].restart();
    crowd.agree(&[0, 1, 2]);
}
