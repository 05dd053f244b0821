//! What ends a request's wait: its timer, news in a queue, the embedder's word, or that nobody wants the answer.

use super::task::{Resume, TaskState};
use super::task_id::TaskId;
use crate::server::Server;
use crate::server::event::AskId;
use crate::server::fault::Fault;
use crate::server::policy::Verdict;
use crate::server::policy_check;
use crate::server::step::Woken;
use crate::status::Status;
use crate::storage::keys::QueueId;

impl Server {
    /// A request's timer has fired.
    pub(in crate::server) fn task_due(&mut self, id: TaskId) {
        let Some((mut task, state)) = self.unpark(id) else {
            return;
        };
        task.timer = None;
        match state {
            TaskState::Waiting(then) => self.queue_long(task, Resume::Woken(then, Woken::Deadline)),
            TaskState::Paced(result) => self.answer_request(task, result),
            state @ (TaskState::Stored(..) | TaskState::Held(_)) => {
                if !task.answered {
                    task.answered = true;
                    self.count_answer(&task, Status::DeadlineExceeded);
                    let fault = Fault::deadline("storage did not answer in time");
                    self.send_fault(task.caller.conn, task.stream, task.request_id, &fault);
                }
                task.state = state;
                self.park(task, None);
            }
            TaskState::Asked(ask, _) => {
                self.tasks.asked.remove(&ask);
                self.answer_request(task, Err(policy_check::undecided()));
            }
            TaskState::Queued(_) => self.turn_away(task),
            TaskState::Running => self.park(task, None),
        }
    }

    /// The embedder has decided.
    pub(in crate::server) fn decided(&mut self, ask: AskId, verdict: Verdict) {
        let task = self.tasks.asked.remove(&ask);
        if let Some(id) = task
            && let Some((mut task, TaskState::Asked(_, then))) = self.unpark(id)
        {
            let next = self.call_part(&mut task, |ctx| then(ctx, verdict));
            self.follow(task, next);
        }
    }

    /// There may be something new in a queue.
    pub(in crate::server) fn wake_waiters(&mut self, queue: &QueueId) {
        for id in self.tasks.waiting_for(queue) {
            self.wake_task(id, Woken::News);
        }
    }

    /// All waits are over: the server shuts down.
    pub(in crate::server) fn wake_all(&mut self) {
        let waiting: Vec<TaskId> = self.tasks.waiters.iter().map(|(_, id)| *id).collect();
        for id in waiting {
            self.wake_task(id, Woken::Deadline);
        }
    }

    fn wake_task(&mut self, id: TaskId, woken: Woken) {
        let Some(task) = self.tasks.running.get_mut(&id) else {
            return;
        };
        if !matches!(task.state, TaskState::Waiting(_)) {
            task.news |= woken == Woken::News;
            return;
        }
        if let Some((task, TaskState::Waiting(then))) = self.unpark(id) {
            self.queue_long(task, Resume::Woken(then, woken));
        }
    }

    /// Nobody wants the answer any more. What waits ends; what is being stored goes on, since what
    /// follows from it concerns others too.
    pub(in crate::server) fn abandon_request(&mut self, id: TaskId) {
        let Some(task) = self.tasks.running.get_mut(&id) else {
            return;
        };
        task.answered = true;
        if matches!(
            task.state,
            TaskState::Waiting(_) | TaskState::Asked(..) | TaskState::Queued(_)
        ) && let Some((mut task, state)) = self.unpark(id)
        {
            match state {
                TaskState::Queued(_) => self.leave_lines(&task),
                TaskState::Asked(ask, _) => {
                    self.tasks.asked.remove(&ask);
                }
                _ => {}
            }
            let conn = task.caller.conn;
            self.release_task(&mut task);
            self.run_next_long(conn);
        }
    }
}
