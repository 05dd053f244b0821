//! What a core counts: plain integers, for anyone who runs it. No name of an account or a group is among them.

use core::time::Duration;

use super::Server;
use crate::method::Method;
use crate::status::Status;

/// Upper bounds of the buckets of times, in microseconds.
const BOUNDS: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000,
];

/// The counters.
#[derive(Default)]
pub(super) struct Counters {
    /// A row for each method, in their order, and in it one for each status.
    answered: Vec<[u64; Status::ALL.len()]>,
    times: [u64; BOUNDS.len() + 1],
    pub(super) connections: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) pushes: u64,
    pub(super) commits: u64,
    pub(super) conflicts: u64,
    pub(super) looked_again: u64,
    pub(super) jobs_done: u64,
    pub(super) jobs_failed: u64,
    pub(super) peer_faults: u64,
    pub(super) turned_away: u64,
}

/// What a core has done since it was made, and what it holds now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Requests answered, by method and status, without those of which there were none. One that is refused before it
    /// is whole is not read so far, and is counted in [`Self::turned_away`].
    pub answered: Vec<(Method, Status, u64)>,
    /// Requests refused by their header, or for want of room while they arrived.
    pub turned_away: u64,
    /// How long requests took from their last byte to their answer: so many at most this long, and not as short as the
    /// one before; the last one, without a bound, counts all others. A request that waits for news, or for its pace,
    /// takes as long as it waits.
    pub times: Vec<(Option<Duration>, u64)>,
    /// Connections that there were.
    pub connections_total: u64,
    /// Connections that there are.
    pub connections: usize,
    /// Requests that run or wait.
    pub requests_running: usize,
    /// Bytes of requests taken in.
    pub bytes_received: u64,
    /// Bytes of answers and pushes that transports have taken.
    pub bytes_sent: u64,
    /// Pushes sent.
    pub pushes: u64,
    /// Commits issued.
    pub commits: u64,
    /// Commits that something else was quicker than: their requests ran again.
    pub conflicts: u64,
    /// Requests that ran again to be sure of what they had only remembered.
    pub looked_again: u64,
    /// Jobs done, and attempts at one that failed.
    pub jobs_done: u64,
    /// See [`Self::jobs_done`].
    pub jobs_failed: u64,
    /// Streams with what no client sends.
    pub peer_faults: u64,
    /// Bytes set aside for requests and answers.
    pub bytes_held: usize,
    /// Bytes of remembered rows.
    pub bytes_remembered: usize,
    /// Outputs that wait to be polled.
    pub outputs: usize,
}

impl Counters {
    /// A request of this method was answered after this time.
    pub(super) fn answered(&mut self, method: Method, status: Status, took: Duration) {
        if self.answered.is_empty() {
            self.answered.resize(Method::ALL.len(), Default::default());
        }
        let row = self.answered.get_mut(method.index());
        if let Some(count) = row.and_then(|row| row.get_mut(usize::from(status.code()))) {
            *count = count.saturating_add(1);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
        if let Some(count) = self.times.get_mut(bucket.unwrap_or(BOUNDS.len())) {
            *count = count.saturating_add(1);
        }
    }

    /// One more of something.
    pub(super) const fn one(count: &mut u64) {
        *count = count.saturating_add(1);
    }

    /// So many bytes more.
    pub(super) fn bytes(count: &mut u64, bytes: usize) {
        *count = count.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

impl Server {
    /// What the core has counted, and what it holds. Costs as much as there are methods.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counters = &self.counters;
        let answered = Method::ALL.iter().zip(&counters.answered);
        let answered = answered.flat_map(|(method, row)| {
            let row = Status::ALL.iter().zip(row);
            row.map(move |(status, count)| (*method, *status, *count))
        });
        let bounds = BOUNDS
            .iter()
            .map(|micros| Some(Duration::from_micros(*micros)));
        Snapshot {
            answered: answered.filter(|(.., count)| *count > 0).collect(),
            times: bounds.chain([None]).zip(counters.times).collect(),
            connections_total: counters.connections,
            connections: self.connections.len(),
            requests_running: self.tasks.running.len(),
            bytes_received: counters.bytes_received,
            bytes_sent: counters.bytes_sent,
            pushes: counters.pushes,
            commits: counters.commits,
            conflicts: counters.conflicts,
            looked_again: counters.looked_again,
            jobs_done: counters.jobs_done,
            jobs_failed: counters.jobs_failed,
            peer_faults: counters.peer_faults,
            turned_away: counters.turned_away,
            bytes_held: self.charges.held(),
            bytes_remembered: self.rows.bytes(),
            outputs: self.outputs.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_in_one_bucket() {
        let mut counters = Counters::default();
        for micros in [0, 100, 101, 2_000_000, 2_000_001] {
            let took = Duration::from_micros(micros);
            counters.answered(Method::Health, Status::Ok, took);
        }
        let first = counters.times.iter().take(2).copied();
        assert!(first.eq([2, 1]));
        let last = counters.times.iter().rev().take(2).copied();
        assert!(last.eq([1, 1]));
        assert_eq!(counters.times.iter().sum::<u64>(), 5);
    }
}
