//! What a handler is made of: one function from a request to a [`Step`], reading from top to bottom.
//!
//! A handler gets [`Ctx`] (what the core knows), [`Caller`] (who asks) and the decoded request, and
//! returns its first step: an answer, a storage command with what to do next, or a wait. It knows
//! no stream, no connection, no frame. Lengths, session, ownership and rates of the method table
//! are checked before it runs. When a storage check fails it runs again from its request.
//!
//! ```text
//! fn rename(ctx: &mut Ctx<'_>, caller: &Caller, request: RenameRequest) -> Next {
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

use core::net::IpAddr;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::Config;
use super::rate::{Rates, Subject};
use super::rows::{Row, Rows};
use super::services::auth::LoginSlot;
use super::startup::ServerKeys;
use crate::frame::{Header as _, ResponseHeader};
use crate::ids::{ConnId, DeviceId, IdentityKey};
use crate::io::Lane;
use crate::limits::Rate;
use crate::proto;
use crate::rng::Rng;
use crate::status::Status;
use crate::storage::keys::QueueId;
use crate::storage::{Command, Commit, Expect, Failure, Reply, Scan};
use crate::time::{Time, UnixTime};

/// What a handler or a continuation returns. A [`Fault`] is the answer and ends the request.
pub(super) type Next = Result<Step, Fault>;

/// What to do with a storage reply.
pub(super) type Then = Box<dyn FnOnce(&mut Ctx<'_>, Reply) -> Next + Send>;

/// What to do when a wait is over.
pub(super) type ThenWoken = Box<dyn FnOnce(&mut Ctx<'_>, Woken) -> Next + Send>;

/// What a request needs next.
pub(super) enum Step {
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

    /// Over a rate: ask again after so many milliseconds.
    pub(super) fn rate_limited(retry_after_ms: u32) -> Self {
        Self::new(Status::RateLimited, "too many requests: slow down").retry_after(retry_after_ms)
    }

    /// The slot is taken: by whom, and which one is free.
    pub(super) fn slot_taken(slot: u64, commit_hash: Bytes) -> Self {
        let mut fault = Self::conflict("the slot is taken");
        fault.detail.slot = slot;
        fault.detail.commit_hash = commit_hash;
        fault
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
    /// The end of something that nobody asked for.
    pub(super) fn none() -> Self {
        Self {
            frame: BytesMut::new(),
            effects: Effects::default(),
        }
    }

    /// The answer Ok with this response.
    pub(super) fn ok(response: &impl Message) -> Self {
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

impl Step {
    /// The answer Ok with this response and nothing else.
    pub(super) fn ok(response: &impl Message) -> Self {
        Self::Done(Outcome::ok(response))
    }

    /// The answer Ok with this response, and effects.
    pub(super) fn ok_with(response: &impl Message, effects: Effects) -> Self {
        Self::Done(Outcome {
            effects,
            ..Outcome::ok(response)
        })
    }
}

/// What a handler may know and use beside its request.
pub(super) struct Ctx<'a> {
    /// Now, for deadlines.
    pub(super) now: Time,
    /// Now, for dates.
    pub(super) unix: UnixTime,
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
    /// Whether it leaves something to clean up later.
    pub(super) untidy: bool,
    /// What it found of its caller's session in this step.
    pub(super) session: SessionChange,
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

    /// Counts one event of `subject` against `rate`, or refuses it with RateLimited. A request that
    /// runs again after a conflict is not counted again.
    pub(super) fn limit(&mut self, subject: Subject, rate: Rate, count: u32) -> Result<(), Fault> {
        if self.attempt > 0 {
            return Ok(());
        }
        self.rates
            .count(self.now, subject, rate, count)
            .map_err(Fault::rate_limited)
    }

    /// Whether these rows were all read since the request began. What was remembered may be what
    /// another core has changed since: no check finds that out where nothing is changed. So it is
    /// forgotten, and the request is to run again.
    pub(super) fn is_sure_of<'a>(&mut self, keys: impl IntoIterator<Item = &'a Bytes>) -> bool {
        let mut sure = true;
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

/// Reads rows that are durable, for an answer that changes nothing.
pub(super) fn read<const N: usize>(
    keys: [Bytes; N],
    then: impl FnOnce(&mut Ctx<'_>, [Row; N]) -> Next + Send + 'static,
) -> Next {
    read_all(keys.into(), move |ctx, rows| {
        then(ctx, rows.try_into().map_err(|_| wrong_reply())?)
    })
}

/// [`read`] for a number of keys that is not known beforehand. No keys: goes on at once.
pub(super) fn read_all(
    keys: Vec<Bytes>,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Row>) -> Next + Send + 'static,
) -> Next {
    let count = keys.len();
    Ok(Step::Store {
        lane: Lane::Reads,
        command: Command::Get(keys),
        then: Box::new(move |ctx, reply| then(ctx, values(reply, count)?)),
    })
}

/// Reads rows that this request is going to check or change: as every Commit issued so far leaves
/// them, durable or not. What the core remembers costs no storage command. Check with
/// [`unchanged`] every row that the change rests on.
pub(super) fn load<const N: usize>(
    ctx: &mut Ctx<'_>,
    keys: [Bytes; N],
    then: impl FnOnce(&mut Ctx<'_>, [Row; N]) -> Next + Send + 'static,
) -> Next {
    load_all(ctx, keys.into(), move |ctx, rows| {
        then(ctx, rows.try_into().map_err(|_| wrong_reply())?)
    })
}

/// [`load`] of what storage has now, whatever is remembered: another core may have changed it, and
/// no check finds that out where a request is refused. For requests that are rare.
pub(super) fn load_fresh<const N: usize>(
    ctx: &mut Ctx<'_>,
    keys: [Bytes; N],
    then: impl FnOnce(&mut Ctx<'_>, [Row; N]) -> Next + Send + 'static,
) -> Next {
    for key in &keys {
        ctx.rows.forget(key);
    }
    load(ctx, keys, then)
}

/// [`load`] for a number of keys that is not known beforehand.
pub(super) fn load_all(
    ctx: &mut Ctx<'_>,
    keys: Vec<Bytes>,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Row>) -> Next + Send + 'static,
) -> Next {
    let missing: Vec<Bytes> = keys
        .iter()
        .filter(|key| !ctx.rows.knows(key))
        .cloned()
        .collect();
    if missing.is_empty() {
        let rows = keys
            .iter()
            .map(|key| {
                ctx.rows
                    .get(key, &mut ctx.notes.rests_on)
                    .unwrap_or_default()
            })
            .collect();
        return then(ctx, rows);
    }
    ctx.rows.expect(&missing);
    Ok(Step::Store {
        lane: Lane::Ordered,
        command: Command::Get(missing.clone()),
        then: Box::new(move |ctx, reply| {
            let read = match values(reply, missing.len()) {
                Ok(read) => read,
                Err(fault) => {
                    for key in &missing {
                        ctx.rows.abandon(key);
                    }
                    return Err(fault);
                }
            };
            for (key, row) in missing.iter().zip(&read) {
                ctx.rows.fill(key, row);
            }
            let mut rows = Vec::with_capacity(keys.len());
            for key in &keys {
                let row = match ctx.rows.get(key, &mut ctx.notes.rests_on) {
                    Some(row) => row,
                    // Remembered when the keys were looked up, and forgotten since.
                    None => match missing.iter().zip(&read).find(|(other, _)| *other == key) {
                        Some((_, row)) => row.clone(),
                        None => return Ok(Step::Rerun),
                    },
                };
                rows.push(row);
            }
            then(ctx, rows)
        }),
    })
}

/// Reads a range of durable rows, for an answer that changes nothing. `then` gets the rows and
/// whether there are more.
pub(super) fn scan(
    range: Scan,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Bytes)>, bool) -> Next + Send + 'static,
) -> Next {
    scan_in(Lane::Reads, range, then)
}

/// Reads a range as every Commit issued so far leaves it. A rule that rests on it also checks an
/// index row that every writer of the range changes.
pub(super) fn scan_ordered(
    range: Scan,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Bytes)>, bool) -> Next + Send + 'static,
) -> Next {
    scan_in(Lane::Ordered, range, then)
}

fn scan_in(
    lane: Lane,
    range: Scan,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Bytes)>, bool) -> Next + Send + 'static,
) -> Next {
    Ok(Step::Store {
        lane,
        command: Command::Scan(range),
        then: Box::new(move |ctx, reply| match reply {
            Reply::Rows { rows, more } => then(ctx, rows, more),
            Reply::Failed(failure) => Err(failure.into()),
            _ => Err(wrong_reply()),
        }),
    })
}

/// Makes a change, then goes on once it is durable. If a check fails the request runs again; if
/// storage fails it is answered Unavailable.
pub(super) fn commit(
    change: Commit,
    then: impl FnOnce(&mut Ctx<'_>) -> Next + Send + 'static,
) -> Next {
    Ok(Step::Store {
        lane: Lane::Ordered,
        command: Command::Commit(change),
        then: Box::new(move |ctx, reply| match reply {
            Reply::Committed => then(ctx),
            Reply::Conflict => Ok(Step::Rerun),
            Reply::Failed(failure) => Err(failure.into()),
            _ => Err(wrong_reply()),
        }),
    })
}

/// Waits for news in the queues that the request watches, at most until `until`.
pub(super) fn wait(
    until: Time,
    then: impl FnOnce(&mut Ctx<'_>, Woken) -> Next + Send + 'static,
) -> Next {
    Ok(Step::Wait {
        until,
        then: Box::new(then),
    })
}

/// A refusal that rests on these rows; see [`Ctx::is_sure_of`].
pub(super) fn doubt<'a>(
    ctx: &mut Ctx<'_>,
    keys: impl IntoIterator<Item = &'a Bytes>,
    fault: Fault,
) -> Next {
    if ctx.is_sure_of(keys) {
        Err(fault)
    } else {
        Ok(Step::Rerun)
    }
}

/// The check that a row still is what was read.
pub(super) fn unchanged(key: &Bytes, row: &Row) -> (Bytes, Expect) {
    let expect = row.clone().map_or(Expect::Absent, Expect::Equals);
    (key.clone(), expect)
}

/// Reads a stored message; a row that cannot be read is the server's fault.
pub(super) fn decode_row<M: Message + Default>(row: &Row) -> Result<Option<M>, Fault> {
    row.clone()
        .map(M::decode)
        .transpose()
        .map_err(|_| Fault::internal("a stored row cannot be read"))
}

/// Writes a message to be stored.
pub(super) fn encode_row(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn values(reply: Reply, count: usize) -> Result<Vec<Row>, Fault> {
    match reply {
        Reply::Values(rows) if rows.len() == count => Ok(rows),
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(wrong_reply()),
    }
}

fn wrong_reply() -> Fault {
    Fault::internal("storage answered something else than was asked")
}
