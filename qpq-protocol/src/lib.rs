//! The qpq protocol as pure state machines: bytes, times and storage replies go in; frames, timers
//! and storage commands come out. Without the feature `std` this crate is `no_std` + alloc and
//! holds the frame codec, the method table and the messages.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod frame;
pub mod method;
pub mod proto;
pub mod status;
pub mod validate;
pub mod wire;

#[cfg(feature = "std")]
pub mod client;
#[cfg(feature = "std")]
pub mod ids;
#[cfg(feature = "std")]
pub mod io;
#[cfg(feature = "std")]
pub mod limits;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "std")]
pub mod rng;
#[cfg(feature = "std")]
pub mod server;
#[cfg(feature = "std")]
pub mod storage;
#[cfg(feature = "std")]
pub mod time;

/// The examples of the README compile and run.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../../README.md")]
struct Readme;
