//! How many bytes an operation puts on the wire and on the disk. No clocks: bytes are the same on
//! every machine.

use super::*;

fn median(mut bytes: Vec<usize>) -> usize {
    bytes.sort_unstable();
    bytes[bytes.len() / 2]
}

/// A founder, one member who is there, and so many more who only lent their key packages.
fn large(suite: Suite, count: usize) -> (Vec<Phone>, Vec<Group>) {
    let mut phones = names([1, 2]);
    let mut packages = vec![phones[1].key_package(suite).bytes];
    packages.extend((2..count).map(|n| extra(n).key_package(suite).bytes));
    let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();

    let [founder, member] = phones.as_mut_slice() else {
        unreachable!()
    };
    let seed = founder.seed();
    let mut group = Group::create(&mut founder.device, &seed, suite, GROUP).unwrap();
    let seed = founder.seed();
    let out = group
        .add(&mut founder.device, &seed, &packages, NOW)
        .unwrap();
    group.confirm_pending(&mut founder.device).unwrap();
    let (welcome, tree) = (out.welcome.unwrap(), out.ratchet_tree);
    assert_eq!(tree.is_some(), count > TREE_INSIDE_UP_TO);
    let joined = Group::join(&mut member.device, &welcome, tree.as_deref(), Policy::Qpq).unwrap();
    founder.save();
    member.save();
    (phones, vec![group, joined])
}

/// A device that is only a number.
fn extra(number: usize) -> Phone {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let identity = IdentitySecret::from_seed(seed);
    seed[31] = 1;
    let secret = DeviceSecret::from_seed(seed);
    let id = DeviceId::new(seed[..16].try_into().unwrap());
    let credential = Credential::issue(&identity, id, secret.public(), NOW);
    let mut phone = Phone::with(0, Device::new(secret, credential, []).unwrap());
    phone.seeds = (number as u64) << 32;
    phone
}

#[test]
fn the_tree_is_inside_up_to_fifty_members_and_beside_above() {
    for (count, inside) in [(50, true), (51, false)] {
        let (phones, groups) = large(Suite::X25519, count);
        assert_eq!(groups[0].members(), groups[1].members());
        assert_eq!(groups[0].members().len(), count);
        let info = groups[0].group_info(&phones[0].device).unwrap();
        let mut phone = Phone::new(1);
        let rejoined = Group::rejoin(&mut phone.device, &[1; 32], &info, None, Policy::Qpq);
        match inside {
            true => assert!(rejoined.is_ok()),
            false => {
                assert_eq!(rejoined.err(), Some(JoinError::MissingTree));
                let tree = groups[0].ratchet_tree().unwrap();
                Group::rejoin(&mut phone.device, &[1; 32], &info, Some(&tree), Policy::Qpq)
                    .unwrap();
            }
        }
    }
}

#[test]
fn a_message_costs_little_on_the_wire_and_on_the_disk() {
    for suite in [Suite::X25519, Suite::MlKem768X25519] {
        let (mut phones, mut groups) = large(suite, 1000);
        let (mut wire, mut sent, mut received) = (vec![], vec![], vec![]);
        for _ in 0..100 {
            let seed = phones[0].seed();
            let message = groups[0]
                .encrypt(&mut phones[0].device, &seed, &[b'x'; 200])
                .unwrap();
            wire.push(message.len());
            sent.push(phones[0].save());
            groups[1].process(&mut phones[1].device, &message).unwrap();
            received.push(phones[1].save());
        }
        let (wire, sent, received) = (median(wire), median(sent), median(received));
        println!(
            "{suite:?}, 1,000 members, a message of 200 bytes: {wire} bytes on the wire, {sent} written by its sender, {received} by a receiver"
        );
        assert!(wire <= 420, "{wire}");
        assert!(sent <= 8 * 1024, "{sent}");
        assert!(received <= 8 * 1024, "{received}");
    }
}

#[test]
fn a_commit_in_a_settled_group_writes_little() {
    let suite = Suite::MlKem768X25519;
    let (mut phones, mut groups) = large(suite, 1000);
    let (founder, group) = (&mut phones[0], &mut groups[0]);
    // One in each subtree beside the founder's path: no node that its commits are sealed to is
    // blank then, as in a group where all have spoken.
    for number in (1..10).map(|level| 1 << level) {
        let mut phone = extra(number);
        let seed = phone.seed();
        let info = group.group_info(&founder.device).unwrap();
        let tree = group.ratchet_tree().unwrap();
        let (_, out) =
            Group::rejoin(&mut phone.device, &seed, &info, Some(&tree), Policy::Qpq).unwrap();
        group.process(&mut founder.device, &out.commit).unwrap();
    }
    founder.save();
    let (mut wire, mut written) = (vec![], vec![]);
    for _ in 0..20 {
        let seed = founder.seed();
        let out = group.update(&mut founder.device, &seed).unwrap();
        wire.push(out.commit.len());
        founder.save();
        group.confirm_pending(&mut founder.device).unwrap();
        written.push(founder.save());
    }
    let (wire, written) = (median(wire), median(written));
    println!(
        "{suite:?}, 1,000 members, settled: a commit of {wire} bytes, {written} written by its merge"
    );
    assert!(written <= 128 * 1024, "{written}");
}
