//! The name of a running request.

/// Names a running request; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct TaskId(pub(super) u64);
