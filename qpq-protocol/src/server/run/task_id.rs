//! The name of a running request.

/// Names a running request; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::server) struct TaskId(pub(in crate::server) u64);
