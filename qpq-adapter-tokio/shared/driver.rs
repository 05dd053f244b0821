//! The loop between a socket and an endpoint, for any runtime.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use async_channel::{Receiver, Sender};
use bytes::BytesMut;
use qpq_protocol::ids::Ticket;
use qpq_protocol::io::Core;
use qpq_protocol::quic::{Config, Effect, Endpoint, Transmit};
use qpq_protocol::storage::{Command, Engine};
use qpq_protocol::time::UnixTime;
use quinn_udp::{EcnCodepoint, RecvMeta, TransportErrorPayload, UdpSockRef, UdpSocketState};

use crate::node::{Message, Node, OpenError};
use crate::workers::{self, Task};

/// What a runtime gives: its clock, its socket's readiness, and sleep.
pub(crate) trait Socket: Send + 'static {
    /// The runtime's clock.
    fn now() -> Instant;
    /// The socket as it is.
    fn raw(&self) -> UdpSockRef<'_>;
    /// Tries to read; `WouldBlock` is noted, so that `wait` returns when that has changed.
    fn read<R>(&self, read: impl FnMut(UdpSockRef<'_>) -> io::Result<R>) -> io::Result<R>;
    /// Tries to write; `WouldBlock` likewise.
    fn write<R>(&self, write: impl FnMut(UdpSockRef<'_>) -> io::Result<R>) -> io::Result<R>;
    /// Returns when there is a message, the socket is readable (or, if asked, writable), or the
    /// time has come. If that is past already, lets other tasks run first.
    fn wait<T: Send>(
        &mut self,
        until: Option<Instant>,
        writable: bool,
        inbox: &Receiver<T>,
    ) -> impl Future<Output = Option<T>> + Send;
}

/// Everything of a node but the socket.
pub(crate) struct Driver<C: Core + 'static> {
    endpoint: Endpoint<C>,
    inbox: Receiver<Message<C>>,
    events: Sender<C::Event>,
    storage: mpsc::Sender<(Ticket, Command)>,
    tasks: mpsc::Sender<Task>,
    udp: UdpSocketState,
    is_v6: bool,
    /// Whether the system keeps what networks say of our datagrams.
    hears_errors: bool,
    /// Whether an attempt to connect was under way at the last turn.
    connecting: bool,
    received: Vec<u8>,
    sending: Vec<u8>,
    /// In `sending`, not yet taken by the system.
    held: Option<Transmit>,
    next_clock: Instant,
    /// When a shutdown is cut short.
    end: Option<Instant>,
    /// Dropped last, with the driver.
    _alive: Sender<Infallible>,
}

/// Messages and events that may wait.
const INBOX: usize = 256;
const EVENTS: usize = 256;
/// Budgets of one turn, so that no side starves the others: rounds of [`BATCH`] reads, messages,
/// transmits.
const ROUNDS: usize = 2;
const MESSAGES: usize = 256;
const TRANSMITS: usize = 32;
/// Buffers for one system call that reads.
const BATCH: usize = if quinn_udp::BATCH_SIZE < 16 {
    quinn_udp::BATCH_SIZE
} else {
    16
};
/// The longest datagram, or run of datagrams that the system joined, in bytes.
const DATAGRAM: usize = 65_536;
/// How often the core is told the date.
const CLOCK: Duration = Duration::from_secs(60);
/// When a shutdown is cut short. Cores bound theirs themselves, at 30 s or less: this is for one that
/// does not.
const GRACE: Duration = Duration::from_secs(45);

/// Binds a socket and starts the threads; the caller runs the driver with the socket.
pub(crate) fn open<C: Core + 'static>(
    now: Instant,
    address: SocketAddr,
    config: &Config,
    core: C,
    engine: impl Engine + 'static,
) -> Result<(Node<C>, Driver<C>, UdpSocket), OpenError> {
    let socket_error = |error: io::Error| OpenError::Socket {
        address,
        kind: error.kind(),
    };
    let system = |error: io::Error| OpenError::System(error.kind());
    let socket = UdpSocket::bind(address).map_err(socket_error)?;
    let local_addr = socket.local_addr().map_err(socket_error)?;
    let udp = UdpSocketState::new((&socket).into()).map_err(socket_error)?;
    if !config.is_server() {
        // Without it, a server that does not run is noticed by its silence only.
        udp.enable_transport_errors((&socket).into())
            .map_err(socket_error)?;
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| OpenError::System(ErrorKind::Other))?;
    let mut config = config.clone();
    config.discover_mtu = !udp.may_fragment();
    let endpoint = Endpoint::new(&config, core, now, today(), seed)?;
    let (sender, inbox) = async_channel::bounded(INBOX);
    let (events, taken) = async_channel::bounded(EVENTS);
    let (alive, gone) = async_channel::bounded(1);
    let driver = Driver {
        endpoint,
        inbox,
        events,
        storage: workers::storage(engine, sender.clone(), alive.clone()).map_err(system)?,
        tasks: workers::tasks(sender.clone()).map_err(system)?,
        udp,
        is_v6: local_addr.is_ipv6(),
        hears_errors: !config.is_server(),
        connecting: false,
        received: vec![0; DATAGRAM.saturating_mul(BATCH)],
        sending: Vec::new(),
        held: None,
        next_clock: now,
        end: None,
        _alive: alive,
    };
    let node = Node {
        inbox: sender,
        events: taken,
        alive: gone,
        local_addr,
    };
    Ok((node, driver, socket))
}

impl<C: Core + 'static> Driver<C> {
    /// Runs until the node is shut down.
    pub(crate) async fn run<S: Socket>(mut self, mut socket: S) {
        let mut message = None;
        loop {
            // All that has come in, then all that follows from it, and only then what goes out:
            // answers on many streams then share datagrams.
            let mut more = self.receive(&socket);
            more |= self.take_messages(message, S::now());
            self.keep_time(S::now());
            self.carry_out();
            let connecting = self.endpoint.is_connecting();
            if !core::mem::replace(&mut self.connecting, connecting) && connecting {
                // What was said before is not about this attempt.
                self.unreachable_hosts(&socket);
            }
            more |= self.transmit(&socket);
            let now = S::now();
            if self.is_over(now) {
                // Whoever is still connected shall not wait for us.
                self.endpoint.handle_abort(now);
                self.transmit(&socket);
                return;
            }
            let until = match more {
                true => Some(now),
                false => self.deadline(),
            };
            message = socket.wait(until, self.held.is_some(), &self.inbox).await;
        }
    }

    /// Takes what the socket has; whether there may be more.
    fn receive<S: Socket>(&mut self, socket: &S) -> bool {
        if self.endpoint.is_connecting() {
            self.hear_errors(socket);
        }
        let mut any = false;
        for _ in 0..ROUNDS {
            let mut buffers = self.received.chunks_exact_mut(DATAGRAM);
            let mut buffers: [_; BATCH] =
                core::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
            let mut metas = [RecvMeta::default(); BATCH];
            let count = match socket.read(|socket| self.udp.recv(socket, &mut buffers, &mut metas))
            {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.hears_errors && !any {
                        // An error may be what woke us, and would again.
                        self.hear_errors(socket);
                    }
                    return false;
                }
                // What some peer's network said of an earlier datagram (ECONNRESET and the
                // like): nothing of ours is wrong.
                Err(_) => continue,
            };
            any = true;
            let now = S::now();
            for (meta, buffer) in metas.iter().zip(&buffers).take(count) {
                let remote = canonical(meta.addr);
                let ecn = meta.ecn.map_or(0, |ecn| ecn as u8);
                let datagrams = buffer.get(..meta.len).unwrap_or_default();
                // Each in memory of its own: a few bytes that somebody keeps then hold on to one
                // datagram, not to all that came with it.
                for datagram in datagrams.chunks(meta.stride.max(1)) {
                    let datagram = BytesMut::from(datagram);
                    self.endpoint
                        .handle_datagram(now, remote, meta.dst_ip, ecn, datagram);
                }
            }
        }
        true
    }

    fn hear_errors<S: Socket>(&mut self, socket: &S) {
        for host in self.unreachable_hosts(socket) {
            self.endpoint.handle_unreachable(S::now(), host);
        }
    }

    /// Takes what networks said of our datagrams (ICMP): hosts on which nobody listens.
    fn unreachable_hosts<S: Socket>(&self, socket: &S) -> Vec<IpAddr> {
        let next = || self.udp.recv_transport_error(socket.raw()).ok().flatten();
        core::iter::from_fn(next)
            .take(MESSAGES)
            .filter_map(|error| match error.payload {
                TransportErrorPayload::Unreachable => Some(error.addr?.ip().to_canonical()),
                _ => None,
            })
            .collect()
    }

    /// Runs what was left in the inbox; whether there may be more.
    fn take_messages(&mut self, first: Option<Message<C>>, now: Instant) -> bool {
        if let Some(message) = first {
            message(&mut self.endpoint, now);
        }
        for _ in 0..MESSAGES {
            match self.inbox.try_recv() {
                Ok(message) => message(&mut self.endpoint, now),
                Err(_) => return false,
            }
        }
        true
    }

    /// Fires what is due. Compares clocks: a runtime's timer may be late, or early.
    fn keep_time(&mut self, now: Instant) {
        if self.next_clock <= now {
            self.next_clock = now + CLOCK;
            self.endpoint.handle_clock(now, today());
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
    }

    /// Hands out what the core wants done and what it tells.
    fn carry_out(&mut self) {
        while let Some(effect) = self.endpoint.poll_effect() {
            // A thread that is gone answers nothing; it goes only when the inbox is closed.
            let _ = match effect {
                Effect::Store {
                    ticket, command, ..
                } => self.storage.send((ticket, command)).map_err(drop),
                Effect::Compute { ticket, job } => {
                    self.tasks.send(Task::Compute(ticket, job)).map_err(drop)
                }
                Effect::Resolve { ticket, address } => {
                    let task = Task::Resolve(ticket, address);
                    self.tasks.send(task).map_err(drop)
                }
                // One core a store so far: there is nobody to tell, and a wake may be lost.
                Effect::Wake(_) => Ok(()),
            };
        }
        while !self.events.is_full()
            && let Some(event) = self.endpoint.poll_event()
        {
            let _ = self.events.try_send(event);
        }
    }

    /// Sends; whether there may be more. A datagram that the system has no room for is held.
    fn transmit<S: Socket>(&mut self, socket: &S) -> bool {
        let now = S::now();
        let segments = self.udp.max_gso_segments();
        for _ in 0..TRANSMITS {
            let next = self.held.take().or_else(|| {
                self.endpoint
                    .poll_transmit(now, segments, &mut self.sending)
            });
            let Some(transmit) = next else { return false };
            match self.send(socket, &transmit) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.held = Some(transmit);
                    return false;
                }
                // Any other failure is a lost datagram, and QUIC deals with those.
                Ok(()) | Err(_) => {}
            }
        }
        true
    }

    fn send<S: Socket>(&self, socket: &S, transmit: &Transmit) -> io::Result<()> {
        let datagrams = quinn_udp::Transmit {
            destination: self.destination(transmit.destination),
            ecn: EcnCodepoint::from_bits(transmit.ecn),
            contents: self.sending.get(..transmit.size).unwrap_or_default(),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        send_together_or_apart(&datagrams, |datagrams| {
            socket.write(|socket| self.udp.try_send(socket, datagrams))
        })
    }

    /// On a socket for both families, IPv4 addresses are written as IPv6 ones.
    fn destination(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => address,
        }
    }

    fn deadline(&mut self) -> Option<Instant> {
        [
            Some(self.next_clock),
            self.endpoint.poll_timeout(),
            self.end,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn is_over(&mut self, now: Instant) -> bool {
        if self.inbox.is_closed() {
            return true;
        }
        if !self.endpoint.is_shutting_down() {
            return false;
        }
        let end = *self.end.get_or_insert(now + GRACE);
        (self.held.is_none() && self.endpoint.is_shut_down()) || end <= now
    }
}

/// All addresses of this machine, for a socket that only opens connections: both families where the
/// system joins them, otherwise IPv4.
pub(crate) fn anywhere() -> SocketAddr {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    let v4 = SocketAddr::from(([0, 0, 0, 0], 0));
    match UdpSocket::bind(v6) {
        Ok(_) if !cfg!(windows) => v6,
        _ => v4,
    }
}

/// Some network cards refuse segmentation offload, and only say so at the first try: those datagrams
/// are sent one by one. From then on quinn-udp asks for no more than one at a time.
fn send_together_or_apart(
    datagrams: &quinn_udp::Transmit<'_>,
    mut send: impl FnMut(&quinn_udp::Transmit<'_>) -> io::Result<()>,
) -> io::Result<()> {
    match (send(datagrams), datagrams.segment_size) {
        (Err(error), Some(segment))
            if error.kind() != ErrorKind::WouldBlock && segment < datagrams.contents.len() =>
        {
            let mut segments = datagrams.contents.chunks(segment.max(1));
            segments.try_for_each(|contents| {
                send(&quinn_udp::Transmit {
                    contents,
                    segment_size: None,
                    ..datagrams.clone()
                })
            })
        }
        (sent, _) => sent,
    }
}

/// An IPv4 address as such, also from a socket for both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn today() -> UnixTime {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_datagrams() -> quinn_udp::Transmit<'static> {
        quinn_udp::Transmit {
            destination: SocketAddr::from(([127, 0, 0, 1], 9)),
            ecn: None,
            contents: b"aaaabbbbcc",
            segment_size: Some(4),
            src_ip: None,
        }
    }

    #[test]
    fn datagrams_that_cannot_go_together_go_apart() {
        let mut sent = Vec::new();
        let done = send_together_or_apart(&three_datagrams(), |transmit| {
            sent.push((transmit.contents.to_vec(), transmit.segment_size));
            match sent.len() {
                1 => Err(io::Error::other("EIO")),
                _ => Ok(()),
            }
        });
        assert!(done.is_ok());
        let apart = [&b"aaaa"[..], b"bbbb", b"cc"].map(|each| (each.to_vec(), None));
        assert_eq!(sent[1..], apart);
    }

    #[test]
    fn a_full_socket_is_no_reason_to_split() {
        let mut tries = 0;
        let done = send_together_or_apart(&three_datagrams(), |_| {
            tries += 1;
            Err(ErrorKind::WouldBlock.into())
        });
        assert_eq!(done.map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
        assert_eq!(tries, 1);
    }

    #[test]
    fn addresses_of_both_families_keep_what_they_are() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5".parse().expect("an address");
        let v4: SocketAddr = "192.0.2.1:5".parse().expect("an address");
        let link_local: SocketAddr = "[fe80::1%7]:5".parse().expect("an address");
        assert_eq!(canonical(mapped), v4);
        assert_eq!(canonical(v4), v4);
        assert_eq!(canonical(link_local), link_local, "its scope is kept");
    }
}
