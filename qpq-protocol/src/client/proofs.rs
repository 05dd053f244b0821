//! What the server signs, held against it: its key is the one seen first, a commit's slot is signed
//! for, and no slot is signed for twice (protocol.md §5.13).
//!
//! Nothing here stops a conversation: whether a commit is valid MLS decides itself, and a message
//! is not lost because of a server that contradicts itself. The app is told.

use std::collections::BTreeMap;

use qpq_crypto::proof::verify_commit_hash;

use super::Client;
use super::event::{CommitProof, ConversationId, Event};
use super::keys::Name;
use super::record::{ProofRecord, ProofsRecord, ServerRecord};

/// Slots of a conversation whose proofs are kept, the last ones.
const KEPT: usize = 16;

/// The last commits of a conversation that the server has signed for, by slot.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Proofs(BTreeMap<u64, CommitProof>);

/// What a proof adds to those that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Added {
    /// The first for its slot.
    New,
    /// The commit is known.
    Known,
    /// This other commit has the slot already.
    Fork(CommitProof),
}

impl Proofs {
    fn add(&mut self, slot: u64, proof: CommitProof) -> Added {
        match self.0.get(&slot) {
            Some(first) if first.commit_hash == proof.commit_hash => Added::Known,
            Some(first) => Added::Fork(first.clone()),
            None => {
                self.0.insert(slot, proof);
                if self.0.len() > KEPT {
                    self.0.pop_first();
                }
                Added::New
            }
        }
    }

    fn record(&self) -> ProofsRecord {
        let record = |(slot, proof): (&u64, &CommitProof)| ProofRecord {
            slot: *slot,
            commit_hash: proof.commit_hash.to_vec(),
            signature: proof.signature.to_vec(),
        };
        ProofsRecord {
            proofs: self.0.iter().map(record).collect(),
        }
    }

    pub(super) fn load(record: &ProofsRecord) -> Option<Self> {
        let proof = |record: &ProofRecord| {
            let proof = CommitProof {
                commit_hash: record.commit_hash.as_slice().try_into().ok()?,
                signature: record.signature.as_slice().try_into().ok()?,
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
    /// renewal.
    pub(super) fn know_server(&mut self, claimed: ServerRecord) {
        match &self.state.server {
            Some(known) if *known == claimed => {}
            Some(known) if self.state.me.is_some() && known.signing_key != claimed.signing_key => {
                let key = |record: &ServerRecord| {
                    let key: Result<[u8; 32], _> = record.signing_key.as_slice().try_into();
                    key.unwrap_or_default()
                };
                self.writer.emit(Event::ServerKeyChanged {
                    known: key(known),
                    claimed: key(&claimed),
                });
            }
            _ => {
                self.writer.put(&Name::Server, &claimed);
                self.state.server = Some(claimed);
            }
        }
    }

    /// The server says that the commit with this SHA-256 has the slot.
    pub(super) fn take_proof(
        &mut self,
        id: ConversationId,
        slot: u64,
        commit_hash: &[u8],
        signature: &[u8],
    ) {
        let Some(proof) = self.verified(id, slot, commit_hash, signature) else {
            self.writer.emit(Event::Unproven {
                conversation: id,
                slot,
            });
            return;
        };
        let proofs = self.state.proofs.entry(id).or_default();
        match proofs.add(slot, proof.clone()) {
            Added::New => self.writer.put(&Name::Proofs(id), &proofs.record()),
            Added::Known => {}
            Added::Fork(first) => self.writer.emit(Event::Forked {
                conversation: id,
                slot,
                proofs: [first, proof],
            }),
        }
    }

    fn verified(
        &self,
        id: ConversationId,
        slot: u64,
        commit_hash: &[u8],
        signature: &[u8],
    ) -> Option<CommitProof> {
        let server = self.state.server.as_ref()?;
        let key = server.signing_key.as_slice().try_into().ok()?;
        let proof = CommitProof {
            commit_hash: commit_hash.try_into().ok()?,
            signature: signature.try_into().ok()?,
        };
        verify_commit_hash(key, &id.0, slot, &proof.commit_hash, signature)
            .is_ok()
            .then_some(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn proof(commit: u8) -> CommitProof {
        CommitProof {
            commit_hash: [commit; 32],
            signature: [commit; 64],
        }
    }

    proptest! {
        /// Against a list of all that was ever first for its slot.
        #[test]
        fn a_second_commit_for_a_kept_slot_is_a_fork(said in vec((0..24u64, 0..3u8), 0..100)) {
            let mut proofs = Proofs::default();
            let mut model: BTreeMap<u64, u8> = BTreeMap::new();
            for (slot, commit) in said {
                let expected = match model.get(&slot) {
                    None => Added::New,
                    Some(first) if *first == commit => Added::Known,
                    Some(first) => Added::Fork(proof(*first)),
                };
                prop_assert_eq!(proofs.add(slot, proof(commit)), expected);
                model.entry(slot).or_insert(commit);
                while model.len() > KEPT {
                    model.pop_first();
                }
                prop_assert_eq!(Proofs::load(&proofs.record()), Some(proofs.clone()));
            }
        }
    }
}
