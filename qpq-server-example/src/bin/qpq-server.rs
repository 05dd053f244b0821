//! `qpq-server`: a server on one machine.
fn main() {}
