//! What every engine decides alike: whether checks hold, and what a range read answers.

use core::ops::Range;

use bytes::Bytes;

use super::memory::Page;
use super::{Commit, Direction, Expect, Reply, Scan};

impl Commit {
    /// Whether all checks hold where `get` gives the value of a key.
    pub fn holds<'a>(&self, mut get: impl FnMut(&Bytes) -> Option<&'a Bytes>) -> bool {
        let mut checks = self.checks.iter();
        checks.all(|(key, expect)| expect.holds(get(key)))
    }
}

impl Expect {
    /// Whether a key that holds `value`, `None` for nothing, is as expected.
    #[must_use]
    pub fn holds(&self, value: Option<&Bytes>) -> bool {
        match self {
            Self::Equals(expected) => value == Some(expected),
            Self::Absent => value.is_none(),
        }
    }
}

impl Scan {
    /// The range of keys, empty if it ends before it starts: `BTreeMap::range` panics at such a one.
    #[must_use]
    pub fn range(&self) -> Range<Bytes> {
        self.start.clone()..self.end.clone().max(self.start.clone())
    }

    /// The answer, where `rows` are those of the range in ascending order.
    pub fn answer<'a>(
        &self,
        mut rows: impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)>,
    ) -> Reply {
        let mut page = Page::new(self);
        let takes = |(key, value): (&Bytes, &Bytes)| page.take(key.clone(), value.clone());
        match self.direction {
            Direction::Forward => rows.all(takes),
            Direction::Backward => rows.rev().all(takes),
        };
        page.into_reply()
    }
}
