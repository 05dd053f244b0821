//! A naive model of who is on a member list, over days: leaving, being thrown off, coming back, resets,
//! memberships given and the rate of commits, on two cores that share a store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use qpq_protocol::ids::{ConnId, IdentityKey};
use qpq_protocol::limits::Rate;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::server::ServerConfig;
use qpq_protocol::status::Status;
use qpq_protocol::storage::keys;

use crate::requests::*;
use crate::support::account::User;
use crate::support::{Refused, World, roomy};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
const A_DAY: usize = 2;
const OPEN: usize = 3;
const ALL_OPEN: usize = 4;
const COMMITS: u32 = 4;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Commits for the slot that is free.
    Commit {
        core: usize,
        from: usize,
        add: Option<usize>,
        welcome: bool,
        remove: Option<usize>,
        reset: bool,
    },
    /// Sends something into the group.
    Use {
        core: usize,
        who: usize,
    },
    Leave {
        core: usize,
        who: usize,
    },
    /// Puts itself back on the list.
    Return {
        core: usize,
        who: usize,
    },
    /// Opens another group with somebody.
    Open {
        core: usize,
        from: usize,
        to: usize,
    },
    Pass {
        hours: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Left,
    Removed { open: bool },
    PushedOut,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Gift {
    channel: u8,
    giver: usize,
    at: u64,
    open: bool,
}

/// What is to be so. Times are hours; the group's number is 0.
#[derive(Default)]
struct Model {
    now: u64,
    members: BTreeSet<usize>,
    ended: BTreeMap<usize, End>,
    returned_at: BTreeMap<usize, u64>,
    reset_at: BTreeMap<usize, u64>,
    given: BTreeMap<usize, Vec<Gift>>,
    /// Commits of this hour, by core and member.
    commits: BTreeMap<(usize, usize), u32>,
    slot: u64,
}

impl Model {
    /// A group of Alice and Bob, whom she has put into it.
    fn of_two() -> Self {
        let gift = Gift {
            channel: 0,
            giver: 0,
            at: 0,
            open: true,
        };
        Self {
            members: [0, 1].into(),
            given: [(1, vec![gift])].into(),
            ..Self::default()
        }
    }

    fn open_in_group(&self, who: usize) -> bool {
        let given = self.given.get(&who).into_iter().flatten();
        let mut open = given.filter(|gift| gift.open);
        open.any(|gift| gift.channel == 0)
    }

    fn close(&mut self, who: usize, channel: u8) {
        for gift in self.given.entry(who).or_default() {
            gift.open &= gift.channel != channel;
        }
    }

    fn give(&mut self, giver: usize, to: usize, channel: u8) -> Result<(), Status> {
        let (now, given) = (self.now, self.given.entry(to).or_default());
        let theirs: Vec<&Gift> = given.iter().filter(|gift| gift.giver == giver).collect();
        let recent = theirs.iter().filter(|gift| now - gift.at < 24).count();
        if recent >= A_DAY || theirs.iter().filter(|gift| gift.open).count() >= OPEN {
            return Err(Status::QuotaExceeded);
        }
        while given.iter().filter(|gift| gift.open).count() >= ALL_OPEN {
            let by = |giver| {
                let open = given.iter().filter(|gift| gift.open);
                open.filter(|gift| gift.giver == giver).count()
            };
            let counts: Vec<usize> = (0..NAMES.len()).map(by).collect();
            let most = counts.iter().max();
            let mut open = given.iter_mut().filter(|gift| gift.open);
            let goes = open.find(|gift| Some(&counts[gift.giver]) == most);
            let goes = goes.expect("one that is open");
            goes.open = false;
            if goes.channel == 0 && self.members.remove(&to) {
                self.ended.insert(to, End::PushedOut);
            }
        }
        given.push(Gift {
            channel,
            giver,
            at: now,
            open: true,
        });
        Ok(())
    }

    fn commit(
        &mut self,
        core: usize,
        from: usize,
        add: Option<usize>,
        welcome: bool,
        remove: Option<usize>,
        reset: bool,
    ) -> Result<(), Status> {
        if add.is_some() && add == remove {
            return Err(Status::BadRequest);
        }
        if !self.members.contains(&from) {
            return Err(Status::Forbidden);
        }
        if remove == Some(from) {
            return Err(Status::BadRequest);
        }
        if reset && self.reset_at.get(&from) == Some(&self.now) {
            return Err(Status::RateLimited);
        }
        self.close(from, 0);
        let count = self.commits.entry((core, from)).or_default();
        if *count >= COMMITS {
            return Err(Status::RateLimited);
        }
        *count += 1;
        let add = add.filter(|add| !self.members.contains(add));
        let remove = remove.filter(|remove| self.members.contains(remove));
        if let Some(add) = add {
            let ended = self.ended.get(&add).copied();
            if ended == Some(End::Left) && !welcome {
                return Err(Status::Forbidden);
            }
            if ended != Some(End::Removed { open: false }) {
                self.give(from, add, 0)?;
            }
            self.members.insert(add);
            self.ended.remove(&add);
        }
        if let Some(remove) = remove {
            let open = self.open_in_group(remove);
            self.close(remove, 0);
            self.members.remove(&remove);
            self.ended.insert(remove, End::Removed { open });
        }
        if reset {
            self.reset_at.insert(from, self.now);
        }
        self.slot += 1;
        Ok(())
    }

    fn send(&mut self, who: usize) -> Result<(), Status> {
        if !self.members.contains(&who) {
            return Err(Status::Forbidden);
        }
        self.close(who, 0);
        Ok(())
    }

    fn leave(&mut self, who: usize) -> Result<(), Status> {
        if self.members.remove(&who) {
            self.close(who, 0);
            self.ended.insert(who, End::Left);
        }
        Ok(())
    }

    fn come_back(&mut self, who: usize) -> Result<(), Status> {
        if self.members.contains(&who) {
            return Ok(());
        }
        if !matches!(
            self.ended.get(&who),
            Some(End::Removed { .. } | End::PushedOut)
        ) {
            return Err(Status::Forbidden);
        }
        let last = self.returned_at.get(&who);
        if last.is_some_and(|last| self.now - last < 1) {
            return Err(Status::RateLimited);
        }
        self.returned_at.insert(who, self.now);
        self.ended.remove(&who);
        self.members.insert(who);
        Ok(())
    }
}

fn config() -> ServerConfig {
    let mut config = roomy();
    let limits = &mut config.limits;
    limits.memberships_a_day = A_DAY;
    limits.memberships_open = OPEN;
    limits.memberships = ALL_OPEN;
    limits.commits = Rate::per_secs(COMMITS, 60);
    limits.session = Duration::from_secs(365 * 24 * 3600);
    // Caches that forget soon.
    limits.cached_rows = 40;
    limits.cached_bytes = 16 * 1024;
    config
}

/// Two cores on one store. The engine lies in the core that is at work.
struct Pair {
    cores: Vec<World>,
    at_work: usize,
    users: Vec<User>,
    conns: Vec<Vec<ConnId>>,
    group: Bytes,
    done: u64,
    groups: u8,
}

impl Pair {
    /// A group of Alice and Bob, whom she has put into it.
    fn new() -> Self {
        let mut first = World::new(config());
        let (users, conns): (Vec<User>, Vec<ConnId>) =
            NAMES.iter().map(|name| first.user(name)).unzip();
        let group = create_group(&mut first, conns[0], 0, &[&users[1]]);
        let memory = std::mem::take(&mut first.memory);
        let mut second = World::on(config(), memory, [2; 32]);
        let log_in = |user: &User| {
            let conn = second.connect();
            user.log_in(&mut second, conn).expect("logged in");
            conn
        };
        let others = users.iter().map(log_in).collect();
        Self {
            cores: vec![first, second],
            at_work: 1,
            users,
            conns: vec![conns, others],
            group,
            done: 0,
            groups: 0,
        }
    }

    /// The core with this number, with the engine.
    fn core(&mut self, core: usize) -> &mut World {
        if self.at_work != core {
            let memory = std::mem::take(&mut self.cores[self.at_work].memory);
            self.cores[core].memory = memory;
            self.at_work = core;
        }
        &mut self.cores[core]
    }

    fn members(&self) -> BTreeSet<usize> {
        let rows = self.cores[self.at_work].memory.rows();
        let listed = rows.filter_map(|(key, _)| keys::parse_member(key));
        let listed: Vec<IdentityKey> = listed
            .filter(|(channel, _)| channel.as_bytes() == self.group.as_ref())
            .map(|(_, member)| member)
            .collect();
        let is_listed = |who: &usize| listed.contains(&self.users[*who].secret.public());
        (0..NAMES.len()).filter(is_listed).collect()
    }
}

/// Does something, and holds answer and list against the model's.
fn run(pair: &mut Pair, model: &mut Model, act: Act) {
    pair.done += 1;
    let id = message_id(pair.done);
    let key = |pair: &Pair, who: usize| pair.users[who].key();
    let channel_id = pair.group.clone();
    let (answer, expected): (Result<(), Refused>, Result<(), Status>) = match act {
        Act::Commit {
            core,
            from,
            add,
            welcome,
            remove,
            reset,
        } => {
            let welcomed = add.filter(|_| welcome);
            let request = proto::SubmitCommitRequest {
                channel_id,
                slot: model.slot,
                commit: Bytes::copy_from_slice(&pair.done.to_be_bytes()),
                message_id: id,
                add_members: add.map(|who| key(pair, who)).into_iter().collect(),
                remove_members: remove.map(|who| key(pair, who)).into_iter().collect(),
                welcomes: welcomed
                    .map(|who| proto::CommitWelcome {
                        recipient_key: key(pair, who),
                        payload: Bytes::from_static(b"welcome"),
                        ..proto::CommitWelcome::default()
                    })
                    .into_iter()
                    .collect(),
                reset,
                ..proto::SubmitCommitRequest::default()
            };
            let conn = pair.conns[core][from];
            let answer = pair.core(core).call::<rpc::SubmitCommit>(conn, &request);
            let expected = model.commit(core, from, add, welcome, remove, reset);
            (answer.map(|_| ()), expected)
        }
        Act::Use { core, who } => {
            // To the only device of oneself: it lies in no queue.
            let request = proto::EnqueueRequest {
                recipient_key: key(pair, who),
                channel_id,
                channel_slot: Some(model.slot),
                payload: Bytes::from_static(b"hello"),
                message_id: id,
                ..proto::EnqueueRequest::default()
            };
            let conn = pair.conns[core][who];
            let answer = pair.core(core).call::<rpc::Enqueue>(conn, &request);
            (answer.map(|_| ()), model.send(who))
        }
        Act::Leave { core, who } => {
            let request = proto::RemoveMemberRequest {
                channel_id,
                member_key: key(pair, who),
            };
            let conn = pair.conns[core][who];
            let answer = pair.core(core).call::<rpc::RemoveMember>(conn, &request);
            (answer.map(|_| ()), model.leave(who))
        }
        Act::Return { core, who } => {
            let request = proto::AddMemberRequest {
                channel_id,
                member_key: key(pair, who),
            };
            let conn = pair.conns[core][who];
            let answer = pair.core(core).call::<rpc::AddMember>(conn, &request);
            (answer.map(|_| ()), model.come_back(who))
        }
        Act::Open { core, from, to } if from != to => {
            pair.groups += 1;
            let number = pair.groups;
            let request = proto::CreateChannelRequest {
                channel_id: group_id(number),
                member_keys: vec![key(pair, to)],
                ..proto::CreateChannelRequest::default()
            };
            let conn = pair.conns[core][from];
            let answer = pair.core(core).call::<rpc::CreateChannel>(conn, &request);
            (answer.map(|_| ()), model.give(from, to, number))
        }
        Act::Open { .. } => return,
        Act::Pass { hours } => {
            for core in 0..2 {
                // And a little more, since the clock of one core is some milliseconds behind the other's.
                let time = Duration::from_secs(3600 * hours + 1);
                pair.core(core).advance(time);
            }
            model.now += hours;
            model.commits.clear();
            return;
        }
    };
    assert_eq!(answer.map_err(|refused| refused.status), expected);
    assert_eq!(pair.members(), model.members);
}

fn group_id(number: u8) -> Bytes {
    channel_id(number)
}

fn act() -> impl Strategy<Value = Act> {
    let (core, who) = (0..2usize, 0..NAMES.len());
    let some = proptest::option::weighted(0.5, 0..NAMES.len());
    let commit = (
        core.clone(),
        who.clone(),
        some.clone(),
        any::<bool>(),
        some,
        proptest::bool::weighted(0.2),
    );
    prop_oneof![
        8 => commit.prop_map(|(core, from, add, welcome, remove, reset)| Act::Commit {
            core, from, add, welcome, remove, reset
        }),
        3 => (core.clone(), who.clone()).prop_map(|(core, who)| Act::Use { core, who }),
        2 => (core.clone(), who.clone()).prop_map(|(core, who)| Act::Leave { core, who }),
        6 => (core.clone(), who.clone()).prop_map(|(core, who)| Act::Return { core, who }),
        4 => (core, who.clone(), who)
            .prop_map(|(core, from, to)| Act::Open { core, from, to }),
        1 => Just(Act::Pass { hours: 1 }),
        1 => (2..30u64).prop_map(|hours| Act::Pass { hours }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn who_is_where_follows_the_rules_on_two_cores(acts in vec(act(), 1..60)) {
        replay(acts);
    }
}

fn replay(acts: Vec<Act>) {
    let mut pair = Pair::new();
    let mut model = Model::of_two();
    for act in acts {
        run(&mut pair, &mut model, act);
    }
}

/// Core 1 remembers Dave as a member from before he left on core 0.
#[test]
fn who_left_on_another_core_cannot_add_himself() {
    let commit = |core, from, add, reset| Act::Commit {
        core,
        from,
        add,
        welcome: false,
        remove: None,
        reset,
    };
    replay(vec![
        commit(0, 1, Some(3), false),
        commit(1, 3, None, false),
        Act::Leave { core: 0, who: 3 },
        commit(1, 3, Some(3), true),
    ]);
}

/// Core 1's clock is a little behind that of core 0, which notes what was given.
#[test]
fn what_was_given_counts_on_a_core_whose_clock_is_behind() {
    let open = |core| Act::Open {
        core,
        from: 0,
        to: 2,
    };
    replay(vec![open(0), open(0), open(1)]);
}

/// Core 0 remembers Dave as a member whom it put on the list, from before core 1 took him off.
#[test]
fn who_was_thrown_off_on_another_core_is_put_back() {
    let commit = |core, from, add, remove| Act::Commit {
        core,
        from,
        add,
        welcome: false,
        remove,
        reset: false,
    };
    replay(vec![
        commit(0, 0, Some(3), None),
        commit(1, 1, None, Some(3)),
        commit(0, 0, Some(3), None),
    ]);
}

/// The hour is counted from the last return, whichever core that was on.
#[test]
fn who_is_thrown_off_twice_comes_back_an_hour_after_the_first_time() {
    let off = |core| Act::Commit {
        core,
        from: 0,
        add: None,
        welcome: false,
        remove: Some(1),
        reset: false,
    };
    let back = |core| Act::Return { core, who: 1 };
    replay(vec![
        off(0),
        back(0),
        off(1),
        back(1),
        Act::Pass { hours: 1 },
        back(0),
    ]);
}
