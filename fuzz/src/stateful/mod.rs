//! What keeps state between inputs: each function builds it, lets the input act on it and checks it
//! after every act. `tests/stateful.rs` holds each to a budget of memory.

pub mod client;
pub mod glue;
pub mod group;
pub mod pair;
pub mod peers;
pub mod service;
