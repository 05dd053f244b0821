//! Bad weather at random, and what must be so after it.

#[path = "support/net.rs"]
mod net;
#[path = "support/weather.rs"]
mod weather;

use proptest::collection::vec;
use proptest::prelude::*;
use weather::{Act, NAMES, storm};

fn act() -> impl Strategy<Value = Act> {
    let who = 0..NAMES.len();
    prop_oneof![
        6 => (who.clone(), any::<bool>()).prop_map(|(who, group)| Act::Send(who, group)),
        1 => (0..3usize, Just(3)).prop_map(|(who, whom)| Act::Invite(who, whom)),
        1 => (0..3usize, Just(3)).prop_map(|(who, whom)| Act::Remove(who, whom)),
        2 => who.clone().prop_map(Act::Cut),
        2 => (who.clone(), 1..12usize, any::<bool>())
            .prop_map(|(who, at, after)| Act::Crash(who, at, after)),
        1 => (1..20usize, any::<bool>()).prop_map(|(at, after)| Act::CrashServer(at, after)),
        1 => (who.clone(), any::<u8>()).prop_map(|(who, fault)| Act::Fault(who, fault)),
        1 => (who, any::<bool>()).prop_map(|(who, hold)| Act::Hold(who, hold)),
        1 => prop_oneof![1..40usize, Just(usize::MAX)].prop_map(Act::Pieces),
        4 => (0..30usize).prop_map(Act::Turns),
        3 => (0..3000u16).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn everyone_agrees_after_the_storm(acts in vec(act(), 0..60)) {
        storm(acts);
    }
}
