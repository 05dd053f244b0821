//! The two threads beside the driver: one runs the storage engine, one what else blocks.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use qpq_protocol::ids::Ticket;
use qpq_protocol::io::{Core, Job};
use qpq_protocol::quic::Endpoint;
use qpq_protocol::storage::{Command, Engine, Failure, Reply};

use crate::node::Inbox;

/// The most commands that become one transaction: one flush for many, without making the first
/// wait for ever.
const BATCH: usize = 1024;

/// What is better not done on the driver's thread.
pub(crate) enum Task {
    /// A long computation.
    Compute(Ticket, Job),
    /// Looking a name up.
    Resolve(Ticket, String),
}

/// Starts the thread that owns the engine. It ends, and drops the engine and then `alive`, when the
/// sender is dropped.
///
/// The queue is bounded by the endpoint, which reads nothing more from peers while too many commands
/// wait for an answer.
pub(crate) fn storage<C: Core + 'static, A: Send + 'static>(
    engine: impl Engine + 'static,
    inbox: Inbox<C>,
    alive: A,
) -> io::Result<Sender<(Ticket, Command)>> {
    let (sender, queue) = channel();
    Builder::new().name("qpq-storage".into()).spawn(move || {
        answer(engine, &queue, &inbox);
        // The engine is gone by now: whoever waits for that may go on.
        drop(alive);
    })?;
    Ok(sender)
}

/// Runs the engine until nobody wants it any more.
fn answer<C: Core + 'static>(
    mut engine: impl Engine,
    queue: &Receiver<(Ticket, Command)>,
    inbox: &Inbox<C>,
) {
    // An engine that panicked is not asked again: it may have done half of anything.
    let mut works = true;
    while let Some(batch) = next_batch(queue, || {
        works = works && catch_unwind(AssertUnwindSafe(|| engine.idle())).is_ok();
    }) {
        let (tickets, commands): (Vec<Ticket>, Vec<Command>) = batch.into_iter().unzip();
        let replies = match works {
            true => catch_unwind(AssertUnwindSafe(|| engine.run(commands))).ok(),
            false => None,
        };
        works = replies.is_some();
        let mut replies = replies.unwrap_or_default().into_iter();
        let answer = move |endpoint: &mut Endpoint<C>, now| {
            for ticket in tickets {
                let reply = replies.next().unwrap_or(Reply::Failed(Failure::Unknown));
                endpoint.handle_stored(now, ticket, reply);
            }
        };
        if inbox.send_blocking(Box::new(answer)).is_err() {
            return;
        }
    }
}

/// Everything that waits, at least one; `idle` is run before waiting for it. `None`: no more comes.
fn next_batch<T>(queue: &Receiver<T>, idle: impl FnOnce()) -> Option<Vec<T>> {
    let first = match queue.try_recv() {
        Ok(first) => first,
        Err(_) => {
            idle();
            queue.recv().ok()?
        }
    };
    let mut batch = vec![first];
    batch.extend(queue.try_iter().take(BATCH.saturating_sub(1)));
    Some(batch)
}

/// Starts the thread that computes and resolves, one task after the other.
pub(crate) fn tasks<C: Core + 'static>(inbox: Inbox<C>) -> io::Result<Sender<Task>> {
    let (sender, queue) = channel();
    Builder::new().name("qpq-tasks".into()).spawn(move || {
        for task in queue {
            let sent = match task {
                Task::Compute(ticket, job) => {
                    // A job that panics gives nothing; the core sees a result of the wrong type.
                    let result = catch_unwind(AssertUnwindSafe(|| job.run()))
                        .unwrap_or_else(|_| Job::new(|| ()).run());
                    inbox.send_blocking(Box::new(move |endpoint, now| {
                        endpoint.handle_computed(now, ticket, result);
                    }))
                }
                Task::Resolve(ticket, address) => {
                    let addresses = resolve(&address);
                    inbox.send_blocking(Box::new(move |endpoint, now| {
                        endpoint.handle_resolved(now, ticket, addresses);
                    }))
                }
            };
            if sent.is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}

/// The addresses of `host:port`, IPv4 first: an IPv6 address that leads nowhere costs a timeout.
fn resolve(address: &str) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = address
        .to_socket_addrs()
        .map(Iterator::collect)
        .unwrap_or_default();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
}
