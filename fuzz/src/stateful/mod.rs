//! What keeps state between inputs: each function builds it, lets the input act on it and checks it
//! after every act. `tests/stateful.rs` holds each to a budget of memory.

pub mod client;
pub mod glue;
pub mod group;
pub mod pair;
pub mod peers;
pub mod service;
mod town;

/// An input's acts after so many are left out: a fuzzer makes inputs longer as long as that reaches
/// something new, and each execution then takes longer.
const MOST_ACTS: usize = 64;

/// A target, for who measures it.
pub struct Target {
    /// The name of its test and of its corpus.
    pub name: &'static str,
    /// One execution.
    pub run: fn(&[u8]),
    /// What an execution does before its first act.
    pub begin: fn(),
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "server_services",
        run: service::service,
        begin: service::begin,
    },
    Target {
        name: "server_peers",
        run: peers::server_peers,
        begin: peers::begin,
    },
    Target {
        name: "hostile_server",
        run: client::hostile_server,
        begin: client::begin,
    },
    Target {
        name: "core_pair",
        run: pair::core_pair,
        begin: pair::begin,
    },
    Target {
        name: "group_messages",
        run: group::group_messages,
        begin: group::begin,
    },
    Target {
        name: "x_wing_messages",
        run: group::x_wing_messages,
        begin: group::begin_x_wing,
    },
    Target {
        name: "quic_glue",
        run: glue::quic_glue,
        begin: glue::begin,
    },
];
