//! Sockets beside that of the loop, each for one connection. The loop sends by them; a task for each receives.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::quic::{OpenError, Received, SocketId};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use crate::runtime::Runtime;
use crate::socket::bind;

/// How long a task sleeps to which nothing comes.
const SLEEP: Duration = Duration::from_secs(3600);
/// The longest datagram, or run of datagrams that the system joined, in bytes.
const DATAGRAM: usize = 65_536;

/// All of them. What is dropped from here is closed.
#[derive(Default)]
pub(crate) struct Apart(BTreeMap<SocketId, Own>);

struct Own {
    socket: UdpSocket,
    udp: Arc<UdpSocketState>,
    /// Ends the task when it is dropped.
    _held: Sender<Infallible>,
}

/// What came to one, from one sender.
pub(crate) struct Arrived {
    socket: SocketId,
    meta: RecvMeta,
    contents: Vec<u8>,
}

impl Arrived {
    pub(crate) fn received(&self) -> Received<'_> {
        Received {
            socket: Some(self.socket),
            remote: self.meta.addr,
            local_ip: self.meta.dst_ip,
            ecn: self.meta.ecn.map_or(0, |ecn| ecn as u8),
            contents: &self.contents,
            stride: self.meta.stride,
        }
    }
}

impl Apart {
    /// Binds a socket to this address. What comes to it is handed on, which may not block.
    pub(crate) fn open<R: Runtime>(
        &mut self,
        id: SocketId,
        address: SocketAddr,
        hand_on: impl Fn(Arrived) + Send + 'static,
    ) -> Result<(), OpenError> {
        // Silence tells it as well if nobody answers.
        let (socket, udp) = bind(address, true)?;
        let (held, gone) = bounded(1);
        let own = Own {
            socket: socket.try_clone()?,
            udp: Arc::new(udp),
            _held: held,
        };
        let lane = Lane {
            id,
            socket: R::new(socket)?,
            udp: own.udp.clone(),
            gone,
            hand_on,
            received: vec![0; DATAGRAM],
        };
        R::spawn(lane.run())?;
        self.0.insert(id, own);
        Ok(())
    }

    /// Closes one.
    pub(crate) fn close(&mut self, id: SocketId) {
        self.0.remove(&id);
    }

    /// Sends by one. Each datagram by itself: there are few. What does not go is lost, as on any network.
    pub(crate) fn send(&self, id: SocketId, transmit: &Transmit<'_>) {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        if let Some(Own { socket, udp, .. }) = self.0.get(&id) {
            for contents in transmit.contents.chunks(size.max(1)) {
                let datagram = Transmit {
                    contents,
                    segment_size: None,
                    ..*transmit
                };
                let _ = udp.try_send(socket.into(), &datagram);
            }
        }
    }
}

/// What receives.
struct Lane<R, F> {
    id: SocketId,
    socket: R,
    udp: Arc<UdpSocketState>,
    /// Closed when the socket is to be.
    gone: Receiver<Infallible>,
    hand_on: F,
    received: Vec<u8>,
}

impl<R: Runtime, F: Fn(Arrived) + Send> Lane<R, F> {
    async fn run(mut self) {
        while !self.gone.is_closed() {
            self.receive();
            let gone = async { self.gone.recv().await.ok() };
            self.socket.wait(R::now() + SLEEP, false, gone).await;
        }
    }

    /// Takes what the socket has.
    fn receive(&mut self) {
        loop {
            let mut meta = [RecvMeta::default()];
            let mut buffer = [IoSliceMut::new(&mut self.received)];
            let read = self.socket.read(|socket| {
                let socket = (&socket).into();
                self.udp.recv(socket, &mut buffer, &mut meta)
            });
            let [meta] = meta;
            if read.is_err() {
                return;
            }
            (self.hand_on)(Arrived {
                socket: self.id,
                meta,
                contents: self.received.get(..meta.len).unwrap_or_default().to_vec(),
            });
        }
    }
}
