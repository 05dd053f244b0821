//! openmls driven directly: our primitives and codec, encoder included, the configuration and the messages
//! that `Group` has, and a storage that encodes every write and drops it.
//!
//! Anyone who does this for real has to look at credentials as well (openmls leaves that to its caller),
//! so that the certificates are verified here too. What is left out is what `Group` adds: padding,
//! errors that say whose fault it is, taking back, pieces of what changed, who came and went.

use std::time::Duration;

use openmls::{
    group::{
        GroupContext, GroupId, MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY, MlsGroup, MlsGroupCreateConfig,
        MlsGroupJoinConfig, StagedWelcome,
    },
    prelude::{
        self as mls, BasicCredential, Capabilities, CredentialType, CredentialWithKey, Extension,
        ExtensionType, Extensions, KeyPackage, KeyPackageIn, Lifetime, MlsMessageBodyIn,
        MlsMessageIn, OpenMlsProvider, ProcessedMessageContent, ProtocolVersion, RatchetTreeIn,
        RequiredCapabilitiesExtension, SenderRatchetConfiguration, UnknownExtension,
        tls_codec::{Deserialize, Serialize},
    },
};
use openmls_traits::types::Ciphersuite;
use qpq_crypto::{
    identity::{Credential, DeviceKey},
    mls::{
        DeviceSigner, LIFETIME_EXTENSION, PROFILE, PROFILE_EXTENSION, QpqCrypto, QpqRand, Suite,
        TREE_INSIDE_UP_TO,
    },
    padding,
};

use crate::{
    group::{GROUP, NOW, Seeds, TEXT, keys},
    measure::{Bytes, Op, Stack, median, timed},
    storage::Storage,
};

/// What one operation works with.
struct Provider<'a> {
    crypto: QpqCrypto,
    rand: QpqRand,
    storage: &'a Storage,
}

impl<'a> Provider<'a> {
    fn seeded(storage: &'a Storage, seed: &[u8; 32]) -> Self {
        let crypto = QpqCrypto::seeded(seed);
        let rand = QpqRand::of(&crypto);
        Provider {
            crypto,
            rand,
            storage,
        }
    }

    fn unseeded(storage: &'a Storage) -> Self {
        let crypto = QpqCrypto::unseeded();
        let rand = QpqRand::of(&crypto);
        Provider {
            crypto,
            rand,
            storage,
        }
    }
}

impl OpenMlsProvider for Provider<'_> {
    type CryptoProvider = QpqCrypto;
    type RandProvider = QpqRand;
    type StorageProvider = Storage;

    fn storage(&self) -> &Storage {
        self.storage
    }

    fn crypto(&self) -> &QpqCrypto {
        &self.crypto
    }

    fn rand(&self) -> &QpqRand {
        &self.rand
    }
}

struct Identity {
    signer: DeviceSigner,
    credential: CredentialWithKey,
}

impl Identity {
    fn new(number: usize) -> Self {
        let (secret, credential) = keys(number);
        let credential = CredentialWithKey {
            credential: BasicCredential::new(credential.encode()).into(),
            signature_key: secret.public().as_bytes().as_slice().into(),
        };
        Identity {
            signer: DeviceSigner::new(&secret),
            credential,
        }
    }

    fn key_package(&self, storage: &Storage, suite: Ciphersuite, seed: &[u8; 32]) -> Vec<u8> {
        let range = [NOW, NOW + 1].map(u64::to_be_bytes).concat();
        let lifetime = Extension::Unknown(LIFETIME_EXTENSION, UnknownExtension(range));
        let made = KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .key_package_lifetime(Lifetime::init(0, u64::MAX))
            .key_package_extensions(Extensions::single(lifetime).expect("it may be there"))
            .build(
                suite,
                &Provider::seeded(storage, seed),
                &self.signer,
                self.credential.clone(),
            );
        encode(made.expect("the configuration is good").key_package())
    }
}

fn capabilities() -> Capabilities {
    let suites = Suite::OFFERED.map(ciphersuite);
    let extensions = [
        ExtensionType::LastResort,
        ExtensionType::Unknown(PROFILE_EXTENSION),
        ExtensionType::Unknown(LIFETIME_EXTENSION),
    ];
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&suites),
        Some(&extensions),
        None,
        Some(&[CredentialType::Basic]),
    )
}

fn ciphersuite(suite: Suite) -> Ciphersuite {
    Ciphersuite::try_from(suite.id()).expect("openmls knows it")
}

fn group_extensions(suite: Suite) -> Extensions<GroupContext> {
    let profile = [PROFILE, suite.id()].map(u16::to_be_bytes).concat();
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
            &[ExtensionType::Unknown(PROFILE_EXTENSION)],
            &[],
            &[CredentialType::Basic],
        )),
        Extension::Unknown(PROFILE_EXTENSION, UnknownExtension(profile)),
    ])
    .expect("they may be there")
}

fn ratchets() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(32, 2000)
}

fn create_config(suite: Suite) -> MlsGroupCreateConfig {
    MlsGroupCreateConfig::builder()
        .ciphersuite(ciphersuite(suite))
        .capabilities(capabilities())
        .with_group_context_extensions(group_extensions(suite))
        .lifetime(Lifetime::init(0, u64::MAX))
        .wire_format_policy(MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(1)
        .number_of_resumption_psks(32)
        .sender_ratchet_configuration(ratchets())
        .use_ratchet_tree_extension(true)
        .build()
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(1)
        .number_of_resumption_psks(32)
        .sender_ratchet_configuration(ratchets())
        .use_ratchet_tree_extension(true)
        .build()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    value.tls_serialize_detached().expect("it is not too long")
}

fn decode<T: Deserialize>(bytes: &[u8]) -> T {
    T::tls_deserialize_exact(bytes).expect("it was encoded here")
}

fn verify(key: &[u8], credential: &mls::Credential) {
    let key = DeviceKey::try_from(key).expect("the key has 32 bytes");
    Credential::decode(credential.serialized_content())
        .expect("it was encoded here")
        .verify(&key)
        .expect("it was issued here");
}

struct CommitOut {
    commit: Vec<u8>,
    welcome: Option<Vec<u8>>,
    ratchet_tree: Option<Vec<u8>>,
    /// Made and encoded as `Group` does, then not needed.
    _group_info: Vec<u8>,
}

/// A group with its storage.
struct Member {
    identity: Identity,
    storage: Storage,
    group: MlsGroup,
}

impl Member {
    fn load(number: usize, storage: Storage) -> Self {
        let group = MlsGroup::load(&storage, &GroupId::from_slice(GROUP));
        let Ok(group) = group;
        Member {
            identity: Identity::new(number),
            group: group.expect("the group is there"),
            storage,
        }
    }

    fn commit(&mut self, seed: &[u8; 32], packages: &[Vec<u8>]) -> CommitOut {
        let provider = Provider::seeded(&self.storage, seed);
        let packages: Vec<KeyPackage> = packages
            .iter()
            .map(|bytes| {
                let package = decode::<KeyPackageIn>(bytes)
                    .validate(&provider.crypto, ProtocolVersion::Mls10)
                    .expect("it was made here");
                let leaf = package.leaf_node();
                verify(leaf.signature_key().as_slice(), leaf.credential());
                package
            })
            .collect();
        let tree_inside = self.group.members().count() + packages.len() <= TREE_INSIDE_UP_TO;
        let (commit, welcome, group_info) = self
            .group
            .commit_builder()
            .force_self_update(true)
            .propose_adds(packages)
            .load_psks(&self.storage)
            .expect("there are none")
            .create_group_info(true)
            .use_ratchet_tree_extension(tree_inside)
            .build(
                &provider.rand,
                &provider.crypto,
                &self.identity.signer,
                |_| true,
            )
            .expect("the proposals are good")
            .stage_commit(&provider)
            .expect("nothing is pending")
            .into_messages();
        let ratchet_tree = (welcome.is_some() && !tree_inside).then(|| {
            let staged = self.group.pending_commit().expect("it is pending");
            let tree =
                staged.export_ratchet_tree(&provider.crypto, self.group.export_ratchet_tree());
            encode(&tree.expect("the tree is good").expect("we are in it"))
        });
        CommitOut {
            commit: encode(&commit),
            welcome: welcome.as_ref().map(encode),
            ratchet_tree,
            _group_info: encode(&group_info.expect("it was asked for")),
        }
    }

    fn confirm(&mut self) {
        let merged = self
            .group
            .merge_pending_commit(&Provider::unseeded(&self.storage));
        merged.expect("a commit is pending");
    }

    fn send(&mut self, seed: &[u8; 32], padded: &[u8]) -> Vec<u8> {
        let provider = Provider::seeded(&self.storage, seed);
        let message = self
            .group
            .create_message(&provider, &self.identity.signer, padded);
        encode(&message.expect("no proposals are pending"))
    }

    fn receive(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let provider = Provider::unseeded(&self.storage);
        let message = decode::<MlsMessageIn>(message);
        let message = message.try_into_protocol_message().expect("it is framed");
        let processed = self.group.process_message(&provider, message);
        match processed
            .expect("it is meant for this member")
            .into_content()
        {
            ProcessedMessageContent::ApplicationMessage(message) => Some(message.into_bytes()),
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                if let Some(leaf) = staged.update_path_leaf_node() {
                    verify(leaf.signature_key().as_slice(), leaf.credential());
                }
                let merged = self.group.merge_staged_commit(&provider, *staged);
                merged.expect("it can be applied");
                None
            }
            _ => panic!("nothing else was sent"),
        }
    }
}

fn join(storage: &Storage, added: &CommitOut) -> MlsGroup {
    let provider = Provider::unseeded(storage);
    let welcome = added.welcome.as_deref().expect("somebody was added");
    let MlsMessageBodyIn::Welcome(welcome) = decode::<MlsMessageIn>(welcome).extract() else {
        panic!("it is a Welcome");
    };
    let mut builder = StagedWelcome::build_from_welcome(&provider, &join_config(), welcome)
        .expect("it is for us")
        .skip_lifetime_validation();
    if let Some(tree) = &added.ratchet_tree {
        builder = builder.with_ratchet_tree(decode::<RatchetTreeIn>(tree));
    }
    let staged = builder.build().expect("the tree is good");
    for leaf in staged.members() {
        verify(&leaf.signature_key, &leaf.credential);
    }
    staged.into_group(&provider).expect("it can be stored")
}

pub struct Direct {
    suite: Ciphersuite,
    seeds: Seeds,
    padded: Vec<u8>,
    packages: Vec<Vec<u8>>,
    /// Of the founder alone, and of the second member before it joins.
    alone: [Storage; 2],
    added: CommitOut,
    before_commit: Storage,
    commit: Vec<u8>,
    founder: Member,
    sender: Member,
    second: Member,
}

impl Direct {
    pub fn new(suite: Suite, added: usize) -> Self {
        let mut seeds = Seeds::default();
        let config = create_config(suite);
        let suite = ciphersuite(suite);
        let storage = Storage::default();
        let mut package = |number, storage: &Storage| {
            Identity::new(number).key_package(storage, suite, &seeds.next())
        };
        let mut packages = vec![package(1, &storage)];
        packages.extend((2..=added).map(|number| package(number, &Storage::default())));
        let alone_second = storage.copy();

        let founder_storage = Storage::default();
        let identity = Identity::new(0);
        let group = MlsGroup::new_with_group_id(
            &Provider::seeded(&founder_storage, &seeds.next()),
            &identity.signer,
            &config,
            GroupId::from_slice(GROUP),
            identity.credential.clone(),
        );
        let alone_founder = founder_storage.copy();
        let mut founder = Member {
            identity,
            storage: founder_storage,
            group: group.expect("there is none yet"),
        };

        let added = founder.commit(&seeds.next(), &packages);
        founder.confirm();
        let mut second = Member {
            identity: Identity::new(1),
            group: join(&storage, &added),
            storage,
        };
        let commit = founder.commit(&seeds.next(), &[]).commit;
        founder.confirm();
        second.receive(&commit);
        let commit = second.commit(&seeds.next(), &[]).commit;
        second.confirm();
        founder.receive(&commit);

        let commit = Member::load(0, founder.storage.copy())
            .commit(&seeds.next(), &[])
            .commit;
        let copy = |number, of: &Member| Member::load(number, of.storage.copy().dropping());
        Direct {
            suite,
            seeds,
            padded: padding::pad(&TEXT),
            packages,
            alone: [alone_founder, alone_second],
            added,
            commit,
            founder: copy(0, &founder),
            sender: copy(0, &founder),
            second: copy(1, &second),
            before_commit: second.storage,
        }
    }
}

impl Stack for Direct {
    fn time(&mut self, op: Op) -> Duration {
        let seed = self.seeds.next();
        match op {
            Op::KeyPackage => {
                let (identity, storage) = (Identity::new(1), Storage::default().dropping());
                timed(|| identity.key_package(&storage, self.suite, &seed)).0
            }
            Op::Add => {
                let mut founder = Member::load(0, self.alone[0].copy().dropping());
                let add = || {
                    let out = founder.commit(&seed, &self.packages);
                    founder.confirm();
                    out
                };
                timed(add).0
            }
            Op::Join => {
                let storage = self.alone[1].copy().dropping();
                timed(|| join(&storage, &self.added)).0
            }
            Op::Update => {
                let founder = &mut self.founder;
                let (time, _) = timed(|| founder.commit(&seed, &[]));
                let Ok(()) = founder.group.clear_pending_commit(&founder.storage);
                time
            }
            Op::Process => {
                let mut second = Member::load(1, self.before_commit.copy().dropping());
                timed(|| second.receive(&self.commit)).0
            }
            Op::Encrypt => timed(|| self.founder.send(&seed, &self.padded)).0,
            Op::Decrypt => {
                let message = self.sender.send(&seed, &self.padded);
                timed(|| self.second.receive(&message)).0
            }
        }
    }

    fn bytes(&mut self) -> Bytes {
        let [mut wire, mut sent, mut received] = [const { Vec::new() }; 3];
        self.sender.storage.take_written();
        self.second.storage.take_written();
        for _ in 0..100 {
            let message = self.sender.send(&self.seeds.next(), &self.padded);
            self.second.receive(&message);
            wire.push(message.len());
            sent.push(self.sender.storage.take_written());
            received.push(self.second.storage.take_written());
        }
        Bytes {
            wire: median(wire),
            written_by_sender: median(sent),
            written_by_receiver: median(received),
        }
    }
}
