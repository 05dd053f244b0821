//! The same seeds give the same bytes on the wire, in every process and on every machine. A hash
//! that changes means that older builds' groups may not follow this one's: find out why first.

use sha2::{Digest, Sha256};

use super::*;

/// A group's life; everything it put on the wire, hashed piece by piece.
fn wire(suite: Suite) -> String {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    // Enough members for openmls to seal path secrets on several threads.
    let mut phones = names(1..=24);
    let packages: Vec<_> = phones[1..]
        .iter_mut()
        .map(|phone| phone.key_package(suite).bytes)
        .collect();
    let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();
    packages.iter().for_each(|bytes| put(bytes));
    let [founder, second, ..] = phones.as_mut_slice() else {
        unreachable!()
    };
    let seed = founder.seed();
    let mut group = Group::create(&mut founder.device, &seed, suite, GROUP).unwrap();
    let seed = founder.seed();
    let added = group
        .add(&mut founder.device, &seed, &packages, NOW)
        .unwrap();
    group.confirm_pending(&mut founder.device).unwrap();
    let welcome = added.welcome.clone().unwrap();
    let mut other = Group::join(&mut second.device, &welcome, None, Policy::Qpq).unwrap();

    // All others are blank above: this path is sealed to each of them.
    let seed = second.seed();
    let updated = other.update(&mut second.device, &seed).unwrap();
    other.confirm_pending(&mut second.device).unwrap();
    group.process(&mut founder.device, &updated.commit).unwrap();

    let seed = founder.seed();
    let removed = group.remove_leaf(&mut founder.device, &seed, 5).unwrap();
    group.confirm_pending(&mut founder.device).unwrap();
    other.process(&mut second.device, &removed.commit).unwrap();

    for out in [&added, &updated, &removed] {
        put(&out.commit);
        put(&out.group_info);
    }
    put(&welcome);
    let seed = founder.seed();
    put(&group
        .encrypt(&mut founder.device, &seed, b"message")
        .unwrap());
    let seed = second.seed();
    put(&other.leave(&mut second.device, &seed).unwrap());
    let seed = second.seed();
    let (back, out) = Group::rejoin(
        &mut second.device,
        &seed,
        &removed.group_info,
        None,
        Policy::Qpq,
    )
    .unwrap();
    put(&out.commit);
    put(&back.epoch_authenticator());
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    for (suite, expected) in [
        (
            Suite::MlKem768X25519,
            "a31d107fc5f65da9e45682380d8221dd6207337b45032882b4b02ca57b52c2b0",
        ),
        (
            Suite::MlKem768X25519High,
            "cf2bd1bbf35681cc4a8dcfd2741352bf86a6180b603a33b081f9d13e8a759fcf",
        ),
        (
            Suite::X25519,
            "52c4aca7e7c1ea8169680b2428840edd0d280283fa19ef4c34ac0b38f756ed29",
        ),
    ] {
        assert_eq!(wire(suite), expected, "{suite:?}");
    }
}

#[test]
fn another_seed_gives_other_bytes() {
    let mut phones = names([1, 2]);
    let mut groups = together(Suite::MlKem768X25519, &mut phones);
    let mut update = |seed: [u8; 32]| {
        let out = groups[0].update(&mut phones[0].device, &seed).unwrap();
        groups[0].clear_pending(&mut phones[0].device).unwrap();
        out.group_info
    };
    assert_ne!(update([1; 32]), update([2; 32]));
}
