//! What qpq's adapters share: the loop between a UDP socket and an endpoint, the two threads beside it, and the
//! handle of a running node.
//!
//! An adapter gives it a [`Runtime`], a socket and a timer of its own, and calls the rest by its name:
//!
//! ```text
//!   qpq-adapter-tokio    type Server<C> = qpq_runtime::Server<Tokio, C>
//!   qpq-adapter-smol     type Server<C> = qpq_runtime::Server<Smol, C>
//! ```
//!
//! Nothing here knows what the bytes mean.

mod apart;
mod driver;
mod events;
mod node;
mod runtime;
mod socket;
mod wake;

pub use events::Events;
pub use node::{Client, Node, Server};
pub use qpq_protocol::quic::{OpenError, Stopped, Traffic};
pub use runtime::{Runtime, SocketRef, borrow};
pub use wake::{LocalBus, LocalMember, Notify, WakeBus};
