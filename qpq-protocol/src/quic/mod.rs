//! The pure glue between a core and QUIC: datagrams and times in, datagrams and effects out.
//!
//! [`Endpoint`] owns quinn-proto's endpoint and connections (sans-IO like everything here) and one
//! [`Core`](crate::io::Core). The owner of the socket drives it like this:
//!
//! 1. [`Endpoint::handle_datagrams`] for everything that can be read, and the other `handle_*` for
//!    whatever came in; these only note what happened. Where there is much to read, a transmit in
//!    between (step 4) keeps both sides busy: `handle_datagrams` says when.
//! 2. [`Endpoint::handle_timeout`] if [`Endpoint::poll_timeout`] is due by the clock.
//! 3. [`Endpoint::poll_effect`] and [`Endpoint::poll_event`] until they return `None`: what the
//!    embedder has to carry out, and what it may want to know.
//! 4. [`Endpoint::poll_transmit`] until it returns `None`, or until the socket is full
//!    ([`Endpoint::handle_blocked`]). By then the core has answered all that was read, so that frames
//!    of many streams share a datagram.
//! 5. Sleep until [`Endpoint::poll_timeout`], or until something comes in.
//!
//! What a core may rely on, beyond [`Core`](crate::io::Core)'s own words:
//!
//! * No input of a connection comes before `handle_connected` or after `handle_disconnected`, and
//!   each of these comes once. A [`ConnId`](crate::ids::ConnId) is never used again.
//! * [`Sent`](crate::io::StreamInput::Sent) adds up to all the bytes given, unless the stream is
//!   reset or stopped: what waited then is dropped, and not reported.
//! * Credit is asked again after every input, and only then; the end of a stream needs none.
//! * A stream whose first byte is missing is told by [`Data`](crate::io::StreamInput::Data) of nothing, so
//!   that the core can set it a deadline.
//! * Anyone who connected to us has little to begin with, [`Limits::stranger_window`] and
//!   [`Limits::stranger_bi`], and the rest once the core says [`Admit`](crate::io::Output::Admit).
//! * After `Close`, what was sent before is delivered first, for at most [`Limits::linger`].
//! * A stream that can't be opened because too many wait is `Stopped`, and `Reset` if it goes both
//!   ways, with error code 5.
//!
//! What is not ours to decide: quinn-proto and TLS draw randomness themselves, so the bytes on the
//! wire differ between two runs. What the core sees does not depend on them.

mod config;
mod connection;
mod endpoint;
mod errors;
mod open;
mod streams;
mod task;
mod timers;
mod tls;

pub use config::{ConfigError, Limits, QuicConfig, Trust};
pub use endpoint::{Effect, Endpoint, Received, SocketId, Traffic, Transmit};
pub use errors::{OpenError, Stopped};
pub use task::{Done, Task};
