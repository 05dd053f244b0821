//! Whom a submission concerns: members before it and after it, their devices, and what they were given.

use std::collections::BTreeSet;

use super::{Found, Submission};
use crate::ids::{ChannelId, IdentityKey};
use crate::limits::RateClass;
use crate::proto;
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::services::channel::dm_id;
use crate::server::services::given;
use crate::server::services::standing::Standing;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, load, scan_ordered};
use crate::storage::keys;
use crate::storage::records::DeviceSet;

/// Whom the submission concerns.
pub(super) struct List {
    pub(super) found: Found,
    pub(super) before: BTreeSet<IdentityKey>,
    /// Members before and those who join, with the rows of their devices in the same order.
    pub(super) everyone: Vec<IdentityKey>,
    pub(super) sets: Vec<Seen<DeviceSet>>,
}

impl Submission {
    /// Reads the member list.
    pub(super) fn list_members(
        self,
        ctx: &mut Ctx<'_>,
        found: Found,
    ) -> Next<proto::SubmitCommitResponse> {
        let sender = self.session.identity_key;
        let place: &[&[u8]] = &[self.channel.as_bytes(), sender.as_bytes()];
        ctx.limit_once(RateClass::Commits, place, 1)?;
        let most = ctx.config.limits.members.saturating_add(1);
        scan_ordered(
            keys::members(&self.channel),
            most.into(),
            move |ctx, listed, _| {
                let members = listed
                    .iter()
                    .map(|row| match keys::parse_member(row.key()) {
                        Some((_, member)) => Ok(member),
                        None => Err(Fault::internal("a stored row cannot be read")),
                    });
                let members = members.collect::<Result<BTreeSet<IdentityKey>, Fault>>()?;
                self.list_devices(ctx, found, members)
            },
        )
    }

    /// Reads the devices of all members, old and new.
    fn list_devices(
        mut self,
        ctx: &mut Ctx<'_>,
        found: Found,
        before: BTreeSet<IdentityKey>,
    ) -> Next<proto::SubmitCommitResponse> {
        if !before.contains(&self.session.identity_key) {
            // What is remembered of the caller is of before another core changed the list.
            return Ok(Step::rerun());
        }
        if found.state.dm
            && !self
                .add
                .iter()
                .all(|key| is_party(&self.channel, &before, key))
        {
            return Err(Fault::forbidden("a DM has two members"));
        }
        self.add.retain(|key| !before.contains(key));
        self.remove.retain(|key| before.contains(key));
        let everyone: Vec<IdentityKey> = before.union(&self.add).copied().collect();
        let reached = u32::try_from(everyone.len()).unwrap_or(u32::MAX);
        let sender: &[&[u8]] = &[self.session.identity_key.as_bytes()];
        ctx.limit_once(RateClass::EnqueueRecipients, sender, reached)?;
        let sets: Vec<_> = everyone.iter().map(keys::device_set).collect();
        load(ctx, sets, move |ctx, sets| {
            // Who has no account any more is passed over: that may have happened a moment ago.
            let unknown = everyone.iter().zip(&sets);
            let unknown =
                unknown.filter(|(identity, set)| set.is_none() && self.add.contains(*identity));
            let unknown: BTreeSet<IdentityKey> = unknown.map(|(identity, _)| *identity).collect();
            self.add.retain(|key| !unknown.contains(key));
            self.welcomes.retain(|(key, _), _| !unknown.contains(key));
            let list = List {
                found,
                before,
                everyone,
                sets,
            };
            self.list_changes(ctx, list)
        })
    }

    /// Reads what the channel knows of those who come and go.
    fn list_changes(self, ctx: &mut Ctx<'_>, list: List) -> Next<proto::SubmitCommitResponse> {
        let is_member = |key: &IdentityKey| list.before.contains(key) && !self.remove.contains(key);
        let count = list.everyone.iter().filter(|key| is_member(key)).count() + self.add.len();
        if count > ctx.config.limits.members {
            return Err(Fault::full(
                "members",
                "the channel has as many as it may have",
            ));
        }
        let joiners = self.welcomes.keys().map(|(joiner, _)| joiner);
        let mut joiners = joiners.filter(|joiner| !self.add.contains(*joiner));
        if !joiners.all(is_member) {
            return Err(Fault::bad_request("somebody who is no member is welcomed"));
        }
        let changed = self.add.union(&self.remove);
        let changed = changed.map(|key| Standing::keys(&self.channel, key));
        load(ctx, changed.collect::<Vec<_>>(), move |ctx, changed| {
            self.give_memberships(ctx, list, count, changed)
        })
    }

    /// Notes what those who come are given, and that those who go have lost what they were given.
    fn give_memberships(
        self,
        ctx: &mut Ctx<'_>,
        list: List,
        count: usize,
        changed: Vec<Standing>,
    ) -> Next<proto::SubmitCommitResponse> {
        let comes = |standing: &&Standing| self.add.contains(standing.identity());
        let is_stale = |standing: &Standing| standing.member().is_some() == comes(&standing);
        if changed.iter().any(is_stale) {
            // What is remembered of them is of before another core changed the list.
            return Ok(Step::rerun());
        }
        let left = changed
            .iter()
            .filter(comes)
            .filter(|standing| standing.has_left() && !self.is_welcomed(standing.identity()));
        let left: Vec<IdentityKey> = left.map(|standing| *standing.identity()).collect();
        if !left.is_empty() {
            let fault = Fault::forbidden("who has left is added with a welcome");
            return Err(fault.about(&left));
        }
        let given = changed.iter().filter(comes);
        let given = given.filter(|standing| !standing.is_put_back());
        let given = given.map(|standing| *standing.identity()).collect();
        let lost = changed.iter().filter(|standing| standing.is_open());
        let lost: Vec<_> = lost.map(|standing| *standing.identity()).collect();
        let (giver, channel) = (self.session.identity_key, self.channel);
        let then = move |ctx: &mut Ctx<'_>, change, effects| {
            given::take_back(ctx, channel, &lost, change, move |ctx, change| {
                self.load_heads(ctx, list, changed, count, change, effects)
            })
        };
        given::give(ctx, giver, channel, given, Change::default(), then)
    }
}

/// Whether `key` is one of the two parties of a DM, whoever of them has left.
fn is_party(channel: &ChannelId, members: &BTreeSet<IdentityKey>, key: &IdentityKey) -> bool {
    let mut members = members.iter();
    members.any(|member| member == key || dm_id(member, key) == *channel)
}
