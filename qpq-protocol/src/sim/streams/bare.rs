//! A core without QUIC, and what it sends.

use super::Streams;
use crate::ids::{ConnId, Dir, OwnStream, StreamId, Ticket};
use crate::io::{ConnectError, Core, Output, PeerInfo, StreamInput};
use crate::sim::host::{Host, Hosts, Input, Todo, Who};
use crate::sim::tap::Tap;
use crate::time::Time;

/// What a bare core sends.
pub(in crate::sim) enum Parcel {
    Connect(Ticket),
    Open(ConnId, OwnStream, Dir),
    Send(ConnId, StreamId, StreamInput),
    Reset(ConnId, StreamId, u64),
    Close(ConnId),
}

/// A core without QUIC.
pub(in crate::sim) struct Bare<C> {
    pub(super) tap: Tap<C>,
    /// The end of a stream whose last bytes have just been sent.
    pub(super) fin: Option<(ConnId, StreamId)>,
}

impl<C: Core> Host<C> for Bare<C> {
    type Parcel = Parcel;

    fn input(&mut self, now: Time, input: Input) {
        match input {
            Input::Stored(ticket, reply) => self.tap.handle_stored(now, ticket, reply),
            Input::Computed(ticket, result) => self.tap.handle_computed(now, ticket, result),
            Input::Wake(wake) => self.tap.handle_wake(now, wake),
            Input::Clock(unix) => self.tap.handle_clock(now, unix),
            Input::Timeout => self.tap.handle_timeout(now),
            Input::Shutdown => self.tap.handle_shutdown(now),
        }
    }

    fn act<R>(&mut self, now: Time, act: impl FnOnce(&mut C, Time) -> R) -> R {
        act(self.tap.core(), now)
    }

    fn poll(&mut self, _now: Time) -> Option<Todo<C::Event, Parcel>> {
        if let Some((conn, stream)) = self.fin.take() {
            return Some(Todo::Carry(Parcel::Send(conn, stream, StreamInput::Fin)));
        }
        loop {
            return Some(match self.tap.poll_output()? {
                // There are no windows here.
                Output::Admit { .. } => continue,
                Output::Store {
                    ticket,
                    lane,
                    command,
                } => Todo::Store(ticket, lane, command),
                Output::Compute { ticket, job } => Todo::Compute(ticket, job),
                Output::Wake(wake) => Todo::Wake(wake),
                Output::Event(event) => Todo::Event(event),
                Output::Connect { ticket, .. } => Todo::Carry(Parcel::Connect(ticket)),
                Output::Open { conn, stream, dir } => Todo::Carry(Parcel::Open(conn, stream, dir)),
                Output::Send {
                    conn,
                    stream,
                    data,
                    fin,
                } => {
                    self.fin = fin.then_some((conn, stream));
                    Todo::Carry(Parcel::Send(conn, stream, StreamInput::Data(data)))
                }
                Output::Reset { conn, stream, code } => {
                    Todo::Carry(Parcel::Reset(conn, stream, code))
                }
                Output::Close { conn, .. } => Todo::Carry(Parcel::Close(conn)),
            });
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.tap.poll_timeout().map(|(at, _)| at)
    }

    fn is_shut_down(&self) -> bool {
        self.tap.is_shut_down()
    }

    fn tap(&self) -> &Tap<C> {
        &self.tap
    }
}

/// The part of a core that a network speaks to.
pub(super) trait Port {
    fn handle_connected(&mut self, now: Time, conn: ConnId, peer: PeerInfo, ticket: Option<Ticket>);
    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError);
    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput);
    fn handle_disconnected(&mut self, now: Time, conn: ConnId);
}

impl<C: Core> Port for Tap<C> {
    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        Core::handle_connected(self, now, conn, peer, ticket);
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        Core::handle_connect_failed(self, now, ticket, why);
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        Core::handle_stream(self, now, conn, stream, input);
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        Core::handle_disconnected(self, now, conn);
    }
}

impl Hosts<Streams> {
    /// The room that a core has; to ask for it does not stir it.
    pub(super) fn credit(&self, who: Who, conn: ConnId, stream: StreamId) -> usize {
        match who {
            Who::Client(client) => {
                let host = self.clients.get(client).and_then(Option::as_ref);
                host.map_or(0, |host| host.tap.credit(conn, stream))
            }
            Who::Server(server) => {
                let host = self.servers.get(server).and_then(Option::as_ref);
                host.map_or(0, |host| host.tap.credit(conn, stream))
            }
        }
    }

    pub(super) fn port(&mut self, who: Who) -> Option<&mut dyn Port> {
        match who {
            Who::Client(client) => self
                .client(client)
                .map(|host| &mut host.tap as &mut dyn Port),
            Who::Server(server) => self
                .server(server)
                .map(|host| &mut host.tap as &mut dyn Port),
        }
    }
}
