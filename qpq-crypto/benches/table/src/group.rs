//! `Group`, with every batch taken: what a caller then writes is its storage's affair.

use std::{collections::BTreeMap, time::Duration};

use qpq_crypto::{
    identity::{Credential, DeviceId, DeviceSecret, IdentitySecret},
    mls::{CommitOut, Device, Group, Policy, Suite},
};

use crate::measure::{Bytes, Op, Stack, median, timed};

pub const NOW: u64 = 1_800_000_000_000;
pub const GROUP: &[u8] = b"group";
pub const TEXT: [u8; 200] = [b'x'; 200];

type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

/// The keys of a device that is only a number.
pub fn keys(number: usize) -> (DeviceSecret, Credential) {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let identity = IdentitySecret::from_seed(seed);
    seed[31] = 2;
    let secret = DeviceSecret::from_seed(seed);
    let mut id = [3; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let credential = Credential::issue(&identity, DeviceId::new(id), secret.public(), NOW);
    (secret, credential)
}

/// Seeds that are never the same twice.
#[derive(Default)]
pub struct Seeds(u64);

impl Seeds {
    pub fn next(&mut self) -> [u8; 32] {
        self.0 += 1;
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&self.0.to_be_bytes());
        seed
    }
}

fn open(number: usize, disk: Disk) -> Device {
    let (secret, credential) = keys(number);
    Device::new(secret, credential, disk).expect("the rows are ours")
}

fn save(device: &mut Device, disk: &mut Disk) {
    let batch = device.take_batch();
    for key in batch.deletes {
        disk.remove(&key);
    }
    disk.extend(batch.puts);
}

/// A device with the group loaded.
struct Phone {
    device: Device,
    group: Group,
}

impl Phone {
    fn load(number: usize, disk: &Disk) -> Self {
        let device = open(number, disk.clone());
        let group = Group::load(&device, GROUP)
            .expect("the rows are ours")
            .expect("the group is there");
        Phone { device, group }
    }

    fn add(&mut self, seed: &[u8; 32], packages: &[Vec<u8>]) -> CommitOut {
        let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();
        let out = self.group.add(&mut self.device, seed, &packages, NOW);
        out.expect("the key packages are good")
    }

    fn confirm(&mut self) {
        let confirmed = self.group.confirm_pending(&mut self.device);
        confirmed.expect("a commit is pending");
    }

    fn update(&mut self, seed: &[u8; 32]) -> Vec<u8> {
        let out = self.group.update(&mut self.device, seed);
        out.expect("nothing is pending").commit
    }

    fn send(&mut self, seed: &[u8; 32]) -> Vec<u8> {
        let message = self.group.encrypt(&mut self.device, seed, &TEXT);
        message.expect("no proposals are pending")
    }

    fn receive(&mut self, message: &[u8]) {
        let got = self.group.process(&mut self.device, message);
        got.expect("it is meant for this member");
    }
}

pub struct Ours {
    suite: Suite,
    seeds: Seeds,
    packages: Vec<Vec<u8>>,
    /// Of the founder alone, and of the second member before it joins.
    alone: [Disk; 2],
    added: CommitOut,
    /// Of the second member, when the founder's next commit comes.
    before_commit: Disk,
    commit: Vec<u8>,
    /// Says what nobody hears.
    founder: Phone,
    /// Says what the second member hears.
    sender: Phone,
    second: Phone,
}

impl Ours {
    pub fn new(suite: Suite, added: usize) -> Self {
        let mut seeds = Seeds::default();
        let mut disks = [Disk::new(), Disk::new()];
        let [founder_disk, second_disk] = &mut disks;
        let mut second = open(1, Disk::new());
        let mut package = |device: &mut Device| {
            let made = device.key_package(&seeds.next(), suite, NOW, false);
            made.expect("a key package can always be made").bytes
        };
        let mut packages = vec![package(&mut second)];
        packages.extend((2..=added).map(|number| package(&mut open(number, Disk::new()))));
        save(&mut second, second_disk);

        let mut device = open(0, Disk::new());
        let group = Group::create(&mut device, &seeds.next(), suite, GROUP);
        let group = group.expect("there is none yet");
        let mut founder = Phone { device, group };
        save(&mut founder.device, founder_disk);
        let alone = disks.clone();
        let [founder_disk, second_disk] = &mut disks;

        let added = founder.add(&seeds.next(), &packages);
        founder.confirm();
        let group = join(&mut second, &added);
        let mut second = Phone {
            device: second,
            group,
        };
        // Both commit once, as in a group where people have spoken.
        let commit = founder.update(&seeds.next());
        founder.confirm();
        second.receive(&commit);
        let commit = second.update(&seeds.next());
        second.confirm();
        founder.receive(&commit);
        save(&mut founder.device, founder_disk);
        save(&mut second.device, second_disk);

        let commit = Phone::load(0, founder_disk).update(&seeds.next());
        Ours {
            suite,
            seeds,
            packages,
            alone,
            added,
            before_commit: second_disk.clone(),
            commit,
            sender: Phone::load(0, founder_disk),
            founder,
            second,
        }
    }
}

fn join(device: &mut Device, added: &CommitOut) -> Group {
    let welcome = added.welcome.as_deref().expect("somebody was added");
    let group = Group::join(device, welcome, added.ratchet_tree.as_deref(), Policy::Qpq);
    group.expect("the Welcome is for it")
}

impl Stack for Ours {
    fn time(&mut self, op: Op) -> Duration {
        let seed = self.seeds.next();
        match op {
            Op::KeyPackage => {
                let mut device = open(1, Disk::new());
                let made = || {
                    let made = device.key_package(&seed, self.suite, NOW, false);
                    (made, device.take_batch())
                };
                timed(made).0
            }
            Op::Add => {
                let mut founder = Phone::load(0, &self.alone[0]);
                let add = || {
                    let out = founder.add(&seed, &self.packages);
                    let pending = founder.device.take_batch();
                    founder.confirm();
                    (out, pending, founder.device.take_batch())
                };
                timed(add).0
            }
            Op::Join => {
                let mut second = open(1, self.alone[1].clone());
                timed(|| (join(&mut second, &self.added), second.take_batch())).0
            }
            Op::Update => {
                let founder = &mut self.founder;
                let (time, _) = timed(|| (founder.update(&seed), founder.device.take_batch()));
                let cleared = founder.group.clear_pending(&mut founder.device);
                cleared.expect("a commit is pending");
                founder.device.take_batch();
                time
            }
            Op::Process => {
                let mut second = Phone::load(1, &self.before_commit);
                let process = || {
                    second.receive(&self.commit);
                    second.device.take_batch()
                };
                timed(process).0
            }
            Op::Encrypt => {
                let founder = &mut self.founder;
                timed(|| (founder.send(&seed), founder.device.take_batch())).0
            }
            Op::Decrypt => {
                let message = self.sender.send(&seed);
                self.sender.device.take_batch();
                let second = &mut self.second;
                let receive = || {
                    second.receive(&message);
                    second.device.take_batch()
                };
                timed(receive).0
            }
        }
    }

    fn bytes(&mut self) -> Bytes {
        let [mut wire, mut sent, mut received] = [const { Vec::new() }; 3];
        for _ in 0..100 {
            let message = self.sender.send(&self.seeds.next());
            self.second.receive(&message);
            wire.push(message.len());
            sent.push(self.sender.device.take_batch().bytes());
            received.push(self.second.device.take_batch().bytes());
        }
        Bytes {
            wire: median(wire),
            written_by_sender: median(sent),
            written_by_receiver: median(received),
        }
    }
}
