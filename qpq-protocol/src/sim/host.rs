//! A core where it runs, whatever carries its bytes: what can be told to it and asked of it.

use super::network::Network;
use super::tap::{Seen, Tap};
use super::villains::liar::Liar;
use super::villains::mask::Mask;
use crate::client;
use crate::ids::Ticket;
use crate::io::{Core, Job, JobResult, Lane, Wake};
use crate::server;
use crate::storage::{Command, Reply};
use crate::time::{Time, UnixTime};

/// A process of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Who {
    /// A client, by its place.
    Client(usize),
    /// A server core, by its place.
    Server(usize),
}

impl core::fmt::Display for Who {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Client(client) => write!(f, "c{client}"),
            Self::Server(server) => write!(f, "s{server}"),
        }
    }
}

/// What a host is told, but for what its network brings.
pub(super) enum Input {
    Stored(Ticket, Reply),
    Computed(Ticket, JobResult),
    Wake(Wake),
    Clock(UnixTime),
    Timeout,
    Shutdown,
}

/// What a host wants done. `P` is what its network carries.
pub(super) enum Todo<E, P> {
    Store(Ticket, Lane, Command),
    Compute(Ticket, Job),
    Wake(Wake),
    Event(E),
    Carry(P),
}

impl<E, P> Todo<E, P> {
    fn map<F>(self, event: impl FnOnce(E) -> F) -> Todo<F, P> {
        match self {
            Self::Store(ticket, lane, command) => Todo::Store(ticket, lane, command),
            Self::Compute(ticket, job) => Todo::Compute(ticket, job),
            Self::Wake(wake) => Todo::Wake(wake),
            Self::Event(told) => Todo::Event(event(told)),
            Self::Carry(parcel) => Todo::Carry(parcel),
        }
    }
}

/// What any core tells.
pub(super) enum Told {
    Client(Box<client::Event>),
    Server(server::Event),
}

/// A core and what carries its bytes.
pub(super) trait Host<C: Core> {
    /// What its network carries.
    type Parcel;

    fn input(&mut self, now: Time, input: Input);
    fn act<R>(&mut self, now: Time, act: impl FnOnce(&mut C, Time) -> R) -> R;
    fn poll(&mut self, now: Time) -> Option<Todo<C::Event, Self::Parcel>>;
    fn deadline(&self) -> Option<Time>;
    fn is_shut_down(&self) -> bool;
    /// Connections that its transport has not forgotten.
    fn connections(&self) -> usize {
        0
    }
    fn tap(&self) -> &Tap<C>;
}

/// All processes that run.
pub(super) struct Hosts<N: Network> {
    pub(super) clients: Vec<Option<N::Host<Mask>>>,
    pub(super) servers: Vec<Option<N::Host<Liar>>>,
    /// Those that were told something and not polled since.
    pub(super) stirred: std::collections::BTreeSet<Who>,
}

impl<N: Network> Hosts<N> {
    pub(super) fn client(&mut self, client: usize) -> Option<&mut N::Host<Mask>> {
        self.stirred.insert(Who::Client(client));
        self.clients.get_mut(client)?.as_mut()
    }

    pub(super) fn server(&mut self, server: usize) -> Option<&mut N::Host<Liar>> {
        self.stirred.insert(Who::Server(server));
        self.servers.get_mut(server)?.as_mut()
    }

    pub(super) fn input(&mut self, now: Time, who: Who, input: Input) {
        match who {
            Who::Client(client) => {
                if let Some(host) = self.client(client) {
                    host.input(now, input);
                }
            }
            Who::Server(server) => {
                if let Some(host) = self.server(server) {
                    host.input(now, input);
                }
            }
        }
    }

    pub(super) fn poll(&mut self, now: Time, who: Who) -> Option<Todo<Told, N::Parcel>> {
        match who {
            Who::Client(client) => {
                let todo = self.clients.get_mut(client)?.as_mut()?.poll(now)?;
                Some(todo.map(|told| Told::Client(Box::new(told))))
            }
            Who::Server(server) => {
                let todo = self.servers.get_mut(server)?.as_mut()?.poll(now)?;
                Some(todo.map(Told::Server))
            }
        }
    }

    pub(super) fn take_seen(&self, who: Who) -> Vec<Seen> {
        match who {
            Who::Client(client) => self
                .running_client(client)
                .map(|host| host.tap().take_seen()),
            Who::Server(server) => self
                .running_server(server)
                .map(|host| host.tap().take_seen()),
        }
        .unwrap_or_default()
    }

    pub(super) fn footprint(&self, who: Who) -> usize {
        match who {
            Who::Client(client) => self
                .running_client(client)
                .map(|host| host.tap().footprint()),
            Who::Server(server) => self
                .running_server(server)
                .map(|host| host.tap().footprint()),
        }
        .unwrap_or_default()
    }

    pub(super) fn is_shut_down(&self, who: Who) -> bool {
        match who {
            Who::Client(client) => self.running_client(client).is_some_and(Host::is_shut_down),
            Who::Server(server) => self.running_server(server).is_some_and(Host::is_shut_down),
        }
    }

    pub(super) fn deadline(&self, who: Who) -> Option<Time> {
        match who {
            Who::Client(client) => self.running_client(client)?.deadline(),
            Who::Server(server) => self.running_server(server)?.deadline(),
        }
    }

    pub(super) fn runs(&self, who: Who) -> bool {
        match who {
            Who::Client(client) => self.running_client(client).is_some(),
            Who::Server(server) => self.running_server(server).is_some(),
        }
    }

    fn running_client(&self, client: usize) -> Option<&N::Host<Mask>> {
        self.clients.get(client)?.as_ref()
    }

    fn running_server(&self, server: usize) -> Option<&N::Host<Liar>> {
        self.servers.get(server)?.as_ref()
    }
}
