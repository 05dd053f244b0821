//! The manual: a page for each thing that an embedder of a core has to get right.
//!
//! | page | the question |
//! | --- | --- |
//! | [`run_loop`] | who calls whom, and in which order? |
//! | [`time_and_randomness`] | where do the time, the date and the random bytes come from? |
//! | [`storage`] | what does an engine promise, and what does a core do when it can't? |
//! | [`backpressure`] | what holds a peer back that sends more than anyone can take? |
//! | [`errors`] | whose fault was it, and what is to be done? |
//! | [`testing`] | how do I test my own app, crashes and bad luck included? |
//!
//! Every example runs as a test. The examples beside this crate are the next step: `in_memory` (a
//! server and two clients in one loop), `blocking` (QUIC on `std::net::UdpSocket`) and `custom_store`
//! (an engine of your own).
//!
//! # Which crate do I need?
//!
//! | you have | take |
//! | --- | --- |
//! | a program on tokio | `qpq-adapter-tokio`: `Server::bind`, `Client::open` |
//! | another executor, or none | `qpq-adapter-smol`: the same handle, on a thread of its own |
//! | an event loop of your own, threads and sockets | this crate with the feature `quic` |
//! | a transport of your own: pipes, TCP and TLS, a browser, a simulation | this crate as it is |
//! | only the wire format, perhaps without `std` | this crate without default features |
//!
//! The feature `quic` links aws-lc-rs for TLS. It can make the cores' signatures too, in half the time and
//! with the same bytes: depend on `qpq-crypto` as well, with its feature `aws-lc-rs`.

#[doc = include_str!("run_loop.md")]
pub mod run_loop {}

#[doc = include_str!("time_and_randomness.md")]
pub mod time_and_randomness {}

#[doc = include_str!("storage.md")]
pub mod storage {}

#[doc = include_str!("backpressure.md")]
pub mod backpressure {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("testing.md")]
pub mod testing {}
