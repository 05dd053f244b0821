//! Whose turn it is: requests whose answer may fill a frame run a few at a time, on a connection and
//! on all of them, so that what waits to be sent stays within its bounds.

use super::Server;
use super::tasks::{Long, Resume, Task, TaskId, TaskState};
use crate::frame::MAX_PAYLOAD;
use crate::ids::ConnId;

impl Server {
    /// Goes on with a request with a long answer when it is its turn.
    pub(super) fn queue_long(&mut self, mut task: Box<Task>, resume: Resume) {
        let (id, conn) = (task.id, task.caller.conn);
        task.state = TaskState::Queued(Box::new(resume));
        self.park(task, None);
        self.tasks.queued = self.tasks.queued.saturating_add(1);
        match self.connections.get_mut(&conn) {
            Some(connection) => connection.long_waiting.insert(id),
            None => self.tasks.long_waiting.insert(id),
        };
        self.admit_long(conn);
    }

    /// Counts a request no longer as one with a long answer.
    pub(super) fn leave_long(&mut self, task: &mut Task) {
        let long = core::mem::replace(&mut task.long, Long::No);
        if long == Long::Running {
            self.tasks.long_running = self.tasks.long_running.saturating_sub(1);
        }
        if long != Long::No
            && let Some(connection) = self.connections.get_mut(&task.caller.conn)
        {
            connection.long_running = connection.long_running.saturating_sub(1);
        }
    }

    /// Lets requests with long answers go on whose turn has come, of this connection and of those
    /// that wait for room among all.
    pub(super) fn admit_long(&mut self, conn: ConnId) {
        if self.tasks.queued == 0 {
            return;
        }
        if let Some(others) = &mut self.tasks.admitting {
            others.push(conn);
            return;
        }
        self.tasks.admitting = Some(vec![conn]);
        while let Some(conn) = self.tasks.admitting.as_mut().and_then(Vec::pop) {
            self.line_up(conn);
            while let Some(id) = self.next_long() {
                let Some((mut task, TaskState::Queued(resume))) = self.unpark(id) else {
                    continue;
                };
                self.tasks.queued = self.tasks.queued.saturating_sub(1);
                task.long = Long::Running;
                self.tasks.long_running = self.tasks.long_running.saturating_add(1);
                match *resume {
                    Resume::Start => self.handle(task),
                    Resume::Woken(then, woken) => {
                        let next = self.call(&mut task, |_, ctx| then(ctx, woken));
                        self.follow(task, next);
                    }
                }
            }
        }
        self.tasks.admitting = None;
    }

    /// Moves requests of a connection into the line of all, as many as it may have there.
    fn line_up(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        while connection.long_running < limits.long_answers
            && connection.unsent <= limits.connection_unsent
            && let Some(id) = connection.long_waiting.pop_first()
        {
            connection.long_running = connection.long_running.saturating_add(1);
            if let Some(task) = self.tasks.running.get_mut(&id) {
                task.long = Long::InLine;
            }
            self.tasks.long_waiting.insert(id);
        }
    }

    /// The next request with a long answer that may go on: each may fill a frame.
    fn next_long(&mut self) -> Option<TaskId> {
        let running = self.tasks.long_running;
        let most = running.saturating_add(1).saturating_mul(MAX_PAYLOAD);
        if running > 0 && self.unsent.saturating_add(most) > self.config.limits.total_unsent {
            return None;
        }
        self.tasks.long_waiting.pop_first()
    }
}
