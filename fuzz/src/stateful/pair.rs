//! Clients and a server, over byte pipes whose pieces and breaks the input decides.

use std::sync::LazyLock;

use super::MOST_ACTS;
use crate::choices::Choices;
use crate::weather::{Act, NAMES, START, storm, world};

/// Four clients and a server who talk, change a group, lose connections and power and wait for slow
/// disks, over streams that are cut into pieces. Input: acts, each a byte for its kind and its choices.
///
/// When the weather is fair again all agree: the same members and epochs, each message once and in
/// its writer's order with everyone who was there.
pub fn core_pair(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut acts = Vec::new();
    while !choices.is_empty() && acts.len() < MOST_ACTS {
        acts.push(act(&mut choices));
    }
    storm(acts);
}

/// What an execution begins with.
pub fn begin() {
    drop(world());
}

/// Bytes that an input may need. Nobody here floods, so no limit of a core is near: this is what four
/// clients and a server with their disks need, so that what grows with time or restarts is noticed.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&START);
    2 * 1024 * 1024
}

fn act(choices: &mut Choices<'_>) -> Act {
    let who = choices.below(NAMES.len());
    match choices.byte() % 24 {
        0..6 => Act::Send(who, choices.flag()),
        6 => Act::Invite(who % 3, 3),
        7 => Act::Remove(who % 3, 3),
        8..10 => Act::Cut(who),
        10..12 => Act::Crash(who, 1 + choices.below(11), choices.flag()),
        12 => Act::CrashServer(1 + choices.below(19), choices.flag()),
        13 => Act::Fault(who, choices.byte()),
        14 => Act::Hold(who, choices.flag()),
        15..17 => Act::Pieces(match choices.byte() {
            0 => usize::MAX,
            longest => longest.into(),
        }),
        17..21 => Act::Turns(choices.below(30)),
        _ => Act::Pass(choices.u16() % 3000),
    }
}
