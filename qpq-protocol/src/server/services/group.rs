//! Member lists and what goes with them: RemoveMember, AddMember, ListGroupMembers, RotateKeys,
//! GetGroupInfo (protocol.md §5.8 and 5.10).

use bytes::Bytes;
use prost::Message;

use super::delivery::{joined, parse_identity, piece_count};
use super::given;
use super::membership::{Membership, existing, membership_push};
use super::standing::{By, End, Standing, one_less, one_more};
use crate::ids::{ChannelId, IdentityKey};
use crate::limits::{Rate, RateClass};
use crate::proto::{self, MembershipChange};
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::Effects;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load, read, scan};
use crate::storage::keys;
use crate::storage::records::{Channel, DeviceSet};
use crate::time::UnixTime;

/// Method 410.
pub(in crate::server) fn remove_member(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::RemoveMemberRequest,
) -> Next<proto::RemoveMemberResponse> {
    let edit = Edit::new(caller, &request.channel_id, &request.member_key)?;
    edit.decide(ctx, |edit, _, found| {
        let leaves = edit.member == edit.session.identity_key;
        // Asked again after it was done.
        if leaves && found.member.member().is_none() {
            return Ok(None);
        }
        let (state, _) = found.caller.require_member()?;
        if !leaves && state.dm {
            return Err(Fault::forbidden("in a DM one can only remove oneself"));
        }
        if !leaves && state.slot > 0 {
            return Err(Fault::forbidden(
                "remove others by a commit: the group has begun",
            ));
        }
        if found.member.member().is_none() {
            return Ok(None);
        }
        let end = if leaves { End::Left } else { End::Unbegun };
        Ok(Some((state.clone(), Edited::Unlist(end))))
    })
}

/// Method 414.
pub(in crate::server) fn add_member(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::AddMemberRequest,
) -> Next<proto::AddMemberResponse> {
    let edit = Edit::new(caller, &request.channel_id, &request.member_key)?;
    edit.decide(ctx, |edit, ctx, found| {
        let returns = edit.member == edit.session.identity_key;
        let state = match returns {
            true => existing(&found.caller.channel)?,
            false => found.caller.require_member()?.0,
        };
        if found.member.member().is_some() {
            return Ok(None);
        }
        if returns {
            let last = found.member.last_return().ok_or_else(|| {
                Fault::forbidden("only whom another's commit took off the list may come back")
            })?;
            until("returns", last, ctx.date, ctx.config.limits.returns)?;
        } else if state.dm {
            return Err(Fault::forbidden("a DM has two members"));
        } else if state.slot > 0 {
            return Err(Fault::forbidden(
                "add members by a commit: the group has begun",
            ));
        }
        if found.devices.is_none() {
            return Err(Fault::not_found("there is no such account"));
        }
        let limit = ctx.config.limits.members;
        if usize::try_from(state.member_count).is_ok_and(|count| count >= limit) {
            return Err(Fault::full(
                "members",
                "the channel has as many as it may have",
            ));
        }
        let by = if returns { By::Itself } else { By::Other };
        Ok(Some((state.clone(), Edited::List(by))))
    })
}

/// RateLimited until so long after `last`, by the limit of this name. A date more than twice as far away as the
/// rate allows was written by a clock that was wrong; one that is only a little further, by another core's.
pub(super) fn until(
    name: &'static str,
    last: UnixTime,
    now: UnixTime,
    rate: Rate,
) -> Result<(), Fault> {
    let interval = rate.interval();
    let at = last + interval;
    let left = at.as_millis().saturating_sub(now.as_millis());
    if left == 0 || at > now + interval.saturating_mul(2) {
        return Ok(());
    }
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    Err(Fault::rate_limited(name, left))
}

/// A request to change the member list by one.
struct Edit {
    session: Session,
    channel: ChannelId,
    member: IdentityKey,
}

/// What is to be known for it.
struct Place {
    caller: Membership,
    member: Standing,
    devices: Seen<DeviceSet>,
}

/// What it does to the member.
#[derive(Clone, Copy)]
enum Edited {
    List(By),
    Unlist(End),
}

/// Says what a request makes of the channel; `None`: nothing is left to do.
type Decide = fn(&Edit, &Ctx<'_>, &Place) -> Result<Option<(Channel, Edited)>, Fault>;

impl Edit {
    fn new(caller: &Caller, channel: &Bytes, member: &Bytes) -> Result<Self, Fault> {
        Ok(Self {
            session: caller.session()?,
            channel: parse_channel(channel)?,
            member: parse_identity(member)?,
        })
    }

    /// Reads what is to be known, and does what `decide` says.
    fn decide<R: Message + Default + 'static>(self, ctx: &mut Ctx<'_>, decide: Decide) -> Next<R> {
        let wanted = (
            Membership::keys(&self.channel, &self.session.identity_key),
            Standing::keys(&self.channel, &self.member),
            keys::device_set(&self.member),
        );
        load(ctx, wanted, move |ctx, (caller, member, devices)| {
            let place = Place {
                caller,
                member,
                devices,
            };
            match decide(&self, ctx, &place)? {
                Some((state, edited)) => self.carry_out(ctx, state, edited, place),
                None => nothing_but(Effects::default()),
            }
        })
    }

    /// Makes the change, but for what the member was given. All members are told: each counts as one of a message.
    fn carry_out<R: Message + Default + 'static>(
        self,
        ctx: &mut Ctx<'_>,
        mut state: Channel,
        edited: Edited,
        place: Place,
    ) -> Next<R> {
        let me = self.session.identity_key;
        ctx.limit_once(
            RateClass::EnqueueRecipients,
            &[me.as_bytes()],
            state.member_count,
        )?;
        let mut change = Change::default();
        match edited {
            Edited::List(by) => {
                place.member.list(&mut change, ctx.date, by);
                one_more(&mut state);
            }
            Edited::Unlist(end) => {
                place.member.unlist(&mut change, ctx.date, end);
                one_less(&mut state, ctx.date, end);
            }
        }
        change.put(&place.caller.channel, &state);
        let (member, channel) = (self.member, self.channel);
        match edited {
            Edited::List(by) => {
                let given = if by == By::Other {
                    vec![member]
                } else {
                    Vec::new()
                };
                let then = move |ctx: &mut Ctx<'_>, change, effects| {
                    self.commit_and_tell(ctx, change, MembershipChange::Added, effects)
                };
                given::give(ctx, me, channel, given, change, then)
            }
            Edited::Unlist(_) => {
                let open = place.member.is_open().then_some(member);
                let open: Vec<IdentityKey> = open.into_iter().collect();
                given::take_back(ctx, channel, &open, change, move |ctx, change| {
                    self.commit_and_tell(ctx, change, MembershipChange::Removed, Effects::default())
                })
            }
        }
    }

    /// Reads whom to tell, then makes the change.
    fn commit_and_tell<R: Message + Default + 'static>(
        self,
        ctx: &mut Ctx<'_>,
        change: Change,
        news: MembershipChange,
        mut effects: Effects,
    ) -> Next<R> {
        ctx.leave_untidy();
        let most = ctx.config.limits.members;
        scan(
            keys::members(&self.channel),
            most.into(),
            move |ctx, listed, _| {
                let push = membership_push(&self.channel, &self.member, news);
                let listed = listed
                    .iter()
                    .filter_map(|row| keys::parse_member(row.key()));
                let others = listed.map(|(_, member)| member).filter(|member| {
                    *member != self.member && *member != self.session.identity_key
                });
                let to = core::iter::once(self.member).chain(others);
                effects.live.push((to.collect(), push));
                commit(ctx, change, move |_| nothing_but(effects))
            },
        )
    }
}

/// Both methods answer with an empty message.
fn nothing_but<R: Message + Default>(effects: Effects) -> Next<R> {
    Ok(Step::ok_with(&R::default(), effects))
}

/// Method 412.
pub(in crate::server) fn list_group_members(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::ListGroupMembersRequest,
) -> Next<proto::ListGroupMembersResponse> {
    let session = caller.session()?;
    let channel = parse_channel(&request.channel_id)?;
    let most = ctx.config.limits.members;
    let wanted = (
        Membership::keys(&channel, &session.identity_key),
        keys::metadata(&channel),
    );
    read(wanted, move |_, (caller, metadata)| {
        let members_version = caller.require_member()?.0.members_version;
        let metadata = metadata.into_value().unwrap_or_default();
        scan(keys::members(&channel), most.into(), move |_, found, _| {
            read(keys::channel(&channel), move |_, after| {
                if after.as_ref().map(|after| after.members_version) != Some(members_version) {
                    // The list changed between the reads.
                    return Ok(Step::rerun());
                }
                let listed = found.iter().filter_map(|row| keys::parse_member(row.key()));
                let member_keys = listed.map(|(_, key)| Bytes::copy_from_slice(key.as_bytes()));
                Ok(Step::ok(&proto::ListGroupMembersResponse {
                    member_keys: member_keys.collect(),
                    sealed_metadata: metadata.sealed,
                    version: metadata.version,
                    members_version,
                }))
            })
        })
    })
}

/// Method 413: members that are connected now are told; anyone who can commits fresh keys.
pub(in crate::server) fn rotate_keys(
    _: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::RotateKeysRequest,
) -> Next<proto::RotateKeysResponse> {
    let me = caller.session()?.identity_key;
    let channel = parse_channel(&request.channel_id)?;
    read(Membership::keys(&channel, &me), move |ctx, caller| {
        let (state, _) = caller.require_member()?;
        let place: &[&[u8]] = &[channel.as_bytes(), me.as_bytes()];
        ctx.limit_once(RateClass::Rotations, place, 1)?;
        let told = state.member_count.saturating_sub(1);
        ctx.limit_once(RateClass::EnqueueRecipients, &[me.as_bytes()], told)?;
        let most = ctx.config.limits.members;
        scan(keys::members(&channel), most.into(), move |_, found, _| {
            let push = membership_push(&channel, &me, MembershipChange::RotateRequested);
            let listed = found.iter().filter_map(|row| keys::parse_member(row.key()));
            let others = listed.filter(|(_, member)| *member != me);
            let effects = Effects {
                live: vec![(others.map(|(_, member)| member).collect(), push)],
                ..Effects::default()
            };
            Ok(Step::ok_with(&proto::RotateKeysResponse {}, effects))
        })
    })
}

/// Method 416.
pub(in crate::server) fn get_group_info(
    _: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::GetGroupInfoRequest,
) -> Next<proto::GetGroupInfoResponse> {
    let me = caller.session()?.identity_key;
    let channel = parse_channel(&request.channel_id)?;
    read(Membership::keys(&channel, &me), move |_, caller| {
        let state = caller.require_member()?.0.clone();
        let length = usize::try_from(state.group_info_length).unwrap_or(usize::MAX);
        let pieces = (0..piece_count(length)).map(|piece| keys::group_info(&channel, piece));
        let pieces: Vec<_> = pieces.collect();
        read(
            (pieces, keys::channel(&channel)),
            move |_, (pieces, now)| {
                if now.as_ref() != Some(&state) {
                    // A commit came between the reads.
                    return Ok(Step::rerun());
                }
                let pieces = pieces.into_iter().map(Seen::into_value);
                let group_info = joined(pieces.collect())
                    .ok_or_else(|| Fault::internal("a stored row cannot be read"))?;
                Ok(Step::ok(&proto::GetGroupInfoResponse {
                    group_info,
                    slot: state.slot,
                }))
            },
        )
    })
}

fn parse_channel(bytes: &Bytes) -> Result<ChannelId, Fault> {
    ChannelId::try_from(bytes.as_ref()).map_err(|_| Fault::bad_request("channel_id has 16 bytes"))
}
