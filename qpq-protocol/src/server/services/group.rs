//! Member lists and what goes with them: RemoveMember, AddMember, ListGroupMembers, GetGroupInfo
//! (protocol.md §5.10).

use bytes::Bytes;

use super::delivery::{joined, parse_identity, piece_count};
use crate::frame::MAX_PAYLOAD;
use crate::ids::{ChannelId, IdentityKey};
use crate::proto::{self, MembershipChange, MembershipPush, push_event};
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Fault, Next, Session, Step, commit, decode_row, doubt, encode_row, load,
    read, read_all, scan, unchanged,
};
use crate::storage::keys;
use crate::storage::records::{Channel, Member, Metadata};
use crate::storage::{Commit, Direction, Scan};
use crate::time::UnixTime;

/// Method 410.
pub(in crate::server) fn remove_member(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::RemoveMemberRequest,
) -> Next {
    let edit = Edit::new(caller, &request.channel_id, &request.member_key)?;
    edit.run(ctx, |edit, _, rows| {
        let leaves = edit.member == edit.session.identity_key;
        // Asked again after it was done.
        if leaves && rows.member.is_none() {
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
        if rows.member.is_none() {
            return Ok(None);
        }
        let mut change = Commit::default();
        unlist_member(&mut change, &edit.channel, &edit.member);
        let member_count = state.member_count.saturating_sub(1);
        Ok(Some((
            change,
            Channel {
                member_count,
                ..state
            },
            MembershipChange::Removed,
        )))
    })
}

/// Method 414.
pub(in crate::server) fn add_member(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::AddMemberRequest,
) -> Next {
    let edit = Edit::new(caller, &request.channel_id, &request.member_key)?;
    edit.run(ctx, |edit, ctx, rows| {
        let state = rows.admit()?;
        if rows.member.is_some() {
            return Ok(None);
        }
        if state.dm {
            return Err(Fault::forbidden("a DM has two members"));
        }
        if state.slot > 0 {
            return Err(Fault::forbidden(
                "add members by a commit: the group has begun",
            ));
        }
        if rows.devices.is_none() {
            return Err(Fault::not_found("there is no such account"));
        }
        let member_count = state.member_count.saturating_add(1);
        let limit = ctx.config.limits.members;
        if usize::try_from(member_count).is_ok_and(|count| count > limit) {
            return Err(Fault::quota(
                "the channel has as many members as it may have",
            ));
        }
        let mut change = Commit {
            checks: vec![unchanged(&keys::device_set(&edit.member), &rows.devices)],
            ..Commit::default()
        };
        list_member(&mut change, &edit.channel, &edit.member, ctx.unix);
        Ok(Some((
            change,
            Channel {
                member_count,
                ..state
            },
            MembershipChange::Added,
        )))
    })
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
    member: Row,
    devices: Row,
}

/// What it does: puts and deletes of the member, the channel's new state, the news. `None`: nothing
/// is left to do.
type Edited = Option<(Commit, Channel, MembershipChange)>;

impl EditRows {
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

    fn keys(&self) -> [Bytes; 4] {
        [
            keys::channel(&self.channel),
            keys::member(&self.channel, &self.session.identity_key),
            keys::member(&self.channel, &self.member),
            keys::device_set(&self.member),
        ]
    }

    fn run(
        self,
        ctx: &mut Ctx<'_>,
        edit: fn(&Self, &Ctx<'_>, &EditRows) -> Result<Edited, Fault>,
    ) -> Next {
        load(
            ctx,
            self.keys(),
            move |ctx, [channel, caller, member, devices]| {
                let rows = EditRows {
                    channel,
                    caller,
                    member,
                    devices,
                };
                match edit(&self, ctx, &rows) {
                    Ok(Some(edited)) => self.store(ctx, edited, &rows),
                    Ok(None) if ctx.is_sure_of(&self.keys()) => self.answer(Effects::default()),
                    Ok(None) => Ok(Step::Rerun),
                    Err(fault) => doubt(ctx, &self.keys(), fault),
                }
            },
        )
    }

    /// Tells the members, then changes the list.
    fn store(
        self,
        ctx: &mut Ctx<'_>,
        (mut change, mut state, news): (Commit, Channel, MembershipChange),
        rows: &EditRows,
    ) -> Next {
        let key = keys::channel(&self.channel);
        state.members_version = state.members_version.saturating_add(1);
        let [_, caller, member, _] = self.keys();
        change.checks.push(unchanged(&key, &rows.channel));
        change.checks.push(unchanged(&caller, &rows.caller));
        change.checks.push(unchanged(&member, &rows.member));
        change.puts.push((key, encode_row(&state)));
        let longest = ctx.config.limits.members;
        scan(members(&self.channel, longest), move |_, listed, _| {
            let mut effects = Effects::default();
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
            commit(change, move |_| self.answer(effects))
        })
    }

    /// Both responses are empty messages, and so the same bytes.
    fn answer(&self, effects: Effects) -> Next {
        Ok(Step::ok_with(&proto::AddMemberResponse {}, effects))
    }
}

/// Method 412.
pub(in crate::server) fn list_group_members(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::ListGroupMembersRequest,
) -> Next {
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
                    return Ok(Step::Rerun);
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

/// Method 416.
pub(in crate::server) fn get_group_info(
    _: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::GetGroupInfoRequest,
) -> Next {
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
                return Ok(Step::Rerun);
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

/// Puts a member on the list; the caller changes the channel's row.
pub(super) fn list_member(
    change: &mut Commit,
    channel: &ChannelId,
    member: &IdentityKey,
    now: UnixTime,
) {
    let row = Member {
        joined_at_ms: now.as_millis(),
        reset_at_ms: 0,
    };
    change
        .puts
        .push((keys::member(channel, member), encode_row(&row)));
    change
        .puts
        .push((keys::membership(member, channel), Bytes::new()));
}

/// Takes a member off the list; the caller changes the channel's row.
pub(super) fn unlist_member(change: &mut Commit, channel: &ChannelId, member: &IdentityKey) {
    change.deletes.push(keys::member(channel, member));
    change.deletes.push(keys::membership(member, channel));
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
