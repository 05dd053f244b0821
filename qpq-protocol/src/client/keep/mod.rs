//! What is durable, and how: rows and their keys, sealed, loaded at opening, written behind what they make visible.
//!
//! Nothing here decides what is worth keeping: rooms above change [`state::State`] and hand their rows to
//! [`write::Writer`].
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `state` | what is held in memory of it |
//! | `keys`, `record` | keys of rows and their values |
//! | `load`, `write`, `seal` | opening; the way out; sealing |
//! | `openings`, `clocks` | whether these data, or the server's, are of an earlier day; what time it is where that matters |

pub(super) mod clocks;
pub mod keys;
pub(super) mod load;
pub(super) mod openings;
pub(super) mod record;
pub(super) mod seal;
pub(super) mod state;
pub(super) mod write;
