//! MLS groups: a member processes what strangers make of genuine messages.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentitySecret};
use qpq_crypto::mls::{
    Device, Group, GroupError, Policy, Processed, Suite, inspect_key_package, welcome_references,
};

use crate::choices::Choices;

const GROUP: &[u8] = b"group";
const NOW_MS: u64 = 1_795_219_200_000;
const SEED: [u8; 32] = [0x77; 32];

/// A member of a group of three, a joiner and one who comes back get genuine messages with changes,
/// or other bytes. Input: steps, each a byte for what is done, one for the genuine bytes and the
/// changes to them.
///
/// What is refused changes no row and nothing that the group says of itself; what is accepted is
/// genuine, and is stored; afterwards the group still reads what its members say.
pub fn group_messages(input: &[u8]) {
    messages(&CLASSICAL, input);
}

/// The same in a group of the post-quantum suite.
pub fn x_wing_messages(input: &[u8]) {
    messages(&X_WING, input);
}

fn messages(scene: &Scene, input: &[u8]) {
    let mut choices = Choices::new(input);
    let (mut bob, mut group) = scene.world();
    for _ in 0..MOST_STEPS {
        if choices.is_empty() {
            break;
        }
        let step = choices.byte() % 10;
        if step == 8 {
            damaged(scene, &mut choices);
            continue;
        }
        if step == 9 {
            foreign(scene, &mut bob, &mut group, &mut choices);
            continue;
        }
        let pool = if step < 4 {
            &scene.messages
        } else {
            &scene.others
        };
        let which = choices.below(pool.len() + 1);
        let genuine = pool.get(which).map_or(&[][..], Vec::as_slice);
        let bytes = choices.edited(genuine);
        match step {
            0..4 => process(scene, &mut bob, &mut group, &bytes),
            4 => join(scene, &bytes),
            5 => rejoin(scene, &bytes),
            6 => add(scene, &mut bob, &mut group, &bytes),
            _ => inspect(scene, &bytes),
        }
    }
    let again = bob.restarted().group();
    assert_eq!(again.epoch_authenticator(), group.epoch_authenticator());
    // What is kept back for the end: one message for each epoch that can be reached.
    let last = scene.last.get(&group.epoch_authenticator());
    if let Some(last) = last.filter(|_| group.is_active()) {
        let read = group
            .process(&mut bob.device, last)
            .expect("a genuine message");
        assert!(matches!(read, Processed::Application { plaintext, .. } if plaintext == b"last"));
    }
}

/// What an execution begins with.
pub fn begin() {
    drop(CLASSICAL.world());
}

/// The same in the post-quantum suite.
pub fn begin_x_wing() {
    drop(X_WING.world());
}

const MOST_STEPS: usize = 16;

/// Bytes that an input may need: the rows and the loaded group, twice since a refusal loads them
/// again, and each message with what is decoded from it. No limit of the protocol says more than
/// that a message is at most 3 MiB (`Limits::payload`), and inputs are far shorter.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&CLASSICAL);
    256 * 1024
}

/// The same in the post-quantum suite, whose keys and ciphertexts are of 1.2 KB each.
#[must_use]
pub fn budget_x_wing() -> usize {
    LazyLock::force(&X_WING);
    512 * 1024
}

fn process(scene: &Scene, bob: &mut Member, group: &mut Group, bytes: &[u8]) {
    let before = Told::by(group);
    match group.process(&mut bob.device, bytes) {
        Ok(processed) => {
            let genuine = scene.messages.iter().any(|message| message == bytes);
            assert!(genuine, "accepted and not genuine: {processed:?}");
            if let Processed::Application { plaintext, .. } = processed {
                assert_eq!(Told::by(group), before);
                assert!(scene.texts.contains(&plaintext));
            }
            assert!(bob.save(), "what was used up is stored");
        }
        Err(_) => {
            assert!(!bob.save(), "a refusal changes nothing");
            assert_eq!(Told::by(group), before);
        }
    }
}

fn join(scene: &Scene, bytes: &[u8]) {
    let mut joiner = Member::on(4, scene.joiner.clone());
    match Group::join(&mut joiner.device, bytes, None, Policy::Qpq) {
        Ok(_) => {
            assert!(scene.others.iter().any(|other| other == bytes));
            assert!(joiner.save());
        }
        Err(_) => assert!(!joiner.save(), "a refusal uses up nothing"),
    }
}

fn rejoin(scene: &Scene, bytes: &[u8]) {
    let mut carol = Member::on(3, scene.carol.clone());
    match Group::rejoin(&mut carol.device, &SEED, bytes, None, Policy::Qpq) {
        Ok(_) => {
            assert!(scene.others.iter().any(|other| other == bytes));
            assert!(carol.save());
        }
        Err(_) => assert!(!carol.save(), "a refusal leaves the old group"),
    }
}

fn add(scene: &Scene, bob: &mut Member, group: &mut Group, bytes: &[u8]) {
    let before = Told::by(group);
    match group.add(&mut bob.device, &SEED, &[bytes], NOW_MS) {
        Ok(_) => {
            assert!(scene.others.iter().any(|other| other == bytes));
            group
                .clear_pending(&mut bob.device)
                .expect("a pending commit");
            bob.save();
        }
        Err(GroupError::KeyPackage { index, .. }) => {
            assert_eq!(index, 0);
            assert!(!bob.save(), "a refusal changes nothing");
        }
        Err(_) => assert!(!bob.save(), "a refusal changes nothing"),
    }
    assert_eq!(Told::by(group), before);
}

/// As a server reads what it keeps for others.
fn inspect(scene: &Scene, bytes: &[u8]) {
    if let Ok(info) = inspect_key_package(bytes, NOW_MS) {
        assert!(info.not_before <= NOW_MS && NOW_MS <= info.not_after);
        assert!(scene.others.iter().any(|other| other == bytes));
    }
    if let Ok(references) = welcome_references(bytes) {
        assert!(references.iter().map(Vec::len).sum::<usize>() <= bytes.len());
    }
}

/// A start on rows that a disk has spoilt: refused, or a group that refuses.
fn damaged(scene: &Scene, choices: &mut Choices<'_>) {
    let mut rows = scene.bob.clone();
    let at = usize::from(choices.u16()) % rows.len();
    let (key, value) = rows.iter().nth(at).expect("a row");
    let (key, value) = (key.clone(), value.clone());
    match choices.byte() % 4 {
        0 => drop(rows.remove(&key)),
        1 => {
            let other = usize::from(choices.u16()) % rows.len();
            let other = rows.values().nth(other).expect("a row").clone();
            rows.insert(key, other);
        }
        2 => {
            rows.remove(&key);
            rows.insert(choices.edited(&key), value);
        }
        _ => drop(rows.insert(key, choices.edited(&value))),
    }
    let (secret, credential) = keys(2);
    let Ok(mut device) = Device::new(secret, credential, rows) else {
        return;
    };
    let _ = device.key_packages();
    for id in device.groups() {
        let Ok(Some(mut group)) = Group::load(&device, &id) else {
            continue;
        };
        drop((
            group.members(),
            group.epoch_authenticator(),
            group.leaving(),
        ));
        let message = &scene.messages[choices.below(scene.messages.len())];
        let _ = group.process(&mut device, message);
        let _ = group.encrypt(&mut device, &SEED, b"said on spoilt rows");
    }
}

/// A key package that its owner signed and no program of ours made. What passes the inspection is not
/// one that spoils an `add`, and what is refused is named.
fn foreign(scene: &Scene, bob: &mut Member, group: &mut Group, choices: &mut Choices<'_>) {
    let package = signed_again(choices, &scene.package);
    let inspected = inspect_key_package(&package, NOW_MS);
    match group.add(&mut bob.device, &SEED, &[&package], NOW_MS) {
        Ok(_) => {
            let pending = group.clear_pending(&mut bob.device);
            pending.expect("a pending commit");
            bob.save();
        }
        Err(GroupError::KeyPackage { index, .. }) => {
            assert_eq!(index, 0);
            assert!(!bob.save(), "a refusal changes nothing");
        }
        Err(GroupError::Inactive | GroupError::PendingProposals) => {}
        Err(error) => panic!("{inspected:?}, and then {error}"),
    }
}

/// Dave's key package with changes in leaf and extensions, under signatures that hold.
fn signed_again(choices: &mut Choices<'_>, package: &[u8]) -> Vec<u8> {
    let (dave, _) = keys(5);
    let mut at = 4;
    let vector = |at: &mut usize| {
        let size = 1 << (package[*at] >> 6);
        let length = package[*at..*at + size]
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        *at += size + (length & ((1 << (8 * size - 2)) - 1));
    };
    vector(&mut at);
    let leaf = at;
    vector(&mut at);
    vector(&mut at);
    at += 2;
    // Credential and capabilities.
    (0..6).for_each(|_| vector(&mut at));
    // Source and lifetime.
    at += 17;
    vector(&mut at);
    let leaf = leaf..at;
    vector(&mut at);
    let extensions = at;
    vector(&mut at);

    let sign = |label: &[u8], content: &[u8]| {
        let label = [b"MLS 1.0 ", label].concat();
        let mut signed = vec![u8::try_from(label.len()).expect("short")];
        signed.extend(label);
        let length = u32::try_from(content.len()).expect("short") | 0x8000_0000;
        // The shortest header of a vector, as RFC 9420 wants it.
        match content.len() {
            0..0x40 => signed.push(length.to_be_bytes()[3]),
            0x40..0x4000 => {
                let [.., high, low] = length.to_be_bytes();
                signed.extend([high | 0x40, low]);
            }
            _ => signed.extend(length.to_be_bytes()),
        }
        signed.extend(content);
        [&[0x40, 0x40][..], &dave.sign(&signed)].concat()
    };
    let changed = choices.edited(&package[leaf.clone()]);
    let mut whole = package[..leaf.start].to_vec();
    whole.extend(&changed);
    whole.extend(sign(b"LeafNodeTBS", &changed));
    whole.extend(choices.edited(&package[extensions..at]));
    let signature = sign(b"KeyPackageTBS", &whole);
    whole.extend(signature);
    whole
}

/// Unchanged, it is the same key package.
#[test]
fn what_is_signed_again_is_genuine() {
    for scene in [&*CLASSICAL, &*X_WING] {
        let again = signed_again(&mut Choices::new(&[]), &scene.package);
        assert_eq!(again, scene.package);
        assert!(inspect_key_package(&again, NOW_MS).is_ok());
    }
}

/// What a group says of itself.
#[derive(PartialEq, Debug)]
struct Told {
    epoch: u64,
    authenticator: Vec<u8>,
    members: usize,
    active: bool,
    pending: (bool, bool),
}

impl Told {
    fn by(group: &Group) -> Self {
        Self {
            epoch: group.epoch(),
            authenticator: group.epoch_authenticator(),
            members: group.members().len(),
            active: group.is_active(),
            pending: (group.has_pending_commit(), group.has_pending_proposals()),
        }
    }
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Whose device has this number.
fn keys(name: u8) -> (DeviceSecret, Credential) {
    let identity = IdentitySecret::from_seed([name; 32]);
    let secret = DeviceSecret::from_seed([name ^ 0x80; 32]);
    let device = DeviceId::new([name; 16]);
    let credential = Credential::issue(&identity, device, secret.public(), NOW_MS);
    (secret, credential)
}

/// A device with its disk.
struct Member {
    name: u8,
    device: Device,
    rows: Rows,
}

impl Member {
    fn on(name: u8, rows: Rows) -> Self {
        let (secret, credential) = keys(name);
        let device = Device::new(secret, credential, rows.clone()).expect("good rows");
        Self { name, device, rows }
    }

    /// A start on what was stored.
    fn restarted(&self) -> Self {
        Self::on(self.name, self.rows.clone())
    }

    fn group(&self) -> Group {
        let group = Group::load(&self.device, GROUP).expect("good rows");
        group.expect("the group")
    }

    /// Stores what changed; whether anything did.
    fn save(&mut self) -> bool {
        let batch = self.device.take_batch();
        for key in &batch.deletes {
            self.rows.remove(key);
        }
        let changed = !batch.is_empty();
        self.rows.extend(batch.puts);
        changed
    }

    fn package(&mut self, suite: Suite, seed: u8) -> Vec<u8> {
        let package = self.device.key_package(&[seed; 32], suite, NOW_MS, false);
        self.save();
        package.expect("a key package").bytes
    }

    fn say(&mut self, group: &mut Group, seed: u8, text: &[u8]) -> Vec<u8> {
        let message = group.encrypt(&mut self.device, &[seed; 32], text);
        self.save();
        message.expect("a message")
    }
}

/// What genuine members did.
struct Scene {
    /// The disks of a member, of one who is about to be welcomed and of one who has lost her way.
    bob: Rows,
    joiner: Rows,
    carol: Rows,
    /// What can be processed: said in the group, and commits of which any one may come first.
    messages: Vec<Vec<u8>>,
    /// What was said.
    texts: Vec<Vec<u8>>,
    /// Welcomes, group infos, key packages.
    others: Vec<Vec<u8>>,
    /// Dave's, who is in no group.
    package: Vec<u8>,
    /// A message for each epoch, by its authenticator, that nobody has seen.
    last: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Scene {
    fn world(&self) -> (Member, Group) {
        let bob = Member::on(2, self.bob.clone());
        let group = bob.group();
        (bob, group)
    }
}

static CLASSICAL: LazyLock<Scene> = LazyLock::new(|| play(Suite::X25519));
static X_WING: LazyLock<Scene> = LazyLock::new(|| play(Suite::MlKem768X25519));

fn play(suite: Suite) -> Scene {
    let new = |name| Member::on(name, Rows::new());
    let [mut alice, mut bob, mut carol, mut joiner, mut dave] = [1, 2, 3, 4, 5].map(new);
    let mut group = Group::create(&mut alice.device, &[1; 32], suite, GROUP).expect("made");
    let packages = [bob.package(suite, 2), carol.package(suite, 3)];
    let added = group.add(
        &mut alice.device,
        &[4; 32],
        &[&packages[0], &packages[1]],
        NOW_MS,
    );
    let welcome = added.expect("a commit").welcome.expect("a welcome");
    group.confirm_pending(&mut alice.device).expect("pending");
    alice.save();
    for member in [&mut bob, &mut carol] {
        Group::join(&mut member.device, &welcome, None, Policy::Qpq).expect("welcome");
        member.save();
    }

    let texts = [&b"one"[..], b"two", b"three"].map(<[u8]>::to_vec);
    let mut last = BTreeMap::new();
    let mut messages: Vec<_> = (10..)
        .zip(&texts[..2])
        .map(|(seed, text)| alice.say(&mut group, seed, text))
        .collect();
    messages.push(carol.say(&mut carol.group(), 12, &texts[2]));
    last.insert(
        group.epoch_authenticator(),
        alice.say(&mut group, 13, b"last"),
    );

    let package = dave.package(suite, 20);
    let mut others = vec![welcome, packages[0].clone(), package.clone()];
    others.push(group.group_info(&alice.device).expect("a group info"));
    // Commits for the same slot: each is tried, and all but the last are taken back.
    let joiners = joiner.package(suite, 21);
    let out = group
        .add(&mut alice.device, &[22; 32], &[&joiners], NOW_MS)
        .expect("a commit");
    messages.push(out.commit);
    others.extend([joiners, out.welcome.expect("a welcome"), out.group_info]);
    group.clear_pending(&mut alice.device).expect("pending");
    for (seed, name) in [(23, 2), (24, 3)] {
        let who = IdentitySecret::from_seed([name; 32]).public();
        let out = group
            .remove(&mut alice.device, &[seed; 32], &who)
            .expect("a commit");
        messages.push(out.commit);
        group.clear_pending(&mut alice.device).expect("pending");
    }
    let info = others.iter().find_map(|info| {
        let mut carol = carol.restarted();
        Group::rejoin(&mut carol.device, &[25; 32], info, None, Policy::Qpq).ok()
    });
    messages.push(info.expect("a group info among them").1.commit);
    let mut leaver = carol.restarted();
    messages.push(
        leaver
            .group()
            .leave(&mut leaver.device, &[26; 32])
            .expect("a proposal"),
    );

    let out = group
        .update(&mut alice.device, &[27; 32])
        .expect("a commit");
    messages.push(out.commit);
    others.push(out.group_info);
    group.confirm_pending(&mut alice.device).expect("pending");
    messages.push(alice.say(&mut group, 28, &texts[0]));
    last.insert(
        group.epoch_authenticator(),
        alice.say(&mut group, 29, b"last"),
    );
    Scene {
        bob: bob.rows,
        joiner: joiner.rows,
        carol: carol.rows,
        messages,
        texts: texts.to_vec(),
        others,
        package,
        last,
    }
}
