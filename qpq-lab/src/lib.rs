//! What the binary `qpq-lab` is made of, for researchers and for CI: the golden vectors, made and replayed.

pub mod vectors;
