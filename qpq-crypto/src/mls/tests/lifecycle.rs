//! Commits pending, confirmed and cleared; members that come, go, leave and come back; and that
//! every step survives a restart.

use super::*;
use crate::identity::DeviceKey;

/// A group whose members lose power after every operation.
struct Crowd {
    phones: Vec<Phone>,
}

impl Crowd {
    fn new(suite: Suite, count: u8) -> Self {
        let mut phones = names(1..=count);
        together(suite, &mut phones);
        let mut crowd = Crowd { phones };
        crowd.restart_all();
        crowd
    }

    fn restart_all(&mut self) {
        for phone in &mut self.phones {
            phone.save();
            phone.restart();
        }
    }

    /// One phone's operation on its group, with a restart after it.
    fn act<T>(
        &mut self,
        who: usize,
        operation: impl FnOnce(&mut Group, &mut Device, [u8; 32]) -> T,
    ) -> T {
        let phone = &mut self.phones[who];
        let seed = phone.seed();
        let mut group = phone.group();
        let result = operation(&mut group, &mut phone.device, seed);
        phone.save();
        phone.restart();
        result
    }

    fn process(&mut self, who: usize, message: &[u8]) -> Result<Processed, ProcessError> {
        self.act(who, |group, device, _| group.process(device, message))
    }

    /// A commit that gets its slot: confirmed by its maker, processed by the others given.
    fn commit(
        &mut self,
        who: usize,
        others: &[usize],
        out: &CommitOut,
    ) -> (Committed, Vec<Processed>) {
        let committed = self.act(who, |group, device, _| {
            group.confirm_pending(device).unwrap()
        });
        let processed = others
            .iter()
            .map(|other| self.process(*other, &out.commit).unwrap())
            .collect();
        (committed, processed)
    }

    /// All given members agree on the epoch, the members and the secrets, and read each other.
    fn agree(&mut self, who: &[usize]) {
        let first = self.phones[who[0]].group();
        for other in &who[1..] {
            let group = self.phones[*other].group();
            assert_eq!(group.epoch(), first.epoch());
            assert_eq!(group.members(), first.members());
            assert_eq!(group.epoch_authenticator(), first.epoch_authenticator());
            assert_eq!(
                group.export("qpq test", b"", 32),
                first.export("qpq test", b"", 32)
            );
        }
        for from in who {
            let message = self.act(*from, |group, device, seed| {
                group.encrypt(device, &seed, b"here").unwrap()
            });
            for to in who.iter().filter(|to| *to != from) {
                let got = self.process(*to, &message).unwrap();
                assert!(
                    matches!(&got, Processed::Application { plaintext, .. } if plaintext == b"here")
                );
            }
        }
    }

    fn identity(&self, who: usize) -> IdentityKey {
        self.phones[who].identity()
    }
}

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
        group.remove(device, &seed, &[gone]).unwrap()
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
fn all_devices_of_an_account_go_together() {
    let mut phones = names([1, 2, 3]);
    // A second device of the second account.
    let identity = IdentitySecret::from_seed([2; 32]);
    let secret = DeviceSecret::from_seed([99; 32]);
    let credential = Credential::issue(&identity, DeviceId::new([99; 16]), secret.public(), NOW);
    phones[2].device = Device::new(secret, credential, []).unwrap();

    let mut groups = together(Suite::X25519, &mut phones);
    let (who, seed) = (phones[1].identity(), phones[0].seed());
    groups[0]
        .remove(&mut phones[0].device, &seed, &[who])
        .unwrap();
    let committed = groups[0].confirm_pending(&mut phones[0].device).unwrap();
    assert_eq!(committed.removed.len(), 2);
    assert_eq!(groups[0].members().len(), 1);
}

#[test]
fn nobody_removes_strangers_or_their_own_account() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let own = crowd.identity(0);
    let stranger = IdentityKey([7; 32]);
    crowd.act(0, |group, device, seed| {
        assert_eq!(
            group.remove(device, &seed, &[own]),
            Err(GroupError::OwnRemoval)
        );
        assert_eq!(
            group.remove(device, &seed, &[stranger]),
            Err(GroupError::NotAMember(stranger))
        );
        assert!(matches!(
            group.remove_leaves(device, &seed, [7]),
            Err(GroupError::Refused(_))
        ));
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
        group.remove(device, &seed, &[leaving]).unwrap()
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

#[test]
fn a_message_of_the_epoch_before_still_reads_and_an_older_one_does_not() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let send = |crowd: &mut Crowd, text: &[u8]| {
        crowd.act(1, |group, device, seed| {
            group.encrypt(device, &seed, text).unwrap()
        })
    };
    let oldest = send(&mut crowd, b"oldest");
    let advance = |crowd: &mut Crowd| {
        let out = crowd.act(0, |group, device, seed| {
            group.update(device, &seed).unwrap()
        });
        crowd.commit(0, &[1], &out);
    };
    advance(&mut crowd);
    let older = send(&mut crowd, b"older");
    advance(&mut crowd);

    assert!(matches!(
        crowd.process(0, &older),
        Ok(Processed::Application { .. })
    ));
    assert_eq!(
        crowd.process(0, &older).unwrap_err().kind,
        ProcessErrorKind::Duplicate
    );
    assert_eq!(
        crowd.process(0, &oldest).unwrap_err().kind,
        ProcessErrorKind::PastEpoch
    );
}

#[test]
fn late_messages_read_up_to_the_tolerance() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let messages: Vec<_> = (0..34u8)
        .map(|n| {
            crowd.act(0, |group, device, seed| {
                group.encrypt(device, &seed, &[n]).unwrap()
            })
        })
        .collect();
    assert!(crowd.process(1, &messages[33]).is_ok());
    // The newest takes one of the 32 places.
    for (n, message) in messages.iter().enumerate().take(33).skip(2) {
        let got = crowd.process(1, message).unwrap();
        assert!(matches!(got, Processed::Application { plaintext, .. } if plaintext == [n as u8]));
    }
    assert_eq!(
        crowd.process(1, &messages[1]).unwrap_err().kind,
        ProcessErrorKind::PastEpoch
    );
}

#[test]
fn own_and_future_messages_are_told_apart() {
    let mut crowd = Crowd::new(Suite::MlKem768X25519, 2);
    let own = crowd.act(0, |group, device, seed| {
        group.encrypt(device, &seed, b"x").unwrap()
    });
    assert_eq!(
        crowd.process(0, &own).unwrap_err().kind,
        ProcessErrorKind::OwnMessage
    );

    let out = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    assert_eq!(
        crowd.process(0, &out.commit).unwrap_err().kind,
        ProcessErrorKind::OwnMessage
    );
    assert!(
        crowd.phones[0].group().has_pending_commit(),
        "still there to be confirmed"
    );
    crowd.act(0, |group, device, _| group.confirm_pending(device).unwrap());

    let early = crowd.act(0, |group, device, seed| {
        group.encrypt(device, &seed, b"y").unwrap()
    });
    let error = crowd.process(1, &early).unwrap_err();
    assert_eq!(error.kind, ProcessErrorKind::FutureEpoch);
    assert_eq!(error.epoch, Some(2));
    crowd.process(1, &out.commit).unwrap();
    assert!(
        crowd.process(1, &early).is_ok(),
        "readable after the commit"
    );
}

#[test]
fn a_lost_member_comes_back_by_group_info() {
    let mut crowd = Crowd::new(Suite::MlKem768X25519, 3);
    let missed = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.commit(0, &[1], &missed);

    // The third lost its rows altogether, but not its keys.
    crowd.phones[2].disk.clear();
    crowd.phones[2].restart();
    let seed = crowd.phones[2].seed();
    let (_, out) = Group::rejoin(
        &mut crowd.phones[2].device,
        &seed,
        &missed.group_info,
        None,
        Policy::Qpq,
    )
    .unwrap();
    crowd.phones[2].save();
    crowd.phones[2].restart();
    let who = crowd.identity(2);
    for other in [0, 1] {
        let got = crowd.process(other, &out.commit).unwrap();
        let Processed::Commit {
            sender,
            added,
            removed,
            ..
        } = got
        else {
            panic!("{got:?}");
        };
        assert_eq!(sender.identity_key, who);
        assert_eq!((added.len(), removed.len()), (1, 1), "its old leaf is gone");
        assert_eq!(added[0].device_key, removed[0].device_key);
    }
    crowd.agree(&[0, 1, 2]);
}

#[test]
fn a_diverged_member_replaces_what_it_held() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let out = crowd.act(0, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.act(0, |group, device, _| group.confirm_pending(device).unwrap());
    let wrong = crowd.act(1, |group, device, seed| {
        group.update(device, &seed).unwrap()
    });
    crowd.act(1, |group, device, _| group.confirm_pending(device).unwrap());
    assert_ne!(
        crowd.phones[0].group().epoch_authenticator(),
        crowd.phones[1].group().epoch_authenticator()
    );
    assert_ne!(out.commit, wrong.commit);

    let seed = crowd.phones[1].seed();
    let (_, back) = Group::rejoin(
        &mut crowd.phones[1].device,
        &seed,
        &out.group_info,
        None,
        Policy::Qpq,
    )
    .unwrap();
    crowd.phones[1].save();
    crowd.process(0, &back.commit).unwrap();
    crowd.agree(&[0, 1]);
}

#[test]
fn strangers_do_not_let_themselves_in() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let group_info = {
        let phone = &crowd.phones[0];
        phone.group().group_info(&phone.device).unwrap()
    };
    crowd.phones.extend(names([9]));
    let seed = crowd.phones[2].seed();
    let (_, out) = Group::rejoin(
        &mut crowd.phones[2].device,
        &seed,
        &group_info,
        None,
        Policy::Qpq,
    )
    .unwrap();
    let error = crowd.process(0, &out.commit).unwrap_err();
    assert_eq!(error.kind, ProcessErrorKind::Void);
    crowd.agree(&[0, 1]);
}

#[test]
fn a_second_device_of_a_member_lets_itself_in() {
    let mut crowd = Crowd::new(Suite::X25519, 2);
    let identity = IdentitySecret::from_seed([1; 32]);
    let secret = DeviceSecret::from_seed([77; 32]);
    let credential = Credential::issue(&identity, DeviceId::new([77; 16]), secret.public(), NOW);
    let mut second = Device::new(secret, credential, []).unwrap();
    let group_info = {
        let phone = &crowd.phones[0];
        phone.group().group_info(&phone.device).unwrap()
    };
    let (group, out) =
        Group::rejoin(&mut second, &[3; 32], &group_info, None, Policy::Qpq).unwrap();
    for who in [0, 1] {
        let got = crowd.process(who, &out.commit).unwrap();
        assert!(matches!(got, Processed::Commit { removed, added, .. }
            if removed.is_empty() && added.len() == 1));
        assert_eq!(crowd.phones[who].group().members(), group.members());
    }
}

#[test]
fn a_commit_that_only_one_member_cannot_follow_is_not_void() {
    // The second never got the third's request to leave.
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let leave = crowd.act(2, |group, device, seed| group.leave(device, &seed).unwrap());
    crowd.process(0, &leave).unwrap();
    let out = crowd
        .act(0, |group, device, seed| {
            group.commit_pending_proposals(device, &seed).unwrap()
        })
        .unwrap();
    crowd.commit(0, &[2], &out);
    let error = crowd.process(1, &out.commit).unwrap_err();
    assert_eq!(error.kind, ProcessErrorKind::PathOrTag);

    let seed = crowd.phones[1].seed();
    let device = &mut crowd.phones[1].device;
    let (_, back) = Group::rejoin(device, &seed, &out.group_info, None, Policy::Qpq).unwrap();
    crowd.phones[1].save();
    crowd.process(0, &back.commit).unwrap();
    crowd.agree(&[0, 1]);
}

#[test]
fn a_wrong_confirmation_tag_is_not_void() {
    use openmls::{
        prelude::{PreSharedKeyProposal, Proposal},
        schedule::PreSharedKeyId,
    };
    use openmls_traits::OpenMlsProvider as _;

    // The two hold different keys under one name.
    let mut crowd = Crowd::new(Suite::X25519, 2);
    for who in [0, 1] {
        crowd.act(who, |_, device, _| {
            device.add_external_psk(b"name", &[who as u8; 32]).unwrap()
        });
    }
    let commit = crowd.act(0, |group, device, seed| {
        let provider = device.seeded(&seed);
        let psk = PreSharedKeyId::external(b"name".to_vec(), vec![0; 32]);
        let bundle = group
            .mls
            .commit_builder()
            .add_proposal(Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(
                psk,
            ))))
            .load_psks(provider.storage())
            .unwrap()
            .build(provider.rand(), provider.crypto(), &device.signer(), |_| {
                true
            })
            .unwrap()
            .stage_commit(&provider)
            .unwrap();
        super::super::codec::encode(&bundle.into_commit()).unwrap()
    });
    let error = crowd.process(1, &commit).unwrap_err();
    assert_eq!(error.kind, ProcessErrorKind::PathOrTag);
    assert_eq!(error.reason, "The confirmation tag is invalid.");
    crowd.act(0, |group, device, _| group.clear_pending(device).unwrap());
    crowd.agree(&[0, 1]);
}
