//! Random lives of a group, with lost power in between: all members always agree.

use proptest::prelude::*;

use super::*;

const PEOPLE: usize = 5;
const SUITE: Suite = Suite::X25519;

/// What somebody does; who is no member, or has nobody to do it to, does nothing.
#[derive(Clone, Copy, Debug)]
enum Step {
    Say(usize),
    Update(usize),
    /// Both commit at once; the first gets the slot.
    Race(usize, usize),
    Add(usize, usize),
    Remove(usize, usize),
    Leave(usize),
    Rejoin(usize),
    /// Loses power before what it just did was stored.
    LosePower(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE;
    prop_oneof![
        3 => who().prop_map(Step::Say),
        2 => who().prop_map(Step::Update),
        2 => (who(), who()).prop_map(|(a, b)| Step::Race(a, b)),
        4 => (who(), who()).prop_map(|(a, b)| Step::Add(a, b)),
        2 => (who(), who()).prop_map(|(a, b)| Step::Remove(a, b)),
        1 => who().prop_map(Step::Leave),
        1 => who().prop_map(Step::Rejoin),
        2 => who().prop_map(Step::LosePower),
    ]
}

struct World {
    phones: Vec<Phone>,
    members: Vec<usize>,
}

impl World {
    fn new() -> Self {
        let mut phones: Vec<_> = (1..=PEOPLE as u8).map(Phone::new).collect();
        let seed = phones[0].seed();
        Group::create(&mut phones[0].device, &seed, SUITE, GROUP).unwrap();
        phones[0].save();
        World {
            phones,
            members: vec![0],
        }
    }

    /// One operation of a member, stored, with a restart after it.
    fn act<T>(
        &mut self,
        who: usize,
        run: impl FnOnce(&mut Group, &mut Device, [u8; 32]) -> T,
    ) -> T {
        let phone = &mut self.phones[who];
        let seed = phone.seed();
        let mut group = phone.group();
        let result = run(&mut group, &mut phone.device, seed);
        phone.save();
        phone.restart();
        result
    }

    fn tell(&mut self, from: usize, message: &[u8]) -> Vec<Processed> {
        let others: Vec<_> = self
            .members
            .iter()
            .copied()
            .filter(|m| *m != from)
            .collect();
        others
            .into_iter()
            .map(|to| {
                self.act(to, |group, device, _| {
                    group.process(device, message).unwrap()
                })
            })
            .collect()
    }

    /// Anyone who sees requests to leave commits them before anything else.
    fn settle(&mut self, who: usize) {
        let out = self.act(who, |group, device, seed| {
            group.commit_pending_proposals(device, &seed).unwrap()
        });
        if let Some(out) = out {
            self.publish(who, &out);
        }
    }

    /// The commit gets its slot.
    fn publish(&mut self, who: usize, out: &CommitOut) {
        let committed = self.act(who, |group, device, _| {
            group.confirm_pending(device).unwrap()
        });
        for got in self.tell(who, &out.commit) {
            let Processed::Commit {
                added,
                removed,
                epoch,
                ..
            } = got
            else {
                panic!("{got:?}");
            };
            assert_eq!(epoch, committed.epoch);
            assert_eq!(
                (added, removed),
                (committed.added.clone(), committed.removed.clone())
            );
        }
        for gone in &committed.removed {
            let at = self.find(gone);
            self.members.retain(|member| *member != at);
            self.act(at, |_, device, _| {
                let group = Group::load(device, GROUP).unwrap().unwrap();
                assert!(!group.is_active());
                group.delete(device).unwrap();
            });
        }
        for new in &committed.added {
            let at = self.find(new);
            let phone = &mut self.phones[at];
            let welcome = out.welcome.as_deref().unwrap();
            Group::join(&mut phone.device, welcome, None, Policy::Qpq).unwrap();
            phone.save();
            self.members.push(at);
        }
    }

    fn find(&self, member: &Member) -> usize {
        self.phones
            .iter()
            .position(|phone| phone.identity() == member.identity_key)
            .unwrap()
    }

    fn is_in(&self, who: usize) -> bool {
        self.members.contains(&who)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Say(a) if self.is_in(a) => {
                let message = self.act(a, |group, device, seed| {
                    group.encrypt(device, &seed, b"x").unwrap()
                });
                self.tell(a, &message);
            }
            Step::Update(a) if self.is_in(a) => {
                let out = self.act(a, |group, device, seed| {
                    group.update(device, &seed).unwrap()
                });
                self.publish(a, &out);
            }
            Step::Race(a, b) if a != b && self.is_in(a) && self.is_in(b) => {
                let first = self.act(a, |group, device, seed| {
                    group.update(device, &seed).unwrap()
                });
                self.act(b, |group, device, seed| {
                    group.update(device, &seed).unwrap()
                });
                self.publish(a, &first);
            }
            Step::Add(a, b) if self.is_in(a) && !self.is_in(b) => {
                let package = self.phones[b].key_package(SUITE).bytes;
                let out = self.act(a, |group, device, seed| {
                    group.add(device, &seed, &[&package], NOW).unwrap()
                });
                self.publish(a, &out);
            }
            Step::Remove(a, b) if a != b && self.is_in(a) && self.is_in(b) => {
                let gone = self.phones[b].identity();
                let out = self.act(a, |group, device, seed| {
                    group.remove(device, &seed, &gone).unwrap()
                });
                self.publish(a, &out);
            }
            Step::Leave(a) if self.is_in(a) && self.members.len() > 1 => {
                let proposal =
                    self.act(a, |group, device, seed| group.leave(device, &seed).unwrap());
                self.tell(a, &proposal);
                let other = *self.members.iter().find(|member| **member != a).unwrap();
                self.settle(other);
            }
            Step::Rejoin(a) if self.is_in(a) && self.members.len() > 1 => {
                let other = *self.members.iter().find(|member| **member != a).unwrap();
                let info = {
                    let phone = &self.phones[other];
                    phone.group().group_info(&phone.device).unwrap()
                };
                let phone = &mut self.phones[a];
                let seed = phone.seed();
                let (_, out) =
                    Group::rejoin(&mut phone.device, &seed, &info, None, Policy::Qpq).unwrap();
                phone.save();
                self.tell(a, &out.commit);
            }
            Step::LosePower(a) if self.is_in(a) => {
                let phone = &mut self.phones[a];
                let (seed, mut group) = (phone.seed(), phone.group());
                group.update(&mut phone.device, &seed).unwrap();
                group.confirm_pending(&mut phone.device).unwrap();
                phone.restart();
            }
            _ => {}
        }
    }

    fn agree(&self) {
        let groups: Vec<_> = self
            .members
            .iter()
            .map(|m| self.phones[*m].group())
            .collect();
        for group in &groups {
            assert_eq!(group.epoch(), groups[0].epoch());
            assert_eq!(group.members(), groups[0].members());
            assert_eq!(group.members().len(), self.members.len());
            assert_eq!(group.epoch_authenticator(), groups[0].epoch_authenticator());
            assert!(!group.has_pending_commit() && !group.has_pending_proposals());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn members_always_agree(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.agree();
        }
    }
}
