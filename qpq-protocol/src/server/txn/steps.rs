//! The steps that handlers are made of: read, load, scan, commit, wait, each with what comes after it.

use super::change::Change;
use super::rows::Row;
use super::seen::{Found, Keys};
use crate::io::Lane;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step, Woken};
use crate::storage::keys::Range;
use crate::storage::records::Record;
use crate::storage::{Command, Direction, Failure, Reply, Scan};
use crate::time::Time;

/// Reads rows that are durable, for an answer that changes nothing. If one is another than the request rests on, it
/// runs again.
pub(in crate::server) fn read<R, K: Keys>(
    keys: K,
    then: impl FnOnce(&mut Ctx<'_>, K::Seen) -> Next<R> + Send + 'static,
) -> Next<R> {
    let mut wanted = Vec::new();
    keys.each(&mut |key| wanted.push(key.clone()));
    let count = wanted.len();
    Ok(Step::store(
        Lane::Reads,
        Command::Get(wanted),
        move |ctx, reply| {
            let rows = values(reply, count)?;
            let (mut read, mut is_same) = (rows.iter(), true);
            keys.each(&mut |key| {
                let row = read.next().unwrap_or(&None);
                is_same &= ctx.notes.reads.confirm(key, row);
            });
            match is_same {
                true => then(ctx, keys.seen(&mut rows.into_iter())?),
                false => Ok(Step::rerun()),
            }
        },
    ))
}

/// Reads rows that this request rests on: as every Commit issued so far leaves them, durable or not. What the core
/// remembers costs no storage command.
pub(in crate::server) fn load<R, K: Keys>(
    ctx: &mut Ctx<'_>,
    keys: K,
    then: impl FnOnce(&mut Ctx<'_>, K::Seen) -> Next<R> + Send + 'static,
) -> Next<R> {
    let (rests_on, noted) = (ctx.notes.rests_on.len(), ctx.notes.reads.len());
    let mut missing = Vec::new();
    keys.each(
        &mut |key| match ctx.rows.get(key, &mut ctx.notes.rests_on) {
            Some(row) => ctx.notes.reads.remembered(key.clone(), row),
            None => missing.push(key.clone()),
        },
    );
    if missing.is_empty() {
        return with_noted(ctx, keys, noted, then);
    }
    // Nothing rests on the others yet: they are looked up again once these are there.
    ctx.notes.rests_on.truncate(rests_on);
    ctx.notes.reads.back_to(noted);
    ctx.rows.expect(&missing);
    Ok(Step::store(
        Lane::Ordered,
        Command::Get(missing.clone()),
        move |ctx, reply| {
            let read = match values(reply, missing.len()) {
                Ok(read) => read,
                Err(fault) => {
                    for key in &missing {
                        ctx.rows.unexpect(key);
                    }
                    return Err(fault);
                }
            };
            for (key, row) in missing.iter().zip(&read) {
                ctx.rows.fill(key, row);
            }
            let mut found = missing.iter().zip(read).peekable();
            let mut is_whole = true;
            keys.each(&mut |key| {
                let stored = found.next_if(|(missing, _)| *missing == key);
                let known = ctx.rows.get(key, &mut ctx.notes.rests_on);
                let reads = &mut ctx.notes.reads;
                match (known, stored) {
                    (Some(row), Some(_)) => reads.stored(key.clone(), row),
                    (Some(row), None) => reads.remembered(key.clone(), row),
                    (None, Some((_, row))) => reads.stored(key.clone(), row),
                    // Remembered when the keys were looked up, and forgotten since.
                    (None, None) => is_whole = false,
                }
            });
            match is_whole {
                true => with_noted(ctx, keys, noted, then),
                false => Ok(Step::rerun()),
            }
        },
    ))
}

/// Goes on with the rows that were noted last.
fn with_noted<R, K: Keys>(
    ctx: &mut Ctx<'_>,
    keys: K,
    noted: usize,
    then: impl FnOnce(&mut Ctx<'_>, K::Seen) -> Next<R>,
) -> Next<R> {
    let seen = keys.seen(&mut ctx.notes.reads.since(noted).cloned())?;
    then(ctx, seen)
}

/// [`load`] of what storage has now, whatever is remembered. For requests that are rare, which so run once, and for
/// those that can't run again.
pub(in crate::server) fn load_fresh<R, K: Keys>(
    ctx: &mut Ctx<'_>,
    keys: K,
    then: impl FnOnce(&mut Ctx<'_>, K::Seen) -> Next<R> + Send + 'static,
) -> Next<R> {
    keys.each(&mut |key| ctx.rows.forget(key));
    load(ctx, keys, then)
}

/// How much of a range is read at once.
#[derive(Clone, Copy)]
pub(in crate::server) struct Page {
    /// Rows.
    pub(in crate::server) items: usize,
    /// Bytes of keys and values.
    pub(in crate::server) bytes: usize,
}

/// So many rows, however long.
impl From<usize> for Page {
    fn from(items: usize) -> Self {
        let bytes = usize::MAX;
        Self { items, bytes }
    }
}

/// Reads the first page of a range, as it is durable, for an answer that changes nothing. `then` gets the rows and
/// whether there are more.
pub(in crate::server) fn scan<R, T: Record>(
    range: Range<T>,
    page: Page,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Found<T>>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    scan_in(Lane::Reads, range, page, then)
}

/// Reads the first page of a range as every Commit issued so far leaves it. A rule that rests on it also rests on an
/// index row that every writer of the range changes.
pub(in crate::server) fn scan_ordered<R, T: Record>(
    range: Range<T>,
    page: Page,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Found<T>>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    scan_in(Lane::Ordered, range, page, then)
}

fn scan_in<R, T: Record>(
    lane: Lane,
    range: Range<T>,
    page: Page,
    then: impl FnOnce(&mut Ctx<'_>, Vec<Found<T>>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    let command = Command::Scan(Scan {
        start: range.start.clone(),
        end: range.end.clone(),
        direction: Direction::Forward,
        items: page.items,
        bytes: page.bytes,
    });
    Ok(Step::store(lane, command, move |ctx, reply| match reply {
        Reply::Rows { rows, more } => {
            let rows = rows.into_iter().map(|row| Found::new(&range, row));
            then(ctx, rows.collect(), more)
        }
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(wrong_reply()),
    }))
}

/// Makes a change, if all that the request rests on still is what was read, then goes on once it is durable. If not,
/// the request runs again; if storage fails it is answered Unavailable.
pub(in crate::server) fn commit<R>(
    ctx: &mut Ctx<'_>,
    change: Change,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    try_commit(ctx, change, move |ctx, is_made| match is_made {
        true => then(ctx),
        false => Ok(Step::rerun()),
    })
}

/// Makes a change, then goes on, told whether it was made: if not, what it rests on has changed, and is no longer
/// noted. For a part of a request that is done again by itself.
pub(in crate::server) fn try_commit<R>(
    ctx: &mut Ctx<'_>,
    change: Change,
    then: impl FnOnce(&mut Ctx<'_>, bool) -> Next<R> + Send + 'static,
) -> Next<R> {
    let change = change.seal(&mut ctx.notes.reads)?;
    Ok(Step::store(
        Lane::Ordered,
        Command::Commit(change),
        move |ctx, reply| match reply {
            Reply::Committed => {
                ctx.notes.reads.committed();
                then(ctx, true)
            }
            Reply::Conflict => {
                ctx.notes.reads.begin_anew();
                then(ctx, false)
            }
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

/// Waits for news in the queues that the request watches, at most until `until`. What comes after begins anew.
pub(in crate::server) fn wait<R>(
    until: Time,
    then: impl FnOnce(&mut Ctx<'_>, Woken) -> Next<R> + Send + 'static,
) -> Next<R> {
    Ok(Step::wait(until, move |ctx, woken| {
        ctx.notes.reads.begin_anew();
        then(ctx, woken)
    }))
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
