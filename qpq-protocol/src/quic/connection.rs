//! One connection: from handshake to drained, and what the core is told of it.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::{
    ConnectionError, ConnectionHandle, Event, StreamEvent, TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::config::Limits;
use super::endpoint::SocketId;
use super::streams::{Streams, refuse_open};
use super::tls;
use crate::ids::{ConnId, Dir, OwnStream, Ticket};
use crate::io::{Alpn, ConnectError, Core, Output, PeerInfo, Target};
use crate::site::site;
use crate::time::Time;

/// A connection and its place in the endpoint's queues.
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) handle: ConnectionHandle,
    pub(super) quic: quinn_proto::Connection,
    /// Where it came from; it may go elsewhere.
    pub(super) site: IpAddr,
    /// The socket that it has for itself.
    pub(super) socket: Option<SocketId>,
    streams: Streams,
    /// Whether the core has admitted the peer.
    admitted: bool,
    /// Streams the peer abandoned, and since when they are counted.
    resets: (u32, Option<Instant>),
    phase: Phase,
    /// The deadline that the endpoint's timers hold for it.
    pub(super) armed: Option<Instant>,
    /// Whether it is in the queue of connections that something happened to.
    pub(super) dirty: bool,
    /// Whether it is in the queue of connections that may have something to transmit.
    pub(super) sending: bool,
    /// Whether it is in the queue of connections with streams that nobody had room for.
    pub(super) starved: bool,
}

enum Phase {
    /// Until the handshake is over.
    Handshaking {
        until: Instant,
        attempt: Option<Attempt>,
    },
    /// The core knows it.
    Up,
    /// The core closed it; what it sent before is being delivered.
    Lingering { until: Instant, code: u64 },
    /// Over for the core; quinn drains it.
    Over,
}

/// A connection that the core asked for.
pub(super) struct Attempt {
    pub(super) ticket: Ticket,
    pub(super) target: Target,
    /// Addresses to try if this one does not answer.
    pub(super) others: VecDeque<SocketAddr>,
}

/// What became of a connection, for the endpoint to act on.
pub(super) enum Change {
    /// An incoming handshake from this site is over, well or not.
    Settled(IpAddr),
    /// An attempt succeeded, with a server of this certificate (SHA-256).
    Reached(Option<[u8; 32]>),
    /// An attempt failed; another address may do.
    Failed(Attempt, ConnectError),
}

/// The time, in both forms.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) time: Time,
}

/// What the core is told to be the reason when it asked for too much at once (protocol.md §2).
const OVERLOADED: u64 = 5;

impl Connection {
    pub(super) fn new(
        id: ConnId,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        until: Instant,
        attempt: Option<Attempt>,
        socket: Option<SocketId>,
    ) -> Self {
        Self {
            id,
            socket,
            handle,
            site: site(quic.remote_address().ip()),
            streams: Streams::new(quic.side()),
            admitted: false,
            resets: (0, None),
            quic,
            phase: Phase::Handshaking { until, attempt },
            armed: None,
            dirty: false,
            sending: false,
            starved: false,
        }
    }

    /// Whether it is a handshake of ours that is not over.
    pub(super) const fn is_attempt(&self) -> bool {
        matches!(
            self.phase,
            Phase::Handshaking {
                attempt: Some(_),
                ..
            }
        )
    }

    /// Whether the handshake is not over.
    pub(super) const fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshaking { .. })
    }

    /// Whether only quinn still has to do with it.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether something to read was left in the transport.
    pub(super) fn has_unread(&self) -> bool {
        matches!(self.phase, Phase::Up) && self.streams.has_unread()
    }

    /// When [`Connection::handle_timeout`] must be called.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Handshaking { until, .. } | Phase::Lingering { until, .. } => Some(*until),
            Phase::Up | Phase::Over => None,
        };
        match (self.quic.poll_timeout(), own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// A deadline has come.
    pub(super) fn handle_timeout<C: Core>(&mut self, core: &mut C, now: Now) -> Option<Change> {
        if self.quic.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.quic.handle_timeout(now.instant);
        }
        match &self.phase {
            Phase::Handshaking { until, .. } if *until <= now.instant => {
                self.shut(core, now, 0, ConnectError::Unreachable)
            }
            Phase::Lingering { until, code } if *until <= now.instant => {
                let code = *code;
                self.shut(core, now, code, ConnectError::Refused)
            }
            _ => None,
        }
    }

    /// Takes quinn's events to the core and its streams, then reads.
    pub(super) fn pump<C: Core>(
        &mut self,
        core: &mut C,
        now: Now,
        paused: bool,
        limits: &Limits,
        changes: &mut VecDeque<Change>,
    ) {
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Connected => changes.extend(self.connected(core, now)),
                Event::ConnectionLost { reason } => {
                    changes.extend(self.over(core, now.time, reason_of(&reason)));
                }
                Event::Stream(event) => self.stream_event(core, now.time, event),
                Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {
                }
            }
        }
        match self.phase {
            Phase::Up => {
                let at = (self.id, now.time, paused);
                self.streams.read(&mut self.quic, core, at);
                if self.resets_too_often(now.instant, limits.resets) {
                    changes.extend(self.shut(core, now, OVERLOADED, ConnectError::Refused));
                }
            }
            Phase::Lingering { code, .. } if self.quic.streams().send_streams() == 0 => {
                changes.extend(self.shut(core, now, code, ConnectError::Refused));
            }
            _ => {}
        }
    }

    /// Counts the streams that the peer abandoned, by the second.
    fn resets_too_often(&mut self, now: Instant, most: u32) -> bool {
        let more = self.streams.take_resets();
        if more == 0 {
            return false;
        }
        self.resets = match self.resets {
            (count, Some(since)) if now < since + Duration::from_secs(1) => {
                (count.saturating_add(more), Some(since))
            }
            _ => (more, Some(now)),
        };
        self.resets.0 > most
    }

    /// Reads streams that were left unread for want of room. Whether there was room now.
    pub(super) fn read_again<C: Core>(&mut self, core: &mut C, now: Now, paused: bool) -> bool {
        let at = (self.id, now.time, paused);
        matches!(self.phase, Phase::Up) && self.streams.read(&mut self.quic, core, at)
    }

    fn connected<C: Core>(&mut self, core: &mut C, now: Now) -> Option<Change> {
        let Some(alpn) = self.alpn() else {
            return self.shut(core, now, 0, ConnectError::WrongProtocol);
        };
        let Phase::Handshaking { attempt, .. } = core::mem::replace(&mut self.phase, Phase::Up)
        else {
            return None;
        };
        let certificate = self.certificate();
        let peer = PeerInfo {
            address: self.quic.remote_address(),
            alpn,
            certificate,
        };
        let incoming = attempt.is_none();
        core.handle_connected(now.time, self.id, peer, attempt.map(|a| a.ticket));
        Some(match incoming {
            true => Change::Settled(self.site),
            false => Change::Reached(certificate),
        })
    }

    fn alpn(&self) -> Option<Alpn> {
        let data = self.quic.crypto_session().handshake_data()?;
        let data = data.downcast::<HandshakeData>().ok()?;
        let token = data.protocol?;
        [Alpn::Qpq, Alpn::Federation]
            .into_iter()
            .find(|alpn| alpn.token() == token)
    }

    fn certificate(&self) -> Option<[u8; 32]> {
        let chain = self.quic.crypto_session().peer_identity()?;
        let chain = chain.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.first().map(|first| tls::fingerprint(first))
    }

    fn stream_event<C: Core>(&mut self, core: &mut C, now: Time, event: StreamEvent) {
        let at = (self.id, now);
        let up = matches!(self.phase, Phase::Up);
        if self.is_over() {
            // The core does not have it any more.
            return;
        }
        match event {
            StreamEvent::Opened { dir } => match self.phase {
                Phase::Up => self.streams.accept(&mut self.quic, dir),
                Phase::Lingering { code, .. } => self.streams.refuse(&mut self.quic, dir, code),
                Phase::Handshaking { .. } | Phase::Over => {}
            },
            StreamEvent::Readable { id } if up => self.streams.set_readable(id),
            StreamEvent::Writable { id } => self.streams.writable(&mut self.quic, core, at, id),
            StreamEvent::Stopped { id, error_code } => {
                self.streams
                    .stopped(&mut self.quic, core, at, id, error_code);
            }
            StreamEvent::Available { dir } if up => {
                let dir = match dir {
                    quinn_proto::Dir::Bi => Dir::Bi,
                    quinn_proto::Dir::Uni => Dir::Uni,
                };
                self.streams.open_waiting(&mut self.quic, core, at, dir);
            }
            StreamEvent::Readable { .. }
            | StreamEvent::Available { .. }
            | StreamEvent::Finished { .. } => {}
        }
    }

    /// Carries out an output that names this connection; ignored unless the core has it. Whether
    /// that leads to its end.
    pub(super) fn handle_output<C: Core>(
        &mut self,
        core: &mut C,
        now: Now,
        output: ConnOutput,
        limits: &Limits,
        changes: &mut VecDeque<Change>,
    ) -> bool {
        if !matches!(self.phase, Phase::Up) {
            return false;
        }
        let at = (self.id, now.time);
        match output {
            ConnOutput::Open(own, dir) => {
                if !self
                    .streams
                    .open(&mut self.quic, own, dir, limits.waiting_streams)
                {
                    refuse_open(core, now.time, self.id, own, dir);
                }
            }
            ConnOutput::Send(stream, data, fin) => {
                self.streams
                    .send(&mut self.quic, core, at, stream, (data, fin));
                if self.streams.unsent() > limits.unsent {
                    changes.extend(self.shut(core, now, OVERLOADED, ConnectError::Refused));
                }
            }
            ConnOutput::Reset(stream, code) => self.streams.reset(&mut self.quic, stream, code),
            ConnOutput::Admit => self.admit(limits),
            ConnOutput::Close(code) => changes.extend(self.linger(core, now, code, limits)),
        }
        !matches!(self.phase, Phase::Up)
    }

    /// The peer is no stranger any more. What it has been allowed stays, whoever it is later.
    fn admit(&mut self, limits: &Limits) {
        if self.quic.side().is_server() && !core::mem::replace(&mut self.admitted, true) {
            let (window, bi) = (limits.connection_window, limits.peer_bi);
            self.quic.set_receive_window(VarInt::from_u32(window));
            self.quic
                .set_max_concurrent_streams(quinn_proto::Dir::Bi, VarInt::from_u32(bi));
        }
    }

    /// Closes as soon as the peer has acknowledged what was sent before.
    pub(super) fn linger<C: Core>(
        &mut self,
        core: &mut C,
        now: Now,
        code: u64,
        limits: &Limits,
    ) -> Option<Change> {
        match self.phase {
            Phase::Up => {
                self.streams.finish_all(&mut self.quic, code);
                if self.quic.streams().send_streams() == 0 {
                    return self.shut(core, now, code, ConnectError::Refused);
                }
                let until = now.instant + limits.linger;
                self.phase = Phase::Lingering { until, code };
                None
            }
            Phase::Handshaking { .. } => self.shut(core, now, code, ConnectError::Refused),
            Phase::Lingering { .. } | Phase::Over => None,
        }
    }

    /// Gives up an attempt so that it begins again at the same address.
    pub(super) fn start_anew<C: Core>(&mut self, core: &mut C, now: Now) -> Option<Change> {
        let address = self.quic.remote_address();
        if let Phase::Handshaking {
            attempt: Some(attempt),
            ..
        } = &mut self.phase
        {
            attempt.others.push_front(address);
        }
        self.shut(core, now, 0, ConnectError::Unreachable)
    }

    /// Closes now. Quinn reports no loss for a close of our own, so the core is told here.
    pub(super) fn shut<C: Core>(
        &mut self,
        core: &mut C,
        now: Now,
        code: u64,
        why: ConnectError,
    ) -> Option<Change> {
        if !self.is_over() {
            let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
            self.quic.close(now.instant, code, Bytes::new());
        }
        self.over(core, now.time, why)
    }

    /// The connection is over: says so, once, to anyone who waits for it.
    pub(super) fn over<C: Core>(
        &mut self,
        core: &mut C,
        now: Time,
        why: ConnectError,
    ) -> Option<Change> {
        match core::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Handshaking {
                attempt: Some(attempt),
                ..
            } => Some(Change::Failed(attempt, why)),
            Phase::Handshaking { attempt: None, .. } => Some(Change::Settled(self.site)),
            Phase::Up | Phase::Lingering { .. } => {
                core.handle_disconnected(now, self.id);
                None
            }
            Phase::Over => None,
        }
    }
}

/// An [`Output`] that names a connection, without its name.
pub(super) enum ConnOutput {
    Open(OwnStream, Dir),
    Send(crate::ids::StreamId, Bytes, bool),
    Reset(crate::ids::StreamId, u64),
    Admit,
    Close(u64),
}

impl ConnOutput {
    /// Takes the outputs that name a connection; gives back the others.
    pub(super) fn split<E>(output: Output<E>) -> Result<(ConnId, Self), Output<E>> {
        Ok(match output {
            Output::Open { conn, stream, dir } => (conn, Self::Open(stream, dir)),
            Output::Send {
                conn,
                stream,
                data,
                fin,
            } => (conn, Self::Send(stream, data, fin)),
            Output::Reset { conn, stream, code } => (conn, Self::Reset(stream, code)),
            Output::Admit { conn } => (conn, Self::Admit),
            Output::Close { conn, code } => (conn, Self::Close(code)),
            other => return Err(other),
        })
    }
}

/// Why an attempt failed, by quinn's reason.
fn reason_of(reason: &ConnectionError) -> ConnectError {
    /// TLS alerts (RFC 8446 §6) as quinn-proto's error codes (RFC 9001 §4.8).
    const fn alert(code: u64) -> Option<u64> {
        code.checked_sub(0x100)
    }
    const NO_APPLICATION_PROTOCOL: u64 = 120;
    const ACCESS_DENIED: u64 = 49;
    match reason {
        ConnectionError::VersionMismatch => ConnectError::WrongProtocol,
        ConnectionError::TransportError(error) => match alert(u64::from(error.code)) {
            Some(NO_APPLICATION_PROTOCOL) => ConnectError::WrongProtocol,
            Some(ACCESS_DENIED) => ConnectError::CertificateChanged,
            // bad_certificate to unknown_ca, decode_error, decrypt_error: our own verdict.
            Some(42..=48 | 50 | 51) => ConnectError::CertificateUntrusted,
            _ => ConnectError::WrongProtocol,
        },
        ConnectionError::ConnectionClosed(close) => match alert(u64::from(close.error_code)) {
            Some(_) => ConnectError::WrongProtocol,
            None if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                ConnectError::Refused
            }
            None => ConnectError::WrongProtocol,
        },
        ConnectionError::ApplicationClosed(_) | ConnectionError::CidsExhausted => {
            ConnectError::Refused
        }
        ConnectionError::Reset | ConnectionError::TimedOut | ConnectionError::LocallyClosed => {
            ConnectError::Unreachable
        }
    }
}
