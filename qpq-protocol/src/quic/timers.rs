//! One deadline per connection, ordered by time.

use std::collections::BTreeSet;
use std::time::Instant;

/// The deadlines of all connections, by slot.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, usize)>);

impl Timers {
    /// Moves the deadline of `slot` from `armed` to `next`; both are kept by the connection.
    pub(super) fn arm(&mut self, slot: usize, armed: &mut Option<Instant>, next: Option<Instant>) {
        if *armed == next {
            return;
        }
        if let Some(at) = armed.take() {
            self.0.remove(&(at, slot));
        }
        if let Some(at) = next {
            self.0.insert((at, slot));
        }
        *armed = next;
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|&(at, _)| at)
    }

    /// Takes one slot whose deadline has come. Its connection's `armed` is then `None`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let &(at, slot) = self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(slot)
    }
}
