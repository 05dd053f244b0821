//! A group whose members lose power after every operation.

use super::*;
use crate::sealed::{ChannelKey, authorised};

/// Each acts on a group loaded anew.
pub struct Crowd {
    pub phones: Vec<Phone>,
}

impl Crowd {
    pub fn new(suite: Suite, count: u8) -> Self {
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
    pub fn act<T>(
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

    pub fn process(&mut self, who: usize, message: &[u8]) -> Result<Processed, ProcessError> {
        self.act(who, |group, device, _| group.process(device, message))
    }

    /// A commit that gets its slot: confirmed by its maker, processed by the others given.
    pub fn commit(
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
    pub fn agree(&mut self, who: &[usize]) {
        let first = self.phones[who[0]].group();
        for other in &who[1..] {
            let group = self.phones[*other].group();
            assert_eq!(group.epoch(), first.epoch());
            assert_eq!(group.members(), first.members());
            assert_eq!(group.epoch_authenticator(), first.epoch_authenticator());
            let exported = group.export("qpq test", b"", 32).unwrap();
            assert!(exported.ct_eq(&first.export("qpq test", b"", 32).unwrap()));
            let channel_key = ChannelKey::of_epoch(&group).unwrap();
            let hash = ChannelKey::of_epoch(&first).unwrap().hash();
            assert!(authorised(channel_key.expose(), Some(&hash)));
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

    pub fn identity(&self, who: usize) -> IdentityKey {
        self.phones[who].identity()
    }
}
