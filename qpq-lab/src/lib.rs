//! What the binary `qpq-lab` is made of, for researchers and for CI: the golden vectors, made and replayed, and raw bytes
//! that a core is fed with.

pub mod feed;
pub mod vectors;
