//! Whose turn it is: a request whose answer may fill a frame runs once there is room for that (`shares.rs`),
//! so that what runs and what waits to be taken stays within its bounds at every moment.
//!
//! It waits in two lines. On its connection, until fewer run and the peer has taken what was sent. Then in
//! that of its holder, until the holder's share has room; holders take turns, so that one who takes
//! nothing keeps nobody waiting but itself. Whose turn does not come in time is answered Unavailable.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::task::{Long, Resume, Task, TaskState};
use super::task_id::TaskId;
use crate::ids::ConnId;
use crate::server::Server;
use crate::server::fault::Fault;
use crate::server::shares::{Hold, Holder, Shares, Short};

/// The line of holders, and who waits on connections.
#[derive(Default)]
pub(in crate::server) struct Turns {
    line: Line,
    /// Requests that wait, on their connection or in line.
    queued: usize,
    /// Connections whose turn it may be, while [`Server::admit_long`] is at work.
    admitting: Option<Vec<ConnId>>,
}

#[derive(Default)]
struct Line {
    waiting: BTreeMap<Holder, Waiting>,
    /// Holders whose turn may come as soon as the pool has room. Who has its share is not among them, and
    /// comes back when it gives something back.
    next: VecDeque<Holder>,
}

#[derive(Default)]
struct Waiting {
    tasks: BTreeSet<TaskId>,
    /// Whether the holder is among those whose turn may come.
    is_next: bool,
}

impl Turns {
    /// A holder has given something back.
    pub(in crate::server) fn freed(&mut self, holder: Holder) {
        if self.queued > 0 {
            self.line.come(holder);
        }
    }

    fn join(&mut self, holder: Holder, id: TaskId) {
        let line = &mut self.line;
        line.waiting.entry(holder).or_default().tasks.insert(id);
        line.come(holder);
    }

    fn leave(&mut self, holder: Holder, id: TaskId) {
        let line = &mut self.line;
        if let Entry::Occupied(mut waiting) = line.waiting.entry(holder) {
            waiting.get_mut().tasks.remove(&id);
            if waiting.get().tasks.is_empty() {
                waiting.remove();
                line.next.retain(|other| *other != holder);
            }
        }
    }
}

impl Line {
    /// The holder's turn may come.
    fn come(&mut self, holder: Holder) {
        if let Some(waiting) = self.waiting.get_mut(&holder)
            && !core::mem::replace(&mut waiting.is_next, true)
        {
            self.next.push_back(holder);
        }
    }

    /// The next request that there is room for.
    fn next(&mut self, shares: &mut Shares) -> Option<(TaskId, Hold)> {
        while let Some(holder) = self.next.pop_front() {
            let Entry::Occupied(mut waiting) = self.waiting.entry(holder) else {
                continue;
            };
            match shares.reserve_answer(holder) {
                Ok(hold) => {
                    let first = waiting.get_mut().tasks.pop_first();
                    if waiting.get().tasks.is_empty() {
                        waiting.remove();
                    } else {
                        self.next.push_back(holder);
                    }
                    match first {
                        Some(first) => return Some((first, hold)),
                        None => shares.give_back(hold),
                    }
                }
                Err(Short::Share) => waiting.get_mut().is_next = false,
                Err(Short::Pool) => {
                    self.next.push_front(holder);
                    return None;
                }
            }
        }
        None
    }
}

impl Server {
    /// Goes on with a request with a long answer when it is its turn.
    pub(in crate::server) fn queue_long(&mut self, mut task: Box<Task>, resume: Resume) {
        let (id, conn) = (task.id, task.caller.conn);
        let limits = &self.config.limits;
        let until = self.clock.now() + limits.request_time;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return self.release(&mut task);
        };
        let free = connection.long_running < limits.long_answers
            && connection.unsent.bytes() <= limits.connection_unsent;
        if free
            && self.turns.queued == 0
            && let Ok(hold) = self.shares.reserve_answer(task.caller.holder())
        {
            connection.long_running = connection.long_running.saturating_add(1);
            return self.run_long(task, resume, hold);
        }
        connection.long_waiting.insert(id);
        self.turns.queued = self.turns.queued.saturating_add(1);
        task.state = TaskState::Queued(Box::new(resume));
        self.park(task, Some(until));
        self.admit_long(conn);
    }

    fn run_long(&mut self, mut task: Box<Task>, resume: Resume, hold: Hold) {
        task.long = Long::Running(hold);
        task.begin(self.clock.now());
        match resume {
            Resume::Start => self.handle(task),
            Resume::Woken(then, woken) => {
                let next = self.call(&mut task, |_, ctx| then(ctx, woken));
                self.follow(task, next);
            }
        }
    }

    /// Counts a request no longer as one with a long answer; what covers that, if it ran.
    pub(in crate::server) fn leave_long(&mut self, task: &mut Task) -> Option<Hold> {
        let long = core::mem::replace(&mut task.long, Long::No);
        if !matches!(long, Long::No)
            && let Some(connection) = self.connections.get_mut(&task.caller.conn)
        {
            connection.long_running = connection.long_running.saturating_sub(1);
        }
        match long {
            Long::Running(hold) => Some(hold),
            Long::No | Long::InLine => None,
        }
    }

    /// Takes a request out of the lines that it waits in.
    pub(in crate::server) fn leave_lines(&mut self, task: &Task) {
        self.turns.queued = self.turns.queued.saturating_sub(1);
        self.turns.leave(task.caller.holder(), task.id);
        if let Some(connection) = self.connections.get_mut(&task.caller.conn) {
            connection.long_waiting.remove(&task.id);
        }
    }

    /// A request has waited for its turn too long.
    pub(in crate::server) fn turn_away(&mut self, task: Box<Task>) {
        self.leave_lines(&task);
        let fault = Fault::unavailable("too many long answers at once: take those sent first");
        self.answer(task, Err(fault.retry_after(1000)));
    }

    /// Lets requests with long answers go on whose turn has come, of this connection and of those
    /// that wait for room among all.
    pub(in crate::server) fn admit_long(&mut self, conn: ConnId) {
        if self.turns.queued == 0 {
            return;
        }
        if let Some(others) = &mut self.turns.admitting {
            others.push(conn);
            return;
        }
        self.turns.admitting = Some(vec![conn]);
        while let Some(conn) = self.turns.admitting.as_mut().and_then(Vec::pop) {
            self.line_up(conn);
            while let Some((id, hold)) = self.next_long() {
                let Some((task, TaskState::Queued(resume))) = self.unpark(id) else {
                    self.give_back_answer(hold);
                    continue;
                };
                self.turns.queued = self.turns.queued.saturating_sub(1);
                self.run_long(task, *resume, hold);
            }
        }
        self.turns.admitting = None;
    }

    /// Moves requests of a connection into the lines of their holders, as many as it may have there.
    fn line_up(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        while connection.long_running < limits.long_answers
            && connection.unsent.bytes() <= limits.connection_unsent
            && let Some(id) = connection.long_waiting.pop_first()
        {
            if let Some(task) = self.tasks.running.get_mut(&id) {
                connection.long_running = connection.long_running.saturating_add(1);
                task.long = Long::InLine;
                self.turns.join(task.caller.holder(), id);
            }
        }
    }

    fn next_long(&mut self) -> Option<(TaskId, Hold)> {
        self.turns.line.next(&mut self.shares)
    }
}
