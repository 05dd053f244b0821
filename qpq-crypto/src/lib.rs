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
//! | primitive | standard | crate | vectors that functions of this crate pass |
//! | --- | --- | --- | --- |
//! | Ed25519, signing | RFC 8032 | ed25519-dalek 3, or aws-lc-rs | RFC 8032 (3), through the key of every secret |
//! | Ed25519, strict verification | RFC 8032 | ed25519-dalek 3 | Wycheproof (151), through [`identity::verify`] |
//! | X25519 | RFC 7748 | x25519-dalek 3 | Wycheproof (518), through the HPKE of groups; all-zero secrets are refused |
//! | ML-KEM-768 | FIPS 203 | ml-kem 0.3 | Wycheproof: encapsulation and key checks (265), through the envelope; key generation (100) and decapsulation (201), through our X-Wing's half |
//! | X-Wing, KEM 0x647a | draft-connolly-cfrg-xwing-kem, draft-ietf-hpke-pq | this one, with sha3 0.12 and shake 0.1 | the drafts' (3 and 2), through the envelope |
//! | HPKE | RFC 9180 | hpke 0.15 | RFC 9180 X25519 base mode (2 cases: keys, first message, exports), through the HPKE of groups; hpke-pq (10 messages, 5 exports), through the envelope |
//! | ChaCha20-Poly1305 | RFC 8439 | chacha20poly1305 0.11 | Wycheproof (325), through the AEADs of groups |
//! | XChaCha20-Poly1305 | draft-irtf-cfrg-xchacha | chacha20poly1305 0.11 | its own |
//! | AES-GCM | NIST SP 800-38D | aes-gcm 0.11 | Wycheproof (316), through the AEADs of groups |
//! | HKDF, HMAC, SHA-2 | RFC 5869, RFC 2104, FIPS 180-4 | hkdf 0.13, sha2 0.11 | Wycheproof HKDF-SHA256 and -384 (86 and 83), through the HKDF of groups |
//! | OPAQUE: ristretto255-SHA512, 3DH | RFC 9807, RFC 9497 | opaque-ke 4.0.1 | RFC 9807 (2 real, 1 fake), through [`opaque`] |
//! | Argon2id | RFC 9106 | argon2 0.5 | its own |
//! | Merkle tree log | RFC 9162, c2sp.org/tlog-checkpoint | this one | transparency-dev (196), CT reference (17), through [`transparency`] |
//! | MLS | RFC 9420 | openmls 0.9 | MLS working group: 2 + 16 + 26 cases, through [`mls::Group`] |
//! | generator | ChaCha20, RFC 8439 | rand_chacha 0.10 | its own |
//!
//! "Its own" are vectors in that crate's tests, which ours do not repeat. Two sets go to the linked crates
//! alone, because a function of ours for them would be one that nothing but its test calls. ML-KEM's
//! expanded decapsulation keys (9): X-Wing keeps 32 bytes and expands them itself, so that no expanded
//! key ever comes in to be checked. HPKE with a pre-shared key, with a sender's key, and with both (RFC
//! 9180, 6 cases): MLS and the envelope are in base mode, X-Wing has no authenticated mode, and signatures
//! say here who sent what.
//!
//! With the feature `aws-lc-rs` every signature is made by that crate, and groups take AEADs and X25519 from
//! it too (see [`mls`]): byte for byte the same, faster. Verification stays where it is.
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
//! compiler or a dependency leaves on the stack, and memory that the operating system swaps out. With the
//! feature `aws-lc-rs` a signing key is in aws-lc's memory too, which aws-lc wipes when it frees it.

mod ed25519;
mod encoding;
mod hex;
pub mod hybrid;
pub mod identity;
#[cfg(test)]
mod known_answers;
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
mod x_wing;

#[cfg(test)]
#[path = "../tests/vectors/mod.rs"]
mod vectors;
