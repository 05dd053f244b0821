//! What the fuzz targets do with their input. `tests/` holds one bolero target for each function;
//! README.md says how to run them.

pub mod backups;
pub mod choices;
pub mod config;
pub mod crypto;
pub mod layout;
pub mod logs;
pub mod stateful;
pub mod wire;

// Built with libFuzzer's counters, everything is linked with what collects them: these tests, too.
#[cfg(test)]
use bolero as _;

// Private rooms of the other crates, taken in where they stand: no target needs more of them built.
#[path = "../../qpq-protocol/src/client/keep/keys.rs"]
#[allow(dead_code)]
mod client_keys;
#[path = "../../qpq-server-example/src/hex.rs"]
mod hex;
#[path = "../../qpq-server-example/src/config.rs"]
mod server_config;
use qpq_protocol::ids;

// What the tests of qpq-protocol drive cores with; the names are those that they know each other by.
#[path = "../../qpq-protocol/tests/support/client_embedder.rs"]
mod client_embedder;
#[path = "../../qpq-protocol/tests/quic/echo.rs"]
#[allow(dead_code)]
mod echo;
#[path = "../../qpq-protocol/tests/services/model.rs"]
mod model;
#[path = "../../qpq-protocol/tests/support/net.rs"]
mod net;
#[path = "../../qpq-protocol/tests/services/requests.rs"]
#[allow(dead_code)]
mod requests;
#[path = "../../qpq-protocol/tests/support/server_embedder.rs"]
mod server_embedder;
#[path = "../../qpq-protocol/tests/support/story.rs"]
#[allow(dead_code)]
mod story;
#[path = "../../qpq-protocol/tests/support/mod.rs"]
mod support;
#[path = "../../qpq-protocol/tests/support/weather.rs"]
mod weather;
