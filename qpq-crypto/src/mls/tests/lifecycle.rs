//! Commits pending, confirmed and cleared; members that come, go and leave.

use super::{crowd::Crowd, *};
use crate::identity::DeviceKey;

fn keys(members: &[Member]) -> Vec<DeviceKey> {
    members.iter().map(|member| member.device_key).collect()
}

#[test]
fn a_commit_waits_for_its_slot() {
    let mut crowd = Crowd::new(Suite::MlKem768X25519, 3);
    let epoch = crowd.phones[0].group().epoch();

    let out = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    assert!(crowd.phones[0].group().has_pending_commit());
    assert_eq!(crowd.phones[0].group().epoch(), epoch);
    assert_eq!(
        crowd.act(0, |group, device, seed| group.update(device, &seed)),
        Err(GroupError::PendingCommit)
    );

    let (committed, processed) = crowd.commit(0, &[1, 2], &out);
    assert_eq!(committed.epoch, epoch + 1);
    assert_eq!((committed.added, committed.removed), (vec![], vec![]));
    for got in processed {
        let Processed::Commit {
            sender,
            epoch: reached,
            self_removed,
            ..
        } = got
        else {
            panic!("{got:?}");
        };
        assert_eq!(sender.identity_key, crowd.identity(0));
        assert_eq!(reached, epoch + 1);
        assert!(!self_removed);
    }
    crowd.agree(&[0, 1, 2]);
    assert_eq!(
        crowd.act(0, |group, device, _| group.confirm_pending(device)),
        Err(GroupError::NoPendingCommit)
    );
}

#[test]
fn the_loser_of_a_slot_takes_the_winner_and_tries_again() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let winner = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    let loser = crowd.act(1, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });

    crowd.act(1, |group, device, _| group.clear_pending(device).unwrap());
    crowd.commit(0, &[1, 2], &winner);
    let error = crowd.process(2, &loser.commit).unwrap_err();
    assert_eq!(error.kind, ProcessErrorKind::PastEpoch);
    crowd.agree(&[0, 1, 2]);

    let again = crowd.act(1, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.commit(1, &[0, 2], &again);
    crowd.agree(&[0, 1, 2]);
}

#[test]
fn processing_the_winner_drops_a_pending_commit_that_was_not_cleared() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let winner = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.act(1, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.commit(0, &[1], &winner);
    assert!(!crowd.phones[1].group().has_pending_commit());
    crowd.agree(&[0, 1]);
}

#[test]
fn removal_shows_who_went_and_shuts_them_out() {
    let mut crowd = Crowd::new(Suite::MlKem768X25519, 3);
    let gone = crowd.identity(2);
    let out = crowd.act(0, |group, device, seed| {
        group.remove(device, &seed, &gone).unwrap()
    });
    let (committed, processed) = crowd.commit(0, &[1, 2], &out);
    assert_eq!(committed.removed.len(), 1);
    assert_eq!(committed.removed[0].identity_key, gone);
    assert!(
        matches!(&processed[0], Processed::Commit { removed, self_removed: false, .. }
        if *removed == committed.removed)
    );
    assert!(matches!(
        &processed[1],
        Processed::Commit {
            self_removed: true,
            ..
        }
    ));
    crowd.agree(&[0, 1]);

    assert!(!crowd.phones[2].group().is_active());
    let message = crowd.act(0, |group, device, seed| {
        group.encrypt(device, &seed, b"without you").unwrap()
    });
    assert_eq!(
        crowd.process(2, &message).unwrap_err().kind,
        ProcessErrorKind::State
    );
    assert_eq!(
        crowd.act(2, |group, device, seed| group.encrypt(
            device,
            &seed,
            b"still there"
        )),
        Err(GroupError::Inactive)
    );
    crowd.act(2, |_, device, _| {
        let group = Group::load(device, GROUP).unwrap().unwrap();
        group.delete(device).unwrap();
        assert!(device.groups().is_empty());
    });
    assert_eq!(crowd.phones[2].disk.len(), 1, "only the version is left");
}

#[test]
fn the_devices_of_an_account_go_one_by_one() {
    let mut phones = names([1, 2, 3]);
    // A second device of the second account.
    let identity = IdentitySecret::from_seed([2; 32]);
    let secret = DeviceSecret::from_seed([99; 32]);
    let credential = Credential::issue(&identity, DeviceId::new([99; 16]), secret.public(), NOW);
    phones[2].device = Device::new(secret, credential, []).unwrap();

    let mut groups = together(Suite::X25519, &mut phones);
    let (who, group) = (phones[1].identity(), &mut groups[0]);
    for leaf in [1, 2] {
        let (seed, device) = (phones[0].seed(), &mut phones[0].device);
        group.remove(device, &seed, &who).unwrap();
        let removed = group.confirm_pending(device).unwrap().removed;
        assert_eq!(removed.len(), 1);
        assert_eq!((removed[0].identity_key, removed[0].leaf), (who, leaf));
    }
    let (seed, device) = (phones[0].seed(), &mut phones[0].device);
    let error = group.remove(device, &seed, &who);
    assert_eq!(error, Err(GroupError::NotAMember(who)));
}

#[test]
fn of_several_who_leave_one_goes_a_commit_and_the_others_are_known() {
    let mut crowd = Crowd::new(Suite::X25519, 4);
    for leaving in [1, 2] {
        let proposal = crowd.act(leaving, |group, device, seed| {
            group.leave(device, &seed).unwrap()
        });
        for other in (0..4).filter(|other| *other != leaving) {
            crowd.process(other, &proposal).unwrap();
        }
    }
    let leaving = crowd.phones[0].group().leaving();
    let identities: Vec<_> = leaving.iter().map(|member| member.identity_key).collect();
    assert_eq!(identities, [crowd.identity(1), crowd.identity(2)]);

    // The higher leaf is asked for, the lower one is void with the epoch.
    let (lower, higher) = (leaving[0].leaf, leaving[1].leaf);
    let out = crowd.act(0, |group, device, seed| {
        group.remove_leaf(device, &seed, higher).unwrap()
    });
    let (committed, _) = crowd.commit(0, &[1, 2, 3], &out);
    assert_eq!(committed.removed, leaving[1..]);
    assert!(crowd.phones[0].group().leaving().is_empty());
    let out = crowd.act(3, |group, device, seed| {
        group.remove_leaf(device, &seed, lower).unwrap()
    });
    let (committed, _) = crowd.commit(3, &[0, 1], &out);
    assert_eq!(committed.removed, leaving[..1]);
    crowd.agree(&[0, 3]);
}

#[test]
fn nobody_removes_strangers_or_their_own_account() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let own = crowd.identity(0);
    let stranger = IdentityKey([7; 32]);
    crowd.act(0, |group, device, seed| {
        assert_eq!(
            group.remove(device, &seed, &own),
            Err(GroupError::OwnRemoval)
        );
        assert_eq!(
            group.remove(device, &seed, &stranger),
            Err(GroupError::NotAMember(stranger))
        );
        let error = group.remove_leaf(device, &seed, 7);
        assert_eq!(error, Err(GroupError::EmptyLeaf(7)));
    });
    crowd.agree(&[0, 1]);
}

#[test]
fn leaving_is_a_proposal_that_another_commits() {
    let mut crowd = Crowd::new(Suite::MlKem768X25519, 3);
    let leaving = crowd.identity(1);
    let proposal = crowd.act(1, |group, device, seed| group.leave(device, &seed).unwrap());
    for other in [0, 2] {
        let got = crowd.process(other, &proposal).unwrap();
        assert!(matches!(got, Processed::Proposal { sender } if sender.identity_key == leaving));
    }
    // Nobody sends until it is committed.
    assert_eq!(
        crowd.act(0, |group, device, seed| group
            .encrypt(device, &seed, b"wait")),
        Err(GroupError::PendingProposals)
    );
    // Its maker may commit other things, but not that.
    assert!(crowd.phones[1].group().has_pending_proposals());

    let out = crowd
        .act(2, |group, device, seed| {
            group.commit_pending_proposals(device, &seed).unwrap()
        })
        .unwrap();
    let (committed, processed) = crowd.commit(2, &[0, 1], &out);
    assert_eq!(committed.removed[0].identity_key, leaving);
    assert!(matches!(
        &processed[1],
        Processed::Commit {
            self_removed: true,
            ..
        }
    ));
    crowd.agree(&[0, 2]);
    assert_eq!(
        crowd.act(2, |group, device, seed| group
            .commit_pending_proposals(device, &seed)),
        Ok(None)
    );
}

#[test]
fn one_who_asked_to_leave_can_still_commit() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    crowd.act(0, |group, device, seed| group.leave(device, &seed).unwrap());
    let out = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.commit(0, &[1], &out);
    crowd.agree(&[0, 1]);
}

#[test]
fn a_queued_removal_is_committed_once() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let leaving = crowd.identity(1);
    let proposal = crowd.act(1, |group, device, seed| group.leave(device, &seed).unwrap());
    crowd.process(0, &proposal).unwrap();
    crowd.process(2, &proposal).unwrap();
    let out = crowd.act(0, |group, device, seed| {
        group.remove(device, &seed, &leaving).unwrap()
    });
    let (committed, _) = crowd.commit(0, &[2], &out);
    assert_eq!(committed.removed.len(), 1);
    crowd.agree(&[0, 2]);
}

#[test]
fn newcomers_are_named_and_join_with_all_that_is_pending() {
    let mut crowd = Crowd::new(Suite::MlKem768X25519, 2);
    crowd.phones.extend(names([10, 11]));
    let packages: Vec<_> = [2, 3]
        .map(|who| crowd.phones[who].key_package(Suite::MlKem768X25519).bytes)
        .into();
    let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();
    let out = crowd.act(1, |group, device, seed| {
        group.add(device, &seed, &packages, NOW).unwrap()
    });
    let (committed, processed) = crowd.commit(1, &[0], &out);
    let newcomers: Vec<_> = [2, 3].map(|who| crowd.identity(who)).into();
    let added: Vec<_> = committed.added.iter().map(|m| m.identity_key).collect();
    assert_eq!(added, newcomers);
    assert!(matches!(&processed[0], Processed::Commit { added, .. } if *added == committed.added));

    for who in [2, 3] {
        let welcome = out.welcome.as_deref().unwrap();
        let phone = &mut crowd.phones[who];
        assert_eq!(phone.device.key_packages().unwrap().len(), 1);
        Group::join(&mut phone.device, welcome, None, Policy::Qpq).unwrap();
        assert_eq!(phone.device.key_packages().unwrap(), [], "used once");
        assert_eq!(
            Group::join(&mut phone.device, welcome, None, Policy::Qpq).err(),
            Some(JoinError::NotForUs)
        );
        phone.save();
    }
    crowd.agree(&[0, 1, 2, 3]);
    assert_eq!(keys(&crowd.phones[0].group().members()).len(), 4);
}
