//! The openings of the data: how a client notices that its own disk, or the server's, is one of an
//! earlier day (protocol.md §5.31, §5.32).
//!
//! Each opening has a random name, durable here before it is shown. The server keeps the newest of each
//! device and answers with the one that it held before. One that was shown and never confirmed is as
//! good as the one that was; an older one means that the server was set back, and one that is not known
//! here was made by a later state of this data.

use std::collections::VecDeque;

use super::record::OpeningsRecord;

/// Openings that are remembered, the newest ones.
const KEPT: usize = 256;
/// Openings that a request names besides the new one.
const SHOWN: usize = 8;

/// The name of an opening.
pub(in crate::client) type Opening = [u8; 16];

/// What the server's answer says of the past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Verdict {
    /// Nothing happened.
    Same,
    /// The server knows nothing of what came after this opening, by its number.
    ServerSetBack { since: u64 },
    /// The server knows an opening that this data does not.
    DeviceSetBack,
}

/// The openings of this data, each with a number that rises by one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::client) struct Openings {
    /// The number of the first one that is remembered.
    first: u64,
    names: VecDeque<Opening>,
    /// The number of the one that the server confirmed last.
    confirmed: Option<u64>,
    /// The number of the one under which the queues were last found as they were left.
    pub(in crate::client) sound: u64,
    /// The server's, as it was heard last; 0: never.
    pub(in crate::client) server_epoch: u64,
    /// When this device last found itself set back, by its own clock; 0: never.
    pub(in crate::client) set_back_at_ms: u64,
}

impl Openings {
    /// The opening to show from now on: a new one, or the last again when too many are not confirmed
    /// to name them all.
    pub(in crate::client) fn show(&mut self, new: Opening) -> Opening {
        if self.unconfirmed() + 1 < SHOWN {
            self.names.push_back(new);
        }
        while self.names.len() > KEPT {
            self.names.pop_front();
            self.first = self.first.saturating_add(1);
        }
        self.names.back().copied().unwrap_or(new)
    }

    /// What the server may hold besides `next`: the one that it confirmed, and all shown since.
    pub(in crate::client) fn known(&self, next: &Opening) -> Vec<Opening> {
        let from = match self.confirmed {
            Some(number) => self.place(number),
            None => 0,
        };
        let shown = self.names.iter().skip(from);
        shown.filter(|name| *name != next).copied().collect()
    }

    /// The server holds `next` now, and held `last` before; nothing if that is empty.
    pub(in crate::client) fn confirm(&mut self, next: &Opening, last: &[u8]) -> Verdict {
        let before = self.confirmed;
        if let Some(number) = self.number(next) {
            self.confirmed = Some(number);
        }
        if last.is_empty() {
            if before.is_some() {
                // It knows nothing of this device. If anything is missing there, that may be of any day.
                self.sound = 0;
            }
            return Verdict::Same;
        }
        match self.number(last) {
            None => Verdict::DeviceSetBack,
            Some(number) if before.is_some_and(|before| number < before) => {
                Verdict::ServerSetBack { since: number }
            }
            Some(_) => Verdict::Same,
        }
    }

    /// The number of the opening that was confirmed last.
    pub(in crate::client) fn current(&self) -> u64 {
        self.confirmed.unwrap_or_default()
    }

    /// Openings that were shown, but for those that the server confirmed.
    fn unconfirmed(&self) -> usize {
        match self.confirmed {
            Some(number) => self.names.len().saturating_sub(self.place(number) + 1),
            None => self.names.len(),
        }
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn number(&self, name: &[u8]) -> Option<u64> {
        let mut numbered = (self.first..).zip(&self.names);
        numbered
            .find(|(_, own)| own.as_slice() == name)
            .map(|(number, _)| number)
    }

    pub(in crate::client) fn record(&self) -> OpeningsRecord {
        OpeningsRecord {
            first: self.first,
            names: self.names.iter().map(|name| name.to_vec()).collect(),
            confirmed: self.confirmed,
            sound: self.sound,
            server_epoch: self.server_epoch,
            set_back_at_ms: self.set_back_at_ms,
        }
    }

    pub(in crate::client) fn load(record: &OpeningsRecord) -> Option<Self> {
        let names = record
            .names
            .iter()
            .map(|name| name.as_slice().try_into().ok());
        Some(Self {
            first: record.first,
            names: names.collect::<Option<_>>()?,
            confirmed: record.confirmed,
            sound: record.sound,
            server_epoch: record.server_epoch,
            set_back_at_ms: record.set_back_at_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A server that keeps the newest opening.
    #[derive(Clone, Default)]
    struct Server(Vec<u8>);

    impl Server {
        fn hear(&mut self, next: Opening) -> Vec<u8> {
            core::mem::replace(&mut self.0, next.to_vec())
        }
    }

    /// Names that are all different.
    fn name(number: u64) -> Opening {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&number.to_be_bytes());
        name
    }

    #[test]
    fn a_copy_is_noticed_by_whoever_comes_second() {
        let (mut mine, mut server) = (Openings::default(), Server::default());
        let next = mine.show(name(1));
        assert_eq!(mine.confirm(&next, &server.hear(next)), Verdict::Same);
        let mut copy = mine.clone();
        let next = mine.show(name(2));
        assert_eq!(mine.confirm(&next, &server.hear(next)), Verdict::Same);
        let next = copy.show(name(3));
        let verdict = copy.confirm(&next, &server.hear(next));
        assert_eq!(verdict, Verdict::DeviceSetBack);
        let next = mine.show(name(4));
        let verdict = mine.confirm(&next, &server.hear(next));
        assert_eq!(verdict, Verdict::DeviceSetBack);
        assert_eq!(Openings::load(&mine.record()), Some(mine));
    }

    #[test]
    fn a_server_of_an_earlier_day_names_the_opening_of_that_day() {
        let (mut mine, mut server) = (Openings::default(), Server::default());
        let mut backup = Server::default();
        for number in 0..300 {
            let next = mine.show(name(number));
            assert_eq!(mine.confirm(&next, &server.hear(next)), Verdict::Same);
            if number == 290 {
                backup = server.clone();
            }
        }
        let next = mine.show(name(300));
        let verdict = mine.confirm(&next, &backup.hear(next));
        assert_eq!(verdict, Verdict::ServerSetBack { since: 290 });
        // It is noticed once.
        let next = mine.show(name(301));
        assert_eq!(mine.confirm(&next, &backup.hear(next)), Verdict::Same);
        assert_eq!(mine.names.len(), KEPT);
    }

    proptest! {
        /// Whatever answers are lost, before or after the server has heard, nothing is suspected, and no
        /// request names too many.
        #[test]
        fn lost_answers_are_no_reason_for_suspicion(lost in vec(0..3u8, 0..400)) {
            let (mut mine, mut server) = (Openings::default(), Server::default());
            for (number, lost) in (0..).zip(lost) {
                let next = mine.show(name(number));
                let known = mine.known(&next);
                prop_assert!(known.len() <= SHOWN && !known.contains(&next));
                let held = server.0.clone();
                let may_be = held.is_empty()
                    || held == next
                    || known.iter().any(|name| name.as_slice() == held);
                prop_assert!(may_be);
                if lost != 0 {
                    let last = server.hear(next);
                    if lost != 1 {
                        prop_assert_eq!(mine.confirm(&next, &last), Verdict::Same);
                    }
                }
            }
        }
    }
}
