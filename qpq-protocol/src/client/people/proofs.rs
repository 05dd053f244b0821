//! What the server signs, held against it: its key is the one seen first, a commit's slot is signed
//! for, and no slot is signed for twice (protocol.md §5.13).
//!
//! Nothing here stops a conversation: whether a commit is valid MLS decides itself, and a message
//! is not lost because of a server that contradicts itself. The app is told. What the server has not signed
//! for has no slot, though: an own commit is submitted again, and another's is as good as missing.

use std::collections::BTreeMap;

use qpq_crypto::proof::{CommitSlot, verify_commit};

use crate::client::Client;
use crate::client::event::{CommitProof, ConversationId, Event};
use crate::client::keep::keys::Name;
use crate::client::keep::record::{DraftRecord, ProofRecord, ProofsRecord, ServerRecord};
use crate::ids::IdentityKey;

/// Slots of a conversation whose proofs are kept, the last ones.
const KEPT: usize = 16;

/// The last commits of a conversation that the server has signed for, by slot.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::client) struct Proofs(BTreeMap<u64, CommitProof>);

/// What a proof adds to those that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Added {
    /// The first for its slot.
    New,
    /// The commit is known.
    Known,
    /// This other commit has the slot already, by the server's word of the same epoch.
    Fork(CommitProof),
}

impl Proofs {
    fn add(&mut self, slot: u64, proof: CommitProof) -> Added {
        match self.0.get(&slot) {
            Some(first) if first == &proof => Added::Known,
            Some(first) if first.server_epoch == proof.server_epoch => Added::Fork(first.clone()),
            // Before this, the server's database was put back.
            Some(_) | None => {
                self.0.insert(slot, proof);
                if self.0.len() > KEPT {
                    self.0.pop_first();
                }
                Added::New
            }
        }
    }

    /// What the server has signed for this slot.
    pub(in crate::client) fn of(&self, slot: u64) -> Option<&CommitProof> {
        self.0.get(&slot)
    }

    fn record(&self) -> ProofsRecord {
        let record = |(slot, proof): (&u64, &CommitProof)| ProofRecord {
            slot: *slot,
            commit_hash: proof.commit_hash.to_vec(),
            proof: proof.proof.to_vec(),
            sender: proof.sender.as_bytes().to_vec(),
        };
        ProofsRecord {
            proofs: self.0.iter().map(record).collect(),
        }
    }

    pub(in crate::client) fn load(record: &ProofsRecord) -> Option<Self> {
        let proof = |record: &ProofRecord| {
            let (epoch, _) = record.proof.split_first_chunk::<8>()?;
            let proof = CommitProof {
                commit_hash: record.commit_hash.as_slice().try_into().ok()?,
                sender: record.sender.as_slice().try_into().ok()?,
                server_epoch: u64::from_be_bytes(*epoch),
                proof: record.proof.as_slice().try_into().ok()?,
            };
            Some((record.slot, proof))
        };
        record
            .proofs
            .iter()
            .map(proof)
            .collect::<Option<_>>()
            .map(Self)
    }
}

impl Client {
    /// Keeps what the server says of itself. With an account its signing key stays the one that was
    /// seen first: it lies in the same storage at the server as the account, so another is no
    /// renewal but another server, and this is `false`.
    pub(in crate::client) fn know_server(&mut self, claimed: ServerRecord) -> bool {
        match &self.state.server {
            Some(known) if *known == claimed => true,
            Some(known) if self.state.me.is_some() && known.signing_key != claimed.signing_key => {
                let key = |record: &ServerRecord| {
                    let key: Result<[u8; 32], _> = record.signing_key.as_slice().try_into();
                    key.unwrap_or_default()
                };
                self.writer.emit(Event::ServerKeyChanged {
                    known: key(known),
                    claimed: key(&claimed),
                });
                false
            }
            _ => {
                self.writer.put(&Name::Server, &claimed);
                self.state.server = Some(claimed);
                true
            }
        }
    }

    /// The server says that a commit of ours has the slot; whether it has signed for that.
    pub(in crate::client) fn take_own_proof(
        &mut self,
        id: ConversationId,
        draft: &DraftRecord,
        proof: &[u8],
    ) -> bool {
        let hash: Option<[u8; 32]> = draft.commit_hash.as_slice().try_into().ok();
        let own = self.state.identity_key();
        match (hash, own) {
            (Some(hash), Some(own)) => {
                self.take_proof(id, draft.slot, (&hash, own.as_bytes()), proof)
            }
            _ => false,
        }
    }

    /// The server says that the commit with this SHA-256, of this member, has the slot; whether it has signed
    /// for that.
    pub(in crate::client) fn take_proof(
        &mut self,
        id: ConversationId,
        slot: u64,
        (commit_hash, sender): (&[u8; 32], &[u8]),
        proof: &[u8],
    ) -> bool {
        let Some(proof) = self.verified(id, slot, (commit_hash, sender), proof) else {
            self.writer.emit(Event::Unproven {
                conversation: id,
                slot,
            });
            return false;
        };
        let proofs = self.state.proofs.entry(id).or_default();
        match proofs.add(slot, proof.clone()) {
            Added::New => self.writer.put(&Name::Proofs(id), &proofs.record()),
            Added::Known => {}
            Added::Fork(first) => {
                self.writer.emit(Event::Forked {
                    conversation: id,
                    slot,
                    proofs: [first, proof],
                });
                let members = self.identities(id);
                self.report(id, &members);
            }
        }
        true
    }

    /// Whether the server has signed that the commit with this SHA-256, of this member, has the slot.
    pub(in crate::client) fn is_proven(
        &self,
        id: ConversationId,
        slot: u64,
        said: (&[u8; 32], &[u8]),
        proof: &[u8],
    ) -> bool {
        self.verified(id, slot, said, proof).is_some()
    }

    pub(in crate::client) fn verified(
        &self,
        id: ConversationId,
        slot: u64,
        (commit_hash, sender): (&[u8; 32], &[u8]),
        proof: &[u8],
    ) -> Option<CommitProof> {
        let server = self.state.server.as_ref()?;
        let key = server.signing_key.as_slice().try_into().ok()?;
        let sender = IdentityKey::try_from(sender).ok()?;
        let taken = CommitSlot {
            channel_id: &id.0,
            slot,
            commit_hash,
            sender: &sender,
        };
        let server_epoch = verify_commit(key, &taken, proof).ok()?;
        Some(CommitProof {
            commit_hash: *commit_hash,
            sender,
            server_epoch,
            proof: proof.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn proof(server_epoch: u64, commit: u8) -> CommitProof {
        let mut proof = [commit; 72];
        proof[..8].copy_from_slice(&server_epoch.to_be_bytes());
        CommitProof {
            commit_hash: [commit; 32],
            sender: IdentityKey([5; 32]),
            server_epoch,
            proof,
        }
    }

    proptest! {
        /// Against a list of all that was first for its slot since the server was set back last.
        #[test]
        fn a_second_commit_for_a_kept_slot_is_a_fork(
            said in vec((0..24u64, 0..2u64, 0..3u8), 0..100),
        ) {
            let mut proofs = Proofs::default();
            let mut model: BTreeMap<u64, (u64, u8)> = BTreeMap::new();
            for (slot, epoch, commit) in said {
                let expected = match model.get(&slot) {
                    Some(first) if *first == (epoch, commit) => Added::Known,
                    Some((first, other)) if *first == epoch => Added::Fork(proof(epoch, *other)),
                    _ => Added::New,
                };
                if expected == Added::New {
                    model.insert(slot, (epoch, commit));
                }
                prop_assert_eq!(proofs.add(slot, proof(epoch, commit)), expected);
                while model.len() > KEPT {
                    model.pop_first();
                }
                prop_assert_eq!(Proofs::load(&proofs.record()), Some(proofs.clone()));
            }
        }
    }
}
