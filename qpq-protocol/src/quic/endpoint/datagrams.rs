//! Datagrams in and out, in the form that sockets take and give them.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, EcnCodepoint};

use super::{Endpoint, SocketId, connection};
use crate::io::Core;

/// Received bytes that are worth a turn of their own.
const PART: usize = 6 * 1024;

/// Bytes from the socket: a datagram, or several from one sender that the system joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<'a> {
    /// Which socket it came to: `None` for the endpoint's own.
    pub socket: Option<SocketId>,
    /// Where from; an IPv4 address may be written as an IPv6 one.
    pub remote: SocketAddr,
    /// The local address it came to, if known.
    pub local_ip: Option<IpAddr>,
    /// The two ECN bits of the IP header (RFC 3168); 0 if not known.
    pub ecn: u8,
    /// The bytes, copied from here.
    pub contents: &'a [u8],
    /// Bytes of each datagram; the last may be shorter. For a single one, any length from its own on.
    pub stride: usize,
}

/// One or more datagrams of the same size (the last may be shorter) for one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit<'a> {
    /// Which socket they leave by: `None` for the endpoint's own.
    pub socket: Option<SocketId>,
    /// Where to; an IPv4 address is written as an IPv6 one for a socket of that family
    /// ([`QuicConfig::on_socket`](crate::quic::QuicConfig::on_socket)).
    pub destination: SocketAddr,
    /// The two ECN bits of the IP header (RFC 3168); 0 for none.
    pub ecn: u8,
    /// The bytes.
    pub contents: &'a [u8],
    /// Bytes of one datagram if there are several.
    pub segment_size: Option<usize>,
    /// The local address to send from, where the system can choose.
    pub src_ip: Option<IpAddr>,
}

/// Bytes of datagrams, without the headers below them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Given to the socket.
    pub sent: u64,
    /// Received from it.
    pub received: u64,
}

impl Traffic {
    /// Nothing yet.
    pub const NONE: Self = Self {
        sent: 0,
        received: 0,
    };
}

/// A [`Transmit`] without its bytes.
#[derive(Clone, Copy)]
pub(super) struct Header {
    socket: Option<SocketId>,
    destination: SocketAddr,
    ecn: u8,
    segment_size: Option<usize>,
    src_ip: Option<IpAddr>,
}

/// What was given to the socket last, until it has all been taken.
#[derive(Default)]
pub(super) struct Outbox {
    header: Option<Header>,
    bytes: Vec<u8>,
    /// Where in `bytes` the last [`Transmit`] began, and where the next one does.
    given: usize,
    next: usize,
    /// Whether its datagrams go one by one.
    apart: bool,
}

impl Outbox {
    /// Whether the socket has taken all of it.
    pub(super) const fn is_empty(&self) -> bool {
        self.next >= self.bytes.len()
    }

    /// An empty buffer for what is next.
    fn clear(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        (self.given, self.next, self.apart) = (0, 0, false);
        &mut self.bytes
    }

    /// The next of what it holds, taken to be sent unless one hears otherwise.
    fn give(&mut self) -> Option<Transmit<'_>> {
        let header = self.header?;
        let left = self.bytes.get(self.next..).filter(|l| !l.is_empty())?;
        let segment = header.segment_size.filter(|&size| size < left.len());
        let (contents, segment_size) = match (segment, self.apart) {
            (Some(size), true) => (left.get(..size.max(1)).unwrap_or(left), None),
            _ => (left, segment),
        };
        (self.given, self.next) = (self.next, self.next.saturating_add(contents.len()));
        Some(Transmit {
            socket: header.socket,
            destination: header.destination,
            ecn: header.ecn,
            contents,
            segment_size,
            src_ip: header.src_ip,
        })
    }

    const fn blocked(&mut self) {
        self.next = self.given;
    }

    fn refused(&mut self) {
        let given = self.next.saturating_sub(self.given);
        let several = self.header.and_then(|header| header.segment_size);
        if !self.apart && several.is_some_and(|size| size < given) {
            self.apart = true;
            self.next = self.given;
        }
    }
}

impl<C: Core> Endpoint<C> {
    /// Bytes from the socket. Each datagram is copied into memory of its own: a few bytes that
    /// somebody keeps then hold on to one datagram, not to all that came with it.
    ///
    /// Whether so much has come in that [`Endpoint::poll_transmit`] is worth calling before more is read:
    /// the other side then works on the first answers while the rest are made. After little it is
    /// not, so that answers share datagrams.
    pub fn handle_datagrams(&mut self, now: Instant, received: &Received<'_>) -> bool {
        self.advance(now);
        let length = received.contents.len();
        count(&mut self.traffic.received, length);
        if self.network.is_suspended {
            return false;
        }
        self.unanswered = self.unanswered.saturating_add(length);
        let remote = canonical(received.remote);
        let ecn = EcnCodepoint::from_bits(received.ecn);
        for datagram in received.contents.chunks(received.stride.max(1)) {
            let datagram = BytesMut::from(datagram);
            self.scratch.clear();
            match self.quic.handle(
                self.now.instant,
                remote,
                received.local_ip,
                ecn,
                datagram,
                &mut self.scratch,
            ) {
                Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                    if let Some(conn) = connection(&mut self.slots, handle.0)
                        && conn.socket == received.socket
                    {
                        conn.quic.handle_event(event);
                        self.touch(handle.0);
                    }
                }
                Some(DatagramEvent::NewConnection(incoming)) if received.socket.is_none() => {
                    self.accept(incoming);
                }
                Some(DatagramEvent::NewConnection(incoming)) => self.quic.ignore(incoming),
                Some(DatagramEvent::Response(transmit)) if received.socket.is_none() => {
                    self.respond(transmit);
                }
                Some(DatagramEvent::Response(_)) | None => {}
            }
        }
        self.unanswered > PART
    }

    /// The next datagrams to send, at most `max_segments` of them (1 if the socket has no
    /// segmentation offload). Connections take turns. They count as sent unless
    /// [`Endpoint::handle_blocked`] or [`Endpoint::handle_refused`] follows. Once it has returned
    /// `None`, there is nothing to send before the next input or deadline.
    pub fn poll_transmit(&mut self, now: Instant, max_segments: usize) -> Option<Transmit<'_>> {
        self.advance(now);
        self.unanswered = 0;
        self.settle();
        if self.outbox.is_empty() {
            self.outbox.header = self.fill(max_segments);
            count(&mut self.traffic.sent, self.outbox.bytes.len());
        }
        self.outbox.give()
    }

    /// The socket had no room for what [`Endpoint::poll_transmit`] gave last: it gives it again.
    pub const fn handle_blocked(&mut self) {
        self.outbox.blocked();
    }

    /// Whether something waits for the socket to have room.
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The system refused what [`Endpoint::poll_transmit`] gave last. Several datagrams come again
    /// one by one: some network cards can't take them together, and only say so at the first try. A
    /// single one is lost, and QUIC deals with that.
    pub fn handle_refused(&mut self) {
        self.outbox.refused();
    }

    /// Puts the next datagrams into the empty outbox.
    fn fill(&mut self, max_segments: usize) -> Option<Header> {
        let dual_stack = self.dual_stack;
        let header = |socket, transmit: &quinn_proto::Transmit| Header {
            socket,
            destination: match transmit.destination {
                SocketAddr::V4(v4) if dual_stack => {
                    SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
                }
                destination => destination,
            },
            ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        let buffer = self.outbox.clear();
        if let Some((transmit, mut bytes)) = self.responses.pop_front() {
            buffer.append(&mut bytes);
            return Some(header(None, &transmit));
        }
        let max_segments = max_segments.clamp(1, self.limits.segments.max(1));
        while let Some(slot) = self.sending.pop_front() {
            if let Some(conn) = connection(&mut self.slots, slot).filter(|conn| conn.sending) {
                let buffer = &mut self.outbox.bytes;
                let now = self.now.instant;
                let transmit = conn.quic.poll_transmit(now, max_segments, buffer);
                let socket = conn.socket;
                conn.sending = transmit.is_some();
                if conn.sending {
                    self.sending.push_back(slot);
                }
                self.route(slot);
                if let Some(transmit) = transmit {
                    return Some(header(socket, &transmit));
                }
            }
            if self.sending.is_empty() {
                // Transmitting may have left work that leads to more of it.
                self.settle();
            }
        }
        None
    }
}

fn count(traffic: &mut u64, bytes: usize) {
    *traffic = traffic.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
}

/// An IPv4 address as such, also from a socket for both families.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_datagrams() -> Outbox {
        Outbox {
            header: Some(Header {
                socket: None,
                destination: SocketAddr::from(([127, 0, 0, 1], 9)),
                ecn: 0,
                segment_size: Some(4),
                src_ip: None,
            }),
            bytes: b"aaaabbbbcc".to_vec(),
            ..Outbox::default()
        }
    }

    fn next(outbox: &mut Outbox) -> Option<(Vec<u8>, Option<usize>)> {
        let transmit = outbox.give()?;
        Some((transmit.contents.to_vec(), transmit.segment_size))
    }

    #[test]
    fn datagrams_that_cannot_go_together_go_apart() {
        let mut outbox = three_datagrams();
        assert_eq!(next(&mut outbox), Some((b"aaaabbbbcc".to_vec(), Some(4))));
        outbox.refused();
        assert_eq!(next(&mut outbox), Some((b"aaaa".to_vec(), None)));
        assert_eq!(next(&mut outbox), Some((b"bbbb".to_vec(), None)));
        outbox.refused();
        assert_eq!(next(&mut outbox), Some((b"cc".to_vec(), None)), "one lost");
        outbox.refused();
        assert!(outbox.is_empty());
        assert_eq!(next(&mut outbox), None);
    }

    #[test]
    fn a_full_socket_is_no_reason_to_split() {
        let mut outbox = three_datagrams();
        for _ in 0..3 {
            assert_eq!(next(&mut outbox), Some((b"aaaabbbbcc".to_vec(), Some(4))));
            outbox.blocked();
            assert!(!outbox.is_empty());
        }
        next(&mut outbox);
        outbox.refused();
        next(&mut outbox);
        outbox.blocked();
        assert_eq!(next(&mut outbox), Some((b"aaaa".to_vec(), None)));
        assert_eq!(next(&mut outbox), Some((b"bbbb".to_vec(), None)));
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
