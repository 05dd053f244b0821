//! The client core: one device of one account, as a pure state machine.
//!
//! The app states intents ([`intent`]) by [`Client::begin`] and reads [`Event`]s; each intent ends in exactly
//! one [`Event::Done`] or [`Event::Failed`]. When to connect, to repeat, to acknowledge and to merge is decided
//! here.
//!
//! Everything durable is loaded at opening and held in memory. An input changes memory at once and
//! leaves one commit; whatever follows from it (requests, acknowledgements, events) is held until
//! that commit is durable. A crash at any point loses nothing and sends nothing twice with two
//! meanings.
//!
//! | room or file | what is decided there |
//! | --- | --- |
//! | `intent`, `intents`, `progress` | what an app can ask for, what of that has not ended, and what it still lacks |
//! | `event`, `outcome`, `error` | what an app is told |
//! | `config` | how a client behaves |
//! | `talk/` | conversations: members, commits, messages, and what is done when a thread was lost |
//! | `people/` | names and keys, and how far what is said of them can be trusted |
//! | `me/` | session, devices, key packages |
//! | `link/` | the connection, calls and deadlines, login |
//! | `keep/` | what is durable and how |

mod config;
mod error;
mod event;
#[cfg(feature = "sim")]
mod hostile;
pub mod intent;
mod intents;
mod keep;
mod link;
mod me;
mod outcome;
mod people;
mod progress;
mod talk;
#[cfg(feature = "sim")]
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

#[cfg(qpq_defects)]
use crate::defect::seeded;
use crate::ids::{ConnId, StreamId, Ticket};
use crate::io::{ConnectError, Core, JobResult, Output, PeerInfo, Reason, StreamInput, Wake};
use crate::rng::{Rng, Seed};
use crate::storage::Reply;
use crate::time::{Clock, Time, UnixTime};

use intents::Intents;
use keep::load::Phase;
use keep::seal::Sealer;
pub use keep::seal::StorageKey;
use keep::state::State;
use keep::write::Writer;
use link::chain::Chain;
use link::connection::Connection;
use link::login::Login;
use link::timers::{Pause, Timer, Timers};
use me::packages;
use people::contacts::Contacts;
use talk::channel::Work;
use talk::history;
use talk::inbox::Inbox;
use talk::promises::Promises;
use talk::repair::{doubt, regain, rejoin, set_back};

pub use crate::ids::IntentId;
pub use config::ClientConfig;
pub use error::{DisconnectReason, Fatal, IntentError, UnreadableReason};
pub use event::{
    Account, Body, CommitProof, Comparison, Conversation, ConversationId, DeviceInfo, Event, Kept,
    Kind, Message, Person, RejoinReason, Standing, Unsent, Waiting,
};
#[cfg(feature = "sim")]
pub use hostile::{Misdeed, Twice};
pub use intent::Intent;
pub use keep::keys;
pub use outcome::{Missing, NewGroup, Outcome, Sent, ServerInfo};
pub use qpq_crypto::mls::Suite as MlsSuite;
pub use qpq_crypto::opaque::Suite as OpaqueSuite;
#[cfg(feature = "sim")]
pub(crate) use watch::{history_row, stored_cursor, writer_row};

/// Members that a group may have in this version: trees travel inside Welcomes up to there.
pub const MAX_MEMBERS: usize = qpq_crypto::mls::TREE_INSIDE_UP_TO;

/// Longest name of a device, in bytes.
pub const MAX_DEVICE_NAME: usize = 64;

/// The client core. See the page of this module.
///
/// - [`begin`](Self::begin) states an [`Intent`]; [`accept_group`](Self::accept_group) answers two events.
/// - Everything else is [`Core`]: inputs, then `poll_output` until `None`, then `poll_timeout`.
pub struct Client {
    config: ClientConfig,
    clock: Clock,
    rng: Rng,
    phase: Phase,
    state: State,
    writer: Writer,
    timers: Timers,
    link: Connection,
    login: Login,
    contacts: Contacts,
    inbox: Inbox,
    intents: Intents,
    work: BTreeMap<ConversationId, Work>,
    packages: packages::Packages,
    chain: Chain,
    resending: set_back::Resending,
    promises: Promises,
    readings: history::Readings,
    rejoins: rejoin::Rejoins,
    regains: regain::Regains,
    /// The own hybrid key was offered over this connection.
    is_hybrid_key_tried: bool,
    /// Channels whose server lost slots, and the one that it is given back next.
    resubmitting: BTreeMap<ConversationId, u64>,
    doubts: doubt::Doubts,
    /// The own commits that have their slots and are not merged yet, by hash.
    won: BTreeMap<ConversationId, Vec<u8>>,
    /// Conversations that the app has not heard of yet.
    announcing: BTreeSet<ConversationId>,
    closing: Closing,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Closing {
    /// None was asked for.
    Open,
    /// Requests that run may finish.
    Draining,
    /// The connection is closed; what is being stored may finish.
    Settling,
}

impl Client {
    /// A client on the data that its storage holds; on none, a new one.
    ///
    /// `storage_key` seals all that is stored. `seed` comes fresh from the operating system at every
    /// start. The first outputs are the storage commands that load the state.
    #[must_use]
    pub fn new(
        config: ClientConfig,
        storage_key: StorageKey,
        seed: Seed,
        now: Time,
        unix: UnixTime,
    ) -> Self {
        let mut rng = seed.rng();
        #[cfg_attr(not(qpq_defects), expect(unused_mut))]
        let mut nonces = rng.child();
        #[cfg(qpq_defects)]
        if seeded!(config, NonceReused) {
            nonces = storage_key.rng();
        }
        #[cfg_attr(not(qpq_defects), expect(unused_mut))]
        let mut sealer = Sealer::new(storage_key, nonces);
        #[cfg(qpq_defects)]
        {
            sealer.is_unhedged = seeded!(config, NonceReused);
        }
        let mut client = Self {
            config,
            clock: Clock::new(now, unix),
            rng,
            phase: Phase::Waiting,
            state: State::default(),
            writer: Writer::new(sealer),
            timers: Timers::default(),
            link: Connection::new(),
            login: Login::Idle,
            contacts: Contacts::default(),
            inbox: Inbox::default(),
            intents: Intents::default(),
            work: BTreeMap::new(),
            packages: packages::Packages::default(),
            chain: Chain::default(),
            resending: set_back::Resending::new(),
            promises: Promises::default(),
            readings: history::Readings::new(),
            rejoins: rejoin::Rejoins::default(),
            regains: regain::Regains::default(),
            is_hybrid_key_tried: false,
            resubmitting: BTreeMap::new(),
            doubts: doubt::Doubts::default(),
            won: BTreeMap::new(),
            announcing: BTreeSet::new(),
            closing: Closing::Open,
        };
        #[cfg(qpq_defects)]
        {
            client.writer.is_unfenced = seeded!(client.config, FenceOff);
        }
        client.start_loading();
        client
    }

    /// Ends a step: what it changed and what follows from that goes on its way.
    fn step_done(&mut self) {
        self.advance_intents();
        if self.closing == Closing::Open {
            self.connect_if_wanted();
            self.resume_if_wanted();
        }
        self.state.keep_mls(&mut self.writer);
        #[cfg(qpq_defects)]
        if seeded!(self.config, ToldBeforeStored) {
            self.writer
                .release(|effect| matches!(effect, Output::Event(_)));
        }
        #[cfg(qpq_defects)]
        if seeded!(self.config, BatchBeforeMerge) {
            self.writer.release_with_flying();
        }
        self.writer.finish();
        match self.closing {
            Closing::Draining if self.is_quiet() => self.stop_draining(),
            Closing::Settling => self.end_intents(),
            Closing::Open | Closing::Draining => {}
        }
    }

    fn stop_draining(&mut self) {
        self.closing = Closing::Settling;
        self.timers.cancel(Timer::Shutdown);
        self.hang_up();
        self.end_intents();
    }

    /// Ends what is open; and again what had ended with a commit that came to nothing.
    fn end_intents(&mut self) {
        self.fail_all_intents(&IntentError::Closing);
        self.writer.finish();
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            // `step_done` connects, now that nothing says to wait.
            Timer::Reconnect => {}
            Timer::Connecting => self.connecting_timed_out(),
            Timer::Reload => self.start_loading(),
            Timer::Request(stream) => self.request_timed_out(stream),
            Timer::Conversation(id, Pause::Listing) => self.look_for_the_end(id),
            Timer::Conversation(id, _) => self.drive(id),
            Timer::Queue(queue) => self.fetch(queue),
            Timer::Packages => self.tend_packages(),
            Timer::Device => self.register_device(),
            Timer::Chain => self.move_chain(),
            Timer::LastSent => self.ask_for_last_sent(),
            Timer::Names => self.ask_names(),
            Timer::Look => self.list_queues(Bytes::new()),
            Timer::Intent(intent) => {
                let error = match self.link.is_ready() {
                    true => IntentError::HeldBack,
                    false => IntentError::TimedOut,
                };
                self.fail(intent, error);
            }
            Timer::Shutdown => self.stop_draining(),
        }
    }

    fn unix_ms(&self) -> u64 {
        self.clock.unix().as_millis()
    }
}

impl Core for Client {
    type Event = Event;

    fn handle_connected(
        &mut self,
        now: Time,
        conn: ConnId,
        peer: PeerInfo,
        ticket: Option<Ticket>,
    ) {
        self.clock.advance(now);
        self.connected(conn, &peer, ticket);
        self.step_done();
    }

    fn handle_connect_failed(&mut self, now: Time, ticket: Ticket, why: ConnectError) {
        self.clock.advance(now);
        self.connect_failed(ticket, why);
        self.step_done();
    }

    fn handle_stream(&mut self, now: Time, conn: ConnId, stream: StreamId, input: StreamInput) {
        self.clock.advance(now);
        self.stream(conn, stream, input);
        self.step_done();
    }

    fn handle_disconnected(&mut self, now: Time, conn: ConnId) {
        self.clock.advance(now);
        self.disconnected(conn);
        self.step_done();
    }

    fn handle_stored(&mut self, now: Time, ticket: Ticket, reply: Reply) {
        self.clock.advance(now);
        self.stored(ticket, reply);
        self.step_done();
    }

    fn handle_computed(&mut self, now: Time, ticket: Ticket, result: JobResult) {
        self.clock.advance(now);
        self.computed(ticket, result);
        self.step_done();
    }

    fn handle_wake(&mut self, now: Time, _wake: Wake) {
        // A client has no other cores beside it.
        self.clock.advance(now);
    }

    fn handle_clock(&mut self, now: Time, unix: UnixTime) {
        self.clock.advance(now);
        self.clock.set_unix(unix);
    }

    fn handle_timeout(&mut self, now: Time) {
        let now = self.clock.advance(now);
        while let Some(timer) = self.timers.due(now) {
            self.fire(timer);
            self.step_done();
        }
    }

    fn handle_shutdown(&mut self, now: Time) {
        let now = self.clock.advance(now);
        if self.closing == Closing::Open {
            self.closing = Closing::Draining;
            self.timers.cancel(Timer::Reconnect);
            self.timers
                .set(Timer::Shutdown, now + self.config.shutdown_grace);
        }
        self.step_done();
    }

    fn handle_network_changed(&mut self, now: Time) {
        self.clock.advance(now);
        self.network_changed();
        self.step_done();
    }

    fn handle_reconnect(&mut self, now: Time) {
        self.clock.advance(now);
        self.hurry();
        self.step_done();
    }

    fn handle_suspend(&mut self, now: Time) {
        self.clock.advance(now);
        self.suspend();
        self.step_done();
    }

    fn handle_resume(&mut self, now: Time) {
        self.clock.advance(now);
        self.resume();
        self.step_done();
    }

    fn credit(&self, conn: ConnId, stream: StreamId) -> usize {
        self.stream_credit(conn, stream)
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.writer.poll()
    }

    fn poll_timeout(&self) -> Option<(Time, Reason)> {
        if self.writer.has_output() {
            return Some((self.clock.now(), "output"));
        }
        self.timers.next()
    }

    fn is_shut_down(&self) -> bool {
        self.closing == Closing::Settling && self.writer.is_settled() && !self.writer.has_output()
    }

    fn footprint(&self) -> usize {
        self.bytes_held()
    }
}

/// The bytes of a message, shared.
fn encoded(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}
