//! Members in different trees, and how they come together (protocol.md §5.8, §5.31).
//!
//! A GroupInfo comes from the member who gave it: who came back by one of a member that means ill, or whose own commit
//! was void, is in a tree that the others are not in. All see it by the next commit, which is void on the
//! other side. Who let himself in is the one to move: those who followed the slots answer his external
//! commit with a fresh GroupInfo, and a commit that is void for who came back sends him back once more. Where
//! that leads nowhere, there is a new group in the end.

use core::time::Duration;

use crate::client::Client;
use crate::client::event::{ConversationId, RejoinReason};
use crate::client::talk::channel::Phase;
use crate::client::talk::framing::{Content, framing};
use crate::client::talk::generation::group_id;
use crate::ids::IdentityKey;

/// So long it is the one who came back who moves: as long as messages wait for those who are away.
const RECENT: Duration = Duration::from_secs(30 * 86_400);

impl Client {
    /// This device let itself into the group.
    pub(super) fn note_return(&mut self, id: ConversationId) {
        let now_ms = self.unix_ms();
        self.change_channel(id, |channel| {
            channel.returned_ms = now_ms;
            // The commit that let it in came with one.
            channel.owes_rotation = false;
            channel.relisted = false;
        });
    }

    /// A member's commit is void here. Was it for the group that this device is in, then it may be valid in
    /// another tree of it.
    pub(in crate::client) fn compare_trees(
        &mut self,
        id: ConversationId,
        by: IdentityKey,
        commit: &[u8],
    ) {
        let is_leaving = self.phase(id) == Some(Phase::Leaving);
        if !is_leaving && self.phase(id) != Some(Phase::Active)
            || self.state.identity_key() == Some(by)
        {
            return;
        }
        let now_ms = self.unix_ms();
        let members = self.identities(id);
        let Some(channel) = self.state.conversations.get(&id) else {
            return;
        };
        let own = group_id(id, channel.generation);
        let framing = framing(commit).filter(|framing| framing.group_id == own);
        let Some(content) = framing
            .filter(|_| members.contains(&by))
            .map(|it| it.content)
        else {
            return;
        };
        let recent_ms = u64::try_from(RECENT.as_millis()).unwrap_or(u64::MAX);
        let is_back = channel.returned_ms > 0 && now_ms.abs_diff(channel.returned_ms) < recent_ms;
        if self.is_ahead(id, commit) {
            self.look_for_epoch(id);
        }
        match content {
            // Who leaves has to say so where the others are.
            Content::Commit if is_leaving => self.rejoin(id, RejoinReason::Unfit),
            Content::ExternalCommit => self.rotation_requested(id),
            Content::Commit if is_back => self.rejoin(id, RejoinReason::Unfit),
            _ => {}
        }
    }
}
