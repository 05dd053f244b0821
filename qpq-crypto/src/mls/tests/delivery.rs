//! Messages late, early, twice, one's own, or not to be followed.

use super::{crowd::Crowd, *};

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
fn a_message_from_before_its_author_was_removed_still_reads() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let author = crowd.phones[2].identity();
    let message = crowd.act(2, |group, device, seed| {
        group.encrypt(device, &seed, b"before").unwrap()
    });
    let out = crowd.act(0, |group, device, seed| {
        group.remove(device, &seed, &author).unwrap()
    });
    crowd.commit(0, &[1], &out);
    for reader in [0, 1] {
        match crowd.process(reader, &message) {
            Ok(Processed::Application { sender, plaintext }) => {
                assert_eq!((sender.identity_key, sender.leaf), (author, 2));
                assert_eq!(plaintext, b"before");
            }
            other => panic!("{other:?}"),
        }
    }
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
            .build(provider.rand(), provider.crypto(), device.signer(), |_| {
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
