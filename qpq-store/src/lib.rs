//! Storage engines for the qpq cores: [`sqlite`] (the feature of that name, on by default), and [`conformance`], the
//! suite that any engine has to pass (feature `conformance`, for tests).
//!
//! An engine is an ordered map of byte strings with three commands (`qpq_protocol::storage`). It knows nothing of what
//! the rows mean.
//!
//! What engines on files need is here too: [`files`] that only their owner may read and that are written whole or not
//! at all, and a [`lock`] that says who holds them.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod files;
pub mod lock;
#[cfg(feature = "sqlite")]
pub mod sqlite;
