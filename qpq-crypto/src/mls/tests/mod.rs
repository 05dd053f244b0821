//! Groups of several devices, each with a storage of its own that survives restarts.

mod costs;
mod crowd;
mod delivery;
mod determinism;
mod golden;
mod interop;
mod lifecycle;
mod model;
mod other_provider;
#[cfg(feature = "aws-lc-rs")]
mod primitives;
mod refusals;
mod rejoin;
mod rfc9180;
mod round_trip;
mod slots;
mod vectors;
mod wycheproof;

use std::collections::BTreeMap;

use super::*;
use crate::identity::{Credential, DeviceId, DeviceSecret, IdentityKey, IdentitySecret};

/// The time of all tests: far from any real clock, which must not matter.
const NOW: u64 = 946_684_800_000;
const GROUP: &[u8] = b"group";

/// A device with its disk.
struct Phone {
    name: u8,
    device: Device,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    seeds: u64,
}

impl Phone {
    fn new(name: u8) -> Self {
        Phone::with(name, open(name, BTreeMap::new()))
    }

    /// A phone whose device is of an odd kind; it does not survive a restart as such.
    fn with(name: u8, device: Device) -> Self {
        Phone {
            name,
            device,
            disk: BTreeMap::new(),
            seeds: 0,
        }
    }

    /// A fresh seed for one operation, the same in every run.
    fn seed(&mut self) -> [u8; 32] {
        self.seeds += 1;
        let mut seed = [self.name; 32];
        seed[..8].copy_from_slice(&self.seeds.to_be_bytes());
        seed
    }

    fn identity(&self) -> IdentityKey {
        self.device.credential().identity_key
    }

    /// Stores what changed; the number of bytes written.
    fn save(&mut self) -> usize {
        let batch = self.device.take_batch();
        let bytes = batch.bytes();
        for key in &batch.deletes {
            self.disk.remove(key);
        }
        assert!(batch.puts.iter().all(|(_, value)| value.len() <= PIECE));
        self.disk.extend(batch.puts);
        bytes
    }

    /// Loses power: only the disk is left.
    fn restart(&mut self) {
        self.device = open(self.name, self.disk.clone());
    }

    fn key_package(&mut self, suite: Suite) -> KeyPackage {
        let seed = self.seed();
        let key_package = self.device.key_package(&seed, suite, NOW, false).unwrap();
        self.save();
        key_package
    }

    fn group(&self) -> Group {
        Group::load(&self.device, GROUP).unwrap().unwrap()
    }
}

fn open(name: u8, disk: BTreeMap<Vec<u8>, Vec<u8>>) -> Device {
    let identity = IdentitySecret::from_seed([name; 32]);
    let secret = DeviceSecret::from_seed([name ^ 0x80; 32]);
    let credential = Credential::issue(&identity, DeviceId::new([name; 16]), secret.public(), NOW);
    Device::new(secret, credential, disk).unwrap()
}

/// A group made by the first phone, which then adds all others in one commit.
fn together(suite: Suite, phones: &mut [Phone]) -> Vec<Group> {
    let packages: Vec<_> = phones[1..]
        .iter_mut()
        .map(|phone| phone.key_package(suite).bytes)
        .collect();
    let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();

    let founder = &mut phones[0];
    let seed = founder.seed();
    let mut group = Group::create(&mut founder.device, &seed, suite, GROUP).unwrap();
    let seed = founder.seed();
    let out = group
        .add(&mut founder.device, &seed, &packages, NOW)
        .unwrap();
    group.confirm_pending(&mut founder.device).unwrap();
    founder.save();

    let mut groups = vec![group];
    for phone in &mut phones[1..] {
        let welcome = out.welcome.as_deref().unwrap();
        let tree = out.ratchet_tree.as_deref();
        groups.push(Group::join(&mut phone.device, welcome, tree, Policy::Qpq).unwrap());
        phone.save();
    }
    groups
}

fn names(names: impl IntoIterator<Item = u8>) -> Vec<Phone> {
    names.into_iter().map(Phone::new).collect()
}
