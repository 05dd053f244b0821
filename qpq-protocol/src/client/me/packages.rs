//! Key packages: a pool at the server kept above a floor, and one for when it is empty.
//!
//! A package is made, stored, published, confirmed; only then is the one deleted that it replaces.
//! Private keys stay for as long as a queue may hold a Welcome to them.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::client::Client;
use crate::client::keep::keys::Name;
use crate::client::keep::record::PackageRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::Timer;
use crate::defect::seeded;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// A last-resort package is replaced at this age; it would expire at 366 days.
const LAST_RESORT_AGE: Duration = Duration::from_secs(270 * 86_400);
/// Private keys are deleted at this age: 84 days of a package's validity, 90 days of a Welcome in a
/// queue; a last-resort package has been replaced for long by then.
const PRIVATE_KEY_AGE: Duration = Duration::from_secs(400 * 86_400);
const SINGLE_USE_KEY_AGE: Duration = Duration::from_secs(180 * 86_400);

/// What is known of the pool beyond what is stored.
#[derive(Default)]
pub(in crate::client) struct Packages {
    /// The server has said how many are left, on this connection.
    is_counted: bool,
    /// What it was never asked to take before: only of these does its refusal say that it has not got them.
    new: BTreeSet<Vec<u8>>,
}

impl Client {
    /// Asks how many packages are left, and publishes what is not confirmed.
    pub(in crate::client) fn tend_packages(&mut self) {
        if !self.link.is_ready() {
            return;
        }
        let Some(me) = &self.state.me else {
            return;
        };
        if !self.link.is_asked(&Then::CountPackages) {
            let request = proto::CountKeyPackagesRequest {
                identity_key: me.identity_key().as_bytes().to_vec().into(),
                device_id: me.device_id.as_bytes().to_vec().into(),
            };
            self.packages.is_counted = false;
            self.call::<rpc::CountKeyPackages>(&request, Then::CountPackages);
        }
    }

    pub(in crate::client) fn on_counted(&mut self, answer: Answer<rpc::CountKeyPackages>) {
        let counted = match answer {
            Ok(counted) => counted,
            Err(fault) => {
                self.try_again(Timer::Packages, &fault);
                return;
            }
        };
        self.packages.is_counted = true;
        self.prune_packages();
        let unpublished = |record: &&PackageRecord| !record.unpublished.is_empty();
        let waiting = self.state.packages.values().filter(unpublished);
        let waiting = waiting.filter(|record| !record.last_resort).count();
        let have = usize::try_from(counted.count)
            .unwrap_or(usize::MAX)
            .saturating_add(waiting);
        if have < count(self.config.package_floor) {
            for _ in have..count(self.config.package_target) {
                self.make_package(false);
            }
        }
        let oldest_good = self.unix_ms().saturating_sub(millis(LAST_RESORT_AGE));
        let mut last_resorts = self
            .state
            .packages
            .values()
            .filter(|record| record.last_resort);
        let fresh = last_resorts.any(|record| {
            record.created_at_ms >= oldest_good
                && (!counted.last_resort_used || !record.unpublished.is_empty())
        });
        if !fresh {
            self.make_package(true);
        }
        self.publish_packages();
    }

    fn make_package(&mut self, last_resort: bool) {
        let (seed, suite) = (self.rng.seed(), self.config.mls_suite);
        let now_ms = self.state.clocks.date(self.unix_ms());
        let Some(device) = &mut self.state.device else {
            return;
        };
        let Ok(package) = device.key_package(&seed, suite, now_ms, last_resort) else {
            return;
        };
        let record = PackageRecord {
            unpublished: package.bytes.into(),
            last_resort,
            created_at_ms: now_ms,
            replaces: false,
        };
        self.writer
            .put(&Name::Package(package.reference.clone()), &record);
        self.packages.new.insert(package.reference.clone());
        self.state.packages.insert(package.reference, record);
    }

    fn publish_packages(&mut self) {
        let Some(me) = &self.state.me else {
            return;
        };
        let (identity_key, device_id) = (me.identity_key(), me.device_id);
        let unpublished: Vec<_> = self
            .state
            .packages
            .iter()
            .filter(|(_, record)| !record.unpublished.is_empty())
            .map(|(reference, record)| (reference.clone(), record.clone()))
            .collect();
        if unpublished.is_empty() && self.packages.is_counted {
            self.settle_login();
        }
        // What comes in place of all others comes first and alone: it would take away what came before.
        let alone = unpublished.iter().any(|(_, record)| record.replaces);
        for (reference, record) in unpublished {
            if alone && !record.replaces {
                continue;
            }
            let then = Then::UploadPackage(reference);
            if !self.link.is_asked(&then) {
                let request = proto::UploadKeyPackageRequest {
                    identity_key: identity_key.as_bytes().to_vec().into(),
                    package: record.unpublished,
                    device_id: device_id.as_bytes().to_vec().into(),
                    last_resort: record.last_resort,
                    replace: record.replaces,
                };
                self.call::<rpc::UploadKeyPackage>(&request, then);
            }
        }
    }

    pub(in crate::client) fn on_uploaded(
        &mut self,
        reference: Vec<u8>,
        answer: Answer<rpc::UploadKeyPackage>,
    ) {
        let is_new = self.packages.new.remove(&reference);
        match answer {
            Err(fault) if fault.is_passing() || fault.status == Status::QuotaExceeded => {
                self.try_again(Timer::Packages, &fault);
                return;
            }
            // The server will never take it: it is of no use.
            Err(_) if is_new => self.drop_package(&reference),
            // Nor this one, but it may have done so when no answer came: then there are invitations to it.
            Ok(_) | Err(_) => {
                if let Some(record) = self.state.packages.get_mut(&reference) {
                    record.unpublished.clear();
                    let was_alone = core::mem::take(&mut record.replaces);
                    let name = Name::Package(reference);
                    self.writer.put(&name, record);
                    if was_alone {
                        return self.publish_packages();
                    }
                }
            }
        }
        let more = self
            .state
            .packages
            .values()
            .any(|record| !record.unpublished.is_empty());
        if !more {
            self.settle_login();
        }
    }

    /// The data was set back: what the server has of this device may be used up, or its keys gone. New
    /// packages take the place of all; the private keys of the old ones stay, for Welcomes on their way.
    pub(in crate::client) fn replace_packages(&mut self) {
        let unpublished = |(_, record): &(_, &PackageRecord)| !record.unpublished.is_empty();
        let void = self.state.packages.iter().filter(unpublished);
        for reference in void
            .map(|(reference, _)| reference.clone())
            .collect::<Vec<_>>()
        {
            self.drop_package(&reference);
        }
        for _ in 0..count(self.config.package_target) {
            self.make_package(false);
        }
        self.make_package(true);
        let mut new = self.state.packages.iter_mut();
        let new = new.find(|(_, record)| !record.unpublished.is_empty() && !record.last_resort);
        if let Some((reference, record)) = new {
            record.replaces = true;
            self.writer.put(&Name::Package(reference.clone()), record);
        }
    }

    /// Forgets packages that were used up by a join, and private keys that nobody can need by any clock.
    pub(in crate::client) fn prune_packages(&mut self) {
        let Some(held) = self
            .state
            .device
            .as_ref()
            .and_then(|d| d.key_packages().ok())
        else {
            return;
        };
        let (now, own_ms) = (self.clock.now(), self.unix_ms());
        let is_drained = self.is_synced();
        let gone: Vec<_> = self
            .state
            .packages
            .iter()
            .filter(|(reference, record)| {
                let age = match record.last_resort {
                    true => PRIVATE_KEY_AGE,
                    false => SINGLE_USE_KEY_AGE,
                };
                let end_ms = record.created_at_ms.saturating_add(millis(age));
                // A clock that is wrong once must not lose an invitation that waits.
                let is_past = self.state.clocks.is_past(now, own_ms, end_ms)
                    || seeded!(self.config, ClockAlone) && end_ms <= own_ms;
                let is_old = is_drained && is_past;
                is_old || !held.iter().any(|package| package.reference == **reference)
            })
            .map(|(reference, _)| reference.clone())
            .collect();
        for reference in gone {
            self.drop_package(&reference);
        }
    }

    fn drop_package(&mut self, reference: &[u8]) {
        if let Some(device) = &mut self.state.device {
            device.delete_key_package(reference);
        }
        self.state.packages.remove(reference);
        self.writer.delete(&Name::Package(reference.to_vec()));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(packages: u32) -> usize {
    usize::try_from(packages).unwrap_or(usize::MAX)
}
