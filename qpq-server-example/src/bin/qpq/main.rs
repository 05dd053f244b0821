//! `qpq`: a client for the terminal.
fn main() {}
