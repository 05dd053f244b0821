//! The qpq protocol as pure state machines: bytes, times and storage replies go in; frames, timers
//! and storage commands come out.
//!
//! | module | what it holds | needs |
//! | --- | --- | --- |
//! | [`frame`], [`status`] | the frame codec, status bytes and application error codes | – |
//! | [`method`], [`proto`] | the one table of methods, and the messages | – |
//! | [`wire`], [`validate`] | decoding within bounds, and the lengths of fields | – |
//! | `server`, `client` | the two cores | `std` |
//! | `io`, `ids`, `time`, `rng` | the shape that both cores share | `std` |
//! | `storage` | three commands, the key layout, the engine trait, a memory engine | `std` |
//! | `limits` | every number that bounds a server | `std` |
//! | `manual` | how to embed it all, a page for each question | `std` |
//! | `quic` | a core on quinn-proto, still without a socket | `quic` |
//! | `sim` | clients, servers, network and disks in virtual time, from a seed | `sim` |
//!
//! Without the feature `std` (on by default) the crate is `no_std` + alloc.
//!
//! The pages of `manual` say more about each of what follows, with examples, and which crate to take.
//!
//! # The run loop
//!
//! A core never calls you. Tell it what happened, then do what it wants:
//!
//! 1. Call the `handle_*` input for whatever came: a stream's bytes, a storage reply, a connection,
//!    the deadline. Any order, any batch; inputs never fail.
//! 2. Drain `poll_output` until it returns `None`. Take everything in before you send anything: then
//!    answers on many streams share a datagram.
//! 3. Sleep until `poll_timeout`, or until the next input. It is already due while output is queued,
//!    so a loop that sleeps until the deadline strands nothing.
//!
//! # Time and randomness
//!
//! `now` is the first argument of every input: microseconds on your monotonic clock. A `now` that
//! goes back is taken as the last one. The wall clock comes in at the start and by `handle_clock`;
//! it dates and expires, and never drives a timer. All randomness comes from the 32-byte seed handed
//! to `new`: take it fresh from the operating system at every start, and never use one twice outside
//! tests. The same seed and inputs give the same outputs, byte for byte.
//!
//! # Storage
//!
//! A storage command goes out with a ticket and its reply comes back with it. Whatever rests on a
//! commit, an answer or an event, is held in the core until the reply says that it is durable: you
//! can't send it too early. Run the commands of one lane in the order in which they came; a reply with
//! an unknown ticket is ignored.
//!
//! # Backpressure
//!
//! Ask `credit` before you read a stream from the transport, and hand over at most that much. Every
//! queue has a bound, and `footprint` never exceeds what the limits add up to.
//!
//! # Errors and panics
//!
//! What a peer does wrong becomes an output (an answer, a reset, an event that names the fault),
//! never a panic and never an `Err`. There is no `unsafe`.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod frame;
pub mod method;
pub mod proto;
pub mod status;
pub mod validate;
pub mod wire;

#[cfg(feature = "std")]
pub mod ask;
#[cfg(feature = "std")]
pub mod client;
#[cfg(feature = "std")]
pub mod defect;
#[cfg(feature = "std")]
pub mod ids;
#[cfg(feature = "std")]
mod invitation;
#[cfg(feature = "std")]
pub mod io;
#[cfg(feature = "std")]
pub mod limits;
#[cfg(feature = "std")]
pub mod manual;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "std")]
mod rising;
#[cfg(feature = "std")]
pub mod rng;
#[cfg(feature = "std")]
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "std")]
mod site;
#[cfg(feature = "std")]
pub mod storage;
#[cfg(feature = "std")]
pub mod time;

/// The examples of the README compile and run.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../../README.md")]
struct Readme;
