//! What a member commits that means ill: for tests, fuzzing and simulations of clients that have to live
//! with it.

use super::{CommitOut, Device, Group, GroupError, crypto::Spoil};

impl Group {
    /// [`update`](Group::update) whose path secret is wrong for the member on `victim` and right for
    /// all others. Where parent nodes above it are filled, for all below the lowest of them.
    ///
    /// # Errors
    /// As [`update`](Group::update); [`GroupError::EmptyLeaf`].
    pub fn update_spoiled_for(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
        victim: u32,
    ) -> Result<CommitOut, GroupError> {
        let mut members = self.mls.members();
        let leaf = members.find(|member| member.index.u32() == victim);
        let key = leaf.ok_or(GroupError::EmptyLeaf(victim))?.encryption_key;
        drop(members);
        self.commit_by(
            device,
            |device| device.seeded(seed).spoiling(Spoil::For(key)),
            None,
            Vec::new(),
        )
    }

    /// The same for all members but this one.
    ///
    /// # Errors
    /// As [`update`](Group::update).
    pub fn update_spoiled_for_all(
        &mut self,
        device: &mut Device,
        seed: &[u8; 32],
    ) -> Result<CommitOut, GroupError> {
        self.commit_by(
            device,
            |device| device.seeded(seed).spoiling(Spoil::All),
            None,
            Vec::new(),
        )
    }
}
