//! mls-rs with its aws-lc provider, every change of state encoded by it and handed to a storage.
//!
//! It runs as `Group` does: handshakes encrypted, a path in every commit, a GroupInfo beside it, the
//! tree outside a Welcome to many, credentials of the same length. Two things favour it: nobody
//! verifies what its credentials say, and with a message it stores its state without the ratchet tree,
//! which a caller would then have to keep apart.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mls_rs::{
    CipherSuite, CipherSuiteProvider, Client, CryptoProvider, Group, MlsMessage,
    client_builder::{
        BaseConfig, PaddingMode, WithCryptoProvider, WithGroupStateStorage, WithIdentityProvider,
        WithKeyPackageRepo, WithMlsRules,
    },
    group::{ExportedTree, ReceivedMessage},
    identity::{
        SigningIdentity,
        basic::{BasicCredential, BasicIdentityProvider},
    },
    mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions},
};
use mls_rs_core::{
    group::{EpochRecord, GroupState, GroupStateStorage},
    key_package::{KeyPackageData, KeyPackageStorage},
};
use mls_rs_crypto_awslc::AwsLcCryptoProvider;
use qpq_crypto::{mls::TREE_INSIDE_UP_TO, padding};

use crate::{
    group::{GROUP, TEXT, keys},
    measure::{Bytes, Op, Stack, median, timed},
};

const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;

/// Takes every write, and counts it.
#[derive(Clone, Default)]
struct Dropping(Arc<AtomicUsize>);

impl GroupStateStorage for Dropping {
    type Error = Infallible;

    fn state(&self, _: &[u8]) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Infallible> {
        Ok(None)
    }

    fn epoch(&self, _: &[u8], _: u64) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, Infallible> {
        Ok(None)
    }

    fn write(
        &mut self,
        state: GroupState,
        inserts: Vec<EpochRecord>,
        updates: Vec<EpochRecord>,
    ) -> Result<(), Infallible> {
        let epochs = inserts.iter().chain(&updates);
        let bytes = state.data.len() + epochs.map(|epoch| epoch.data.len()).sum::<usize>();
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn max_epoch_id(&self, _: &[u8]) -> Result<Option<u64>, Infallible> {
        Ok(None)
    }
}

/// Keeps key packages after they were used, so that one can join again.
#[derive(Clone, Default)]
struct Packages(Arc<Mutex<BTreeMap<Vec<u8>, KeyPackageData>>>);

impl KeyPackageStorage for Packages {
    type Error = Infallible;

    fn delete(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn insert(&mut self, id: Vec<u8>, package: KeyPackageData) -> Result<(), Infallible> {
        self.0.lock().expect("nobody panics").insert(id, package);
        Ok(())
    }

    fn get(&self, id: &[u8]) -> Result<Option<KeyPackageData>, Infallible> {
        Ok(self.0.lock().expect("nobody panics").get(id).cloned())
    }
}

type Config = WithCryptoProvider<
    AwsLcCryptoProvider,
    WithIdentityProvider<
        BasicIdentityProvider,
        WithMlsRules<
            DefaultMlsRules,
            WithKeyPackageRepo<Packages, WithGroupStateStorage<Dropping, BaseConfig>>,
        >,
    >,
>;

struct Phone {
    client: Client<Config>,
    written: Dropping,
}

impl Phone {
    fn new(number: usize, tree_inside: bool) -> Self {
        let written = Dropping::default();
        let crypto = AwsLcCryptoProvider::new();
        let suite = crypto.cipher_suite_provider(SUITE).expect("it is known");
        let (secret, public) = suite.signature_key_generate().expect("keys can be made");
        let credential = BasicCredential::new(keys(number).1.encode());
        let commits = CommitOptions::new()
            .with_path_required(true)
            .with_ratchet_tree_extension(tree_inside)
            .with_allow_external_commit(true);
        let encryption = EncryptionOptions::new(true, PaddingMode::None);
        let client = Client::builder()
            .group_state_storage(written.clone())
            .key_package_repo(Packages::default())
            .mls_rules(
                DefaultMlsRules::new()
                    .with_commit_options(commits)
                    .with_encryption_options(encryption),
            )
            .identity_provider(BasicIdentityProvider)
            .crypto_provider(crypto)
            .signing_identity(
                SigningIdentity::new(credential.into_credential(), public),
                secret,
                SUITE,
            )
            .build();
        Phone { client, written }
    }

    fn key_package(&self) -> Vec<u8> {
        let made =
            self.client
                .generate_key_package_message(Default::default(), Default::default(), None);
        encode(&made.expect("a key package can always be made"))
    }

    fn join(&self, added: &Added) -> Group<Config> {
        let tree = added
            .ratchet_tree
            .as_deref()
            .map(|tree| ExportedTree::from_bytes(tree).expect("it was encoded here"));
        let joined = self.client.join_group(tree, &decode(&added.welcome), None);
        let (mut group, _) = joined.expect("the Welcome is for it");
        group.write_to_storage().expect("nothing fails here");
        group
    }
}

fn encode(message: &MlsMessage) -> Vec<u8> {
    message.to_bytes().expect("it is not too long")
}

fn decode(bytes: &[u8]) -> MlsMessage {
    MlsMessage::from_bytes(bytes).expect("it was encoded here")
}

struct Added {
    welcome: Vec<u8>,
    ratchet_tree: Option<Vec<u8>>,
}

fn add(group: &mut Group<Config>, packages: &[Vec<u8>]) -> Added {
    let mut builder = group.commit_builder();
    for package in packages {
        builder = builder.add_member(decode(package)).expect("it is one");
    }
    let out = builder.build().expect("the key packages are good");
    let added = Added {
        welcome: encode(&out.welcome_messages[0]),
        ratchet_tree: out
            .ratchet_tree
            .as_ref()
            .map(|tree| tree.to_bytes().expect("it is good")),
    };
    let group_info = out.external_commit_group_info.as_ref().map(encode);
    std::hint::black_box((encode(&out.commit_message), group_info));
    added
}

fn update(group: &mut Group<Config>) -> Vec<u8> {
    let out = group.commit(Vec::new()).expect("nothing is pending");
    std::hint::black_box(out.external_commit_group_info.as_ref().map(encode));
    encode(&out.commit_message)
}

fn confirm(group: &mut Group<Config>) {
    group.apply_pending_commit().expect("a commit is pending");
}

fn save(group: &mut Group<Config>) {
    group.write_to_storage().expect("nothing fails here");
}

/// After a message, which leaves the tree as it is.
fn save_without_tree(group: &mut Group<Config>) {
    let saved = group.write_to_storage_without_ratchet_tree();
    saved.expect("nothing fails here");
}

fn send(group: &mut Group<Config>, padded: &[u8]) -> Vec<u8> {
    let message = group.encrypt_application_message(padded, Vec::new());
    encode(&message.expect("no proposals are pending"))
}

fn receive(group: &mut Group<Config>, message: &[u8]) -> ReceivedMessage {
    let received = group.process_incoming_message(decode(message));
    received.expect("it is meant for this member")
}

pub struct Peer {
    padded: Vec<u8>,
    packages: Vec<Vec<u8>>,
    alone: Group<Config>,
    added: Added,
    before_commit: Group<Config>,
    commit: Vec<u8>,
    founder: Group<Config>,
    sender: Group<Config>,
    second: Group<Config>,
    phones: [Phone; 2],
}

impl Peer {
    pub fn new(added: usize) -> Self {
        let tree_inside = added < TREE_INSIDE_UP_TO;
        let phones = [0, 1].map(|number| Phone::new(number, tree_inside));
        let mut packages = vec![phones[1].key_package()];
        packages.extend((2..=added).map(|number| Phone::new(number, tree_inside).key_package()));
        let alone = phones[0].client.create_group_with_id(
            GROUP.to_vec(),
            Default::default(),
            Default::default(),
            None,
        );
        let alone = alone.expect("there is none yet");

        let mut founder = alone.clone();
        let added = add(&mut founder, &packages);
        confirm(&mut founder);
        let mut second = phones[1].join(&added);
        let commit = update(&mut founder);
        confirm(&mut founder);
        receive(&mut second, &commit);
        let commit = update(&mut second);
        confirm(&mut second);
        receive(&mut founder, &commit);
        save(&mut founder);
        save(&mut second);

        let commit = update(&mut founder.clone());
        Peer {
            padded: padding::pad(&TEXT),
            packages,
            alone,
            added,
            before_commit: second.clone(),
            commit,
            sender: founder.clone(),
            founder,
            second,
            phones,
        }
    }
}

impl Stack for Peer {
    fn time(&mut self, op: Op) -> Duration {
        match op {
            Op::KeyPackage => timed(|| self.phones[1].key_package()).0,
            Op::Add => {
                let mut founder = self.alone.clone();
                let add = || {
                    let added = add(&mut founder, &self.packages);
                    save(&mut founder);
                    confirm(&mut founder);
                    save(&mut founder);
                    added
                };
                timed(add).0
            }
            Op::Join => timed(|| self.phones[1].join(&self.added)).0,
            Op::Update => {
                let founder = &mut self.founder;
                let update = || {
                    let commit = update(founder);
                    save(founder);
                    commit
                };
                let (time, _) = timed(update);
                founder.clear_pending_commit();
                time
            }
            Op::Process => {
                let mut second = self.before_commit.clone();
                let process = || {
                    let received = receive(&mut second, &self.commit);
                    save(&mut second);
                    received
                };
                timed(process).0
            }
            Op::Encrypt => {
                let founder = &mut self.founder;
                let send = || {
                    let message = send(founder, &self.padded);
                    save_without_tree(founder);
                    message
                };
                timed(send).0
            }
            Op::Decrypt => {
                let message = send(&mut self.sender, &self.padded);
                let second = &mut self.second;
                let receive = || {
                    let received = receive(second, &message);
                    save_without_tree(second);
                    received
                };
                timed(receive).0
            }
        }
    }

    fn bytes(&mut self) -> Bytes {
        let [mut wire, mut sent, mut received] = [const { Vec::new() }; 3];
        let written = |phone: &Phone| phone.written.0.swap(0, Ordering::Relaxed);
        for _ in 0..100 {
            self.phones.iter().for_each(|phone| _ = written(phone));
            let message = send(&mut self.sender, &self.padded);
            save_without_tree(&mut self.sender);
            receive(&mut self.second, &message);
            save_without_tree(&mut self.second);
            wire.push(message.len());
            sent.push(written(&self.phones[0]));
            received.push(written(&self.phones[1]));
        }
        Bytes {
            wire: median(wire),
            written_by_sender: median(sent),
            written_by_receiver: median(received),
        }
    }
}
