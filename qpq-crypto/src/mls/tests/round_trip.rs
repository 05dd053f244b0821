//! What members say and do reaches all others.

use super::*;

#[test]
fn two_members_talk_in_every_suite() {
    for suite in Suite::OFFERED {
        let mut phones = names([1, 2]);
        let mut groups = together(suite, &mut phones);
        assert_eq!(groups[0].members(), groups[1].members());
        assert_eq!(groups[1].suite(), suite);
        for (from, to) in [(0, 1), (1, 0)] {
            let seed = phones[from].seed();
            let message = groups[from]
                .encrypt(&mut phones[from].device, &seed, b"hello")
                .unwrap();
            let got = groups[to]
                .process(&mut phones[to].device, &message)
                .unwrap();
            let Processed::Application { sender, plaintext } = got else {
                panic!("{got:?}");
            };
            assert_eq!(plaintext, b"hello");
            assert_eq!(sender.identity_key, phones[from].identity());
            assert_eq!(sender.leaf, groups[from].own_leaf());
            for (phone, group) in phones.iter_mut().zip(&mut groups) {
                phone.save();
                phone.restart();
                *group = phone.group();
            }
        }
    }
}
