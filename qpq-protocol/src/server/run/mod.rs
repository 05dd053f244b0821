//! From the bytes of a stream to its answer.
//!
//! ```text
//!   bytes        requests      a whole request, charged for as it arrives; what gives way where there is no room (arriving)
//!   stream       stream        one of them, until its answer has left
//!   request      tasks         runs, step by step: storage, waits, questions, runs again (task)
//!                waits         what ends a wait
//!                long_answers  a long answer waits until there is room for it
//!                pacing        some answers leave only at a multiple of a pace
//!   answer       sending       into a frame, onto the stream, until the transport has taken it
//!   without one  background    what the core does by itself
//! ```

pub(super) mod arriving;
pub(super) mod background;
pub(super) mod long_answers;
pub(super) mod pacing;
pub(super) mod requests;
pub(super) mod sending;
pub(super) mod stream;
pub(super) mod task;
pub(super) mod task_id;
pub(super) mod tasks;
pub(super) mod waits;
