//! The chain of a device's openings (protocol.md §5.31): how a server and a device notice that the other
//! was set back.
//!
//! The server keeps the newest opening of each device, and what it answered when that one came. A device
//! that did not get the answer asks again with a newer opening; it must hear what the first answer said,
//! or a device that was set back would find its own lost request known and think that nothing happened.

use bytes::Bytes;

use crate::proto::Chain;
use crate::storage::records::DeviceUse;

/// Takes the device's new opening; the one that was held, which the device is to judge. The first opening
/// that it names is the one that was acknowledged last. Empty for a device that keeps none.
pub(super) fn advance(used: &mut DeviceUse, chain: Option<&Chain>) -> Bytes {
    let Some(chain) = chain else {
        return Bytes::new();
    };
    if chain.next == used.opening {
        return used.last.clone();
    }
    let held = &used.opening;
    let is_acknowledged = chain.known.first() == Some(held);
    if is_acknowledged || !chain.known.contains(held) {
        used.last = held.clone();
    }
    used.opening = chain.next.clone();
    used.last.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(number: u8) -> Bytes {
        vec![number; 16].into()
    }

    /// The answer to a device that knows these and has drawn this one.
    fn answer(used: &mut DeviceUse, known: &[u8], next: u8) -> Option<u8> {
        let chain = Chain {
            known: known.iter().copied().map(opening).collect(),
            next: opening(next),
        };
        advance(used, Some(&chain)).first().copied()
    }

    #[test]
    fn a_device_that_was_not_set_back_knows_what_was_held() {
        let used = &mut DeviceUse::default();
        assert_eq!(answer(used, &[], 1), None);
        assert_eq!(answer(used, &[1], 2), Some(1));
        assert_eq!(answer(used, &[2], 3), Some(2));
        assert_eq!(answer(used, &[2], 3), Some(2), "the same again");
        assert_eq!(
            answer(used, &[2, 3], 4),
            Some(2),
            "the answer to 3 was lost"
        );
        assert_eq!(answer(used, &[2, 3, 4, 5], 6), Some(2), "5 never came");
        assert_eq!(answer(used, &[6], 7), Some(6));
    }

    #[test]
    fn a_device_that_was_set_back_hears_it_though_answers_are_lost() {
        let used = &mut DeviceUse::default();
        for next in 1..=9 {
            answer(used, &[next - 1], next);
        }
        // The copy is of when 4 was acknowledged.
        assert_eq!(answer(used, &[4], 20), Some(9));
        assert_eq!(answer(used, &[4], 20), Some(9), "the same again");
        assert_eq!(answer(used, &[4, 20], 21), Some(9), "a newer one");
        assert_eq!(answer(used, &[4, 20, 21], 22), Some(9));
        assert_eq!(answer(used, &[22], 23), Some(22), "it has heard");
    }

    #[test]
    fn a_server_that_was_set_back_answers_an_older_opening() {
        let used = &mut DeviceUse::default();
        answer(used, &[], 1);
        answer(used, &[1], 2);
        assert_eq!(answer(used, &[8], 9), Some(2));
        assert_eq!(answer(used, &[8, 9], 10), Some(2), "the answer was lost");
    }
}
