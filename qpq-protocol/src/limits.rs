//! Every number that bounds a core, in one table (protocol.md §5.27 and architecture.md "Contracts").
//!
//! [`Limits::default`] is what protocol.md says. An embedder may change any of them; a core never
//! holds more than they add up to ([`Limits::footprint`]).

use core::time::Duration;

use crate::frame::{Header as _, MAX_PAYLOAD, ResponseHeader};

/// At most `count` in any `window` (sliding).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many are allowed.
    pub count: u32,
    /// In how long a time.
    pub window: Duration,
}

impl Rate {
    /// `count` in `secs` seconds.
    #[must_use]
    pub const fn per_secs(count: u32, secs: u64) -> Self {
        Self {
            count,
            window: Duration::from_secs(secs),
        }
    }

    /// How far apart events are where only the date of the last one is kept: evenly, so that no window has
    /// more of them.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.window.checked_div(self.count).unwrap_or(Duration::MAX)
    }
}

/// Request streams a connection may have open, for the core and for QUIC below it. One counts there until
/// its answer is acknowledged, so half of them keep as many requests in flight.
pub(crate) const STREAMS: u32 = 128;

/// The same before a session (protocol.md §1): enough to register and to log in.
pub(crate) const ANONYMOUS_STREAMS: u32 = 8;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const DAY: u64 = 24 * 3600;

/// Declares [`Limits`] and [`RateClass`], their documentation and their defaults in one place.
macro_rules! limits {
    (
        $($(#[$doc:meta])* $name:ident: $type:ty = $default:expr,)*
        ;
        $($(#[$rate_doc:meta])* $class:ident: $rate:ident = $rate_default:expr,)*
    ) => {
        /// The table. Durations are durations, everything else counts things or bytes as its
        /// sentence says.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[$doc])* pub $name: $type,)*
            $($(#[$rate_doc])* pub $rate: Rate,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                    $($rate: $rate_default,)*
                }
            }
        }

        impl Limits {
            /// The rate of a class.
            #[must_use]
            pub const fn rate(&self, class: RateClass) -> Rate {
                match class { $(RateClass::$class => self.$rate,)* }
            }

            /// The rate of a class, to change it.
            pub const fn rate_mut(&mut self, class: RateClass) -> &mut Rate {
                match class { $(RateClass::$class => &mut self.$rate,)* }
            }
        }

        /// What is counted against a rate of [`Limits`]. Each class is counted in a table of its own,
        /// so that nobody makes a core forget another one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum RateClass {
            $($(#[$rate_doc])* $class,)*
        }

        impl RateClass {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$class),*];

            /// The name of its limit, which an answer over it gives.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$class => stringify!($rate),)* }
            }
        }
    };
}

limits! {
    // Connections and streams.
    /// Connections that a core serves; one more is closed with OVERLOADED.
    connections: usize = 16_384,
    /// Connections with a session that an account may have; for one more the longest silent one of
    /// them is closed with OVERLOADED.
    account_connections: usize = 64,
    /// Connections without a session that an address may have (IPv6: a /56, and sixteen times as
    /// many a /40); for one more the longest silent one of them is closed with OVERLOADED.
    anonymous_connections: usize = 64,
    /// Request streams a connection may have open; one more is reset with OVERLOADED.
    streams: usize = STREAMS as usize,
    /// The same, of a connection without a session.
    anonymous_streams: usize = ANONYMOUS_STREAMS as usize,
    /// Bytes of requests that a connection may have buffered or running; what does not fit is
    /// answered Unavailable.
    connection_buffer: usize = 8 * MIB,
    /// Bytes of requests that all connections with a session together may have buffered or running.
    /// This and the pools below are shared (protocol.md §5.27): what does not fit an account's part is
    /// answered Unavailable, and where the pool is full the youngest request that is not whole is.
    total_buffer: usize = 256 * MIB,
    /// The same for requests of at most 4 KiB.
    small_buffer: usize = 32 * MIB,
    /// Bytes of requests that all connections without a session together may have buffered or running,
    /// shared by address.
    anonymous_buffer: usize = 32 * MIB,
    /// The same for requests of at most 4 KiB.
    anonymous_small_buffer: usize = 8 * MIB,
    /// The longest payload of anyone without a session, and the most bytes of all requests that such
    /// a connection may have buffered or running.
    anonymous_payload: usize = 64 * KIB,
    /// Bytes of answers and pushes that the transport has not yet taken, above which a connection
    /// gets no credit and pushes carry no data.
    connection_unsent: usize = MIB,
    /// Bytes of long answers (a Fetch fills a frame) that run or wait to be taken, and of pushes that
    /// carry data, of all connections with a session. Shared by account: a request that finds no room
    /// waits for its turn, at most [`Limits::request_time`], and is then answered Unavailable; a push
    /// carries no data beyond half of an account's part.
    total_unsent: usize = 512 * MIB,
    /// The longest payload of an answer, in bytes: what a Fetch fills. A message and what goes with it
    /// must fit; [`Limits::total_unsent`] is never less.
    answer: usize = MAX_PAYLOAD,
    /// Requests with long answers that a connection may have running; one more waits for its turn.
    long_answers: usize = 4,
    /// Queued outputs above which no credit is given.
    outputs: usize = 65_536,
    /// Time for a request to arrive before its stream is reset with TIMEOUT: this much, and a second more
    /// for each [`Limits::slowest`] bytes received.
    arrival_time: Duration = Duration::from_secs(10),
    /// Time for a peer to take its answers and pushes before the connection is closed with TIMEOUT: this
    /// much, and a second more for each [`Limits::slowest`] bytes taken.
    unsent_time: Duration = Duration::from_secs(30),
    /// Bytes a second that the slowest tolerated peer sends and takes.
    slowest: usize = 8 * KIB,
    /// How long a request may take to run before it is answered DeadlineExceeded, and wait for its
    /// turn before it is answered Unavailable.
    request_time: Duration = Duration::from_secs(30),
    /// How long a registration or login request may take to run, and how long a connection without a
    /// session may be silent before it is closed with TIMEOUT.
    login_time: Duration = Duration::from_secs(10),
    /// How long a shutdown waits for what runs.
    shutdown_time: Duration = Duration::from_secs(30),
    /// How often a request runs again after a storage conflict before it is answered Unavailable.
    conflicts: u32 = 8,
    /// Rows that a core remembers between requests.
    cached_rows: usize = 65_536,
    /// Bytes of the rows that a core remembers between requests.
    cached_bytes: usize = 64 * MIB,
    /// Counters in each of the four rows of a table that counts a class of rates. With few of them
    /// strangers share a counter sooner, and the rates become stricter.
    rate_counters: usize = 32_768,

    // Accounts and sessions.
    /// How long the state of a login lives between its two requests.
    login_state: Duration = Duration::from_secs(30),
    /// How long a session token is valid after its last use.
    session: Duration = Duration::from_secs(30 * DAY),
    /// How long a connection's session is believed before storage is asked again: the news of its
    /// end may be lost between cores.
    session_check: Duration = Duration::from_secs(60),
    /// How long after a login a method that wants a fresh one is served.
    fresh_login: Duration = Duration::from_secs(300),
    /// Sessions an account may have; a further login ends the one used longest ago.
    sessions: usize = 32,
    /// How far a signed time may be from the server's.
    signed_time: Duration = Duration::from_secs(300),
    /// Answers that could tell something by their time leave at multiples of this.
    pace: Duration = Duration::from_millis(5),
    /// Registered devices of an account.
    devices: usize = 5,
    /// The longest sealed identity, in bytes.
    sealed_identity: usize = 256,

    // Delivery.
    /// The longest payload, commit or welcome, in bytes.
    payload: usize = 3 * MIB,
    /// The longest welcome that goes through a queue, in bytes.
    welcome: usize = 256 * KIB,
    /// The longest envelope that a push carries, in bytes.
    pushed_envelope: usize = 16 * KIB,
    /// Messages in a queue.
    queue_messages: usize = 1000,
    /// Bytes of messages in a queue.
    queue_bytes: usize = 64 * MIB,
    /// One sender may fill one part in this many of a queue.
    queue_sender_share: usize = 4,
    /// How long a message lives when the request does not say.
    ttl_default: Duration = Duration::from_secs(30 * DAY),
    /// The longest a message may live; commits and welcomes always live so long.
    ttl_max: Duration = Duration::from_secs(90 * DAY),
    /// Bytes that an account may have stored for others in a day: each payload once, and
    /// [`Self::stored_queue`] for each queue that it goes into. They come back with time, whatever is
    /// taken out of the queues.
    stored_a_day: usize = 1024 * MIB,
    /// Bytes counted for each queue that a payload goes into.
    stored_queue: usize = 256,
    /// Bytes of that day's that a core takes at once, to give them out without asking storage.
    stored_block: usize = MIB,
    /// Accounts whose blocks a core remembers.
    stored_accounts: usize = 65_536,
    /// Devices without a connection for which a core remembers that it has told its embedder of waiting
    /// messages; for a device beyond that, or a forgotten one, it tells again.
    away_devices: usize = 16_384,
    /// Delay before clean-up that a request has left behind.
    upkeep: Duration = Duration::from_secs(600),
    /// Minimum time for which a message id is remembered.
    message_id: Duration = Duration::from_secs(DAY),
    /// Recipients of a request.
    recipients: usize = 1000,
    /// The longest a FetchWait waits.
    fetch_wait: Duration = Duration::from_secs(30),

    // Groups.
    /// Members of a channel.
    members: usize = 1000,
    /// Devices of all members of a channel.
    channel_devices: usize = 1000,
    /// Members that a commit adds.
    commit_adds: usize = 100,
    /// Memberships that one account may give another in a day.
    memberships_a_day: usize = 5,
    /// Memberships that one account has given another and that are still open: the member has neither
    /// sent nor committed anything there, and has not left.
    memberships_open: usize = 20,
    /// Open memberships of an account; with one more, the account that has given most of them loses its
    /// oldest.
    memberships: usize = 200,
    /// The longest GroupInfo, in bytes.
    group_info: usize = 3 * MIB,
    /// The longest sealed metadata of a group, in bytes.
    group_metadata: usize = 16 * KIB,
    /// How often a member that a commit took off the list of a channel may put itself back.
    returns: Rate = Rate::per_secs(1, 3600),
    /// How long slot 0 must have been free before the peer is told that the channel is new.
    slot_zero: Duration = Duration::from_secs(30),
    /// How often a member may reset a channel.
    reset: Rate = Rate::per_secs(1, 3600),
    /// Resets of a DM that somebody has left since the last one: they are free of that.
    free_resets: Rate = Rate::per_secs(5, DAY),

    // Keys.
    /// Key packages a device may have stored, without the last-resort one.
    key_packages: usize = 100,
    /// The longest key package, in bytes.
    key_package: usize = 16 * KIB,
    /// How long a key package that was uploaded is known, so that a retry of the upload does not put
    /// back what was taken; not longer than its lifetime.
    key_package_seen: Duration = Duration::from_secs(30 * DAY),

    ;

    // Rates.
    /// Requests of an address without a session. IPv6: of a /56.
    AddressRequests: address_requests = Rate::per_secs(50, 1),
    /// Requests of an account.
    AccountRequests: account_requests = Rate::per_secs(50, 1),
    /// Enqueues of an account.
    Enqueues: enqueues = Rate::per_secs(100, 60),
    /// Recipients that an account reaches, with messages and with commits.
    EnqueueRecipients: enqueue_recipients = Rate::per_secs(60_000, 60),
    /// Commits of a member to a channel.
    Commits: commits = Rate::per_secs(20, 60),
    /// How often a member may ask for fresh keys in a channel.
    Rotations: rotations = Rate::per_secs(6, 60),
    /// Logins of a name from an address that did not succeed.
    LoginsAddress: logins_address = Rate::per_secs(10, 60),
    /// Logins of a name that did not succeed.
    LoginsName: logins_name = Rate::per_secs(100, 3600),
    /// Logins of a device with its ticket that did not succeed.
    LoginsDevice: logins_device = Rate::per_secs(10, 3600),
    /// Registrations from an address.
    Registrations: registrations = Rate::per_secs(5, 3600),
    /// Registrations from the server's own machine.
    LoopbackRegistrations: loopback_registrations = Rate::per_secs(500, 3600),
    /// Fetches of a target's key packages by a caller.
    KeyPackageFetches: key_package_fetches = Rate::per_secs(10, 60),
    /// Targets whose key packages a caller fetches, each time counted.
    KeyPackageTargets: key_package_targets = Rate::per_secs(300, 60),
    /// Key packages that an account uploads.
    KeyPackageUploads: key_package_uploads = Rate::per_secs(1000, DAY),
    /// Names that an account resolves.
    Resolves: resolves = Rate::per_secs(60, 60),
    /// Channels that an account creates.
    NewChannels: new_channels = Rate::per_secs(100, DAY),
    /// Devices that an account registers or revokes.
    DeviceChanges: device_changes = Rate::per_secs(10, 3600),
    /// Devices that an account revokes soon after a login ([`Limits::fresh_login`]).
    FreshRevocations: fresh_revocations = Rate::per_secs(10, 3600),
}

/// What a request costs beside the bytes it carries, its short answer included, and what a queued
/// output costs: entries in tables, boxed continuations. An estimate on the safe side, in bytes.
pub const ENTRY: usize = 1024;

/// Bytes that one of [`Limits::away_devices`] takes at most.
pub(crate) const AWAY_ENTRY: usize = 256;

/// What a connection costs beside the requests on it: its streams, and refusals and hints that wait
/// to be taken. An estimate on the safe side, in bytes.
pub const CONNECTION: usize = 64 * KIB;

/// Rows of the table of a class of rates.
pub(crate) const RATE_ROWS: usize = 4;
/// What one counter of such a row costs, in bytes.
pub(crate) const RATE_COUNTER: usize = 8;

impl RateClass {
    /// Whether the rate protects passwords or registrations: each core allows only its part of it
    /// ([`ServerConfig::cores`](crate::server::ServerConfig::cores)).
    #[must_use]
    pub const fn is_divided(self) -> bool {
        matches!(
            self,
            Self::LoginsAddress
                | Self::LoginsName
                | Self::LoginsDevice
                | Self::Registrations
                | Self::LoopbackRegistrations
        )
    }
}

impl Limits {
    /// Bytes of the longest frame of an answer.
    pub(crate) const fn answer_frame(&self) -> usize {
        self.answer.saturating_add(ResponseHeader::LEN)
    }

    /// What [`crate::io::Core::footprint`] of a server never exceeds while its output is drained, in
    /// bytes.
    #[must_use]
    pub fn footprint(&self) -> usize {
        [
            self.total_buffer,
            self.small_buffer,
            self.anonymous_buffer,
            self.anonymous_small_buffer,
            self.total_unsent.max(self.answer_frame()),
            self.cached_bytes,
            self.rate_tables(),
            self.away_devices.saturating_mul(AWAY_ENTRY),
        ]
        .into_iter()
        .fold(
            self.connections.saturating_mul(CONNECTION),
            usize::saturating_add,
        )
    }

    /// Bytes that the tables of all classes of rates take at most.
    pub(crate) fn rate_tables(&self) -> usize {
        let counters = self.rate_counters.max(1).saturating_mul(RATE_ROWS);
        counters
            .saturating_mul(RATE_COUNTER)
            .saturating_mul(RateClass::ALL.len())
    }
}
