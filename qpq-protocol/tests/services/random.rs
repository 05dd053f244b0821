//! Random operations against the naive model: one or two cores on one store, crashes, lost answers.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::{Act, FULL, Model, Pair, run};

fn act() -> impl Strategy<Value = Act> {
    let off = prop_oneof![6 => Just(0i8), 3 => Just(-1), 1 => Just(1)];
    let slot = prop_oneof![2 => Just(None), 3 => off.clone().prop_map(Some)];
    let (core, who) = (0..2usize, 0..3usize);
    let some = proptest::option::weighted(0.2, 0..3usize);
    prop_oneof![
        8 => (core.clone(), who.clone(), who.clone(), 0..12u8, 0..3u8, slot)
            .prop_map(|(core, from, to, id, text, slot)| Act::Send { core, from, to, id, text, slot }),
        2 => (core.clone(), who.clone(), 0..6u8, 0..3u8)
            .prop_map(|(core, from, id, text)| Act::Batch { core, from, id, text }),
        4 => (core.clone(), who.clone(), any::<bool>(), 0..4u8)
            .prop_map(|(core, who, group, after)| Act::Fetch { core, who, group, after }),
        4 => (core.clone(), who.clone(), any::<bool>(), 0..4u8)
            .prop_map(|(core, who, group, behind)| Act::Ack { core, who, group, behind }),
        4 => (core.clone(), who.clone(), 0..12u8, off, some.clone(), some)
            .prop_map(|(core, from, id, off, add, remove)| Act::Commit { core, from, id, off, add, remove }),
        2 => (core.clone(), who.clone(), any::<bool>())
            .prop_map(|(core, who, back)| Act::Place { core, who, back }),
        1 => (who.clone(), who, 100..120u8).prop_map(|(one, other, id)| Act::Race { one, other, id }),
        1 => core.prop_map(|core| Act::Crash { core }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn two_cores_on_one_store_are_one_server(acts in vec(act(), 1..80)) {
        replay(acts);
    }
}

/// Runs these acts.
fn replay(acts: Vec<Act>) {
    let mut pair = Pair::new();
    let mut model = Model::new();
    for act in acts {
        run(&mut pair, &mut model, act);
    }
}

fn send(core: usize, from: usize, to: usize, id: u8, slot: Option<i8>) -> Act {
    Act::Send {
        core,
        from,
        to,
        id,
        text: 0,
        slot,
    }
}

fn commit_of(core: usize, from: usize, id: u8, remove: Option<usize>) -> Act {
    Act::Commit {
        core,
        from,
        id,
        off: 0,
        add: None,
        remove,
    }
}

/// Core 0 remembers Carol as a member from before, and the channel from after her removal.
#[test]
fn a_member_removed_on_another_core_cannot_commit() {
    replay(vec![
        send(0, 2, 0, 0, Some(0)),
        commit_of(1, 0, 0, Some(2)),
        commit_of(0, 0, 1, None),
        commit_of(0, 2, 0, None),
    ]);
}

/// Core 0 remembers a queue as full that was acked on core 1.
#[test]
fn a_queue_drained_on_another_core_has_room() {
    let from = |id: u8| usize::from(id) % 2;
    let mut acts: Vec<Act> = (0..FULL as u8)
        .map(|id| send(0, from(id), 2, id, None))
        .collect();
    acts.push(Act::Ack {
        core: 1,
        who: 2,
        group: false,
        behind: 1,
    });
    acts.push(Act::Batch {
        core: 0,
        from: 0,
        id: 0,
        text: 0,
    });
    acts.push(send(0, 0, 2, 20, None));
    replay(acts);
}

/// Core 1 remembers the head of a queue from before it was acked on core 0.
#[test]
fn a_queue_acked_on_another_core_can_be_acked() {
    let ack = |core, behind| Act::Ack {
        core,
        who: 2,
        group: false,
        behind,
    };
    replay(vec![
        send(1, 0, 2, 0, None),
        send(1, 0, 2, 1, None),
        ack(0, 2),
        ack(1, 1),
    ]);
}

/// Core 1 once looked the message id up and remembers that it is new.
#[test]
fn a_message_id_used_on_another_core_is_known() {
    replay(vec![
        commit_of(0, 0, 0, None),
        send(1, 1, 0, 10, Some(-1)),
        send(0, 1, 0, 10, None),
        send(1, 1, 2, 10, Some(0)),
        send(1, 1, 0, 10, None),
    ]);
}

/// Core 0 remembers the slot that the commit names, and who has left since then is not why it is refused.
#[test]
fn a_commit_for_a_slot_taken_on_another_core_conflicts() {
    let place = Act::Place {
        core: 0,
        who: 0,
        back: false,
    };
    let late = Act::Commit {
        core: 0,
        from: 1,
        id: 0,
        off: -1,
        add: Some(0),
        remove: None,
    };
    replay(vec![
        place,
        send(0, 0, 0, 0, None),
        commit_of(1, 1, 3, None),
        late,
    ]);
}

/// Carol has left before a commit whose bytes she has, as has everybody; core 1 remembers her as a member.
#[test]
fn who_is_no_member_hears_nothing_of_a_commit_whose_bytes_it_has() {
    let late = |from, id| Act::Commit {
        core: 1,
        from,
        id,
        off: -1,
        add: None,
        remove: None,
    };
    replay(vec![
        send(1, 2, 0, 0, Some(0)),
        Act::Place {
            core: 0,
            who: 2,
            back: false,
        },
        commit_of(0, 0, 0, None),
        late(1, 3),
        late(2, 3),
    ]);
}
