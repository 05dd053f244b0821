//! CreateChannel: a DM that both sides can name, or a group with a member list (protocol.md §5.11).

use bytes::Bytes;
use sha2::{Digest, Sha256};

use std::collections::BTreeSet;

use super::delivery::parse_identity;
use super::given;
use super::membership::membership_push;
use super::standing::{By, Standing};
use crate::ids::{ChannelId, IdentityKey};
use crate::limits::RateClass;
use crate::proto::{self, MembershipChange};
use crate::server::allowance;
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::policy::Question;
use crate::server::policy_check;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load};
use crate::storage::keys;
use crate::storage::records::{Channel, Metadata};
use crate::time::UnixTime;

/// Method 400.
pub(in crate::server) fn create_channel(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::CreateChannelRequest,
) -> Next<proto::CreateChannelResponse> {
    let session = caller.session()?;
    let opening = Opening::new(ctx, &session, request)?;
    load(ctx, keys::channel(&opening.channel), move |ctx, seen| {
        let members = opening.members.iter();
        // Of a group only the caller's place matters, once there is one.
        let members = members.filter(|member| opening.dm || **member == session.identity_key);
        let places = members.map(|member| Standing::keys(&opening.channel, member));
        let places: Vec<_> = places.collect();
        load(ctx, places, move |ctx, places| {
            let Some(state) = seen.value() else {
                let question = opening.question(ctx, &session);
                return policy_check::check_policy(ctx, question, move |ctx| {
                    opening.create(ctx, session, seen)
                });
            };
            let are_in = places.iter().all(|place| place.member().is_some());
            match (are_in, opening.dm) {
                (true, _) => Ok(opening.opened(&state, &session, ctx.date)),
                (false, true) => {
                    let question = opening.question(ctx, &session);
                    policy_check::check_policy(ctx, question, move |ctx| {
                        opening.reopen(ctx, (seen, state), session)
                    })
                }
                (false, false) => Err(Fault::conflict("the channel id is taken: choose another")),
            }
        })
    })
}

/// A request, read.
struct Opening {
    channel: ChannelId,
    dm: bool,
    /// All members, the caller too.
    members: BTreeSet<IdentityKey>,
    metadata: Bytes,
    /// How long slot 0 must have been free for others than the creator.
    patience: core::time::Duration,
}

impl Opening {
    fn new(
        ctx: &Ctx<'_>,
        session: &Session,
        request: proto::CreateChannelRequest,
    ) -> Result<Self, Fault> {
        let patience = ctx.config.limits.slot_zero;
        if request.peer_key.is_empty() {
            let channel = ChannelId::try_from(request.channel_id.as_ref())
                .map_err(|_| Fault::bad_request("name a peer_key, or a channel_id of 16 bytes"))?;
            if !is_uuid(&channel, 7) {
                return Err(Fault::bad_request("a group's channel_id is a UUID v7"));
            }
            let members = request.member_keys.iter().map(parse_identity);
            let mut members = members.collect::<Result<BTreeSet<IdentityKey>, Fault>>()?;
            members.insert(session.identity_key);
            if members.len() > ctx.config.limits.members {
                return Err(Fault::full("members", "add fewer"));
            }
            if request.metadata.len() > ctx.config.limits.group_metadata {
                return Err(Fault::bad_request(
                    "the metadata is longer than `group_metadata`",
                ));
            }
            return Ok(Self {
                channel,
                dm: false,
                members,
                metadata: request.metadata,
                patience,
            });
        }
        if !request.channel_id.is_empty()
            || !request.member_keys.is_empty()
            || !request.metadata.is_empty()
        {
            return Err(Fault::bad_request("a DM is named by its peer_key alone"));
        }
        let peer = parse_identity(&request.peer_key)?;
        if peer == session.identity_key {
            return Err(Fault::bad_request("the peer of a DM is somebody else"));
        }
        Ok(Self {
            channel: dm_id(&session.identity_key, &peer),
            dm: true,
            members: [session.identity_key, peer].into(),
            metadata: Bytes::new(),
            patience,
        })
    }

    /// What the policy is asked.
    fn question(&self, ctx: &Ctx<'_>, session: &Session) -> Option<Question> {
        ctx.question(|| Question::Channel {
            creator: session.identity_key,
            members: self.members.iter().copied().collect(),
            is_dm: self.dm,
        })
    }

    /// The channel does not exist yet.
    fn create(
        self,
        ctx: &mut Ctx<'_>,
        session: Session,
        seen: Seen<Channel>,
    ) -> Next<proto::CreateChannelResponse> {
        let creator = session.identity_key;
        ctx.limit_once(RateClass::NewChannels, &[creator.as_bytes()], 1)?;
        // An account deleted meanwhile must not come back as a member.
        self.with_members(ctx, move |ctx, opening, places| {
            let state = Channel {
                dm: opening.dm,
                creator_key: Bytes::copy_from_slice(session.identity_key.as_bytes()),
                creator_device: Bytes::copy_from_slice(session.device_id.as_bytes()),
                created_at_ms: ctx.date.as_millis(),
                slot: 0,
                members_version: 1,
                member_count: u32::try_from(opening.members.len()).unwrap_or(u32::MAX),
                ..Channel::default()
            };
            let mut change = Change::default();
            change.put(&seen, &state);
            if !opening.metadata.is_empty() {
                let metadata = Metadata {
                    sealed: opening.metadata.clone(),
                    version: 1,
                };
                change.write(keys::metadata(&opening.channel), &metadata);
            }
            let answer = opening.response(true, 0);
            let members = opening.members.len();
            let cost = allowance::cost(&[&opening.metadata], members, &ctx.config.limits);
            allowance::pay(ctx, creator, cost, move |ctx| {
                opening.list(ctx, &session, &places, change, answer)
            })
        })
    }

    /// Opens a DM again that somebody has left: both are members then, and its next slot is as slot 0 was.
    fn reopen(
        self,
        ctx: &mut Ctx<'_>,
        (seen, mut state): (Seen<Channel>, Channel),
        session: Session,
    ) -> Next<proto::CreateChannelResponse> {
        let creator = session.identity_key;
        ctx.limit_once(RateClass::NewChannels, &[creator.as_bytes()], 1)?;
        self.with_members(ctx, move |ctx, opening, mut places| {
            state.creator_key = Bytes::copy_from_slice(session.identity_key.as_bytes());
            state.creator_device = Bytes::copy_from_slice(session.device_id.as_bytes());
            state.created_at_ms = ctx.date.as_millis();
            state.opened_at_slot = state.slot;
            state.empty_since_ms = 0;
            state.member_count = u32::try_from(opening.members.len()).unwrap_or(u32::MAX);
            state.members_version = state.members_version.saturating_add(1);
            let mut change = Change::default();
            change.put(&seen, &state);
            let answer = opening.response(true, state.slot);
            places.retain(|place| place.member().is_none());
            opening.list(ctx, &session, &places, change, answer)
        })
    }

    /// Goes on with the places of all members, if each of them has an account.
    fn with_members<R: 'static>(
        self,
        ctx: &mut Ctx<'_>,
        then: impl FnOnce(&mut Ctx<'_>, Self, Vec<Standing>) -> Next<R> + Send + 'static,
    ) -> Next<R> {
        let members = self.members.iter();
        let wanted = members.map(|member| {
            let place = Standing::keys(&self.channel, member);
            (keys::device_set(member), place)
        });
        load(ctx, wanted.collect::<Vec<_>>(), move |ctx, members| {
            let mut places = Vec::with_capacity(members.len());
            for (devices, place) in members {
                if devices.is_none() {
                    return Err(Fault::not_found("a member has no account"));
                }
                places.push(place);
            }
            then(ctx, self, places)
        })
    }

    /// Puts these on the list of a channel that is opened: others than the caller are given a membership.
    fn list(
        self,
        ctx: &mut Ctx<'_>,
        session: &Session,
        places: &[Standing],
        mut change: Change,
        answer: proto::CreateChannelResponse,
    ) -> Next<proto::CreateChannelResponse> {
        let me = session.identity_key;
        let returns = places.len() < self.members.len();
        let mut given = Vec::new();
        let mut pushes = Vec::new();
        for place in places {
            let member = *place.identity();
            let push = membership_push(&self.channel, &member, MembershipChange::Added);
            if member != me {
                place.list(&mut change, ctx.date, By::Other);
                given.push(member);
                pushes.push((vec![member], push));
                continue;
            }
            place.list(&mut change, ctx.date, By::Opener);
            if returns {
                let others = self.members.iter().filter(|other| **other != me);
                pushes.push((others.copied().collect(), push));
            }
        }
        let then = move |ctx: &mut Ctx<'_>, change, mut effects: Effects| {
            effects.live.extend(pushes);
            ctx.leave_untidy();
            commit(ctx, change, move |ctx| {
                ctx.notes.all_used();
                Ok(Step::ok_with(&answer, effects))
            })
        };
        given::give(ctx, me, self.channel, given, change, then)
    }

    /// The answer for a channel that exists. Whether the caller is to commit for the slot at which it was
    /// opened: the device that opened it as long as that slot is free, others once it was free for a while.
    fn opened(
        &self,
        state: &Channel,
        session: &Session,
        now: UnixTime,
    ) -> Step<proto::CreateChannelResponse> {
        let creator = state.creator_key == session.identity_key.as_bytes().as_slice()
            && state.creator_device == session.device_id.as_bytes();
        let opened_at = UnixTime::from_millis(state.created_at_ms);
        // A date far ahead was written by a clock that was wrong.
        let is_free = now >= opened_at + self.patience || opened_at > now + self.patience;
        let was_new = state.slot == state.opened_at_slot && (creator || is_free);
        Step::ok(&self.response(was_new, state.slot))
    }

    fn response(&self, was_new: bool, slot: u64) -> proto::CreateChannelResponse {
        proto::CreateChannelResponse {
            channel_id: Bytes::copy_from_slice(self.channel.as_bytes()),
            was_new,
            slot,
        }
    }
}

/// The channel of two accounts: SHA-256("qpq dm v1" || lesser key || greater key), the first 16
/// bytes, with the version 8 and variant bits of RFC 9562.
pub(super) fn dm_id(one: &IdentityKey, other: &IdentityKey) -> ChannelId {
    let (lesser, greater) = (one.min(other), one.max(other));
    let hash = Sha256::new_with_prefix("qpq dm v1")
        .chain_update(lesser.as_bytes())
        .chain_update(greater.as_bytes())
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id[6] = 0x80 | (id[6] & 0x0f);
    id[8] = 0x80 | (id[8] & 0x3f);
    ChannelId(id)
}

/// Whether an id is a UUID of this version (RFC 9562).
fn is_uuid(id: &ChannelId, version: u8) -> bool {
    id.0[6] >> 4 == version && id.0[8] >> 6 == 0b10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_dm_derive_the_same_id() {
        let (a, b) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        let id = dm_id(&a, &b);
        assert_eq!(id, dm_id(&b, &a));
        assert!(is_uuid(&id, 8));
        assert_ne!(id, dm_id(&a, &IdentityKey([3; 32])));
    }

    /// Computed with Python: hashlib.sha256(b"qpq dm v1" + b"\x01" * 32 + b"\x02" * 32).
    #[test]
    fn the_id_of_a_dm_is_golden() {
        let id = dm_id(&IdentityKey([2; 32]), &IdentityKey([1; 32]));
        assert_eq!(id.to_string(), GOLDEN);
    }

    const GOLDEN: &str = "e1781293eeb280c789ff988a78da2633";

    #[test]
    fn only_version_and_variant_make_a_uuid() {
        let mut id = ChannelId([0; 16]);
        assert!(!is_uuid(&id, 7));
        id.0[6] = 0x7f;
        assert!(!is_uuid(&id, 7));
        id.0[8] = 0xbf;
        assert!(is_uuid(&id, 7));
        assert!(!is_uuid(&id, 8));
    }
}
