//! A naive model of protocol.md §5.1 to §5.11, queues as lists and a slot as a number, and two cores
//! on one store that are held against it. The acts are chosen by `random.rs` and by the fuzz target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use qpq_protocol::ids::ConnId;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::server::ServerConfig;
use qpq_protocol::status::Status;
use qpq_protocol::storage::memory::Memory;
use sha2::{Digest, Sha256};

use crate::requests::*;
use crate::support::account::User;
use crate::support::{Refused, World, roomy};

pub const NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// Messages that a queue holds here.
pub const FULL: usize = 6;
/// Of these, so many may be of one sender.
pub const OF_ONE: usize = 3;

/// What a user does next. Users, cores and message ids are numbers, taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends into the default channel, or into the group for its slot or one that is off by one.
    Send {
        core: usize,
        from: usize,
        to: usize,
        id: u8,
        text: u8,
        slot: Option<i8>,
    },
    /// Sends to all others at once.
    Batch {
        core: usize,
        from: usize,
        id: u8,
        text: u8,
    },
    /// Reads a queue.
    Fetch {
        core: usize,
        who: usize,
        group: bool,
        after: u8,
    },
    /// Acks a queue up to so far behind its end.
    Ack {
        core: usize,
        who: usize,
        group: bool,
        behind: u8,
    },
    /// Asks for the group's slot, or one that is off by one.
    Commit {
        core: usize,
        from: usize,
        id: u8,
        off: i8,
        add: Option<usize>,
        remove: Option<usize>,
    },
    /// Leaves the group, or puts itself back on its list.
    Place { core: usize, who: usize, back: bool },
    /// Two commits for the same slot at once, one on each core.
    Race { one: usize, other: usize, id: u8 },
    /// The power fails, or the answer to what was asked last is lost and it is asked again.
    Crash { core: usize },
}

/// A queue as protocol.md tells it.
#[derive(Clone, Debug)]
struct Queue {
    first: u64,
    /// Who sent it, `None` for a commit, and what.
    kept: Vec<(Option<usize>, Vec<u8>)>,
    overrun: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            first: 1,
            kept: Vec::new(),
            overrun: false,
        }
    }
}

impl Queue {
    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn has_room(&self) -> bool {
        !self.overrun && self.kept.len() < FULL
    }

    fn has_room_for(&self, sender: usize) -> bool {
        let theirs = self.kept.iter().filter(|(by, _)| *by == Some(sender));
        self.has_room() && theirs.count() < OF_ONE
    }

    fn put(&mut self, sender: Option<usize>, payload: &[u8]) -> u64 {
        self.kept.push((sender, payload.to_vec()));
        self.next() - 1
    }
}

/// What an Ok answer said: seqs and statuses, or the next slot.
#[derive(Clone, PartialEq, Debug)]
enum Said {
    Seqs(Vec<u64>, Vec<u32>),
    NextSlot(u64),
}

/// How a membership ended.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Left,
    /// By another's commit, in this slot.
    Removed(u64),
}

/// What the server is to have done.
pub struct Model {
    queues: BTreeMap<(usize, bool), Queue>,
    members: BTreeSet<usize>,
    slot: u64,
    /// Who committed, and what.
    winners: Vec<(usize, Vec<u8>)>,
    /// How the membership of who is none ended.
    ended: BTreeMap<usize, End>,
    /// Who has put itself back; no day passes here.
    returned: BTreeSet<usize>,
    /// By caller, method and message id: what was asked, what was said.
    known: BTreeMap<(usize, u16, u8), (Vec<u8>, Said)>,
}

impl Model {
    /// A group of everyone, in which nothing was said.
    pub fn new() -> Self {
        Self {
            queues: BTreeMap::new(),
            members: (0..NAMES.len()).collect(),
            slot: 0,
            winners: Vec::new(),
            ended: BTreeMap::new(),
            returned: BTreeSet::new(),
            known: BTreeMap::new(),
        }
    }

    /// The first answer, if the message id is known.
    fn repeat(
        &self,
        key: (usize, u16, u8),
        content: &[u8],
    ) -> Option<Result<(Said, bool), Status>> {
        let (asked, said) = self.known.get(&key)?;
        if asked == content {
            Some(Ok((said.clone(), true)))
        } else {
            Some(Err(Status::BadRequest))
        }
    }

    fn send(
        &mut self,
        from: usize,
        to: usize,
        id: u8,
        payload: &[u8],
        slot: Option<u64>,
    ) -> Result<(Said, bool), Status> {
        let key = (from, 200, id);
        let content = [&[to as u8, slot.is_some().into()], payload].concat();
        if let Some(answer) = self.repeat(key, &content) {
            return answer;
        }
        if let Some(slot) = slot {
            if !self.members.contains(&from) {
                return Err(Status::Forbidden);
            }
            if slot < self.slot {
                return Err(Status::Conflict);
            }
            if slot > self.slot {
                return Err(Status::BadRequest);
            }
            if !self.members.contains(&to) {
                return Err(Status::Forbidden);
            }
        }
        // The sending device is the only one of its user.
        let seq = if from == to {
            0
        } else {
            let queue = self.queues.entry((to, slot.is_some())).or_default();
            if !queue.has_room_for(from) {
                return Err(Status::QuotaExceeded);
            }
            queue.put(Some(from), payload)
        };
        let said = Said::Seqs(vec![seq], vec![0]);
        self.known.insert(key, (content, said.clone()));
        Ok((said, false))
    }

    fn batch(&mut self, from: usize, id: u8, payload: &[u8]) -> Result<(Said, bool), Status> {
        let key = (from, 205, id);
        if let Some(answer) = self.repeat(key, payload) {
            return answer;
        }
        let (mut seqs, mut statuses) = (Vec::new(), Vec::new());
        for to in (0..NAMES.len()).filter(|to| *to != from) {
            let queue = self.queues.entry((to, false)).or_default();
            if queue.has_room_for(from) {
                seqs.push(queue.put(Some(from), payload));
                statuses.push(0);
            } else {
                seqs.push(0);
                statuses.push(Status::QuotaExceeded.code().into());
            }
        }
        let said = Said::Seqs(seqs, statuses.clone());
        if statuses.contains(&0) {
            self.known.insert(key, (payload.to_vec(), said.clone()));
        }
        Ok((said, false))
    }

    fn commit(
        &mut self,
        from: usize,
        id: u8,
        slot: u64,
        commit: &[u8],
        add: Option<usize>,
        remove: Option<usize>,
    ) -> Result<(Said, bool), Status> {
        if add.is_some() && add == remove {
            return Err(Status::BadRequest);
        }
        let key = (from, 206, id);
        let content = [&slot.to_be_bytes(), commit].concat();
        if let Some(answer) = self.repeat(key, &content) {
            return answer;
        }
        let winner = self.winners.get(slot as usize);
        if let Some((by, winner)) = winner
            && winner == commit
            && (self.members.contains(&from)
                || *by == from
                || self.ended.get(&from) == Some(&End::Removed(slot)))
        {
            return Ok((Said::NextSlot(slot + 1), true));
        }
        if !self.members.contains(&from) {
            return Err(Status::Forbidden);
        }
        if remove == Some(from) {
            return Err(Status::BadRequest);
        }
        if slot != self.slot {
            return Err(Status::Conflict);
        }
        let add = add.filter(|add| !self.members.contains(add));
        if add.is_some_and(|add| self.ended.get(&add) == Some(&End::Left)) {
            return Err(Status::Forbidden);
        }
        // Who is put on the list without a welcome gets the commit too.
        let reached = self.members.iter().copied().chain(add);
        for member in reached.filter(|member| *member != from) {
            let queue = self.queues.entry((member, true)).or_default();
            if queue.has_room() {
                queue.put(None, commit);
            } else {
                queue.overrun = true;
            }
        }
        if let Some(add) = add {
            self.members.insert(add);
            self.ended.remove(&add);
        }
        if let Some(remove) = remove
            && self.members.remove(&remove)
        {
            self.ended.insert(remove, End::Removed(slot));
        }
        self.slot += 1;
        self.winners.push((from, commit.to_vec()));
        let said = Said::NextSlot(self.slot);
        self.known.insert(key, (content, said.clone()));
        Ok((said, false))
    }

    /// Somebody leaves.
    fn leave(&mut self, who: usize) -> Result<(), Status> {
        if self.members.remove(&who) {
            self.ended.insert(who, End::Left);
        }
        Ok(())
    }

    /// Somebody puts itself back on the list.
    fn come_back(&mut self, who: usize) -> Result<(), Status> {
        if self.members.contains(&who) {
            return Ok(());
        }
        if !matches!(self.ended.get(&who), Some(End::Removed(_))) {
            return Err(Status::Forbidden);
        }
        if !self.returned.insert(who) {
            return Err(Status::RateLimited);
        }
        self.ended.remove(&who);
        self.members.insert(who);
        Ok(())
    }

    fn ack(&mut self, who: usize, group: bool, up_to: u64) -> Result<(), Status> {
        let queue = self.queues.entry((who, group)).or_default();
        if up_to >= queue.next() {
            return Err(Status::BadRequest);
        }
        while queue.first <= up_to {
            queue.kept.remove(0);
            queue.first += 1;
        }
        if queue.kept.is_empty() {
            queue.overrun = false;
        }
        Ok(())
    }
}

/// A server with queues that fill soon, caches that forget soon, and little memory.
pub fn config() -> ServerConfig {
    let mut config = roomy();
    let limits = &mut config.limits;
    limits.queue_messages = FULL;
    limits.queue_sender_share = FULL / OF_ONE;
    limits.connections = 4;
    limits.total_buffer = 64 * 1024;
    limits.small_buffer = 64 * 1024;
    limits.answer = 64 * 1024;
    limits.total_unsent = 64 * 1024;
    limits.cached_rows = 40;
    limits.cached_bytes = 16 * 1024;
    config
}

/// A group of everyone, and a session of each: what every [`Pair`] begins with. Made once, since
/// registering takes longer than all that follows.
pub struct Town {
    store: Memory,
    group: Bytes,
    tokens: Vec<Bytes>,
}

pub static TOWN: LazyLock<Town> = LazyLock::new(|| {
    let mut world = World::new(config());
    let (users, conns): (Vec<User>, Vec<ConnId>) =
        NAMES.iter().map(|name| world.user(name)).unzip();
    let group = create_group(&mut world, conns[0], 1, &[&users[1], &users[2]]);
    let sessions = users.iter().zip(conns);
    let tokens = sessions
        .map(|(user, conn)| user.log_in(&mut world, conn).expect("logged in").token)
        .collect();
    Town {
        store: world.memory,
        group,
        tokens,
    }
});

/// Two cores on one store. The engine lies in the core that is at work.
pub struct Pair {
    cores: Vec<World>,
    at_work: usize,
    users: Vec<User>,
    conns: Vec<Vec<ConnId>>,
    group: Bytes,
    seed: u8,
}

impl Pair {
    pub fn new() -> Self {
        let mut first = World::on(config(), TOWN.store.clone(), [2; 32]);
        let memory = std::mem::take(&mut first.memory);
        let second = World::on(config(), memory, [3; 32]);
        let mut pair = Self {
            cores: vec![first, second],
            at_work: 1,
            users: NAMES.map(User::new).into(),
            conns: vec![Vec::new(), Vec::new()],
            group: TOWN.group.clone(),
            seed: 3,
        };
        pair.resume(1);
        pair.resume(0);
        pair
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

    /// Connects everyone to a core that has just started.
    fn resume(&mut self, core: usize) {
        self.conns[core].clear();
        for token in &TOWN.tokens {
            let world = self.core(core);
            let conn = world.connect();
            let request = proto::ResumeSessionRequest {
                auth: Some(proto::Auth {
                    access_token: token.clone(),
                    device_id: Bytes::new(),
                }),
                ..proto::ResumeSessionRequest::default()
            };
            let resumed = world.call::<rpc::ResumeSession>(conn, &request);
            resumed.expect("a session");
            self.conns[core].push(conn);
        }
    }

    /// A core stops without a word, and another one starts.
    fn crash(&mut self, core: usize) {
        self.core(core);
        let world = self.cores.remove(core);
        self.seed += 1;
        self.cores.insert(core, world.restart([self.seed; 32]));
        self.resume(core);
    }

    fn channel(&self, group: bool) -> Bytes {
        if group {
            self.group.clone()
        } else {
            Bytes::new()
        }
    }

    fn commit_request(&self, id: u8, slot: u64, commit: &[u8]) -> proto::SubmitCommitRequest {
        proto::SubmitCommitRequest {
            channel_id: self.group.clone(),
            slot,
            commit: Bytes::copy_from_slice(commit),
            message_id: message_id(id.into()),
            ..proto::SubmitCommitRequest::default()
        }
    }
}

/// What the server says, in the words of the model.
fn said<T>(
    answer: Result<T, Refused>,
    words: impl FnOnce(T) -> (Said, bool),
) -> Result<(Said, bool), Status> {
    answer.map(words).map_err(|refused| refused.status)
}

fn moved(slot: u64, off: i8) -> u64 {
    slot.checked_add_signed(off.into()).unwrap_or(slot)
}

/// Does something, and holds the answer against the model's.
pub fn run(pair: &mut Pair, model: &mut Model, act: Act) {
    match act {
        Act::Send {
            core,
            from,
            to,
            id,
            text,
            slot,
        } => {
            let slot = slot.map(|off| moved(model.slot, off));
            let expected = model.send(from, to, id, &[text], slot);
            let request = proto::EnqueueRequest {
                recipient_key: pair.users[to].key(),
                payload: Bytes::copy_from_slice(&[text]),
                channel_id: pair.channel(slot.is_some()),
                message_id: message_id(id.into()),
                channel_slot: slot,
                ..proto::EnqueueRequest::default()
            };
            let conn = pair.conns[core][from];
            let answer = pair.core(core).call::<rpc::Enqueue>(conn, &request);
            let answer = said(answer, |answer| {
                (Said::Seqs(vec![answer.seq], vec![0]), answer.duplicate)
            });
            assert_eq!(answer, expected);
        }
        Act::Batch {
            core,
            from,
            id,
            text,
        } => {
            let expected = model.batch(from, id, &[text]);
            let others = (0..NAMES.len()).filter(|to| *to != from);
            let request = proto::BatchEnqueueRequest {
                recipient_keys: others.map(|to| pair.users[to].key()).collect(),
                payload: Bytes::copy_from_slice(&[text]),
                message_id: message_id(id.into()),
                ..proto::BatchEnqueueRequest::default()
            };
            let conn = pair.conns[core][from];
            let answer = pair.core(core).call::<rpc::BatchEnqueue>(conn, &request);
            let answer = said(answer, |answer| {
                (Said::Seqs(answer.seqs, answer.statuses), answer.duplicate)
            });
            assert_eq!(answer, expected);
        }
        Act::Fetch {
            core,
            who,
            group,
            after,
        } => {
            let queue = model.queues.get(&(who, group)).cloned().unwrap_or_default();
            let after_seq = (queue.first + u64::from(after)).saturating_sub(2);
            let request = proto::FetchRequest {
                recipient_key: pair.users[who].key(),
                channel_id: pair.channel(group),
                after_seq,
                ..proto::FetchRequest::default()
            };
            let conn = pair.conns[core][who];
            let page = pair.core(core).call::<rpc::Fetch>(conn, &request);
            let page = page.expect("a page");
            let expected: Vec<(u64, Vec<u8>)> = (queue.first..)
                .zip(queue.kept.iter().map(|(_, payload)| payload.clone()))
                .filter(|(seq, _)| *seq > after_seq)
                .collect();
            assert_eq!(payloads(&page), expected);
            assert_eq!(
                (page.first_seq, page.next_seq, page.overrun),
                (queue.first, queue.next(), queue.overrun)
            );
        }
        Act::Ack {
            core,
            who,
            group,
            behind,
        } => {
            let next = model
                .queues
                .get(&(who, group))
                .cloned()
                .unwrap_or_default()
                .next();
            let up_to = next.saturating_sub(behind.into());
            let expected = model.ack(who, group, up_to);
            let (conn, channel) = (pair.conns[core][who], pair.channel(group));
            pair.core(core);
            let Pair { cores, users, .. } = pair;
            let answer = ack(&mut cores[core], conn, &users[who], &channel, up_to);
            assert_eq!(answer.map_err(|refused| refused.status), expected);
        }
        Act::Commit {
            core,
            from,
            id,
            off,
            add,
            remove,
        } => {
            let slot = moved(model.slot, off);
            // Some bytes are everybody's, member or not.
            let commit = match id % 3 {
                0 => [b'c', u8::MAX, 0],
                _ => [b'c', from as u8, id],
            };
            let winner = model
                .winners
                .get(slot as usize)
                .map(|(_, winner)| winner.clone());
            let expected = model.commit(from, id, slot, &commit, add, remove);
            let request = proto::SubmitCommitRequest {
                add_members: add.map(|who| pair.users[who].key()).into_iter().collect(),
                remove_members: remove
                    .map(|who| pair.users[who].key())
                    .into_iter()
                    .collect(),
                ..pair.commit_request(id, slot, &commit)
            };
            let conn = pair.conns[core][from];
            let answer = pair.core(core).call::<rpc::SubmitCommit>(conn, &request);
            if let Err(refused) = &answer
                && refused.status == Status::Conflict
            {
                assert_eq!(refused.detail.slot, model.slot);
                let hash = winner.map(|winner| Sha256::digest(winner).to_vec());
                assert_eq!(
                    refused.detail.commit_hash.to_vec(),
                    hash.unwrap_or_default()
                );
            }
            let answer = said(answer, |answer| {
                (Said::NextSlot(answer.next_slot), answer.duplicate)
            });
            assert_eq!(answer, expected);
        }
        Act::Place { core, who, back } => {
            let (conn, key) = (pair.conns[core][who], pair.users[who].key());
            let channel_id = pair.group.clone();
            let (expected, answer) = if back {
                let request = proto::AddMemberRequest {
                    channel_id,
                    member_key: key,
                };
                let answer = pair.core(core).call::<rpc::AddMember>(conn, &request);
                (model.come_back(who), answer.map(|_| ()))
            } else {
                let request = proto::RemoveMemberRequest {
                    channel_id,
                    member_key: key,
                };
                let answer = pair.core(core).call::<rpc::RemoveMember>(conn, &request);
                (model.leave(who), answer.map(|_| ()))
            };
            assert_eq!(answer.map_err(|refused| refused.status), expected);
        }
        Act::Race { one, other, id } => race(pair, model, [one, other], id),
        Act::Crash { core } => pair.crash(core),
    }
}

/// Both cores run a commit for the same slot, storage command by storage command in turn. One of
/// them is first; the model runs them in that order.
fn race(pair: &mut Pair, model: &mut Model, who: [usize; 2], id: u8) {
    let slot = model.slot;
    let commits = [[b'r', 0, id], [b'r', 1, id]];
    let mut streams = Vec::new();
    for (core, commit) in commits.iter().enumerate() {
        let request = pair.commit_request(id + 100 * core as u8, slot, commit);
        let conn = pair.conns[core][who[core]];
        let world = pair.core(core);
        world.hold_storage = true;
        streams.push((conn, world.send::<rpc::SubmitCommit>(conn, &request)));
    }
    while (0..2).any(|core| !pair.cores[core].stored.is_empty()) {
        for core in 0..2 {
            let world = pair.core(core);
            world.run_storage(1);
            world.pump();
        }
    }
    let mut answers = Vec::new();
    for (core, (conn, stream)) in streams.into_iter().enumerate() {
        let world = pair.core(core);
        world.hold_storage = false;
        let answer = world.response::<rpc::SubmitCommit>(conn, stream);
        answers.push(said(answer, |answer| {
            (Said::NextSlot(answer.next_slot), answer.duplicate)
        }));
    }
    let order = if answers[0].is_ok() { [0, 1] } else { [1, 0] };
    for core in order {
        let id = id + 100 * core as u8;
        let expected = model.commit(who[core], id, slot, &commits[core], None, None);
        assert_eq!(&answers[core], &expected);
    }
}
