//! Sockets beside that of the loop, each for one connection, on a task of its own.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_channel::{Receiver, Sender, bounded};
use qpq_protocol::quic::{OpenError, Received, SocketId};
use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};

use crate::runtime::{Runtime, SocketRef};
use crate::socket::bind;

/// Datagrams that may wait to be sent; more are lost, which QUIC expects of a network.
const WAITING: usize = 64;
/// How long a task sleeps that has nothing to do.
const SLEEP: Duration = Duration::from_secs(3600);
/// The longest datagram, or run of datagrams that the system joined, in bytes.
const DATAGRAM: usize = 65_536;

/// All of them. What is dropped from here is closed.
#[derive(Default)]
pub(crate) struct Apart(BTreeMap<SocketId, Sender<Outgoing>>);

/// A datagram to send.
struct Outgoing {
    destination: SocketAddr,
    ecn: u8,
    contents: Vec<u8>,
    src_ip: Option<IpAddr>,
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
        let (sender, outgoing) = bounded(WAITING);
        let task = Lane {
            id,
            socket: R::new(socket)?,
            udp,
            outgoing,
            hand_on,
            received: vec![0; DATAGRAM],
        };
        R::spawn(task.run())?;
        self.0.insert(id, sender);
        Ok(())
    }

    /// Closes one.
    pub(crate) fn close(&mut self, id: SocketId) {
        self.0.remove(&id);
    }

    /// Sends by one, as far as it keeps up. Each datagram by itself: there are few.
    pub(crate) fn send(&self, id: SocketId, transmit: &Transmit<'_>) {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        if let Some(lane) = self.0.get(&id) {
            for contents in transmit.contents.chunks(size.max(1)) {
                let _ = lane.try_send(Outgoing {
                    destination: transmit.destination,
                    ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
                    contents: contents.to_vec(),
                    src_ip: transmit.src_ip,
                });
            }
        }
    }
}

struct Lane<R, F> {
    id: SocketId,
    socket: R,
    udp: UdpSocketState,
    outgoing: Receiver<Outgoing>,
    hand_on: F,
    received: Vec<u8>,
}

impl<R: Runtime, F: Fn(Arrived) + Send> Lane<R, F> {
    /// Runs until nobody can send by it any more.
    async fn run(mut self) {
        loop {
            self.receive();
            let next = async { self.outgoing.recv().await.ok() };
            match self.socket.wait(R::now() + SLEEP, false, next).await {
                Some(datagram) => self.send(&datagram),
                None if self.outgoing.is_closed() => return,
                None => {}
            }
        }
    }

    /// Takes what the socket has. What there is no room for is lost, as on any network.
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

    fn send(&self, datagram: &Outgoing) {
        let transmit = Transmit {
            destination: datagram.destination,
            ecn: EcnCodepoint::from_bits(datagram.ecn),
            contents: &datagram.contents,
            segment_size: None,
            src_ip: datagram.src_ip,
        };
        let send = |socket: SocketRef<'_>| self.udp.try_send((&socket).into(), &transmit);
        // What does not go is lost.
        let _ = self.socket.write(send);
    }
}
