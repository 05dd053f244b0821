//! Members that come back by GroupInfo, and who does not get in that way.

use super::{crowd::Crowd, *};

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

/// A client sends the commit first and applies it when it has the slot, after a restart too.
#[test]
fn the_same_seed_gives_the_same_rejoin() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let group_info = {
        let phone = &crowd.phones[0];
        phone.group().group_info(&phone.device).unwrap()
    };
    let mut rejoin = || {
        let device = &mut crowd.phones[1].device;
        let (_, out) = Group::rejoin(device, &[5; 32], &group_info, None, Policy::Qpq).unwrap();
        device.rollback();
        crowd.phones[1].restart();
        out
    };
    assert_eq!(rejoin(), rejoin());
}

#[test]
fn an_old_group_info_is_refused_by_who_knows_a_later_epoch() {
    let mut crowd = Crowd::new(Suite::X25519, 3);
    let old = {
        let phone = &crowd.phones[0];
        phone.group().group_info(&phone.device).unwrap()
    };
    let gone = crowd.identity(2);
    let out = crowd.act(0, |group, device, seed| {
        group.remove(device, &seed, &gone).unwrap()
    });
    crowd.commit(0, &[1], &out);
    let rejoin = |device: &mut Device, group_info: &[u8]| {
        Group::rejoin(device, &[9; 32], group_info, None, Policy::Qpq)
    };
    let error = rejoin(&mut crowd.phones[1].device, &old).err();
    let (epoch, held) = (1, 2);
    assert_eq!(error, Some(JoinError::PastEpoch { epoch, held }));
    crowd.agree(&[0, 1]);
    let (_, back) = rejoin(&mut crowd.phones[1].device, &out.group_info).unwrap();
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
    let stranger = &mut crowd.phones[2].device;
    let mut rejoin = |policy| Group::rejoin(stranger, &seed, &group_info, None, policy);
    assert_eq!(rejoin(Policy::Qpq).err(), Some(JoinError::Stranger));
    let (_, out) = rejoin(Policy::Interop).unwrap();
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
