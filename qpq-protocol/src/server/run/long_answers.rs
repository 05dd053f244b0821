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
use crate::server::charges::{Charge, Charges, Turn};
use crate::server::fault::Fault;
use crate::server::shares::{Holder, Short};

/// Who waits on connections, and the line of holders.
#[derive(Default)]
pub(in crate::server) struct LongAnswers {
    /// Requests that wait until fewer of their connection run.
    connections: BTreeMap<ConnId, BTreeSet<TaskId>>,
    line: Line,
    /// Connections whose turn it may be, while [`Server::run_next_long`] is at work.
    running_next: Option<Vec<ConnId>>,
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
    tasks: BTreeMap<TaskId, Turn>,
    /// Whether the holder is among those whose turn may come.
    is_next: bool,
}

impl LongAnswers {
    /// Whether nobody waits.
    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.line.waiting.is_empty()
    }

    /// Gives back all but this many bytes of the room for an answer: its holder's turn may come.
    pub(in crate::server) fn shrink(
        &mut self,
        charges: &mut Charges,
        room: &mut Charge,
        to: usize,
    ) {
        if charges.shrink(room, to) {
            self.line.come(room.holder());
        }
    }

    /// The request that waits longest on a connection, which is to wait in line from now on.
    fn pop_first(&mut self, conn: ConnId) -> Option<TaskId> {
        let waiting = self.connections.get_mut(&conn)?;
        let first = waiting.pop_first();
        if waiting.is_empty() {
            self.connections.remove(&conn);
        }
        first
    }

    fn join(&mut self, holder: Holder, id: TaskId, turn: Turn) {
        let line = &mut self.line;
        let waiting = line.waiting.entry(holder).or_default();
        waiting.tasks.insert(id, turn);
        line.come(holder);
    }

    /// Takes a request out of both; what it has of its connection, if it was in line.
    fn leave(&mut self, conn: ConnId, holder: Holder, id: TaskId) -> Option<Turn> {
        if let Entry::Occupied(mut waiting) = self.connections.entry(conn) {
            waiting.get_mut().remove(&id);
            if waiting.get().is_empty() {
                waiting.remove();
            }
        }
        let line = &mut self.line;
        let Entry::Occupied(mut waiting) = line.waiting.entry(holder) else {
            return None;
        };
        let turn = waiting.get_mut().tasks.remove(&id);
        if waiting.get().tasks.is_empty() {
            waiting.remove();
            line.next.retain(|other| *other != holder);
        }
        turn
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
    fn next(&mut self, charges: &mut Charges) -> Option<(TaskId, Long)> {
        while let Some(holder) = self.next.pop_front() {
            let Entry::Occupied(mut waiting) = self.waiting.entry(holder) else {
                continue;
            };
            match charges.reserve_answer(holder) {
                Ok(room) => {
                    let first = waiting.get_mut().tasks.pop_first();
                    if waiting.get().tasks.is_empty() {
                        waiting.remove();
                    } else {
                        self.next.push_back(holder);
                    }
                    match first {
                        Some((first, turn)) => return Some((first, Long { turn, room })),
                        None => charges.give_back(room),
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
        if !self.connections.contains_key(&conn) {
            return self.release_task(&mut task);
        }
        let free = self.charges.turns(conn) < limits.long_answers
            && self.charges.unsent(conn) <= limits.connection_unsent;
        if free
            && self.long_answers.is_empty()
            && let Ok(room) = self.charges.reserve_answer(task.caller.holder())
        {
            let turn = self.charges.take_turn(conn);
            return self.run_long(task, resume, Long { turn, room });
        }
        self.long_answers
            .connections
            .entry(conn)
            .or_default()
            .insert(id);
        task.state = TaskState::Queued(Box::new(resume));
        self.park(task, Some(until));
        self.run_next_long(conn);
    }

    fn run_long(&mut self, mut task: Box<Task>, resume: Resume, long: Long) {
        task.long = Some(long);
        task.restart_time(self.clock.now());
        match resume {
            Resume::Start => self.call_handler(task),
            Resume::Woken(then, woken) => {
                let next = self.call_part(&mut task, |ctx| then(ctx, woken));
                self.follow(task, next);
            }
        }
    }

    /// Counts a request no longer as one with a long answer; what covers that, if it ran.
    pub(in crate::server) fn leave_long(&mut self, task: &mut Task) -> Option<Charge> {
        let Long { turn, room } = task.long.take()?;
        self.charges.give_turn_back(turn);
        Some(room)
    }

    /// Takes a request out of the lines that it waits in.
    pub(in crate::server) fn leave_lines(&mut self, task: &Task) {
        let caller = &task.caller;
        let turn = self
            .long_answers
            .leave(caller.conn, caller.holder(), task.id);
        if let Some(turn) = turn {
            self.charges.give_turn_back(turn);
        }
    }

    /// A request has waited for its turn too long.
    pub(in crate::server) fn turn_away(&mut self, task: Box<Task>) {
        self.leave_lines(&task);
        let fault = Fault::unavailable("too many long answers at once: take those sent first");
        self.answer_request(task, Err(fault.retry_after(1000)));
    }

    /// Lets requests with long answers go on whose turn has come, of this connection and of those
    /// that wait for room among all.
    pub(in crate::server) fn run_next_long(&mut self, conn: ConnId) {
        if self.long_answers.is_empty() {
            return;
        }
        if let Some(others) = &mut self.long_answers.running_next {
            others.push(conn);
            return;
        }
        self.long_answers.running_next = Some(vec![conn]);
        while let Some(conn) = self.long_answers.running_next.as_mut().and_then(Vec::pop) {
            self.line_up(conn);
            while let Some((id, long)) = self.long_answers.line.next(&mut self.charges) {
                if let Some((task, TaskState::Queued(resume))) = self.unpark(id) {
                    self.run_long(task, *resume, long);
                } else {
                    self.charges.give_turn_back(long.turn);
                    self.give_back_answer(long.room);
                }
            }
        }
        self.long_answers.running_next = None;
    }

    /// Moves requests of a connection into the lines of their holders, as many as it may have there.
    fn line_up(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        while self.charges.turns(conn) < limits.long_answers
            && self.charges.unsent(conn) <= limits.connection_unsent
            && let Some(id) = self.long_answers.pop_first(conn)
        {
            if let Some(task) = self.tasks.running.get_mut(&id) {
                let turn = self.charges.take_turn(conn);
                self.long_answers.join(task.caller.holder(), id, turn);
            }
        }
    }
}
