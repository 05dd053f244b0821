//! End-to-end cryptography for qpq, pure: every random byte comes from the caller's seed, every
//! time from an argument, every stored byte leaves as a list of puts and deletes.

mod encoding;
mod hex;
pub mod hybrid;
pub mod identity;
pub mod mls;
pub mod opaque;
pub mod padding;
pub mod proof;
mod random;
pub mod recovery;
pub mod safety;
pub mod sealed;
pub mod secret;
pub mod transcript;
pub mod transparency;

#[cfg(test)]
#[path = "../tests/vectors/mod.rs"]
mod vectors;
