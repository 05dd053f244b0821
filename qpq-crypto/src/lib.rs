//! End-to-end cryptography for qpq, pure: every random byte comes from the caller's seed, every
//! time from an argument, every stored byte leaves as a list of puts and deletes.
//!
//! A randomised operation takes a fresh `seed: &[u8; 32]`, which the caller draws from a generator
//! that the operating system seeded, and is otherwise a function of its arguments: the same seed gives
//! the same bytes, in every process. Times are `u64` milliseconds since 1970. Public types are bytes
//! or newtypes over them; no type of another crate shows.
//!
//! # Rooms
//!
//! | room | what it decides |
//! | --- | --- |
//! | [`identity`] | accounts, devices and the certificates between them; signed strings |
//! | [`proof`] | what accounts and servers sign: registrations, keys, revocations, commits, deliveries |
//! | [`safety`] | the numbers and codes that people compare |
//! | [`opaque`] | login with a password that the server never sees; the identity sealed under it |
//! | [`hybrid`] | the envelope: content sealed to an account, anonymously or signed |
//! | [`sealed`] | messages whose sender the server does not learn |
//! | [`mls`] | groups |
//! | [`transparency`] | the public log of which name has which key, and who watches it |
//! | [`recovery`] | printed codes that bring an account back |
//! | [`transcript`] | conversations exported so that anyone can check them |
//! | [`padding`] | lengths that tell little |
//! | [`secret`] | bytes that are wiped, never printed, compared in constant time |
//!
//! # Primitives
//!
//! | primitive | standard | crate | vectors it passes, through this crate |
//! | --- | --- | --- | --- |
//! | Ed25519, strict | RFC 8032 | ed25519-dalek 3 | Wycheproof (151) |
//! | X25519 | RFC 7748 | x25519-dalek 3 | Wycheproof (518) |
//! | ML-KEM-768 | FIPS 203 | ml-kem 0.3 | Wycheproof (567) |
//! | X-Wing, KEM 0x647a | draft-connolly-cfrg-xwing-kem, draft-ietf-hpke-pq | hpke 0.15 | the drafts' (3 and 2) |
//! | HPKE | RFC 9180 | hpke 0.15 | RFC 9180 X25519 (8 cases, 48 messages), hpke-pq |
//! | ChaCha20-Poly1305, XChaCha20-Poly1305 | RFC 8439, draft-irtf-cfrg-xchacha | chacha20poly1305 0.11 | Wycheproof (316) |
//! | HKDF, SHA-2 | RFC 5869, FIPS 180-4 | hkdf 0.13, sha2 0.11 | Wycheproof (86) |
//! | OPAQUE: ristretto255-SHA512, 3DH | RFC 9807, RFC 9497 | opaque-ke 4.0.1 | RFC 9807 (2 real, 1 fake) |
//! | Argon2id | RFC 9106 | argon2 0.5 | its own |
//! | Merkle tree log | RFC 9162, c2sp.org/tlog-checkpoint | this one | transparency-dev (196), CT reference (17) |
//! | MLS | RFC 9420 | openmls 0.9 | MLS working group, see [`mls`] |
//! | generator | ChaCha20, RFC 8439 | rand_chacha 0.10 | its own |
//!
//! With the feature `aws-lc-rs` groups take AEADs, signing and X25519 from that crate, byte for byte the
//! same; see [`mls`].
//!
//! Formats of our own (envelopes, proofs, bundles, transcripts, safety numbers, padding) and whole
//! groups and logins have golden vectors in `tests/vectors`.
//!
//! # What dependencies do by themselves
//!
//! The rule of purity binds this crate's own code. openmls reads the wall clock when it makes or
//! validates lifetimes (we check them ourselves against the time handed in), runs parts of a commit in
//! parallel on rayon's threads (which changes no byte: see [`mls`]), and keeps hash maps whose order
//! reaches only stored values, never the wire. Nothing else reads a clock, the operating system's
//! randomness, a file or a socket.
//!
//! # Secrets
//!
//! Every type that holds one wipes it on drop and has no `Debug`; comparisons are in constant time; no
//! error says more about a secret than that it did not fit. What this cannot promise: copies that the
//! compiler or a dependency leaves on the stack, and memory that the operating system swaps out.

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
