//! Key packages, devices and whose queue is whose on two cores of one store, held against a naive model of
//! protocol.md §5.18 to §5.20.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use qpq_protocol::ids::ConnId;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;

use crate::key_packages::{count, fetch, key_package, upload};
use crate::requests::{ack, message, payloads, status};
use crate::support::account::User;
use crate::support::{Refused, World, roomy};

/// Devices that carol may have at once.
const DEVICES: usize = 3;

/// What happens next, on one of the cores.
#[derive(Clone, Debug)]
enum Act {
    /// Bob uploads a package, a last resort or not.
    Upload { number: u8, last_resort: bool },
    /// Alice fetches one of bob's.
    Fetch,
    /// Bob counts.
    Count,
    /// Carol registers a device.
    Register(u8),
    /// Carol revokes one.
    Revoke(u8),
    /// Alice asks for carol's devices, and for the version of their DM.
    List,
    /// Alice sends carol something.
    Send,
    /// Carol's default device reads its queue.
    Read,
    /// It acks so many of what is there.
    Ack(u64),
    /// The core stops, and another one starts.
    Crash,
}

/// What the server is to hold.
#[derive(Default)]
struct Model {
    seen: BTreeSet<(u8, bool)>,
    packages: Vec<u8>,
    last_resort: Option<u8>,
    last_resort_used: bool,
    devices: BTreeSet<u8>,
    retired: BTreeSet<u8>,
    /// How often the members of carol's DM were told.
    told: u64,
    /// How many messages alice has sent, and how many the default device has acked of those that came to it.
    sent: u64,
    queued: u64,
    acked: u64,
}

impl Model {
    /// Whether carol's default device still is one: the first that is registered takes its place and its queues.
    fn has_default(&self) -> bool {
        self.devices.is_empty() && self.retired.is_empty()
    }

    fn read(&self) -> Result<Vec<u64>, Status> {
        let left = self.acked + 1..=self.queued;
        let may = self.has_default().then(|| left.collect());
        may.ok_or(Status::Forbidden)
    }

    /// Who asks for what has gone already may hear so, whoever it is by now.
    fn ack(&mut self, up_to: u64, answer: &Result<(), Status>) -> Result<(), Status> {
        if !self.has_default() {
            let known = answer.is_ok() && up_to <= self.acked;
            return if known {
                Ok(())
            } else {
                Err(Status::Forbidden)
            };
        }
        if up_to > self.queued {
            return Err(Status::BadRequest);
        }
        self.acked = self.acked.max(up_to);
        Ok(())
    }
}

/// Two cores, the store in the one that is at work.
struct Pair {
    cores: [World; 2],
    conns: [BTreeMap<&'static str, ConnId>; 2],
    at_work: usize,
    users: BTreeMap<&'static str, User>,
    channel: Bytes,
    version: u64,
    starts: u8,
}

impl Pair {
    fn new() -> Self {
        let mut config = roomy();
        config.limits.devices = DEVICES;
        config.limits.key_packages = 200;
        let mut first = World::new(config.clone());
        let mut users = BTreeMap::new();
        let mut conns = BTreeMap::new();
        for name in ["alice", "bob", "carol"] {
            let (user, conn) = first.user(name);
            users.insert(name, user);
            conns.insert(name, conn);
        }
        let request = proto::CreateChannelRequest {
            peer_key: users["carol"].key(),
            ..proto::CreateChannelRequest::default()
        };
        let created = first.call::<rpc::CreateChannel>(conns["alice"], &request);
        let channel = created.expect("a channel").channel_id;
        let memory = std::mem::take(&mut first.memory);
        let second = World::on(config, memory, [2; 32]);
        let mut pair = Self {
            cores: [first, second],
            conns: [conns, BTreeMap::new()],
            at_work: 1,
            users,
            channel,
            version: 0,
            starts: 2,
        };
        pair.log_in(1);
        pair.version = pair.members_version(0);
        pair
    }

    /// The core with this number, with the store.
    fn core(&mut self, core: usize) -> &mut World {
        if self.at_work != core {
            let memory = std::mem::take(&mut self.cores[self.at_work].memory);
            self.cores[core].memory = memory;
            self.at_work = core;
        }
        &mut self.cores[core]
    }

    fn log_in(&mut self, core: usize) {
        self.core(core);
        let world = &mut self.cores[core];
        for (name, user) in &self.users {
            let conn = world.connect();
            user.log_in(world, conn).expect("logged in");
            self.conns[core].insert(name, conn);
        }
    }

    fn crash(&mut self, core: usize) {
        self.core(core);
        self.starts += 1;
        let seed = [self.starts; 32];
        let world = std::mem::take(&mut self.cores[core]);
        self.cores[core] = world.restart(seed);
        self.log_in(core);
    }

    fn members_version(&mut self, core: usize) -> u64 {
        let request = proto::ListGroupMembersRequest {
            channel_id: self.channel.clone(),
        };
        let conn = self.conns[core]["alice"];
        let listed = self
            .core(core)
            .call::<rpc::ListGroupMembers>(conn, &request);
        listed.expect("a list").members_version
    }
}

/// Does something, and holds the answer against the model's.
fn run(pair: &mut Pair, model: &mut Model, core: usize, act: &Act) {
    let conns = pair.conns[core].clone();
    let bob = User::new("bob");
    let carol = User::new("carol");
    match *act {
        Act::Upload {
            number,
            last_resort,
        } => {
            let package = key_package(&bob, number, last_resort);
            let world = pair.core(core);
            upload(world, conns["bob"], &bob, &package, last_resort).expect("uploaded");
            if model.seen.insert((number, last_resort)) {
                if last_resort {
                    model.last_resort = Some(number);
                    model.last_resort_used = false;
                } else {
                    model.packages.push(number);
                }
            }
        }
        Act::Fetch => {
            let expected = if model.packages.is_empty() {
                model.last_resort_used |= model.last_resort.is_some();
                let last_resort = model.last_resort;
                last_resort.map(|number| key_package(&bob, number, true))
            } else {
                Some(key_package(&bob, model.packages.remove(0), false))
            };
            let fetched = fetch(pair.core(core), conns["alice"], &bob);
            assert!(fetched == expected.unwrap_or_default());
        }
        Act::Count => {
            let counted = count(pair.core(core), conns["bob"], &bob);
            let left = u32::try_from(model.packages.len()).expect("few");
            assert_eq!(counted, (left, model.last_resort_used));
        }
        Act::Register(number) => {
            let request = carol.device(number);
            let world = pair.core(core);
            let answer = world.call::<rpc::RegisterDevice>(conns["carol"], &request);
            if model.retired.contains(&number) {
                assert_eq!(status(answer), Status::Conflict);
            } else if model.devices.contains(&number) {
                answer.expect("known");
            } else if model.devices.len() >= DEVICES {
                assert_eq!(status(answer), Status::QuotaExceeded);
            } else {
                answer.expect("registered");
                model.devices.insert(number);
                model.told += 1;
            }
        }
        Act::Revoke(number) => {
            let request = proto::RevokeDeviceRequest {
                device_id: Bytes::copy_from_slice(&[number; 16]),
            };
            let world = pair.core(core);
            let answer = world.call::<rpc::RevokeDevice>(conns["carol"], &request);
            if model.devices.remove(&number) {
                answer.expect("revoked");
                model.retired.insert(number);
                model.told += 1;
            } else if model.retired.contains(&number) {
                answer.expect("known");
            } else {
                assert_eq!(status(answer), Status::NotFound);
            }
        }
        Act::List => {
            let request = proto::ListDevicesRequest {
                identity_key: carol.key(),
            };
            let world = pair.core(core);
            let listed = world.call::<rpc::ListDevices>(conns["alice"], &request);
            let listed = listed.expect("devices").devices.into_iter();
            let ids: Vec<Option<u8>> = listed
                .map(|device| device.device_id.first().copied())
                .collect();
            let mut expected: Vec<Option<u8>> = model.devices.iter().copied().map(Some).collect();
            if model.has_default() {
                expected.push(None);
            }
            assert_eq!(ids, expected);
            assert_eq!(pair.members_version(core), pair.version + model.told);
        }
        Act::Send => {
            model.sent += 1;
            model.queued += u64::from(model.has_default());
            let request = message(&carol, model.sent, b"hello");
            let world = pair.core(core);
            let sent = world.call::<rpc::Enqueue>(conns["alice"], &request);
            sent.expect("sent");
        }
        Act::Read => {
            let request = proto::FetchRequest {
                recipient_key: carol.key(),
                ..proto::FetchRequest::default()
            };
            let world = pair.core(core);
            let page = world.call::<rpc::Fetch>(conns["carol"], &request);
            let seqs = page.map(|page| payloads(&page).iter().map(|(seq, _)| *seq).collect());
            assert_eq!(statuses(seqs), model.read());
        }
        Act::Ack(more) => {
            let up_to = model.acked + more;
            let world = pair.core(core);
            let answer = statuses(ack(world, conns["carol"], &carol, &Bytes::new(), up_to));
            assert_eq!(answer, model.ack(up_to, &answer));
        }
        Act::Crash => pair.crash(core),
    }
}

fn statuses<T>(answer: Result<T, Refused>) -> Result<T, Status> {
    answer.map_err(|refused| refused.status)
}

fn any_act() -> impl Strategy<Value = Act> {
    let upload = (1..20_u8, any::<bool>()).prop_map(|(number, last_resort)| Act::Upload {
        number,
        last_resort,
    });
    prop_oneof![
        4 => upload,
        6 => Just(Act::Fetch),
        2 => Just(Act::Count),
        2 => (1..8_u8).prop_map(Act::Register),
        1 => (1..8_u8).prop_map(Act::Revoke),
        3 => Just(Act::List),
        4 => Just(Act::Send),
        3 => Just(Act::Read),
        3 => (0..3_u64).prop_map(Act::Ack),
        1 => Just(Act::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn two_cores_answer_as_one(acts in prop::collection::vec((0..2_usize, any_act()), 1..40)) {
        replay(&acts);
    }
}

fn replay(acts: &[(usize, Act)]) {
    let mut pair = Pair::new();
    let mut model = Model::default();
    for (core, act) in acts {
        run(&mut pair, &mut model, *core, act);
    }
}

/// Core 1 remembers the default device from before the first one was registered on core 0, which has not
/// read what lies in the queue.
#[test]
fn a_device_that_was_replaced_on_another_core_acks_nothing_more() {
    replay(&[
        (1, Act::Send),
        (1, Act::Send),
        (1, Act::Ack(1)),
        (0, Act::Register(1)),
        (1, Act::Ack(1)),
        (1, Act::Read),
    ]);
}
