//! The steps that handlers are made of: read, load, scan, commit, wait, each with what comes after
//! it. Handlers take them from [`super::step`].

use bytes::Bytes;
use prost::Message;

use super::rows::Row;
use super::step::{Ctx, Fault, Next, Step, Woken};
use crate::io::Lane;
use crate::storage::{Command, Commit, Expect, Failure, Reply, Scan};
use crate::time::Time;

/// Reads rows that are durable, for an answer that changes nothing.
pub(super) fn read<R, const N: usize>(
    keys: [Bytes; N],
    then: impl FnOnce(&mut Ctx<'_>, [Row; N]) -> Next<R> + Send + 'static,
) -> Next<R> {
    read_all(keys.into(), move |ctx, rows| {
        then(ctx, rows.try_into().map_err(|_| wrong_reply())?)
    })
}

/// [`read`] for a number of keys that is not known beforehand. No keys: goes on at once.
pub(super) fn read_all<R>(
    keys: Vec<Bytes>,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Row>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let count = keys.len();
    Ok(Step::store(
        Lane::Reads,
        Command::Get(keys),
        move |ctx, reply| then(ctx, values(reply, count)?),
    ))
}

/// Reads rows that this request is going to check or change: as every Commit issued so far leaves
/// them, durable or not. What the core remembers costs no storage command. Check with
/// [`unchanged`] every row that the change rests on.
pub(super) fn load<R, const N: usize>(
    ctx: &mut Ctx<'_>,
    keys: [Bytes; N],
    then: impl FnOnce(&mut Ctx<'_>, [Row; N]) -> Next<R> + Send + 'static,
) -> Next<R> {
    load_all(ctx, keys.into(), move |ctx, rows| {
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        then(ctx, rows.try_into().map_err(|_| wrong_reply())?)
    })
}

/// [`load`] of what storage has now, whatever is remembered: another core may have changed it, and
/// no check finds that out where a request is refused. For requests that are rare.
pub(super) fn load_fresh<R, const N: usize>(
    ctx: &mut Ctx<'_>,
    keys: [Bytes; N],
    then: impl FnOnce(&mut Ctx<'_>, [Row; N]) -> Next<R> + Send + 'static,
) -> Next<R> {
    for key in &keys {
        ctx.rows.forget(key);
    }
    load(ctx, keys, then)
}

/// [`load`] for a number of keys that is not known beforehand; gives each key back with its row.
pub(super) fn load_all<R>(
    ctx: &mut Ctx<'_>,
    keys: Vec<Bytes>,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Row)>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let rests_on = ctx.notes.rests_on.len();
    let mut rows: Vec<(Bytes, Row)> = keys.into_iter().map(|key| (key, None)).collect();
    let all_known = rows.iter_mut().all(|(key, row)| {
        let known = ctx.rows.get(key, &mut ctx.notes.rests_on);
        known.map(|known| *row = known).is_some()
    });
    if all_known {
        return then(ctx, rows);
    }
    // Nothing rests on them yet: they are looked up again once the others are there.
    ctx.notes.rests_on.truncate(rests_on);
    let keys = rows.iter().map(|(key, _)| key);
    let missing: Vec<Bytes> = keys.filter(|key| !ctx.rows.knows(key)).cloned().collect();
    ctx.rows.expect(&missing);
    Ok(Step::store(
        Lane::Ordered,
        Command::Get(missing.clone()),
        move |ctx, reply| {
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
            for (key, row) in &mut rows {
                *row = match ctx.rows.get(key, &mut ctx.notes.rests_on) {
                    Some(row) => row,
                    // Remembered when the keys were looked up, and forgotten since.
                    None => match missing.iter().zip(&read).find(|(other, _)| *other == key) {
                        Some((_, row)) => row.clone(),
                        None => return Ok(Step::rerun()),
                    },
                };
            }
            then(ctx, rows)
        },
    ))
}

/// Reads a range of durable rows, for an answer that changes nothing. `then` gets the rows and
/// whether there are more.
pub(super) fn scan<R>(
    range: Scan,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Bytes)>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    scan_in(Lane::Reads, range, then)
}

/// Reads a range as every Commit issued so far leaves it. A rule that rests on it also checks an
/// index row that every writer of the range changes.
pub(super) fn scan_ordered<R>(
    range: Scan,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Bytes)>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    scan_in(Lane::Ordered, range, then)
}

fn scan_in<R>(
    lane: Lane,
    range: Scan,
    then: impl FnOnce(&mut Ctx<'_>, Vec<(Bytes, Bytes)>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    Ok(Step::store(
        lane,
        Command::Scan(range),
        move |ctx, reply| match reply {
            Reply::Rows { rows, more } => then(ctx, rows, more),
            Reply::Failed(failure) => Err(failure.into()),
            _ => Err(wrong_reply()),
        },
    ))
}

/// Makes a change, then goes on once it is durable. If a check fails the request runs again; if
/// storage fails it is answered Unavailable.
pub(super) fn commit<R>(
    change: Commit,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    Ok(Step::store(
        Lane::Ordered,
        Command::Commit(change),
        move |ctx, reply| match reply {
            Reply::Committed => then(ctx),
            Reply::Conflict => Ok(Step::rerun()),
            Reply::Failed(failure) => {
                if failure == Failure::Unknown {
                    ctx.notes.all_used();
                }
                Err(failure.into())
            }
            _ => Err(wrong_reply()),
        },
    ))
}

/// Makes a change, then goes on, told whether it was made: if not, what it rests on has changed. For a
/// part of a request that is done again by itself.
pub(super) fn try_commit<R>(
    change: Commit,
    then: impl FnOnce(&mut Ctx<'_>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    Ok(Step::store(
        Lane::Ordered,
        Command::Commit(change),
        move |ctx, reply| match reply {
            Reply::Committed => then(ctx, true),
            Reply::Conflict => then(ctx, false),
            Reply::Failed(failure) => Err(failure.into()),
            _ => Err(wrong_reply()),
        },
    ))
}

/// Waits for news in the queues that the request watches, at most until `until`.
pub(super) fn wait<R>(
    until: Time,
    then: impl FnOnce(&mut Ctx<'_>, Woken) -> Next<R> + Send + 'static,
) -> Next<R> {
    Ok(Step::wait(until, then))
}

/// A refusal that rests on these rows; see [`Ctx::is_sure_of`].
pub(super) fn doubt<'a, R>(
    ctx: &mut Ctx<'_>,
    keys: impl IntoIterator<Item = &'a Bytes>,
    fault: Fault,
) -> Next<R> {
    if ctx.is_sure_of(keys) {
        Err(fault)
    } else {
        Ok(Step::rerun())
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
