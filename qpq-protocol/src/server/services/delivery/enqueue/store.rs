//! The storage Commit of a part of a request: the payload into the queues that have room for it.

use super::{Answer, Send};
#[cfg(qpq_defects)]
use crate::defect::seeded;
use crate::method::Method;
use crate::proto;
use crate::server::allowance;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::services::delivery::payload::Payload;
use crate::server::services::delivery::queue::Queue;
use crate::server::services::delivery::recipient::{Mailbox, news};
use crate::server::services::delivery::share::Share;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit};
use crate::status::Status;
use crate::storage::keys::QueueId;
use crate::storage::records::{Dedupe, Entry, QueueHead};

/// What one part of a request does: as many recipients as fit one Commit.
struct Part {
    change: Change,
    done: Dedupe,
    notify: Vec<(QueueId, proto::NewMessagePush)>,
    /// Whether it changes anything.
    stored: bool,
}

impl<A: Answer> Send<A> {
    /// Puts the payload into the queues.
    pub(super) fn store(
        mut self: Box<Self>,
        ctx: &mut Ctx<'_>,
        reached: Vec<Result<Vec<Mailbox>, Status>>,
        heads: Vec<Seen<QueueHead>>,
    ) -> Next<A> {
        let queues = heads.len();
        let mut part = Part {
            // Entry, head and expiry row of each queue, pieces, message id.
            change: Change::with_capacity(3 * queues + 2),
            done: core::mem::take(&mut self.done),
            notify: core::mem::take(&mut self.effects.notify),
            stored: false,
        };
        part.notify.reserve_exact(queues);
        let told = part.notify.len();
        let mut payload = Payload::new(ctx, self.payload.clone(), queues);
        let mut statuses = Vec::with_capacity(part.done.statuses.len() + reached.len());
        statuses.extend_from_slice(&part.done.statuses);
        part.done.seqs.reserve_exact(reached.len());
        let mut heads = heads.into_iter();
        for one in reached {
            let (seq, status) = match one {
                Err(status) => (0, status),
                Ok(mailboxes) => {
                    // Not collected: a queue is large, and room would be made for four of them.
                    let mut queues = Vec::with_capacity(mailboxes.len());
                    for (mailbox, head) in mailboxes.into_iter().zip(heads.by_ref()) {
                        let queue = Queue::new(mailbox.stored, head);
                        let room = self.room(ctx, &queue, payload.bytes().len());
                        queues.push((mailbox, queue, room));
                    }
                    self.fan_out(ctx, &mut part, &mut payload, queues)
                }
            };
            part.done.seqs.push(seq);
            statuses.push(status.code());
        }
        let refused = statuses
            .iter()
            .find(|code| **code != Status::Ok.code())
            .copied();
        part.done.statuses = statuses.into();
        if let Some(status) = refused {
            if A::METHOD == Method::Enqueue {
                return Err(refusal(status));
            }
            // What others are sent says that these were refused.
            if !ctx.is_sure() {
                return Ok(Step::rerun());
            }
        }
        if !part.stored {
            // Every recipient was refused: there is nothing to remember either.
            self.done = part.done;
            return self.next_part(ctx);
        }
        payload.store(&mut part.change);
        // Queues that had no room cost nothing.
        let filled = part.notify.len().saturating_sub(told);
        let cost = allowance::cost(&[&self.payload], filled, &ctx.config.limits);
        ctx.leave_untidy();
        #[cfg(qpq_defects)]
        if seeded!(ctx.config, PushBeforeCommit) {
            ctx.notes.early.clone_from(&part.notify);
        }
        part.change.write(self.dedupe.clone(), &part.done);
        commit(ctx, part.change, move |ctx| {
            allowance::used(ctx, cost);
            self.done = part.done;
            self.effects.notify = part.notify;
            self.next_part(ctx)
        })
    }

    /// The sender's share of a queue, if that has room for a payload of `length` bytes from it.
    fn room(&self, ctx: &Ctx<'_>, queue: &Queue, length: usize) -> Option<Share> {
        let share = Share::of(&ctx.keys.shares, queue.key(), &self.session.identity_key);
        let has_room = queue.has_room_for(share, length, &ctx.config.limits);
        has_room.then_some(share)
    }

    /// Puts the payload into the queues of one recipient that have room for this sender. The seq in
    /// the first of them, and the status.
    fn fan_out(
        &self,
        ctx: &Ctx<'_>,
        part: &mut Part,
        payload: &mut Payload,
        queues: Vec<(Mailbox, Queue, Option<Share>)>,
    ) -> (u64, Status) {
        if !queues.is_empty() && queues.iter().all(|(_, _, room)| room.is_none()) {
            return (0, Status::QuotaExceeded);
        }
        let (limits, length) = (&ctx.config.limits, payload.bytes().len());
        let mut first = 0;
        part.stored = true;
        for (mailbox, mut queue, room) in queues {
            if let Some(share) = room {
                let entry = Entry {
                    body: Some(payload.body(&mut part.change, queue.id())),
                    expires_at_ms: self.expires_at_ms,
                    commit: None,
                    share: share.number(),
                };
                let seq = queue.append(&mut part.change, &entry, length);
                first = if first == 0 { seq } else { first };
                let envelope = proto::Envelope {
                    seq,
                    data: payload.bytes().clone(),
                    ..proto::Envelope::default()
                };
                let news = news(self.channel, envelope, limits.pushed_envelope);
                part.notify.push((mailbox.named, news));
            } else {
                queue.close();
            }
            queue.write(&mut part.change);
        }
        (first, Status::Ok)
    }
}

fn refusal(status: u8) -> Fault {
    match Status::from_wire(status) {
        Status::NotFound => Fault::not_found("there is no such recipient"),
        Status::Forbidden => Fault::forbidden("the recipient is not a member of this channel"),
        _ => Fault::quota(
            "the recipient's queue is full: `queue_messages` or `queue_bytes` is reached, or your part of it, \
             one in `queue_sender_share`",
        ),
    }
}
