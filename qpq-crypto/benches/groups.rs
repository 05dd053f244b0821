//! What members pay in groups, with every change of state taken and written to a map, as a caller
//! with a storage does.
//!
//! `cargo bench -p qpq-crypto --bench groups`, a suite or a case by name: `-- X25519`,
//! `-- 'send/1000'`.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use qpq_crypto::{
    identity::{Credential, DeviceId, DeviceSecret, IdentitySecret},
    mls::{CommitOut, Device, Group, Policy, Suite},
};

const NOW: u64 = 1_800_000_000_000;
const GROUP: &[u8] = b"group";
const TEXT: [u8; 200] = [b'x'; 200];
const SUITES: [Suite; 2] = [Suite::X25519, Suite::MlKem768X25519];
const SIZES: [usize; 4] = [2, 10, 100, 1000];

/// A device, what it has stored, and how many seeds it has used.
struct Phone {
    number: usize,
    device: Device,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    seeds: u64,
}

impl Phone {
    fn new(number: usize) -> Self {
        Phone {
            number,
            device: open(number, BTreeMap::new()),
            disk: BTreeMap::new(),
            seeds: 0,
        }
    }

    fn seed(&mut self) -> [u8; 32] {
        self.seeds += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.number.to_be_bytes());
        seed[8..16].copy_from_slice(&self.seeds.to_be_bytes());
        seed
    }

    fn save(&mut self) {
        let batch = self.device.take_batch();
        for key in batch.deletes {
            self.disk.remove(&key);
        }
        self.disk.extend(batch.puts);
    }

    /// Another device on the same rows.
    fn copy(&self) -> Self {
        Phone {
            number: self.number,
            device: open(self.number, self.disk.clone()),
            disk: self.disk.clone(),
            seeds: self.seeds,
        }
    }

    fn group(&self) -> Group {
        Group::load(&self.device, GROUP)
            .expect("the rows are ours")
            .expect("the group is there")
    }

    fn key_package(&mut self, suite: Suite) -> Vec<u8> {
        let seed = self.seed();
        let made = self.device.key_package(&seed, suite, NOW, false);
        self.save();
        made.expect("a key package can always be made").bytes
    }
}

fn open(number: usize, disk: BTreeMap<Vec<u8>, Vec<u8>>) -> Device {
    let mut seed = [1; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let identity = IdentitySecret::from_seed(seed);
    seed[31] = 2;
    let secret = DeviceSecret::from_seed(seed);
    let mut id = [3; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let credential = Credential::issue(&identity, DeviceId::new(id), secret.public(), NOW);
    Device::new(secret, credential, disk).expect("the rows are ours")
}

/// A founder before it adds the others, and their key packages; the first of them is kept.
struct Start {
    founder: Phone,
    second: Phone,
    packages: Vec<Vec<u8>>,
}

impl Start {
    fn new(suite: Suite, size: usize) -> Self {
        let (mut founder, mut second) = (Phone::new(0), Phone::new(1));
        let mut packages = vec![second.key_package(suite)];
        packages.extend((2..size).map(|number| Phone::new(number).key_package(suite)));
        let seed = founder.seed();
        Group::create(&mut founder.device, &seed, suite, GROUP).expect("there is none yet");
        founder.save();
        Start {
            founder,
            second,
            packages,
        }
    }

    fn add(&self, founder: &mut Phone) -> CommitOut {
        let packages: Vec<&[u8]> = self.packages.iter().map(Vec::as_slice).collect();
        let (seed, mut group) = (founder.seed(), founder.group());
        let out = group
            .add(&mut founder.device, &seed, &packages, NOW)
            .expect("the key packages are good");
        founder.save();
        group
            .confirm_pending(&mut founder.device)
            .expect("a commit is pending");
        founder.save();
        out
    }
}

fn join(second: &mut Phone, out: &CommitOut) -> Group {
    let welcome = out.welcome.as_deref().expect("somebody was added");
    let tree = out.ratchet_tree.as_deref();
    let group = Group::join(&mut second.device, welcome, tree, Policy::Qpq);
    second.save();
    group.expect("the Welcome is for it")
}

fn update(phone: &mut Phone, group: &mut Group) -> CommitOut {
    let seed = phone.seed();
    let out = group.update(&mut phone.device, &seed);
    phone.save();
    out.expect("nothing is pending")
}

fn send(phone: &mut Phone, group: &mut Group) -> Vec<u8> {
    let seed = phone.seed();
    let message = group.encrypt(&mut phone.device, &seed, black_box(&TEXT));
    phone.save();
    message.expect("no proposals are pending")
}

fn receive(phone: &mut Phone, group: &mut Group, message: &[u8]) {
    let got = group.process(&mut phone.device, message);
    phone.save();
    black_box(got.expect("it is meant for this member"));
}

fn groups(c: &mut Criterion) {
    for suite in SUITES {
        let mut bench = c.benchmark_group(format!("{suite:?}"));
        let mut phone = Phone::new(0);
        bench.bench_function("key package", |b| b.iter(|| phone.key_package(suite)));

        for size in SIZES {
            bench.sample_size(if size == 1000 { 10 } else { 50 });
            let case = |name| BenchmarkId::new(name, size);
            let start = Start::new(suite, size);
            bench.bench_function(case("add all"), |b| {
                b.iter_batched_ref(
                    || start.founder.copy(),
                    |founder| start.add(founder),
                    BatchSize::LargeInput,
                );
            });

            let mut founder = start.founder.copy();
            let out = start.add(&mut founder);
            bench.bench_function(case("join"), |b| {
                b.iter_batched_ref(
                    || start.second.copy(),
                    |second| join(second, &out),
                    BatchSize::LargeInput,
                );
            });

            // Founder and second commit once each, as in a group where people have spoken.
            let mut second = start.second.copy();
            let (mut ours, mut theirs) = (founder.group(), join(&mut second, &out));
            let out = update(&mut founder, &mut ours);
            ours.confirm_pending(&mut founder.device)
                .expect("a commit is pending");
            founder.save();
            receive(&mut second, &mut theirs, &out.commit);

            bench.bench_function(case("update commit"), |b| {
                b.iter_batched_ref(
                    || (founder.copy(), founder.group()),
                    |(phone, group)| update(phone, group),
                    BatchSize::LargeInput,
                );
            });
            let commit = update(&mut founder.copy(), &mut founder.group()).commit;
            bench.bench_function(case("process commit"), |b| {
                b.iter_batched_ref(
                    || (second.copy(), second.group()),
                    |(phone, group)| receive(phone, group, &commit),
                    BatchSize::LargeInput,
                );
            });

            // The receiver is to see every message, but not those of the first case.
            let (mut sender, mut said) = (founder.copy(), founder.group());
            bench.bench_function(case("send"), |b| {
                b.iter(|| send(&mut founder, &mut ours));
            });
            bench.bench_function(case("receive"), |b| {
                b.iter_batched(
                    || send(&mut sender, &mut said),
                    |message| receive(&mut second, &mut theirs, &message),
                    BatchSize::PerIteration,
                );
            });
        }
        bench.finish();
    }
}

criterion_group!(benches, groups);
criterion_main!(benches);
