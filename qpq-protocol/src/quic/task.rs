//! What a core wants done that blocks.

use std::net::SocketAddr;

use crate::ids::Ticket;
use crate::io::{Job, JobResult};

/// A long computation, or a name to be looked up: run it where blocking does no harm, and give what
/// came of it to [`Endpoint::handle_done`](super::Endpoint::handle_done).
#[derive(Debug)]
pub struct Task(Kind);

#[derive(Debug)]
enum Kind {
    Compute(Ticket, Job),
    Resolve(Ticket, String),
}

/// What came of a [`Task`].
#[derive(Debug)]
pub struct Done(pub(super) Found);

#[derive(Debug)]
pub(super) enum Found {
    Computed(Ticket, JobResult),
    Resolved(Ticket, Vec<SocketAddr>),
}

impl Task {
    pub(super) const fn compute(ticket: Ticket, job: Job) -> Self {
        Self(Kind::Compute(ticket, job))
    }

    pub(super) const fn resolve(ticket: Ticket, address: String) -> Self {
        Self(Kind::Resolve(ticket, address))
    }

    /// Does it. `lookup` gives the addresses of a `host:port`, if there are any; it is called where
    /// the task is to find them.
    pub fn run<A: IntoIterator<Item = SocketAddr>>(self, lookup: impl FnOnce(&str) -> A) -> Done {
        Done(match self.0 {
            Kind::Compute(ticket, job) => Found::Computed(ticket, job.run()),
            Kind::Resolve(ticket, address) => {
                Found::Resolved(ticket, lookup(&address).into_iter().collect())
            }
        })
    }
}
