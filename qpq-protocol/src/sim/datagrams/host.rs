//! A core on a [`quic::Endpoint`](crate::quic::Endpoint), and its socket.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::ids::Ticket;
use crate::io::{Core, Job};
use crate::quic::{Done, Effect, Endpoint, Received, Task};
use crate::rng::Rng;
use crate::sim::host::{Host, Input, Todo};
use crate::sim::tap::Tap;
use crate::sim::{below, ms};
use crate::time::{Time, UnixTime};

/// A datagram that leaves a host.
pub(in crate::sim) struct Parcel {
    pub(super) to: SocketAddr,
    pub(super) ecn: u8,
    pub(super) bytes: Vec<u8>,
}

/// What a host's socket does.
#[derive(Clone, Copy)]
pub(super) struct Socket {
    /// Datagrams that it takes at once.
    pub(super) segments: usize,
    /// One time in so many it is full for a moment, and one time it refuses; 0: never.
    pub(super) trouble: u64,
}

/// See the page of this module. It is driven as the page of [`crate::quic`] says.
pub(in crate::sim) struct Quic<C: Core> {
    endpoint: Endpoint<Tap<C>>,
    /// Which instant is the origin of virtual time.
    epoch: Instant,
    /// What the wall clock said, and when.
    date: (UnixTime, Time),
    rng: Rng,
    socket: Socket,
    full_until: Time,
    /// What the name of the servers leads to.
    servers: Vec<SocketAddr>,
    /// Counts its tasks: a task tells no ticket.
    tasks: u64,
    leaving: VecDeque<Parcel>,
    /// The endpoint's deadline, asked for when all was done.
    deadline: Option<Time>,
}

impl<C: Core> Quic<C> {
    pub(super) fn new(
        endpoint: Endpoint<Tap<C>>,
        (epoch, now, unix): (Instant, Time, UnixTime),
        rng: Rng,
        socket: Socket,
        servers: Vec<SocketAddr>,
    ) -> Self {
        Self {
            endpoint,
            epoch,
            date: (unix, now),
            rng,
            socket,
            full_until: Time::ZERO,
            servers,
            tasks: 0,
            leaving: VecDeque::new(),
            deadline: None,
        }
    }

    /// A datagram has come.
    pub(super) fn receive(&mut self, now: Time, remote: SocketAddr, ecn: u8, bytes: &[u8]) {
        let received = Received {
            socket: None,
            remote,
            local_ip: None,
            ecn,
            contents: bytes,
            stride: bytes.len(),
        };
        let now = self.instant(now);
        self.endpoint.handle_datagrams(now, &received);
    }

    /// Nobody listens on this host.
    pub(super) fn unreachable(&mut self, now: Time, host: IpAddr) {
        let now = self.instant(now);
        self.endpoint.handle_unreachable(now, host);
    }

    fn instant(&self, time: Time) -> Instant {
        self.epoch + (time - Time::ZERO)
    }

    /// The first microsecond at which it is `instant`: not before it, or nothing would be due yet.
    fn time(&self, instant: Instant) -> Time {
        let since = instant.saturating_duration_since(self.epoch);
        let micros = since.as_nanos().div_ceil(1000);
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn timeout(&mut self, now: Time) {
        let (unix, at) = self.date;
        let instant = self.instant(now);
        if self.endpoint.poll_timeout() <= instant {
            self.endpoint.handle_timeout(instant, unix + (now - at));
        }
    }

    /// A task as the world runs them, with a ticket of ours.
    fn task<E>(&mut self, task: Task) -> Todo<E, Parcel> {
        self.tasks += 1;
        let servers = self.lookup();
        let job = Job::new(move || task.run(|_| servers));
        Todo::Compute(Ticket(self.tasks), job)
    }

    /// What a name server says: all addresses in any order, now and then nothing.
    fn lookup(&mut self) -> Vec<SocketAddr> {
        let mut left = self.servers.clone();
        let mut found = Vec::new();
        if self.rng.below(20) > 0 {
            while !left.is_empty() {
                found.push(left.swap_remove(below(&mut self.rng, left.len())));
            }
        }
        found
    }

    /// Takes what the endpoint sends next, if the socket does.
    fn transmit(&mut self, now: Time) -> Option<Parcel> {
        if self.full_until > now {
            return None;
        }
        let instant = self.instant(now);
        while let Some(transmit) = self.endpoint.poll_transmit(instant, self.socket.segments) {
            let trouble = match self.socket.trouble {
                0 => u64::MAX,
                one_in => self.rng.below(one_in),
            };
            if trouble == 0 {
                self.endpoint.handle_blocked();
                self.full_until = now + ms(1 + self.rng.below(20));
                return None;
            }
            if trouble == 1 {
                self.endpoint.handle_refused();
                continue;
            }
            let size = transmit.segment_size.unwrap_or(usize::MAX);
            let parcel = |bytes: &[u8]| Parcel {
                to: transmit.destination,
                ecn: transmit.ecn,
                bytes: bytes.to_vec(),
            };
            self.leaving = transmit.contents.chunks(size).map(parcel).collect();
            return self.leaving.pop_front();
        }
        None
    }
}

impl<C: Core> Host<C> for Quic<C> {
    type Parcel = Parcel;

    fn input(&mut self, now: Time, input: Input) {
        let instant = self.instant(now);
        match input {
            Input::Stored(ticket, reply) => self.endpoint.handle_stored(instant, [(ticket, reply)]),
            Input::Computed(_, result) => {
                if let Some(done) = result.get::<Done>() {
                    self.endpoint.handle_done(instant, done);
                }
            }
            Input::Wake(wake) => self.endpoint.handle_wake(instant, wake),
            // The endpoint asks for it, within a minute.
            Input::Clock(unix) => self.date = (unix, now),
            Input::Timeout => self.timeout(now),
            Input::Shutdown => self.endpoint.handle_shutdown(instant),
        }
    }

    fn act<R>(&mut self, now: Time, act: impl FnOnce(&mut C, Time) -> R) -> R {
        let instant = self.instant(now);
        self.endpoint.act(instant, |tap, now| act(tap.core(), now))
    }

    fn poll(&mut self, now: Time) -> Option<Todo<C::Event, Parcel>> {
        if let Some(parcel) = self.leaving.pop_front() {
            return Some(Todo::Carry(parcel));
        }
        while let Some(effect) = self.endpoint.poll_effect() {
            return Some(match effect {
                Effect::Store {
                    ticket,
                    lane,
                    command,
                } => Todo::Store(ticket, lane, command),
                Effect::Task(task) => self.task(task),
                Effect::Wake(wake) => Todo::Wake(wake),
                // Here an address is the network's, and changes when that likes.
                Effect::Rebind => {
                    let instant = self.instant(now);
                    self.endpoint.handle_rebound(instant);
                    continue;
                }
                // A host has one socket.
                Effect::OpenSocket(socket) => {
                    let instant = self.instant(now);
                    self.endpoint.handle_no_socket(instant, socket);
                    continue;
                }
                Effect::CloseSocket(_) => continue,
            });
        }
        if let Some(event) = self.endpoint.poll_event() {
            return Some(Todo::Event(event));
        }
        if let Some(parcel) = self.transmit(now) {
            return Some(Todo::Carry(parcel));
        }
        let due = self.endpoint.poll_timeout();
        self.deadline = Some(self.time(due));
        None
    }

    fn deadline(&self) -> Option<Time> {
        let full = self.endpoint.is_blocked().then_some(self.full_until);
        self.deadline.into_iter().chain(full).min()
    }

    fn is_shut_down(&self) -> bool {
        self.endpoint.is_shut_down()
    }

    fn connections(&self) -> usize {
        self.endpoint.connections()
    }

    fn tap(&self) -> &Tap<C> {
        self.endpoint.core()
    }
}
