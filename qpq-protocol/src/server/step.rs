//! What a handler is made of: one function from a request to a [`Step`], reading from top to bottom.
//!
//! A handler gets [`Ctx`] (what the core knows), [`Caller`] (who asks) and the decoded request, and
//! returns its first step: an answer, a storage command with what to do next, or a wait. It knows
//! no stream, no connection, no frame. Lengths, session, ownership and rates of the method table
//! are checked before it runs. When a storage check fails it runs again from its request.
//!
//! ```text
//! fn rename(ctx: &mut Ctx<'_>, caller: &Caller, request: RenameRequest) -> Next<RenameResponse> {
//!     let key = keys::account(caller.identity()?);
//!     load(ctx, [key.clone()], move |_, [row]| {
//!         let mut account: Account = decode_row(&row)?.ok_or_else(|| Fault::not_found("no such account"))?;
//!         account.name = request.name;
//!         let change = Commit {
//!             checks: vec![unchanged(&key, &row)],
//!             puts: vec![(key, encode_row(&account))],
//!             ..Commit::default()
//!         };
//!         commit(change, |_| Ok(Step::ok(&RenameResponse {})))
//!     })
//! }
//! ```

use core::marker::PhantomData;
use core::net::IpAddr;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::allowances::Allowances;
use super::config::Config;
use super::login_slot::LoginSlot;
use super::rate::Rates;
use super::rows::Rows;
use super::server_keys::ServerKeys;
use super::shares::Holder;
use crate::defect::seeded;
use crate::frame::{Header as _, ResponseHeader};
use crate::ids::{ConnId, DeviceId, IdentityKey};
use crate::io::Lane;
use crate::limits::{Rate, RateClass};
use crate::proto;
use crate::rng::Rng;
use crate::site::site;
use crate::status::Status;
use crate::storage::keys::QueueId;
use crate::storage::{Command, Failure, Reply};
use crate::time::{Time, UnixTime};

pub(super) use super::ask::{
    commit, decode_row, doubt, encode_row, load, load_all, load_fresh, read, read_all, scan,
    scan_ordered, try_commit, unchanged, wait,
};

/// What a handler or a continuation returns on its way to the response `R`. A [`Fault`] is the answer and ends the
/// request.
pub(super) type Next<R = ()> = Result<Step<R>, Fault>;

/// What to do with a storage reply.
pub(super) type Then = Box<dyn FnOnce(&mut Ctx<'_>, Reply) -> Next + Send>;

/// What to do when a wait is over.
pub(super) type ThenWoken = Box<dyn FnOnce(&mut Ctx<'_>, Woken) -> Next + Send>;

/// What a request needs next on its way to the response `R`: another method's is none of its answers. The
/// machinery, to which all responses are the same, knows it as `Step<()>`.
pub(super) struct Step<R = ()> {
    /// What is to be done.
    pub(super) todo: Todo,
    response: PhantomData<fn() -> R>,
}

/// What is to be done for a request.
pub(super) enum Todo {
    /// Nothing: this is the answer.
    Done(Outcome),
    /// A storage command.
    Store {
        /// Which commands it keeps its order with.
        lane: Lane,
        /// The command.
        command: Command,
        /// What to do with the reply.
        then: Then,
    },
    /// News in a queue that the request watches ([`Ctx::watch`]), or a point in time.
    Wait {
        /// When to stop waiting.
        until: Time,
        /// What to do then.
        then: ThenWoken,
    },
    /// To run again from its request: what it read has changed.
    Rerun,
}

/// Why a wait is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// There may be something new in the queue.
    News,
    /// The time has come, or the server shuts down.
    Deadline,
}

/// An Ok answer and what leaves with it.
pub(super) struct Outcome {
    /// The frame, its header still blank.
    pub(super) frame: BytesMut,
    /// What else follows, once the answer may leave.
    pub(super) effects: Effects,
}

/// What follows from a request beside its answer. It leaves with the answer, after everything it
/// rests on is durable.
#[derive(Default)]
pub(super) struct Effects {
    /// News in queues: pushed to subscribers, ends waits, told to other cores.
    pub(super) notify: Vec<(QueueId, proto::NewMessagePush)>,
    /// A push to every connection of an account, here and on other cores; at most 1 KiB.
    pub(super) live: Vec<(IdentityKey, proto::PushEvent)>,
    /// Sessions that ended: their connections are closed, here and on other cores.
    pub(super) ended: Vec<Ended>,
    /// What becomes of the caller's own session.
    pub(super) session: SessionChange,
}

/// Sessions that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// All of an account.
    Account(IdentityKey),
    /// All of a device.
    Device(IdentityKey, DeviceId),
    /// One, by the SHA-256 of its token.
    Session(IdentityKey, [u8; 32]),
}

/// What becomes of the session of the caller's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum SessionChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// The connection has this session from now on.
    Bind(Session),
    /// The connection has none any more.
    End,
}

/// Who uses a connection, since login or resume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    /// The account.
    pub(super) identity_key: IdentityKey,
    /// The device.
    pub(super) device_id: DeviceId,
    /// SHA-256 of the session's token: its key in storage.
    pub(super) token_hash: [u8; 32],
    /// Whether the device is registered; if not, few methods are open to it (protocol.md §5.18).
    pub(super) registered: bool,
    /// When the password was last shown.
    pub(super) login_at: UnixTime,
    /// When storage last said that it is not over.
    pub(super) checked_at: Time,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The connection.
    pub(super) conn: ConnId,
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// Its session.
    pub(super) session: Option<Session>,
}

impl Caller {
    /// The session, or the fault Unauthorized.
    pub(super) fn session(&self) -> Result<Session, Fault> {
        self.session.ok_or_else(Fault::no_session)
    }

    /// Whose share counts what the request holds.
    pub(super) fn holder(&self) -> Holder {
        match self.session {
            Some(session) => Holder::Account(session.identity_key),
            None => Holder::Address(site(self.address)),
        }
    }

    /// The account, or the fault Unauthorized.
    pub(super) fn identity(&self) -> Result<IdentityKey, Fault> {
        Ok(self.session()?.identity_key)
    }
}

/// A refusal: status and [`proto::ErrorDetail`]. The message is for people and never holds secrets
/// or another user's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// Never [`Status::Ok`].
    pub(super) status: Status,
    /// What is sent with it.
    pub(super) detail: proto::ErrorDetail,
}

/// Declares one constructor a status.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $status:ident,)*) => {
        impl Fault {
            $(
                $(#[$doc])*
                pub(super) fn $name(message: impl Into<String>) -> Self {
                    Self::new(Status::$status, message)
                }
            )*
        }
    };
}

faults! {
    /// The request breaks a rule.
    bad_request BadRequest,
    /// It needs a session.
    unauthorized Unauthorized,
    /// The caller may not.
    forbidden Forbidden,
    /// What it names does not exist.
    not_found NotFound,
    /// Taken or stale.
    conflict Conflict,
    /// A quota is used up.
    quota QuotaExceeded,
    /// It took too long.
    deadline DeadlineExceeded,
    /// Not now.
    unavailable Unavailable,
    /// The server failed.
    internal Internal,
}

impl Fault {
    /// A refusal with this status.
    pub(super) fn new(status: Status, message: impl Into<String>) -> Self {
        let detail = proto::ErrorDetail {
            message: message.into(),
            ..proto::ErrorDetail::default()
        };
        Self { status, detail }
    }

    /// The caller has no session.
    pub(super) fn no_session() -> Self {
        Self::unauthorized("this method needs a session: log in first")
    }

    /// Over the limit of this name, until something goes.
    pub(super) fn full(name: &str, message: &str) -> Self {
        Self::quota(format!("the limit `{name}` is reached: {message}"))
    }

    /// Over the limit of this name: ask again after so many milliseconds.
    pub(super) fn rate_limited(name: &str, retry_after_ms: u32) -> Self {
        let seconds = retry_after_ms.div_ceil(1000);
        let message = format!("the limit `{name}` is reached: ask again in {seconds} s");
        Self::new(Status::RateLimited, message).retry_after(retry_after_ms)
    }

    /// The slot is taken: by whom, and which one is free.
    pub(super) fn slot_taken(slot: u64, commit_hash: Bytes) -> Self {
        let mut fault = Self::conflict("the slot is taken");
        fault.detail.slot = slot;
        fault.detail.commit_hash = commit_hash;
        fault
    }

    /// The slot is later than the one that the channel is at.
    pub(super) fn slot_ahead(slot: u64) -> Self {
        let mut fault = Self::bad_request("channel_slot is ahead of the channel");
        fault.detail.slot = slot;
        fault
    }

    /// Names whom it is about: at most so many that the answer stays a short one.
    pub(super) fn about<'a>(mut self, members: impl IntoIterator<Item = &'a IdentityKey>) -> Self {
        const NAMED: usize = 16;
        let members = members.into_iter().take(NAMED);
        let members = members.map(|member| Bytes::copy_from_slice(member.as_bytes()));
        self.detail.member_keys = members.collect();
        self
    }

    /// Adds how long not to ask again, in milliseconds.
    pub(super) fn retry_after(mut self, retry_after_ms: u32) -> Self {
        self.detail.retry_after_ms = retry_after_ms;
        self
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::unavailable("the server's storage is full"),
            Failure::Unavailable => Self::unavailable("the server's storage cannot be used now"),
            Failure::Unknown => {
                Self::unavailable("it is not known whether this was stored: ask again")
            }
        }
        .retry_after(1000)
    }
}

impl Outcome {
    /// No answer.
    fn none() -> Self {
        Self {
            frame: BytesMut::new(),
            effects: Effects::default(),
        }
    }

    /// The answer Ok with this response.
    fn ok(response: &impl Message) -> Self {
        let len = response.encoded_len();
        let mut frame = BytesMut::with_capacity(ResponseHeader::LEN + len);
        frame.resize(ResponseHeader::LEN, 0);
        response.encode_raw(&mut frame);
        Self {
            frame,
            effects: Effects::default(),
        }
    }
}

impl<R> Step<R> {
    const fn new(todo: Todo) -> Self {
        Self {
            todo,
            response: PhantomData,
        }
    }

    /// A storage command, and what to do with the reply.
    pub(super) fn store(
        lane: Lane,
        command: Command,
        then: impl FnOnce(&mut Ctx<'_>, Reply) -> Next<R> + Send + 'static,
    ) -> Self {
        Self::new(Todo::Store {
            lane,
            command,
            then: Box::new(move |ctx, reply| then(ctx, reply).map(Step::erased)),
        })
    }

    /// A wait, and what to do when it is over.
    pub(super) fn wait(
        until: Time,
        then: impl FnOnce(&mut Ctx<'_>, Woken) -> Next<R> + Send + 'static,
    ) -> Self {
        Self::new(Todo::Wait {
            until,
            then: Box::new(move |ctx, woken| then(ctx, woken).map(Step::erased)),
        })
    }

    /// The request is to run again.
    pub(super) const fn rerun() -> Self {
        Self::new(Todo::Rerun)
    }

    /// The same for the machinery, whatever is answered.
    pub(super) fn erased(self) -> Step {
        Step::new(self.todo)
    }
}

impl<R: Message> Step<R> {
    /// The answer Ok with this response and nothing else.
    pub(super) fn ok(response: &R) -> Self {
        Self::ok_with(response, Effects::default())
    }

    /// The answer Ok with this response, and effects.
    pub(super) fn ok_with(response: &R, effects: Effects) -> Self {
        Self::new(Todo::Done(Outcome {
            effects,
            ..Outcome::ok(response)
        }))
    }
}

impl Step {
    /// The end of something that nobody asked for.
    pub(super) fn none() -> Self {
        Self::new(Todo::Done(Outcome::none()))
    }
}

/// What a handler may know and use beside its request.
pub(super) struct Ctx<'a> {
    /// Now, for deadlines.
    pub(super) now: Time,
    /// What the clock says now, for what is shown, signed and compared with what others sign.
    pub(super) unix: UnixTime,
    /// The date by which things end ([`super::calendar`]): never that of one wrong clock.
    pub(super) date: UnixTime,
    /// The date from which what begins now lasts.
    pub(super) lasting: UnixTime,
    /// When the core was made.
    pub(super) started: Time,
    /// The configuration, limits included.
    pub(super) config: &'a Config,
    /// The server's keys.
    pub(super) keys: &'a ServerKeys,
    /// Whether the server shuts down.
    pub(super) draining: bool,
    /// The state between the two requests of a login, one a connection.
    pub(super) login: &'a mut Option<LoginSlot>,
    /// How often this request ran before: from 1 on a check has failed, so look closer.
    pub(super) attempt: u32,
    pub(super) rng: &'a mut Rng,
    pub(super) rows: &'a mut Rows,
    pub(super) rates: &'a mut Rates,
    pub(super) allowances: &'a mut Allowances,
    pub(super) notes: &'a mut Notes,
}

/// What the machinery notes about a request while its handler runs.
#[derive(Default)]
pub(super) struct Notes {
    /// Its own generator, once it has drawn.
    pub(super) rng: Option<Box<Rng>>,
    /// Commits not yet durable whose values it has read in this step.
    pub(super) rests_on: Vec<u64>,
    /// Queues it has begun to watch in this step.
    pub(super) watches: Vec<QueueId>,
    /// Rows that it has forgotten in order to read them again.
    pub(super) doubted: BTreeSet<Bytes>,
    /// What it was counted for after it had read.
    pub(super) counted: BTreeSet<RateClass>,
    /// Bytes that it has paid for and not yet used ([`super::allowance`]).
    pub(super) paid: u64,
    /// Of what a core does by itself: how many pages of a family of rows it goes over.
    pub(super) pages: u32,
    /// Whether it leaves something to clean up later.
    pub(super) untidy: bool,
    /// What it found of its caller's session in this step.
    pub(super) session: SessionChange,
    /// News of what is not stored yet.
    #[cfg(qpq_defects)]
    pub(super) early: Vec<(QueueId, proto::NewMessagePush)>,
}

impl Notes {
    /// All that was paid has been used, or may have been.
    pub(super) const fn all_used(&mut self) {
        self.paid = 0;
    }
}

impl Ctx<'_> {
    /// Fresh randomness for one operation. A request draws from a generator of its own, so that one
    /// more draw shifts nothing in others.
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let core = &mut *self.rng;
        self.notes
            .rng
            .get_or_insert_with(|| Box::new(core.child()))
            .seed()
    }

    /// Counts `count` events of a class for the subject that `parts` name together, or refuses them
    /// with RateLimited. A request that runs again after a conflict is not counted again.
    pub(super) fn limit(
        &mut self,
        class: RateClass,
        parts: &[&[u8]],
        count: u32,
    ) -> Result<(), Fault> {
        if self.attempt > 0 {
            return Ok(());
        }
        self.count(class, parts, count)
    }

    /// Takes back one event that [`Ctx::limit`] has counted `at` this time.
    pub(super) fn take_back(&mut self, class: RateClass, parts: &[&[u8]], at: Time) {
        let rate = self.rate(class);
        self.rates.take_back(self.now, class, rate, parts, at);
    }

    /// The rate of a class, or this core's part of it.
    fn rate(&self, class: RateClass) -> Rate {
        let rate = self.config.limits.rate(class);
        match class.is_divided() {
            true => Rate {
                count: rate.count.div_ceil(self.config.cores.max(1)),
                ..rate
            },
            false => rate,
        }
    }

    /// [`Self::limit`] for what a request comes to only after it has read: it may have run before,
    /// without coming so far.
    pub(super) fn limit_once(
        &mut self,
        class: RateClass,
        parts: &[&[u8]],
        count: u32,
    ) -> Result<(), Fault> {
        if self.notes.counted.contains(&class) {
            return Ok(());
        }
        self.count(class, parts, count)?;
        self.notes.counted.insert(class);
        Ok(())
    }

    fn count(&mut self, class: RateClass, parts: &[&[u8]], count: u32) -> Result<(), Fault> {
        let rate = self.rate(class);
        self.rates
            .count(self.now, class, rate, parts, count)
            .map_err(|wait| Fault::rate_limited(class.name(), wait))
    }

    /// Whether these rows were all read since the request began. What was remembered may be what
    /// another core has changed since: no check finds that out where nothing is changed. So it is
    /// forgotten, and the request is to run again.
    pub(super) fn is_sure_of<'a>(&mut self, keys: impl IntoIterator<Item = &'a Bytes>) -> bool {
        let mut sure = true;
        if seeded!(self.config, MemoryBelieved) {
            return sure;
        }
        for key in keys {
            if self.notes.doubted.insert(key.clone()) {
                self.rows.forget(key);
                sure = false;
            }
        }
        sure
    }

    /// Says that there will be something to clean up.
    pub(super) fn leave_untidy(&mut self) {
        self.notes.untidy = true;
    }

    /// From here on the request hears of news in this queue: a [`wait`] ends at once if there were
    /// any since. Call it before reading the queue, so that nothing falls between.
    pub(super) fn watch(&mut self, queue: QueueId) {
        self.notes.watches.push(queue);
    }
}
