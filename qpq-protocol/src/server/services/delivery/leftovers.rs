//! What outlives its use and carries no date of its own: queues of channels that were left, and channels
//! that nobody is in.

use core::ops::Deref as _;

use super::payload::piece_count;
use super::sweep::{PAGE, done, go_round, rest, unreadable};
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::services::standing::Standing;
use crate::server::step::Next;
use crate::server::txn::{Change, Found, commit, load, scan_ordered};
use crate::storage::keys::{self, QueueId};
use crate::storage::records::Channel;
use crate::time::UnixTime;

/// Removes channels that nobody is a member of, once nothing that was sent there lies in a queue. One at
/// a time: with each goes what is stored for it.
pub(in crate::server) fn drop_channels(ctx: &mut Ctx<'_>) -> Next {
    let pages = ctx.notes.pages;
    look_at_channels(ctx, pages)
}

fn look_at_channels(ctx: &mut Ctx<'_>, pages: u32) -> Next {
    ctx.notes.reads.begin_anew();
    load(ctx, keys::meta("swept channels"), move |_, place| {
        scan_ordered(
            rest(&keys::channels(), &place),
            PAGE,
            move |ctx, found, more| {
                let mut change = Change::default();
                let mut last = None;
                let mut is_one = false;
                for row in &found {
                    let state = row.value()?;
                    let over =
                        UnixTime::from_millis(state.empty_since_ms) + ctx.config.limits.ttl_max;
                    last = Some(row.key().deref());
                    if state.empty_since_ms > 0 && over <= ctx.date {
                        drop_channel(&mut change, row, &state)?;
                        is_one = true;
                        break;
                    }
                }
                if !go_round(&mut change, &place, last.filter(|_| more || is_one)) {
                    return done();
                }
                commit(ctx, change, move |ctx| {
                    match pages.checked_sub(u32::from(!is_one)) {
                        Some(pages) if more || is_one => look_at_channels(ctx, pages),
                        _ => done(),
                    }
                })
            },
        )
    })
}

/// Adds to the change that a channel goes, with its metadata and GroupInfo.
fn drop_channel(change: &mut Change, row: &Found<Channel>, state: &Channel) -> Result<(), Fault> {
    let channel = keys::parse_channel(row.key()).ok_or_else(unreadable)?;
    let length = usize::try_from(state.group_info_length).unwrap_or(usize::MAX);
    change.delete_found(row);
    change.erase(keys::metadata(&channel));
    for piece in 0..piece_count(length) {
        change.erase(keys::group_info(&channel, piece));
    }
    Ok(())
}

/// Removes empty queues of channels that their account is no member of, once that is so long ago that it
/// is no former member either. Its numbers would begin anew only for who comes back after that.
pub(in crate::server) fn drop_queues(ctx: &mut Ctx<'_>) -> Next {
    let pages = ctx.notes.pages;
    look_at_queues(ctx, pages)
}

fn look_at_queues(ctx: &mut Ctx<'_>, pages: u32) -> Next {
    ctx.notes.reads.begin_anew();
    load(ctx, keys::meta("swept queues"), move |_, place| {
        scan_ordered(
            rest(&keys::all_queues(), &place),
            PAGE,
            move |ctx, found, more| {
                let mut change = Change::default();
                let last = found.last().map(|last| last.key().deref());
                go_round(&mut change, &place, last.filter(|_| more));
                let (mut idle, mut wanted) = (Vec::new(), Vec::new());
                for row in found {
                    let id = keys::parse_queue(row.key()).ok_or_else(unreadable)?;
                    let head = row.value()?;
                    if let QueueId {
                        recipient,
                        channel: Some(channel),
                        ..
                    } = id
                        && head.first_seq == head.next_seq
                    {
                        wanted.push(Standing::keys(&channel, &recipient));
                        idle.push((row, channel));
                    }
                }
                load(ctx, wanted, move |ctx, standings| {
                    let mut others = Vec::new();
                    for ((row, channel), standing) in idle.iter().zip(&standings) {
                        match standing.is_nobody() {
                            true => change.delete_found(row),
                            false => others.push(Standing::keys(channel, standing.identity())),
                        }
                    }
                    // Those whose queues stay may do what they like meanwhile.
                    ctx.notes.reads.let_go(&others);
                    if change.is_empty() {
                        return done();
                    }
                    commit(ctx, change, move |ctx| match pages.checked_sub(1) {
                        Some(pages) if more => look_at_queues(ctx, pages),
                        _ => done(),
                    })
                })
            },
        )
    })
}
