//! What a running request is, and all of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::task_id::TaskId;
use crate::limits::Limits;
use crate::method::Method;
use crate::rising::Rising;
use crate::server::caller::Caller;
use crate::server::charges::{Charge, Turn};
use crate::server::event::AskId;
use crate::server::fault::Fault;
use crate::server::notes::Notes;
use crate::server::step::{Outcome, Then, ThenDecided, ThenWoken, Woken};
use crate::server::table;
use crate::server::txn::Issued;
use crate::storage::keys::QueueId;
use crate::time::Time;

/// A running request.
pub(in crate::server) struct Task {
    pub(in crate::server) id: TaskId,
    pub(in crate::server) caller: Caller,
    pub(in crate::server) stream: u64,
    pub(in crate::server) request_id: u32,
    pub(in crate::server) method: Method,
    /// The request, for running it again.
    pub(super) payload: Bytes,
    /// When the request came.
    pub(super) received: Time,
    /// When it began to run, or was woken last.
    pub(super) began: Time,
    /// What is set aside for it.
    pub(super) charge: Option<Charge>,
    pub(super) attempt: u32,
    pub(in crate::server) state: TaskState,
    /// When its timer fires, if it runs.
    pub(super) timer: Option<Time>,
    pub(super) notes: Notes,
    /// How many Commits not yet durable it rests on.
    pub(super) unsettled: u32,
    /// Whether one of those was not carried out.
    pub(super) stale: bool,
    pub(super) watches: Vec<QueueId>,
    /// Whether there was news in a watched queue since it was last looked at.
    pub(super) news: bool,
    /// What a long answer holds while it runs.
    pub(in crate::server) long: Option<Long>,
    /// Whether there is a job to do once it has its answer.
    pub(super) starts_job: bool,
    /// Whether it was answered before its end, because that took too long.
    pub(super) answered: bool,
}

pub(in crate::server) enum TaskState {
    /// Its handler is being called.
    Running,
    /// Its turn: there is no room for its long answer.
    Queued(Box<Resume>),
    /// Storage.
    Stored(Then, Option<Issued>),
    /// News, or its timer.
    Waiting(ThenWoken),
    /// The embedder's word.
    Asked(AskId, ThenDecided),
    /// Commits of others that it rests on.
    Held(Result<Outcome, Fault>),
    /// Its timer, because its answer must not tell how long it took.
    Paced(Result<Outcome, Fault>),
}

/// What a request with a long answer holds while it runs.
pub(in crate::server) struct Long {
    /// It is one of those of its connection.
    pub(super) turn: Turn,
    /// What covers the answer.
    pub(super) room: Charge,
}

/// How a queued request goes on.
pub(in crate::server) enum Resume {
    /// From its request.
    Start,
    /// From where it waited.
    Woken(ThenWoken, Woken),
}

/// All running requests.
#[derive(Default)]
pub(in crate::server) struct Tasks {
    /// Boxed: a task is large, and moves between its steps.
    pub(in crate::server) running: BTreeMap<TaskId, Box<Task>>,
    /// Whose storage command a ticket is of.
    pub(super) tickets: Rising<TaskId>,
    /// Who rests on a Commit that is not durable yet; the attempt tells a request that has run
    /// again since.
    pub(super) dependents: BTreeMap<u64, Vec<(TaskId, u32)>>,
    pub(super) waiters: BTreeSet<(QueueId, TaskId)>,
    /// What the embedder is to decide.
    pub(super) asked: BTreeMap<AskId, TaskId>,
    pub(super) last: u64,
    pub(super) last_ask: u64,
}

impl Tasks {
    /// Whether nothing runs.
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Requests that wait for news in this queue.
    pub(super) fn waiting_for(&self, queue: &QueueId) -> Vec<TaskId> {
        let range = (*queue, TaskId(0))..=(*queue, TaskId(u64::MAX));
        self.waiters.range(range).map(|(_, id)| *id).collect()
    }
}

impl Task {
    /// It runs from now on.
    pub(in crate::server) const fn restart_time(&mut self, now: Time) {
        self.began = now;
    }

    /// When it is answered, whatever it waits for; `None` if it was.
    pub(super) fn due(&self, limits: &Limits) -> Option<Time> {
        let limit = table::line(self.method).time_to_run(limits);
        (!self.answered).then(|| self.began + limit)
    }
}
