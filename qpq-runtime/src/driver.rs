//! The loop between a socket and an endpoint, for any runtime, and the two threads beside it.

use std::convert::Infallible;
use std::io::{self, ErrorKind::WouldBlock, IoSliceMut};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Builder;
use std::time::SystemTime;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::ids::Ticket;
use qpq_protocol::io::Core;
use qpq_protocol::quic::{Effect, Endpoint, OpenError, QuicConfig, Received, SocketId, Task};
use qpq_protocol::storage::{Command, Engine, Guarded};
use quinn_udp::{
    BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, TransportErrorPayload, UdpSocketState,
};

use crate::apart::{Apart, Arrived};
use crate::events::{Audience, Events};
use crate::node::{Message, Node, wake};
use crate::runtime::{Runtime, SocketRef};
use crate::socket::bind;
use crate::wake::WakeBus;

/// Everything of a node but its handle.
struct Driver<R, C: Core + 'static> {
    endpoint: Endpoint<C>,
    messages: Receiver<Message<C>>,
    audience: Audience<C::Event>,
    /// Closed when nobody has the node any more.
    held: Receiver<Infallible>,
    /// Bounded by the endpoint, which reads nothing from peers while too many answers are awaited.
    storage: mpsc::Sender<(Ticket, Command)>,
    tasks: mpsc::Sender<Task>,
    bus: Box<dyn WakeBus>,
    /// For what comes to other sockets than its own.
    inbox: Sender<Message<C>>,
    apart: Apart,
    socket: R,
    udp: UdpSocketState,
    /// The address that was asked for, and the one it has.
    address: SocketAddr,
    local_addr: Arc<Mutex<SocketAddr>>,
    received: [Vec<u8>; BATCH],
    /// Dropped last, with the driver.
    _alive: Sender<Infallible>,
}

/// Messages that may wait, and those for one turn.
const WAITING: usize = 256;
/// Rounds of reads, and transmits, for one turn: no side starves the others.
const ROUNDS: usize = 2;
const TRANSMITS: usize = 32;
/// Buffers for one round of reads.
const BATCH: usize = if BATCH_SIZE < 16 { BATCH_SIZE } else { 16 };
/// The longest datagram, or run of datagrams that the system joined, in bytes.
const DATAGRAM: usize = 65_536;

/// Binds a socket to this address and starts the core on it.
pub(crate) fn start<R: Runtime, C: Core + Send + 'static>(
    address: SocketAddr,
    config: &QuicConfig,
    core: C,
    engine: impl Engine + 'static,
    mut bus: Box<dyn WakeBus>,
) -> Result<(Node<C>, Events<C>), OpenError> {
    let (socket, udp) = bind(address, config.is_server())?;
    let bound = socket.local_addr()?;
    let local_addr = Arc::new(Mutex::new(bound));
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::from)?;
    let config = config.clone().on_socket(bound, udp.may_fragment());
    let endpoint = Endpoint::new(&config, core, R::now(), SystemTime::now().into(), seed)?;
    let (inbox, messages) = bounded(WAITING);
    let mut audience = Audience::new();
    let events = Events {
        events: audience.join(),
        inbox: inbox.clone(),
    };
    let doorbell = inbox.clone();
    bus.join(Arc::new(move || wake(&doorbell)));
    let (holder, held) = bounded(1);
    let (alive, gone) = bounded(1);
    let driver = Driver {
        endpoint,
        messages,
        audience,
        held,
        socket: R::new(socket)?,
        storage: storage_thread(engine, inbox.clone(), alive.clone())?,
        tasks: task_thread(inbox.clone())?,
        bus,
        inbox: inbox.clone(),
        apart: Apart::default(),
        udp,
        address,
        local_addr: local_addr.clone(),
        received: core::array::from_fn(|_| vec![0; DATAGRAM]),
        _alive: alive,
    };
    R::spawn(driver.run())?;
    Ok((Node::new(inbox, holder, gone, local_addr), events))
}

impl<R: Runtime, C: Core + Send + 'static> Driver<R, C> {
    /// Runs until the node is shut down.
    async fn run(mut self) {
        let mut message = None;
        loop {
            // What has come in, then all that follows from it, and only then what goes out: answers
            // on many streams then share datagrams.
            let rounds = self.receive();
            if rounds == 0 && message.is_none() {
                // Without anything else, an error is perhaps what woke us, and would again.
                self.hear_errors();
            }
            let mut more = self.take_messages(message) || rounds == ROUNDS;
            self.hand_out();
            more |= self.transmit();
            if self.endpoint.is_shut_down() {
                return;
            }
            if self.endpoint.is_quiet() {
                self.audience.tell_quiet();
            }
            let until = match more {
                true => R::now(),
                false => self.endpoint.poll_timeout(),
            };
            let blocked = self.endpoint.is_blocked();
            let next = async { self.messages.recv().await.ok() };
            message = self.socket.wait(until, blocked, next).await;
        }
    }

    /// Takes what the socket has, and says in how many rounds. Of much, a part is answered before the
    /// rest is looked at: the other side works on it meanwhile.
    fn receive(&mut self) -> usize {
        let mut rounds = 0;
        let mut received = core::mem::take(&mut self.received);
        for _ in 0..ROUNDS {
            let mut buffers = received.each_mut().map(|buffer| IoSliceMut::new(buffer));
            let (mut metas, mut count) = ([RecvMeta::default(); BATCH], 0);
            let done = self.socket.read(|socket| {
                count = self.udp.recv((&socket).into(), &mut buffers, &mut metas)?;
                // If it was not full, there was no more: the next datagram wakes us.
                (count == BATCH).then_some(()).ok_or(WouldBlock.into())
            });
            rounds += usize::from(count > 0);
            let now = R::now();
            for (meta, buffer) in metas.iter().zip(&buffers).take(count) {
                let received = Received {
                    socket: None,
                    remote: meta.addr,
                    local_ip: meta.dst_ip,
                    ecn: meta.ecn.map_or(0, |ecn| ecn as u8),
                    contents: buffer.get(..meta.len).unwrap_or_default(),
                    stride: meta.stride,
                };
                if self.endpoint.handle_datagrams(now, &received) {
                    self.transmit();
                }
            }
            // Any other error is what some peer's network said of an earlier datagram (ECONNRESET
            // and the like): nothing of ours is wrong.
            if matches!(done, Err(error) if error.kind() == WouldBlock) {
                break;
            }
        }
        self.received = received;
        rounds
    }

    /// Runs what was left for the driver, and what is due; whether there may be more.
    fn take_messages(&mut self, first: Option<Message<C>>) -> bool {
        let now = R::now();
        let waiting = core::iter::from_fn(|| self.messages.try_recv().ok());
        for message in first.into_iter().chain(waiting).take(WAITING) {
            message(&mut self.endpoint, &mut self.audience, now);
        }
        let told = core::iter::from_fn(|| self.bus.take()).take(WAITING);
        let mut heard = 0;
        for wake in told {
            self.endpoint.handle_wake(now, wake);
            heard += 1;
        }
        if self.held.is_closed() {
            self.endpoint.handle_shutdown(now);
        }
        // Clocks are compared: a runtime's timer may be late, or early.
        if self.endpoint.poll_timeout() <= now {
            self.endpoint.handle_timeout(now, SystemTime::now().into());
        }
        // What is left on the bus rings no more.
        heard == WAITING || !self.messages.is_empty()
    }

    /// Takes what networks said of our datagrams (ICMP): hosts on which nobody listens.
    fn hear_errors(&mut self) {
        let next = || {
            self.udp
                .recv_transport_error((&self.socket.socket()).into())
                .ok()?
        };
        for error in core::iter::from_fn(next).take(WAITING) {
            if let (TransportErrorPayload::Unreachable, Some(host)) = (error.payload, error.addr) {
                self.endpoint.handle_unreachable(R::now(), host.ip());
            }
        }
    }

    /// Hands out what the core wants done and what it tells.
    fn hand_out(&mut self) {
        while let Some(effect) = self.endpoint.poll_effect() {
            // A thread that is gone answers nothing; it goes only when the inbox is closed.
            let _ = match effect {
                Effect::Store {
                    ticket, command, ..
                } => self.storage.send((ticket, command)).map_err(drop),
                Effect::Task(task) => self.tasks.send(task).map_err(drop),
                Effect::Wake(wake) => {
                    self.bus.tell(wake);
                    Ok(())
                }
                Effect::Rebind => {
                    self.rebind();
                    Ok(())
                }
                Effect::OpenSocket(socket) => {
                    self.open_apart(socket);
                    Ok(())
                }
                Effect::CloseSocket(socket) => {
                    self.apart.close(socket);
                    Ok(())
                }
            };
        }
        while self.audience.has_room()
            && let Some(event) = self.endpoint.poll_event()
        {
            self.audience.tell(event);
        }
    }

    /// Takes one more socket, on any free port, if the system gives one.
    fn open_apart(&mut self, socket: SocketId) {
        let address = SocketAddr::new(self.address.ip(), 0);
        let inbox = self.inbox.clone();
        // What there is no room for is lost, as on any network.
        let hand_on = move |arrived: Arrived| {
            let _ = inbox.try_send(Box::new(move |endpoint, _, now| {
                endpoint.handle_datagrams(now, &arrived.received());
            }));
        };
        let opened = self.apart.open::<R>(socket, address, hand_on);
        if opened.is_err() {
            self.endpoint.handle_no_socket(R::now(), socket);
        }
    }

    /// Takes another socket, if the system gives one. Who asked for a certain port keeps it.
    fn rebind(&mut self) {
        if self.address.port() == 0
            && let Ok((socket, udp)) = bind(self.address, false)
            && let Ok(bound) = socket.local_addr()
            && let Ok(socket) = R::new(socket)
        {
            (self.socket, self.udp) = (socket, udp);
            *self
                .local_addr
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = bound;
        }
        self.endpoint.handle_rebound(R::now());
    }

    /// Sends; whether there may be more.
    fn transmit(&mut self) -> bool {
        if self.endpoint.is_connecting() {
            // What was said of earlier attempts must not be taken to be about one that is sent now.
            self.hear_errors();
        }
        let (now, segments) = (R::now(), self.udp.max_gso_segments());
        for _ in 0..TRANSMITS {
            let Some(next) = self.endpoint.poll_transmit(now, segments) else {
                return false;
            };
            let datagrams = Transmit {
                destination: next.destination,
                ecn: EcnCodepoint::from_bits(next.ecn),
                contents: next.contents,
                segment_size: next.segment_size,
                src_ip: next.src_ip,
            };
            if let Some(socket) = next.socket {
                self.apart.send(socket, &datagrams);
                continue;
            }
            let send = |socket: SocketRef<'_>| self.udp.try_send((&socket).into(), &datagrams);
            match self.socket.write(send) {
                Ok(()) => {}
                Err(error) if error.kind() == WouldBlock => {
                    self.endpoint.handle_blocked();
                    return false;
                }
                Err(_) => self.endpoint.handle_refused(),
            }
        }
        true
    }
}

/// Starts the thread that owns the engine. It ends, and drops the engine and then `alive`, when nobody
/// asks any more.
fn storage_thread<C: Core + 'static>(
    engine: impl Engine + 'static,
    inbox: Sender<Message<C>>,
    alive: Sender<Infallible>,
) -> io::Result<mpsc::Sender<(Ticket, Command)>> {
    let (sender, queue) = mpsc::channel();
    Builder::new().name("qpq-storage".into()).spawn(move || {
        let (poll, wait) = (|| queue.try_recv().ok(), || queue.recv().ok());
        let mut engine = Guarded::new(engine);
        engine.serve(poll, wait, |replies| {
            let answer: Message<C> = Box::new(|to, _, now| to.handle_stored(now, replies));
            inbox.send_blocking(answer).is_ok()
        });
        drop(engine);
        drop(alive);
    })?;
    Ok(sender)
}

/// Starts the thread that does one task after the other.
fn task_thread<C: Core + 'static>(inbox: Sender<Message<C>>) -> io::Result<mpsc::Sender<Task>> {
    let (sender, queue) = mpsc::channel::<Task>();
    Builder::new().name("qpq-tasks".into()).spawn(move || {
        queue.into_iter().all(|task| {
            let done = task.run(|name| name.to_socket_addrs().into_iter().flatten());
            let answer: Message<C> = Box::new(|to, _, now| to.handle_done(now, done));
            inbox.send_blocking(answer).is_ok()
        })
    })?;
    Ok(sender)
}
