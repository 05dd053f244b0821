//! An engine behind a guard: every command is answered, whatever the engine does.

use core::iter::{from_fn, once};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::vec::Vec;

use super::{Command, Engine, Failure, Reply};
use crate::ids::Ticket;

/// The most commands that [`Guarded::serve`] makes one transaction: one flush for many, without making
/// the first wait for ever.
const BATCH: usize = 1024;

/// An engine, run for tickets. A core waits for each reply, so none may be left out: where the engine
/// panics or gives too few, it is [`Failure::Unknown`].
#[derive(Debug)]
pub struct Guarded<E> {
    engine: E,
    /// An engine that panicked is not asked again: it may have done half of anything.
    works: bool,
}

impl<E: Engine> Guarded<E> {
    /// Guards this engine.
    pub const fn new(engine: E) -> Self {
        let works = true;
        Self { engine, works }
    }

    /// Runs the commands as one batch: one reply for each ticket, in the same order.
    pub fn run(&mut self, batch: Vec<(Ticket, Command)>) -> Vec<(Ticket, Reply)> {
        let (tickets, commands): (Vec<Ticket>, Vec<Command>) = batch.into_iter().unzip();
        let replies = self.ask(|engine| engine.run(commands)).unwrap_or_default();
        let replies = replies
            .into_iter()
            .map(Some)
            .chain(core::iter::repeat(None));
        let unknown = Reply::Failed(Failure::Unknown);
        let answer = |(ticket, reply): (_, Option<_>)| (ticket, reply.unwrap_or(unknown.clone()));
        tickets.into_iter().zip(replies).map(answer).collect()
    }

    /// The body of a storage thread: runs everything that waits as one batch, again and again, and
    /// lets the engine idle before it waits itself.
    ///
    /// `poll` gives a command if one waits, `wait` the next one, or `None` when no more will come.
    /// `answer` passes the replies on, and says whether anybody still wants them.
    pub fn serve(
        &mut self,
        mut poll: impl FnMut() -> Option<(Ticket, Command)>,
        mut wait: impl FnMut() -> Option<(Ticket, Command)>,
        mut answer: impl FnMut(Vec<(Ticket, Reply)>) -> bool,
    ) {
        loop {
            let Some(first) = poll().or_else(|| {
                self.idle();
                wait()
            }) else {
                return;
            };
            let waiting = once(first).chain(from_fn(&mut poll));
            let replies = self.run(waiting.take(BATCH).collect());
            if !answer(replies) {
                return;
            }
        }
    }

    /// Lets the engine do what is better done while nothing waits.
    pub fn idle(&mut self) {
        self.ask(Engine::idle);
    }

    fn ask<T>(&mut self, question: impl FnOnce(&mut E) -> T) -> Option<T> {
        let engine = Some(&mut self.engine).filter(|_| self.works)?;
        let answer = catch_unwind(AssertUnwindSafe(|| question(engine))).ok();
        self.works = answer.is_some();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Commit;

    /// Answers as often as it is told to, then panics.
    struct Tired(usize);

    impl Engine for Tired {
        fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
            self.0 = self.0.checked_sub(1).expect("not tired");
            let one_less = batch.len().saturating_sub(1);
            vec![Reply::Committed; one_less]
        }

        fn idle(&mut self) {
            assert!(self.0 > 0, "not tired");
        }
    }

    fn batch(tickets: &[u64]) -> Vec<(Ticket, Command)> {
        let commit = || Command::Commit(Commit::default());
        tickets.iter().map(|&t| (Ticket(t), commit())).collect()
    }

    #[test]
    fn whatever_waits_is_one_batch() {
        let queue = core::cell::RefCell::new(batch(&[1; 1500]));
        let (mut waited, mut sizes) = (0, Vec::new());
        let wait = || {
            waited += 1;
            (waited == 1).then(|| batch(&[2]).remove(0))
        };
        let answer = |replies: Vec<(Ticket, Reply)>| {
            sizes.push(replies.len());
            true
        };
        Guarded::new(Tired(9)).serve(|| queue.borrow_mut().pop(), wait, answer);
        assert_eq!((sizes.as_slice(), waited), (&[1024, 476, 1][..], 2));
    }

    #[test]
    fn nothing_is_run_for_nobody() {
        let mut engine = Guarded::new(Tired(9));
        engine.serve(|| Some(batch(&[1]).remove(0)), || None, |_| false);
        assert_eq!(engine.engine.0, 8, "once, and not again");
    }

    const UNKNOWN: Reply = Reply::Failed(Failure::Unknown);

    #[test]
    fn a_missing_reply_is_unknown() {
        let replies = Guarded::new(Tired(1)).run(batch(&[3, 1, 2]));
        let committed = |t| (Ticket(t), Reply::Committed);
        assert_eq!(replies, [committed(3), committed(1), (Ticket(2), UNKNOWN)]);
    }

    #[test]
    fn an_engine_that_panicked_is_not_asked_again() {
        let mut engine = Guarded::new(Tired(0));
        engine.idle();
        engine.engine.0 = 9;
        let unknown = |t| (Ticket(t), UNKNOWN);
        assert_eq!(engine.run(batch(&[1, 2])), [unknown(1), unknown(2)]);
        assert_eq!(engine.engine.0, 9);
    }
}
