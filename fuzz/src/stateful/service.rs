//! The server's services against the naive model of protocol.md §5.

use std::sync::LazyLock;

use super::MOST_ACTS;
use crate::choices::Choices;
use crate::model::{Act, Model, NAMES, Pair, TOWN, config, run};

/// Two cores on one store, and users who send, fetch, acknowledge, commit and crash them. Input: acts,
/// each a byte for its kind and its choices.
///
/// Every answer is the model's.
pub fn service(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (mut pair, mut model) = world();
    for _ in 0..MOST_ACTS {
        if choices.is_empty() {
            break;
        }
        run(&mut pair, &mut model, act(&mut choices));
    }
}

fn world() -> (Pair, Model) {
    (Pair::new(), Model::new())
}

/// What an execution begins with.
pub fn begin() {
    drop(world());
}

/// Bytes that an input may need: what the limits allow both cores to hold, and what is durable of
/// `MOST_ACTS` acts, with what the peers were told.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&TOWN);
    2 * config().limits.footprint() + 128 * 1024 + MOST_ACTS * 1024
}

fn act(choices: &mut Choices<'_>) -> Act {
    let kind = choices.byte() % 25;
    let core = choices.below(2);
    let mut who = || choices.below(NAMES.len());
    let (from, to) = (who(), who());
    match kind {
        0..8 => Act::Send {
            core,
            from,
            to,
            id: choices.byte() % 12,
            text: choices.byte() % 3,
            slot: choices.flag().then(|| off(choices)),
        },
        8..10 => Act::Batch {
            core,
            from,
            id: choices.byte() % 6,
            text: choices.byte() % 3,
        },
        10..13 => Act::Fetch {
            core,
            who: from,
            group: choices.flag(),
            after: choices.byte() % 4,
        },
        13 => Act::Place {
            core,
            who: from,
            back: choices.flag(),
        },
        14..18 => Act::Ack {
            core,
            who: from,
            group: choices.flag(),
            behind: choices.byte() % 4,
        },
        18..23 => Act::Commit {
            core,
            from,
            id: choices.byte() % 12,
            off: off(choices),
            add: maybe(choices),
            remove: maybe(choices),
        },
        23 => Act::Race {
            one: from,
            other: to,
            id: 100 + choices.byte() % 20,
        },
        _ => Act::Crash { core },
    }
}

/// Mostly the right slot.
fn off(choices: &mut Choices<'_>) -> i8 {
    match choices.byte() % 8 {
        0 => -1,
        1 => 1,
        _ => 0,
    }
}

/// Mostly nobody.
fn maybe(choices: &mut Choices<'_>) -> Option<usize> {
    let choice = choices.below(15);
    (choice < NAMES.len()).then_some(choice)
}
