//! A storage for openmls that encodes every write and drops it; what it holds it was given before.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    convert::Infallible,
};

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use qpq_crypto::mls::encode_plain;
use serde::{Serialize, de::DeserializeOwned};

const V: u16 = CURRENT_VERSION;

/// First byte of a key.
#[derive(Clone, Copy)]
enum Kind {
    JoinConfig,
    OwnLeafNodes,
    Proposal,
    Tree,
    GroupContext,
    InterimTranscriptHash,
    ConfirmationTag,
    GroupState,
    MessageSecrets,
    ResumptionPsks,
    OwnLeafIndex,
    EpochSecrets,
    SignatureKeyPair,
    EncryptionKeyPair,
    EpochKeyPairs,
    KeyPackage,
    Psk,
}

/// Rows by key, and how much was written.
#[derive(Default)]
pub struct Storage {
    rows: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    drops: Cell<bool>,
    written: Cell<usize>,
}

impl Storage {
    /// From now on what is written is dropped, and nothing is deleted.
    pub fn dropping(self) -> Self {
        self.drops.set(true);
        self
    }

    /// Another storage with the same rows.
    pub fn copy(&self) -> Self {
        Storage {
            rows: self.rows.clone(),
            ..Storage::default()
        }
    }

    /// Bytes of keys and values written since it was last asked.
    pub fn take_written(&self) -> usize {
        self.written.take()
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Infallible> {
        self.written
            .set(self.written.get() + key.len() + value.len());
        if self.drops.get() {
            std::hint::black_box((key, value));
        } else {
            self.rows.borrow_mut().insert(key, value);
        }
        Ok(())
    }

    fn write(
        &self,
        kind: Kind,
        key: &impl Serialize,
        value: &impl Serialize,
    ) -> Result<(), Infallible> {
        self.put(row(kind, key), encode(value))
    }

    fn read<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &impl Serialize,
    ) -> Result<Option<T>, Infallible> {
        let rows = self.rows.borrow();
        let value = rows.get(&row(kind, key));
        Ok(value.map(|value| postcard::from_bytes(value).expect("it was written here")))
    }

    fn remove(&self, kind: Kind, key: &impl Serialize) -> Result<(), Infallible> {
        let key = row(kind, key);
        if !self.drops.get() {
            self.rows.borrow_mut().remove(&key);
        }
        Ok(())
    }
}

fn row(kind: Kind, key: &impl Serialize) -> Vec<u8> {
    encode_plain(key, vec![kind as u8]).expect("a key can be encoded")
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    encode_plain(value, Vec::new()).expect("a value can be encoded")
}

macro_rules! group_values {
    ($($kind:ident: $Value:ident, $write:ident, $read:ident, $delete:ident;)*) => {$(
        fn $write<G: traits::GroupId<V>, T: traits::$Value<V>>(&self, group_id: &G, value: &T) -> Result<(), Infallible> {
            self.write(Kind::$kind, group_id, value)
        }

        fn $read<G: traits::GroupId<V>, T: traits::$Value<V>>(&self, group_id: &G) -> Result<Option<T>, Infallible> {
            self.read(Kind::$kind, group_id)
        }

        fn $delete<G: traits::GroupId<V>>(&self, group_id: &G) -> Result<(), Infallible> {
            self.remove(Kind::$kind, group_id)
        }
    )*};
}

macro_rules! device_values {
    ($($kind:ident: $Key:ident => $Value:ident, $write:ident, $delete:ident;)*) => {$(
        fn $write<K: traits::$Key<V>, T: traits::$Value<V>>(&self, key: &K, value: &T) -> Result<(), Infallible> {
            self.write(Kind::$kind, key, value)
        }

        fn $delete<K: traits::$Key<V>>(&self, key: &K) -> Result<(), Infallible> {
            self.remove(Kind::$kind, key)
        }
    )*};
}

impl StorageProvider<V> for Storage {
    type Error = Infallible;

    group_values! {
        Tree: TreeSync, write_tree, tree, delete_tree;
        GroupContext: GroupContext, write_context, group_context, delete_context;
        InterimTranscriptHash: InterimTranscriptHash,
            write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash;
        ConfirmationTag: ConfirmationTag,
            write_confirmation_tag, confirmation_tag, delete_confirmation_tag;
        MessageSecrets: MessageSecrets,
            write_message_secrets, message_secrets, delete_message_secrets;
        ResumptionPsks: ResumptionPskStore, write_resumption_psk_store, resumption_psk_store,
            delete_all_resumption_psk_secrets;
        OwnLeafIndex: LeafNodeIndex, write_own_leaf_index, own_leaf_index, delete_own_leaf_index;
        EpochSecrets: GroupEpochSecrets,
            write_group_epoch_secrets, group_epoch_secrets, delete_group_epoch_secrets;
    }

    device_values! {
        SignatureKeyPair: SignaturePublicKey => SignatureKeyPair,
            write_signature_key_pair, delete_signature_key_pair;
        EncryptionKeyPair: EncryptionKey => HpkeKeyPair,
            write_encryption_key_pair, delete_encryption_key_pair;
        KeyPackage: HashReference => KeyPackage,
            write_key_package, delete_key_package;
        Psk: PskId => PskBundle, write_psk, delete_psk;
    }

    fn signature_key_pair<K: traits::SignaturePublicKey<V>, T: traits::SignatureKeyPair<V>>(
        &self,
        key: &K,
    ) -> Result<Option<T>, Infallible> {
        self.read(Kind::SignatureKeyPair, key)
    }

    fn encryption_key_pair<T: traits::HpkeKeyPair<V>, K: traits::EncryptionKey<V>>(
        &self,
        key: &K,
    ) -> Result<Option<T>, Infallible> {
        self.read(Kind::EncryptionKeyPair, key)
    }

    fn key_package<K: traits::HashReference<V>, T: traits::KeyPackage<V>>(
        &self,
        key: &K,
    ) -> Result<Option<T>, Infallible> {
        self.read(Kind::KeyPackage, key)
    }

    fn psk<T: traits::PskBundle<V>, K: traits::PskId<V>>(
        &self,
        key: &K,
    ) -> Result<Option<T>, Infallible> {
        self.read(Kind::Psk, key)
    }

    fn write_group_state<S: traits::GroupState<V>, G: traits::GroupId<V>>(
        &self,
        group_id: &G,
        group_state: &S,
    ) -> Result<(), Infallible> {
        self.write(Kind::GroupState, group_id, group_state)
    }

    fn group_state<S: traits::GroupState<V>, G: traits::GroupId<V>>(
        &self,
        group_id: &G,
    ) -> Result<Option<S>, Infallible> {
        self.read(Kind::GroupState, group_id)
    }

    fn delete_group_state<G: traits::GroupId<V>>(&self, group_id: &G) -> Result<(), Infallible> {
        self.remove(Kind::GroupState, group_id)
    }

    fn write_mls_join_config<G: traits::GroupId<V>, T: traits::MlsGroupJoinConfig<V>>(
        &self,
        group_id: &G,
        config: &T,
    ) -> Result<(), Infallible> {
        // Its untagged enum is the one value that postcard writes but cannot read.
        let mut value = Vec::new();
        ciborium::into_writer(config, &mut value).expect("a value can be encoded");
        self.put(row(Kind::JoinConfig, group_id), value)
    }

    fn mls_group_join_config<G: traits::GroupId<V>, T: traits::MlsGroupJoinConfig<V>>(
        &self,
        group_id: &G,
    ) -> Result<Option<T>, Infallible> {
        let rows = self.rows.borrow();
        let value = rows.get(&row(Kind::JoinConfig, group_id));
        Ok(value.map(|value| ciborium::from_reader(&value[..]).expect("it was written here")))
    }

    fn delete_group_config<G: traits::GroupId<V>>(&self, group_id: &G) -> Result<(), Infallible> {
        self.remove(Kind::JoinConfig, group_id)
    }

    // The lists stay empty here: nobody proposes an update, and no proposal comes alone.

    fn append_own_leaf_node<G: traits::GroupId<V>, T: traits::LeafNode<V>>(
        &self,
        group_id: &G,
        leaf_node: &T,
    ) -> Result<(), Infallible> {
        self.write(Kind::OwnLeafNodes, group_id, &[leaf_node])
    }

    fn own_leaf_nodes<G: traits::GroupId<V>, T: traits::LeafNode<V>>(
        &self,
        group_id: &G,
    ) -> Result<Vec<T>, Infallible> {
        Ok(self.read(Kind::OwnLeafNodes, group_id)?.unwrap_or_default())
    }

    fn delete_own_leaf_nodes<G: traits::GroupId<V>>(&self, group_id: &G) -> Result<(), Infallible> {
        self.remove(Kind::OwnLeafNodes, group_id)
    }

    fn queue_proposal<
        G: traits::GroupId<V>,
        R: traits::ProposalRef<V>,
        P: traits::QueuedProposal<V>,
    >(
        &self,
        group_id: &G,
        proposal_ref: &R,
        proposal: &P,
    ) -> Result<(), Infallible> {
        self.write(Kind::Proposal, &(group_id, proposal_ref), proposal)
    }

    fn queued_proposal_refs<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        _: &G,
    ) -> Result<Vec<R>, Infallible> {
        Ok(Vec::new())
    }

    fn queued_proposals<
        G: traits::GroupId<V>,
        R: traits::ProposalRef<V>,
        P: traits::QueuedProposal<V>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<(R, P)>, Infallible> {
        Ok(Vec::new())
    }

    fn remove_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group_id: &G,
        proposal_ref: &R,
    ) -> Result<(), Infallible> {
        self.remove(Kind::Proposal, &(group_id, proposal_ref))
    }

    fn clear_proposal_queue<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        _: &G,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    fn write_encryption_epoch_key_pairs<
        G: traits::GroupId<V>,
        E: traits::EpochKey<V>,
        T: traits::HpkeKeyPair<V>,
    >(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
        key_pairs: &[T],
    ) -> Result<(), Infallible> {
        self.write(
            Kind::EpochKeyPairs,
            &(group_id, epoch, leaf_index),
            &key_pairs,
        )
    }

    fn encryption_epoch_key_pairs<
        G: traits::GroupId<V>,
        E: traits::EpochKey<V>,
        T: traits::HpkeKeyPair<V>,
    >(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<Vec<T>, Infallible> {
        let key_pairs = self.read(Kind::EpochKeyPairs, &(group_id, epoch, leaf_index))?;
        Ok(key_pairs.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>>(
        &self,
        group_id: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<(), Infallible> {
        self.remove(Kind::EpochKeyPairs, &(group_id, epoch, leaf_index))
    }
}
