//! [`Watched`]: a core inside a core that looks on: which certificate the peer showed, how many
//! bytes passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use qpq_protocol::ask::TakesIntents;
use qpq_protocol::ids::{ConnId, IntentId, StreamId, Ticket};
use qpq_protocol::io::{
    ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Wake,
};
use qpq_protocol::storage::Reply;
use qpq_protocol::time::{Time, UnixTime};

/// What was seen so far; cheap to clone, all clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    certificate: Mutex<Option<[u8; 32]>>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Watch {
    /// SHA-256 of the certificate that the last connection's peer showed.
    #[must_use]
    pub fn certificate(&self) -> Option<[u8; 32]> {
        *self.certificate_slot()
    }

    /// Bytes that the core gave to streams.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Bytes of streams that the core got.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    fn certificate_slot(&self) -> std::sync::MutexGuard<'_, Option<[u8; 32]>> {
        self.0
            .certificate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A core that does what its inner one does and tells a [`Watch`].
pub struct Watched<C> {
    /// The core that decides everything.
    pub core: C,
    watch: Watch,
}

impl<C> Watched<C> {
    /// Lets `watch` see what `core` does.
    pub const fn new(core: C, watch: Watch) -> Self {
        Self { core, watch }
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}

impl<C: TakesIntents> TakesIntents for Watched<C> {
    type Intent = C::Intent;

    fn begin(&mut self, now: Time, intent: C::Intent) -> IntentId {
        self.core.begin(now, intent)
    }

    fn end_of(event: &C::Event) -> Option<IntentId> {
        C::end_of(event)
    }
}

impl<C: Core> Core for Watched<C> {
    type Event = C::Event;

    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        *self.watch.certificate_slot() = peer.certificate;
        self.core.handle_connected(now, conn, peer, ticket);
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        self.core.handle_connect_failed(now, ticket, why);
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        if let StreamInput::Data(data) = &input {
            add(&self.watch.0.received, data.len());
        }
        self.core.handle_stream(now, conn, stream, input);
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        self.core.handle_disconnected(now, conn);
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.core.handle_stored(now, ticket, reply);
    }

    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult) {
        self.core.handle_computed(now, ticket, result);
    }

    fn handle_wake(&mut self, now: Time, wake: Wake) {
        self.core.handle_wake(now, wake);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.core.handle_clock(now, unix);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.core.handle_timeout(now);
    }

    fn handle_shutdown(&mut self, now: Time) {
        self.core.handle_shutdown(now);
    }

    fn credit(&self, conn: ConnId, stream: StreamId) -> usize {
        self.core.credit(conn, stream)
    }

    fn poll_output(&mut self) -> Option<Output<Self::Event>> {
        let output = self.core.poll_output();
        if let Some(Output::Send { data, .. }) = &output {
            add(&self.watch.0.sent, data.len());
        }
        output
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        self.core.poll_timeout()
    }

    fn is_shut_down(&self) -> bool {
        self.core.is_shut_down()
    }

    fn footprint(&self) -> usize {
        self.core.footprint()
    }
}
