//! The limits of worlds with villains: small, so that what is full is met early, and with rates, which are what
//! stands between one account and the others.

use crate::limits::{Limits, Rate};

/// How many conversations of strangers a client looks into.
pub(in crate::sim) const STRANGE_QUEUES: usize = 16;

const KIB: usize = 1024;

/// Queues of 20, tables of 16, little memory; the rates are those of every server. Sixteen holders find room for a
/// whole answer each, as they do with every server: with less, who takes nothing would keep the others waiting.
pub(in crate::sim) fn limits() -> Limits {
    Limits {
        connections: 256,
        total_buffer: 16 * 64 * KIB,
        total_unsent: 17 * 64 * KIB,
        answer: 64 * KIB,
        payload: 48 * KIB,
        group_info: 48 * KIB,
        connection_buffer: 4 * 64 * KIB,
        connection_unsent: 64 * KIB,
        cached_rows: 200,
        away_devices: 16,
        cached_bytes: 64 * KIB,
        rate_counters: 1024,
        queue_messages: 20,
        // What is once an hour elsewhere: a world settles within ten minutes.
        returns: Rate::per_secs(1, 60),
        reset: Rate::per_secs(1, 60),
        stored_accounts: 16,
        memberships: 16,
        memberships_open: 6,
        key_packages: 16,
        ..Limits::default()
    }
}
