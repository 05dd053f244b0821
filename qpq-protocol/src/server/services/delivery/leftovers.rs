//! What outlives its use and carries no date of its own: queues of channels that were left, and channels
//! that nobody is in.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::payload::piece_count;
use super::queue::Queue;
use super::sweep::{PAGE, done, page, unreadable};
use crate::server::rows::Row;
use crate::server::step::{
    Ctx, Fault, Next, commit, decode_row, load, load_all, scan_ordered, unchanged,
};
use crate::storage::keys::{self, QueueId};
use crate::storage::records::Channel;
use crate::storage::{Commit, Expect};
use crate::time::UnixTime;

/// Removes channels that nobody is a member of, once nothing that was sent there lies in a queue. One at
/// a time: with each goes what is stored for it.
pub(in crate::server) fn drop_channels(ctx: &mut Ctx<'_>) -> Next {
    let pages = ctx.notes.pages;
    look_at_channels(ctx, pages)
}

fn look_at_channels(ctx: &mut Ctx<'_>, pages: u32) -> Next {
    let place = keys::meta("swept channels");
    load(ctx, [place.clone()], move |_, [at]| {
        let rest = match &at {
            Some(at) => keys::channels().after(at),
            None => keys::channels(),
        };
        scan_ordered(page(rest, PAGE), move |ctx, rows, more| {
            let mut change = Commit {
                checks: vec![unchanged(&place, &at)],
                ..Commit::default()
            };
            let mut last = None;
            let mut found = false;
            for (key, row) in rows {
                let state: Channel = decode_row(&Some(row.clone()))?.unwrap_or_default();
                let over = UnixTime::from_millis(state.empty_since_ms) + ctx.config.limits.ttl_max;
                if state.empty_since_ms > 0 && over <= ctx.date {
                    drop_channel(&mut change, &key, row, &state)?;
                    found = true;
                }
                last = Some(key);
                if found {
                    break;
                }
            }
            match last {
                Some(last) if more || found => change.puts.push((place, last)),
                _ if at.is_some() => change.deletes.push(place),
                _ => return done(),
            }
            commit(change, move |ctx| {
                match pages.checked_sub(u32::from(!found)) {
                    Some(pages) if more || found => look_at_channels(ctx, pages),
                    _ => done(),
                }
            })
        })
    })
}

/// Adds to the change that a channel goes, with its metadata and GroupInfo.
fn drop_channel(
    change: &mut Commit,
    key: &Bytes,
    row: Bytes,
    state: &Channel,
) -> Result<(), Fault> {
    let channel = keys::parse_channel(key).ok_or_else(unreadable)?;
    let length = usize::try_from(state.group_info_length).unwrap_or(usize::MAX);
    let pieces = (0..piece_count(length)).map(|piece| keys::group_info(&channel, piece));
    change.checks.push((key.clone(), Expect::Equals(row)));
    change.deletes.extend(pieces);
    change.deletes.push(keys::metadata(&channel));
    change.deletes.push(key.clone());
    Ok(())
}

/// Removes empty queues of channels that their account is no member of, once that is so long ago that it
/// is no former member either. Its numbers would begin anew only for who comes back after that.
pub(in crate::server) fn drop_queues(ctx: &mut Ctx<'_>) -> Next {
    let pages = ctx.notes.pages;
    look_at_queues(ctx, pages)
}

fn look_at_queues(ctx: &mut Ctx<'_>, pages: u32) -> Next {
    let place = keys::meta("swept queues");
    load(ctx, [place.clone()], move |_, [at]| {
        let rest = match &at {
            Some(at) => keys::all_queues().after(at),
            None => keys::all_queues(),
        };
        scan_ordered(page(rest, PAGE), move |ctx, rows, more| {
            let mut change = Commit {
                checks: vec![unchanged(&place, &at)],
                ..Commit::default()
            };
            match rows.last() {
                Some((last, _)) if more => change.puts.push((place, last.clone())),
                _ if at.is_some() => change.deletes.push(place),
                _ => {}
            }
            let mut idle = Vec::new();
            let mut wanted = Vec::new();
            for (key, row) in rows {
                let id = keys::parse_queue(&key).ok_or_else(unreadable)?;
                let head = Queue::new(id, Some(row.clone()))?.into_head();
                if let QueueId {
                    recipient,
                    channel: Some(channel),
                    ..
                } = id
                    && head.first_seq == head.next_seq
                {
                    let standing = [
                        keys::member(&channel, &recipient),
                        keys::former(&channel, &recipient),
                    ];
                    wanted.extend(standing.clone());
                    idle.push((key, row, standing));
                }
            }
            load_all(ctx, wanted, move |_, known| {
                let known: BTreeMap<Bytes, Row> = known.into_iter().collect();
                for (key, row, standing) in idle {
                    if standing
                        .iter()
                        .any(|key| known.get(key).is_none_or(Option::is_some))
                    {
                        continue;
                    }
                    let absent = standing.into_iter().map(|key| (key, Expect::Absent));
                    change.checks.extend(absent);
                    change.checks.push((key.clone(), Expect::Equals(row)));
                    change.deletes.push(key);
                }
                if change.puts.is_empty() && change.deletes.is_empty() {
                    return done();
                }
                commit(change, move |ctx| match pages.checked_sub(1) {
                    Some(pages) if more => look_at_queues(ctx, pages),
                    _ => done(),
                })
            })
        })
    })
}
