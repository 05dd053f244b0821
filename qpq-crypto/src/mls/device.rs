//! One device: its key and credential, its rows, its key packages.

use openmls::{
    group::GroupId,
    prelude::{self as mls, BasicCredential, CredentialWithKey, KeyPackageBundle, Lifetime},
    schedule::PreSharedKeyId,
};

use super::{
    Batch, GroupError, StateError, Suite, codec,
    key_package::Validity,
    provider::{DeviceSigner, QpqProvider},
    rows::Rows,
    storage::{Kind, row_key},
    suite,
};
use crate::identity::{Credential, DeviceSecret};

/// One device's MLS state: the signature key, the credential, and every row in memory, where a value that
/// grew may take up to twice its length.
///
/// Operations write to memory. [`take_batch`](Device::take_batch) hands out what they changed, to
/// be stored in one commit with the message or cursor that goes with it;
/// [`rollback`](Device::rollback) forgets it. An operation that fails takes its own writes back.
///
/// Take the batch of a commit only after it was merged (`Group::process` merges): between the
/// decryption, which uses up a key, and the merge lies a state that no restart recovers from.
pub struct Device {
    secret: DeviceSecret,
    signer: DeviceSigner,
    credential: Credential,
    rows: Rows,
}

/// A new key package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPackage {
    /// The TLS-encoded `KeyPackage` itself (RFC 9420 §10), not wrapped in an `MLSMessage`: begins
    /// with the version and the suite, two bytes each.
    pub bytes: Vec<u8>,
    /// Its `KeyPackageRef` (RFC 9420 §5.2), as a Welcome names it: 32 bytes, 48 for suite 0x004E.
    pub reference: Vec<u8>,
}

/// A key package whose private keys the device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKeyPackage {
    /// Its `KeyPackageRef` (RFC 9420 §5.2): 32 bytes, 48 for suite 0x004E.
    pub reference: Vec<u8>,
    /// Its suite.
    pub suite: Suite,
    /// Whether it stays after a join.
    pub last_resort: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
}

impl Device {
    /// A device with the rows it stored; with none, a new one.
    ///
    /// # Errors
    /// [`StateError`] if the rows are damaged or of another version.
    pub fn new(
        secret: DeviceSecret,
        credential: Credential,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, StateError> {
        Ok(Device {
            signer: DeviceSigner::new(&secret),
            secret,
            credential,
            rows: Rows::load(rows)?,
        })
    }

    /// The credential that its leaves carry.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The key that signs its leaves and messages.
    pub fn secret(&self) -> &DeviceSecret {
        &self.secret
    }

    /// Everything that changed since the last batch, to be stored in one commit.
    pub fn take_batch(&mut self) -> Batch {
        self.rows.take_batch()
    }

    /// Forgets everything since the last batch. Drop loaded groups and load them again.
    pub fn rollback(&mut self) {
        self.rows.rollback();
    }

    /// Makes a key package and keeps its private keys.
    ///
    /// It is valid from an hour before `now_ms` (clocks differ) for 84 days, a last-resort one for
    /// 366. Upload it, and delete its predecessor only when the server has confirmed.
    ///
    /// # Errors
    /// [`GroupError::State`] if it cannot be encoded.
    pub fn key_package(
        &mut self,
        seed: &[u8; 32],
        suite: Suite,
        now_ms: u64,
        last_resort: bool,
    ) -> Result<KeyPackage, GroupError> {
        let validity = Validity::starting(now_ms, last_resort);
        let provider = self.seeded(seed);
        let mut builder = mls::KeyPackage::builder()
            .leaf_node_capabilities(suite::capabilities(suite))
            .key_package_lifetime(open_lifetime())
            .key_package_extensions(validity.extensions().map_err(|_| GroupError::State)?);
        if last_resort {
            builder = builder.mark_as_last_resort();
        }
        let mark = self.rows.mark();
        let made = builder
            .build(
                suite.ciphersuite(),
                &provider,
                self.signer(),
                self.credential_with_key(),
            )
            .map_err(|error| GroupError::Refused(error.to_string()))
            .and_then(|bundle| {
                let key_package = bundle.into_key_package();
                Ok(KeyPackage {
                    bytes: codec::encode(&key_package).ok_or(GroupError::State)?,
                    reference: key_package
                        .hash_ref(mls::OpenMlsProvider::crypto(&provider))
                        .map_err(|_| GroupError::State)?
                        .as_slice()
                        .to_vec(),
                })
            });
        if made.is_err() {
            self.rows.back_to(mark);
        }
        made
    }

    /// The key packages whose private keys are here, ordered by reference.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] if a row does not read.
    pub fn key_packages(&self) -> Result<Vec<HeldKeyPackage>, StateError> {
        let provider = QpqProvider::unseeded(&self.rows);
        self.rows
            .keys(&[Kind::KeyPackage as u8])
            .iter()
            .map(|key| {
                let bundle: KeyPackageBundle = self
                    .rows
                    .with(key, |value| {
                        value.and_then(|v| postcard::from_bytes(v).ok())
                    })
                    .ok_or(StateError::Corrupt)?;
                let key_package = bundle.key_package();
                let validity = Validity::of(key_package).ok_or(StateError::Corrupt)?;
                Ok(HeldKeyPackage {
                    reference: key_package
                        .hash_ref(mls::OpenMlsProvider::crypto(&provider))
                        .map_err(|_| StateError::Corrupt)?
                        .as_slice()
                        .to_vec(),
                    suite: Suite::from_ciphersuite(key_package.ciphersuite())
                        .ok_or(StateError::Corrupt)?,
                    last_resort: key_package.last_resort(),
                    created_at_ms: validity.created_at_ms(),
                    not_after_ms: validity.not_after_ms,
                })
            })
            .collect()
    }

    /// Deletes the private keys of a key package, named by its `KeyPackageRef`: a Welcome to it can no
    /// longer be read. One that is not here is passed over.
    pub fn delete_key_package(&mut self, reference: &[u8]) {
        // A byte string always encodes.
        if let Ok(key) = row_key(Kind::KeyPackage, &reference) {
            self.rows.delete(&key);
        }
    }

    /// Keeps a pre-shared key (RFC 9420 §8.4) that Welcomes and commits may name by `id`, both of any
    /// length.
    ///
    /// # Errors
    /// [`GroupError::State`] if it cannot be encoded.
    pub fn add_external_psk(&mut self, id: &[u8], psk: &[u8]) -> Result<(), GroupError> {
        PreSharedKeyId::external(id.to_vec(), Vec::new())
            .store(&QpqProvider::unseeded(&self.rows), psk)
            .map_err(|_| GroupError::State)
    }

    /// Ids of the groups whose state is here, ordered.
    pub fn groups(&self) -> Vec<Vec<u8>> {
        self.rows
            .keys(&[Kind::GroupState as u8])
            .iter()
            .filter_map(|key| postcard::from_bytes::<GroupId>(key.get(1..)?).ok())
            .map(|id| id.to_vec())
            .collect()
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(super) fn seeded(&self, seed: &[u8; 32]) -> QpqProvider<'_> {
        QpqProvider::seeded(&self.rows, seed)
    }

    pub(super) fn unseeded(&self) -> QpqProvider<'_> {
        QpqProvider::unseeded(&self.rows)
    }

    pub(super) fn signer(&self) -> &DeviceSigner {
        &self.signer
    }

    pub(super) fn credential_with_key(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.credential.encode()).into(),
            signature_key: self.secret.public().as_bytes().as_slice().into(),
        }
    }
}

/// The lifetime in a leaf: always. See [`suite::LIFETIME_EXTENSION`].
pub(super) fn open_lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}
