//! Requests that run: from a whole request through its steps to its answer.

use core::net::IpAddr;
use core::time::Duration;

use bytes::Bytes;

use super::pacing;
use super::stream::State;
use super::task::{Resume, Task, TaskState};
use super::task_id::TaskId;
use crate::defect::seeded;
use crate::ids::{ConnId, IdentityKey, Ticket};
use crate::io::Output;
use crate::method::Method;
use crate::server::Server;
use crate::server::caller::Caller;
use crate::server::charges::Charge;
use crate::server::counters::Counters;
use crate::server::ctx::Ctx;
#[cfg(qpq_defects)]
use crate::server::effects::Effects;
use crate::server::event::{AskId, Event};
use crate::server::fault::Fault;
use crate::server::notes::Notes;
use crate::server::policy_check;
use crate::server::startup::Phase;
use crate::server::step::{Next, Outcome, Step, Todo, Woken};
use crate::server::timers::Timer;
use crate::server::txn::{Issued, Reads};
use crate::server::{dispatch, table};
use crate::status::Status;
use crate::storage::{Command, Reply};
use crate::time::Time;

impl Server {
    /// Runs a whole request. What it holds is given back when it has ended.
    pub(in crate::server) fn begin_request(
        &mut self,
        caller: Caller,
        stream: u64,
        request_id: u32,
        method: Method,
        payload: Bytes,
        charge: Charge,
    ) {
        self.tasks.last = self.tasks.last.saturating_add(1);
        let id = TaskId(self.tasks.last);
        self.set_state(caller.conn, stream, State::Running(id));
        let task = Box::new(Task {
            id,
            caller,
            stream,
            request_id,
            method,
            payload,
            received: self.clock.now(),
            began: self.clock.now(),
            charge: Some(charge),
            attempt: 0,
            state: TaskState::Running,
            timer: None,
            notes: Notes::default(),
            unsettled: 0,
            stale: false,
            watches: Vec::new(),
            news: false,
            long: None,
            starts_job: false,
            answered: false,
        });
        // Nothing long is for who has no session: that is refused at once.
        if table::line(method).has_long_answer() && caller.session.is_some() {
            self.queue_long(task, Resume::Start);
        } else {
            self.call_handler(task);
        }
    }

    /// Calls the handler from the start.
    pub(in crate::server) fn call_handler(&mut self, mut task: Box<Task>) {
        let next = self.call_from_start(&mut task);
        self.follow(task, next);
    }

    fn call_from_start(&mut self, task: &mut Task) -> Next {
        let (caller, method, payload) = (task.caller, task.method, task.payload.clone());
        self.call_part(task, |ctx| {
            dispatch::dispatch(ctx, &caller, method, payload)
        })
    }

    /// Calls a part of a handler with what it may know.
    pub(in crate::server) fn call_part(
        &mut self,
        task: &mut Task,
        part: impl FnOnce(&mut Ctx<'_>) -> Next,
    ) -> Next {
        let conn = Some(task.caller.conn);
        let next = self.with_ctx(conn, task.attempt, &mut task.notes, part);
        let notes = &mut task.notes;
        for number in notes.rests_on.drain(..) {
            if self.rows.is_pending(number) {
                let dependents = self.tasks.dependents.entry(number).or_default();
                dependents.push((task.id, task.attempt));
                task.unsettled = task.unsettled.saturating_add(1);
            }
        }
        for queue in notes.watches.drain(..) {
            if self.tasks.waiters.insert((queue, task.id)) {
                task.watches.push(queue);
            }
        }
        if core::mem::take(&mut notes.untidy) {
            self.arm_upkeep();
        }
        if core::mem::take(&mut notes.starts_job) {
            task.starts_job = true;
        }
        #[cfg(qpq_defects)]
        self.spread(
            Some(task.caller.conn),
            Effects {
                notify: core::mem::take(&mut notes.early),
                ..Effects::default()
            },
        );
        let found = core::mem::take(&mut notes.session);
        self.correct_session(&task.caller, found);
        next
    }

    /// Calls something with what handlers may know.
    pub(in crate::server) fn with_ctx(
        &mut self,
        conn: Option<ConnId>,
        attempt: u32,
        notes: &mut Notes,
        part: impl FnOnce(&mut Ctx<'_>) -> Next,
    ) -> Next {
        let dates = self.dates();
        let keys = match &self.phase {
            Phase::Running(keys) => keys,
            Phase::Refused(error) => return Err(Fault::unavailable(error.to_string())),
            Phase::Starting { .. } => {
                return Err(Fault::unavailable("the server is starting").retry_after(100));
            }
        };
        let mut nobody = None;
        let login = match conn.and_then(|conn| self.connections.get_mut(&conn)) {
            Some(connection) => &mut connection.login,
            None => &mut nobody,
        };
        part(&mut Ctx {
            now: self.clock.now(),
            unix: self.clock.unix(),
            date: dates.over,
            lasting: dates.lasting,
            started: self.started,
            config: &self.config,
            keys,
            draining: self.shutdown.is_asked(),
            login,
            attempt,
            rng: &mut self.rng,
            rows: &mut self.rows,
            rates: &mut self.rates,
            policy: self.policy.as_deref(),
            allowances: &mut self.allowances,
            notes,
        })
    }

    /// Does what a handler returned, until the request has to wait or has ended.
    pub(in crate::server) fn follow(&mut self, mut task: Box<Task>, mut next: Next) {
        loop {
            let todo = match next {
                Ok(step) => step.todo,
                Err(fault) if fault.is_for_now() => return self.conclude(task, Err(fault)),
                Err(_) if self.must_look_again(&mut task) => Todo::Rerun,
                Err(fault) => return self.conclude(task, Err(fault)),
            };
            next = match todo {
                Todo::Done(_) if self.must_look_again(&mut task) => Ok(Step::rerun()),
                Todo::Done(outcome) => return self.conclude(task, Ok(outcome)),
                Todo::Store {
                    lane,
                    command,
                    then,
                } => {
                    #[cfg(qpq_defects)]
                    let command = match command {
                        Command::Commit(mut change) if seeded!(self.config, ChecksOff) => {
                            change.checks.clear();
                            Command::Commit(change)
                        }
                        command => command,
                    };
                    let issued = match &command {
                        Command::Commit(change) => Some(self.rows.issue(change)),
                        Command::Get(_) | Command::Scan(_) => None,
                    };
                    let ticket = self.next_ticket();
                    self.tasks.tickets.insert(ticket.0, task.id);
                    self.outputs.push(Output::Store {
                        ticket,
                        lane,
                        command,
                    });
                    #[cfg(qpq_defects)]
                    if let Some(issued) = &issued
                        && seeded!(self.config, AckBeforeDurable)
                    {
                        self.rows.settle(issued, true, &task.notes.reads);
                        self.tasks.tickets.remove(ticket.0);
                        next = self.call_part(&mut task, |ctx| then(ctx, Reply::Committed));
                        continue;
                    }
                    task.state = TaskState::Stored(then, issued);
                    let due = task.due(&self.config.limits);
                    return self.park(task, due);
                }
                Todo::Wait { until, then } => {
                    let woken = if core::mem::take(&mut task.news) {
                        Woken::News
                    } else if until <= self.clock.now() || self.shutdown.is_asked() {
                        Woken::Deadline
                    } else {
                        let room = self.leave_long(&mut task);
                        self.drop_room(room);
                        let conn = task.caller.conn;
                        task.state = TaskState::Waiting(then);
                        self.park(task, Some(until));
                        return self.run_next_long(conn);
                    };
                    self.call_part(&mut task, |ctx| then(ctx, woken))
                }
                // Nobody wants the answer any more, and nothing is stored.
                Todo::Ask { .. } if task.answered => {
                    return self.answer_request(task, Err(policy_check::undecided()));
                }
                Todo::Ask { question, then } => {
                    self.tasks.last_ask = self.tasks.last_ask.saturating_add(1);
                    let ask = AskId(self.tasks.last_ask);
                    self.tasks.asked.insert(ask, task.id);
                    self.outputs
                        .push(Output::Event(Event::Asked { ask, question }));
                    task.state = TaskState::Asked(ask, then);
                    let due = task.due(&self.config.limits);
                    return self.park(task, due);
                }
                Todo::Rerun => match self.start_over(&mut task) {
                    Ok(()) => self.call_from_start(&mut task),
                    Err(fault) => Err(fault),
                },
            };
        }
    }

    /// A request comes to its end by another way than a commit. Whether it is to run again, since it rests on rows
    /// that were only remembered: another core may have changed them since, and no check finds that out.
    fn must_look_again(&mut self, task: &mut Task) -> bool {
        if seeded!(self.config, MemoryBelieved) || task.notes.reads.are_sure(&mut self.rows) {
            return false;
        }
        Counters::one(&mut self.counters.looked_again);
        true
    }

    /// Counts one more attempt, from the request. What it rested on has changed, or was not sure.
    fn start_over(&mut self, task: &mut Task) -> Result<(), Fault> {
        for key in task.notes.reads.drain() {
            self.rows.forget(&key);
        }
        task.attempt = task.attempt.saturating_add(1);
        task.unsettled = 0;
        task.stale = false;
        if task.attempt > self.config.limits.conflicts {
            return Err(
                Fault::unavailable("too much is changing at once: try again").retry_after(50),
            );
        }
        Ok(())
    }

    /// The request has its answer, which leaves when it may.
    fn conclude(&mut self, mut task: Box<Task>, result: Result<Outcome, Fault>) {
        if task.stale {
            return match self.start_over(&mut task) {
                Ok(()) => self.call_handler(task),
                Err(fault) => self.answer_request(task, Err(fault)),
            };
        }
        if task.unsettled > 0 {
            task.state = TaskState::Held(result);
            let due = task.due(&self.config.limits);
            return self.park(task, due);
        }
        let now = self.clock.now();
        let leaves = pacing::leaves(task.method, task.received, now, self.config.limits.pace);
        if leaves > now {
            task.state = TaskState::Paced(result);
            return self.park(task, Some(leaves));
        }
        self.answer_request(task, result);
    }

    /// Ends the request and sends its answer and its effects.
    pub(in crate::server) fn answer_request(
        &mut self,
        mut task: Box<Task>,
        result: Result<Outcome, Fault>,
    ) {
        let room = self.leave_long(&mut task);
        self.release_task(&mut task);
        if task.starts_job {
            self.begin_job();
        }
        let Caller {
            conn,
            session,
            address,
        } = task.caller;
        let status = match &result {
            Ok(_) => Status::Ok,
            Err(fault) => fault.status,
        };
        if !task.answered {
            self.count_answer(&task, status);
        }
        if let Err(fault) = &result
            && let Some(limit) = fault.limit()
        {
            self.tell_limit(limit, session.map(|session| session.identity_key), address);
        }
        if let Some(session) = session {
            self.allowances.add(session.identity_key, task.notes.paid);
        }
        match result {
            Ok(outcome) => {
                let effects = outcome.effects;
                self.change_session(conn, effects.session);
                if task.answered {
                    self.drop_room(room);
                } else {
                    self.send_ok(conn, task.stream, task.request_id, outcome.frame, room);
                }
                self.spread(Some(conn), effects);
            }
            Err(fault) => {
                self.drop_room(room);
                if !task.answered {
                    self.send_fault(conn, task.stream, task.request_id, &fault);
                }
            }
        }
        self.run_next_long(conn);
    }

    /// A request is answered.
    pub(in crate::server) fn count_answer(&mut self, task: &Task, status: Status) {
        let took = self.clock.now().since(task.received);
        self.counters.answered(task.method, status, took);
    }

    /// Tells that a limit was hit, once a minute.
    fn tell_limit(
        &mut self,
        limit: &'static str,
        identity_key: Option<IdentityKey>,
        address: IpAddr,
    ) {
        const PAUSE: Duration = Duration::from_secs(60);
        let now = self.clock.now();
        let told = self.limits_hit.get(limit);
        if told.is_none_or(|told| now.since(*told) >= PAUSE) {
            self.limits_hit.insert(limit, now);
            self.outputs.push(Output::Event(Event::LimitHit {
                limit,
                identity_key,
                address,
            }));
        }
    }

    /// Gives back what a request holds.
    pub(in crate::server) fn release_task(&mut self, task: &mut Task) {
        self.set_timer(task, None);
        let room = self.leave_long(task);
        self.drop_room(room);
        for queue in task.watches.drain(..) {
            self.tasks.waiters.remove(&(queue, task.id));
        }
        if let Some(charge) = task.charge.take() {
            self.shrink_to_answer(task.caller.conn, task.stream, charge);
        }
    }

    /// Keeps a request until something happens.
    pub(in crate::server) fn park(&mut self, mut task: Box<Task>, timer: Option<Time>) {
        self.set_timer(&mut task, timer);
        self.tasks.running.insert(task.id, task);
    }

    fn set_timer(&mut self, task: &mut Task, timer: Option<Time>) {
        if task.timer == timer {
            return;
        }
        if let Some(at) = core::mem::replace(&mut task.timer, timer) {
            self.timers.clear(at, Timer::Task(task.id));
        }
        if let Some(at) = timer {
            self.timers.set(at, Timer::Task(task.id));
        }
    }

    /// Takes a parked request to go on with it. Its timer runs until it is parked again, or has ended.
    pub(in crate::server) fn unpark(&mut self, id: TaskId) -> Option<(Box<Task>, TaskState)> {
        let mut task = self.tasks.running.remove(&id)?;
        let state = core::mem::replace(&mut task.state, TaskState::Running);
        Some((task, state))
    }

    /// The reply to a request's storage command.
    pub(in crate::server) fn task_stored(&mut self, ticket: Ticket, reply: Reply) {
        let Some(id) = self.tasks.tickets.remove(ticket.0) else {
            return;
        };
        let Some((mut task, TaskState::Stored(then, issued))) = self.unpark(id) else {
            return;
        };
        let mut held = Vec::new();
        if let Some(issued) = issued {
            if reply == Reply::Conflict {
                Counters::one(&mut self.counters.conflicts);
            }
            let is_made = reply == Reply::Committed;
            held = self.commit_answered(&issued, is_made, &task.notes.reads);
            if let Reply::Failed(failure) = &reply {
                self.storage_failed(*failure);
            }
        }
        let next = self.call_part(&mut task, |ctx| then(ctx, reply));
        self.follow(task, next);
        self.unhold_all(held);
    }

    /// A Commit was answered: the requests that rest on it, which may go on now.
    pub(in crate::server) fn commit_answered(
        &mut self,
        issued: &Issued,
        committed: bool,
        reads: &Reads,
    ) -> Vec<TaskId> {
        let kept = committed || seeded!(self.config, OverlayKept);
        self.rows.settle(issued, kept, reads);
        Counters::one(&mut self.counters.commits);
        let dependents = self.tasks.dependents.remove(&issued.number);
        let mut held = Vec::new();
        for (id, attempt) in dependents.unwrap_or_default() {
            if let Some(other) = self.tasks.running.get_mut(&id)
                && other.attempt == attempt
            {
                other.unsettled = other.unsettled.saturating_sub(1);
                other.stale |= !committed;
            }
            held.push(id);
        }
        held
    }

    /// Goes on with held requests that no longer have to be.
    pub(in crate::server) fn unhold_all(&mut self, held: Vec<TaskId>) {
        for id in held {
            self.unhold(id);
        }
    }

    /// Goes on with a held request if it no longer has to be.
    fn unhold(&mut self, id: TaskId) {
        let held = self.tasks.running.get(&id).is_some_and(|task| {
            matches!(task.state, TaskState::Held(_)) && (task.stale || task.unsettled == 0)
        });
        if held && let Some((task, TaskState::Held(result))) = self.unpark(id) {
            self.conclude(task, result);
        }
    }
}
