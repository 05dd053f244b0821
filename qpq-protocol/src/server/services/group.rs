//! Member lists and what goes with them: RemoveMember, AddMember, ListGroupMembers, RotateKeys,
//! GetGroupInfo (protocol.md §5.8 and 5.10).

use bytes::Bytes;
use prost::Message;

use super::delivery::{joined, parse_identity, piece_count};
use super::given;
use super::standing::{By, End, Standing, one_less, one_more};
use crate::frame::MAX_PAYLOAD;
use crate::ids::{ChannelId, IdentityKey};
use crate::limits::{Rate, RateClass};
use crate::proto::{self, MembershipChange, MembershipPush, push_event};
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Fault, Next, Session, Step, commit, decode_row, doubt, encode_row, load,
    read, read_all, scan, unchanged,
};
use crate::storage::keys;
use crate::storage::records::{Channel, Metadata};
use crate::storage::{Commit, Direction, Scan};
use crate::time::UnixTime;

/// Method 410.
pub(in crate::server) fn remove_member(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::RemoveMemberRequest,
) -> Next<proto::RemoveMemberResponse> {
    let edit = Edit::new(caller, &request.channel_id, &request.member_key)?;
    edit.run(ctx, |edit, _, rows| {
        let leaves = edit.member == edit.session.identity_key;
        // Asked again after it was done.
        if leaves && rows.member.member().is_none() {
            return Ok(None);
        }
        let state = rows.admit()?;
        if !leaves && state.dm {
            return Err(Fault::forbidden("in a DM one can only remove oneself"));
        }
        if !leaves && state.slot > 0 {
            return Err(Fault::forbidden(
                "remove others by a commit: the group has begun",
            ));
        }
        if rows.member.member().is_none() {
            return Ok(None);
        }
        let end = if leaves { End::Left } else { End::Unbegun };
        Ok(Some((state, Edited::Unlist(end))))
    })
}

/// Method 414.
pub(in crate::server) fn add_member(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::AddMemberRequest,
) -> Next<proto::AddMemberResponse> {
    let edit = Edit::new(caller, &request.channel_id, &request.member_key)?;
    edit.run(ctx, |edit, ctx, rows| {
        let returns = edit.member == edit.session.identity_key;
        let state = match returns {
            true => rows.channel()?,
            false => rows.admit()?,
        };
        if rows.member.member().is_some() {
            return Ok(None);
        }
        if returns {
            let last = rows.member.last_return().ok_or_else(|| {
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
        if rows.devices.is_none() {
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
        Ok(Some((state, Edited::List(by))))
    })
}

/// RateLimited until so long after `last`, by the limit of this name. A date more than twice as far away as the
/// rate allows was written by a clock that was wrong; one that is only a little further, by another core's.
pub(super) fn until(name: &str, last: UnixTime, now: UnixTime, rate: Rate) -> Result<(), Fault> {
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
struct EditRows {
    channel: Row,
    caller: Row,
    member: Standing,
    devices: Row,
}

/// What it does to the member.
#[derive(Clone, Copy)]
enum Edited {
    List(By),
    Unlist(End),
}

/// Says what a request makes of the channel; `None`: nothing is left to do.
type Decide = fn(&Edit, &Ctx<'_>, &EditRows) -> Result<Option<(Channel, Edited)>, Fault>;

impl EditRows {
    fn channel(&self) -> Result<Channel, Fault> {
        decode_row::<Channel>(&self.channel)?
            .ok_or_else(|| Fault::not_found("there is no such channel"))
    }

    /// The channel, if the caller is a member.
    fn admit(&self) -> Result<Channel, Fault> {
        member_of(&self.channel, &self.caller)
    }
}

impl Edit {
    fn new(caller: &Caller, channel: &Bytes, member: &Bytes) -> Result<Self, Fault> {
        Ok(Self {
            session: caller.session()?,
            channel: parse_channel(channel)?,
            member: parse_identity(member)?,
        })
    }

    fn keys(&self) -> [Bytes; 5] {
        let [member, former] = Standing::keys(&self.channel, &self.member);
        [
            keys::channel(&self.channel),
            keys::member(&self.channel, &self.session.identity_key),
            member,
            former,
            keys::device_set(&self.member),
        ]
    }

    /// Reads what is to be known, and does what `edit` says.
    fn run<R: Message + Default + 'static>(self, ctx: &mut Ctx<'_>, edit: Decide) -> Next<R> {
        load(
            ctx,
            self.keys(),
            move |ctx, [channel, caller, member, former, devices]| {
                let rows = EditRows {
                    channel,
                    caller,
                    member: Standing::new(self.channel, self.member, [member, former])?,
                    devices,
                };
                match edit(&self, ctx, &rows) {
                    Ok(Some((state, edited))) => self.change(ctx, state, edited, rows),
                    Ok(None) if ctx.is_sure_of(&self.keys()) => answer(Effects::default()),
                    Ok(None) => Ok(Step::rerun()),
                    Err(fault) => doubt(ctx, &self.keys(), fault),
                }
            },
        )
    }

    /// Makes the change, but for what the member was given. All members are told: each counts as one of a message.
    fn change<R: Message + Default + 'static>(
        self,
        ctx: &mut Ctx<'_>,
        mut state: Channel,
        edited: Edited,
        rows: EditRows,
    ) -> Next<R> {
        let me = self.session.identity_key;
        ctx.limit_once(
            RateClass::EnqueueRecipients,
            &[me.as_bytes()],
            state.member_count,
        )?;
        let [channel, caller, _, _, devices] = self.keys();
        let mut change = Commit {
            checks: vec![
                unchanged(&channel, &rows.channel),
                unchanged(&caller, &rows.caller),
            ],
            ..Commit::default()
        };
        rows.member.check(&mut change);
        match edited {
            Edited::List(by) => {
                change.checks.push(unchanged(&devices, &rows.devices));
                rows.member.list(&mut change, ctx.date, by);
                one_more(&mut state);
            }
            Edited::Unlist(end) => {
                rows.member.unlist(&mut change, ctx.date, end);
                one_less(&mut state, ctx.date, end);
            }
        }
        change.puts.push((channel, encode_row(&state)));
        let (member, channel) = (self.member, self.channel);
        match edited {
            Edited::List(By::Other) => {
                let giver = self.session.identity_key;
                given::give(
                    ctx,
                    giver,
                    channel,
                    vec![member],
                    move |ctx, gifts, effects| {
                        given::merge(&mut change, gifts);
                        self.store(ctx, change, MembershipChange::Added, effects)
                    },
                )
            }
            Edited::List(_) => self.store(ctx, change, MembershipChange::Added, Effects::default()),
            Edited::Unlist(_) => {
                let open = rows.member.is_open().then_some(member);
                let open = open.into_iter().collect();
                given::take_back(ctx, channel, open, change, move |ctx, change| {
                    self.store(ctx, change, MembershipChange::Removed, Effects::default())
                })
            }
        }
    }

    /// Reads whom to tell, then makes the change.
    fn store<R: Message + Default + 'static>(
        self,
        ctx: &mut Ctx<'_>,
        change: Commit,
        news: MembershipChange,
        mut effects: Effects,
    ) -> Next<R> {
        ctx.leave_untidy();
        let longest = ctx.config.limits.members;
        scan(members(&self.channel, longest), move |_, listed, _| {
            let push = membership_push(&self.channel, &self.member, news);
            effects.live.push((self.member, push.clone()));
            for (key, _) in listed {
                if let Some((_, member)) = keys::parse_member(&key)
                    && member != self.member
                    && member != self.session.identity_key
                {
                    effects.live.push((member, push.clone()));
                }
            }
            commit(change, move |_| answer(effects))
        })
    }
}

/// Both methods answer with an empty message.
fn answer<R: Message + Default>(effects: Effects) -> Next<R> {
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
    let range = members(&channel, ctx.config.limits.members);
    let wanted = [
        keys::channel(&channel),
        keys::member(&channel, &session.identity_key),
        keys::metadata(&channel),
    ];
    read(wanted, move |_, [row, member, metadata]| {
        let before = member_of(&row, &member)?;
        let metadata = decode_row::<Metadata>(&metadata)?.unwrap_or_default();
        scan(range, move |_, rows, _| {
            read([keys::channel(&channel)], move |_, [row]| {
                let after = decode_row::<Channel>(&row)?.unwrap_or_default();
                if after.members_version != before.members_version {
                    // The list changed between the reads.
                    return Ok(Step::rerun());
                }
                let member_keys = rows.iter().filter_map(|(key, _)| keys::parse_member(key));
                let member_keys =
                    member_keys.map(|(_, member)| Bytes::copy_from_slice(member.as_bytes()));
                Ok(Step::ok(&proto::ListGroupMembersResponse {
                    member_keys: member_keys.collect(),
                    sealed_metadata: metadata.sealed,
                    version: metadata.version,
                    members_version: after.members_version,
                }))
            })
        })
    })
}

/// Method 413: members that are connected now are told; whoever can commits fresh keys.
pub(in crate::server) fn rotate_keys(
    _: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::RotateKeysRequest,
) -> Next<proto::RotateKeysResponse> {
    let me = caller.session()?.identity_key;
    let channel = parse_channel(&request.channel_id)?;
    let wanted = [keys::channel(&channel), keys::member(&channel, &me)];
    read(wanted, move |ctx, [row, member]| {
        let state = member_of(&row, &member)?;
        let limits = &ctx.config.limits;
        let place: &[&[u8]] = &[channel.as_bytes(), me.as_bytes()];
        ctx.limit_once(RateClass::Rotations, place, 1)?;
        let told = state.member_count.saturating_sub(1);
        ctx.limit_once(RateClass::EnqueueRecipients, &[me.as_bytes()], told)?;
        scan(members(&channel, limits.members), move |_, listed, _| {
            let push = membership_push(&channel, &me, MembershipChange::RotateRequested);
            let listed = listed.iter().filter_map(|(key, _)| keys::parse_member(key));
            let others = listed.filter(|(_, member)| *member != me);
            let effects = Effects {
                live: others.map(|(_, member)| (member, push.clone())).collect(),
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
    let session = caller.session()?;
    let channel = parse_channel(&request.channel_id)?;
    let wanted = [
        keys::channel(&channel),
        keys::member(&channel, &session.identity_key),
    ];
    read(wanted, move |_, [row, member]| {
        let state = member_of(&row, &member)?;
        let length = usize::try_from(state.group_info_length).unwrap_or(usize::MAX);
        let pieces = (0..piece_count(length)).map(|piece| keys::group_info(&channel, piece));
        let mut wanted: Vec<Bytes> = pieces.collect();
        wanted.push(keys::channel(&channel));
        read_all(wanted, move |_, mut rows| {
            if rows.pop() != Some(row) {
                // A commit came between the reads.
                return Ok(Step::rerun());
            }
            let group_info =
                joined(rows).ok_or_else(|| Fault::internal("a stored row cannot be read"))?;
            Ok(Step::ok(&proto::GetGroupInfoResponse {
                group_info,
                slot: state.slot,
            }))
        })
    })
}

/// The push Membership.
pub(in crate::server) fn membership_push(
    channel: &ChannelId,
    member: &IdentityKey,
    change: MembershipChange,
) -> proto::PushEvent {
    proto::PushEvent {
        event: Some(push_event::Event::Membership(MembershipPush {
            channel_id: Bytes::copy_from_slice(channel.as_bytes()),
            member_key: Bytes::copy_from_slice(member.as_bytes()),
            change: change.into(),
        })),
    }
}

/// The channel, if `member` is the row of one of its members.
fn member_of(channel: &Row, member: &Row) -> Result<Channel, Fault> {
    let channel = decode_row::<Channel>(channel)?
        .ok_or_else(|| Fault::not_found("there is no such channel"))?;
    match member {
        Some(_) => Ok(channel),
        None => Err(Fault::forbidden("only members may do this")),
    }
}

fn members(channel: &ChannelId, limit: usize) -> Scan {
    let range = keys::members(channel);
    Scan {
        start: range.start,
        end: range.end,
        direction: Direction::Forward,
        items: limit,
        bytes: MAX_PAYLOAD,
    }
}

fn parse_channel(bytes: &Bytes) -> Result<ChannelId, Fault> {
    ChannelId::try_from(bytes.as_ref()).map_err(|_| Fault::bad_request("channel_id has 16 bytes"))
}
