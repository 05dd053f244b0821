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
    let mut choices = Choices::new(input);
    let scene = &*SCENE;
    let (mut bob, mut group) = world();
    for _ in 0..MOST_STEPS {
        if choices.is_empty() {
            break;
        }
        let step = choices.byte() % 8;
        let pool = if step < 4 {
            &scene.messages
        } else {
            &scene.others
        };
        let which = choices.below(pool.len() + 1);
        let genuine = pool.get(which).map_or(&[][..], Vec::as_slice);
        let bytes = choices.edited(genuine);
        match step {
            0..4 => process(&mut bob, &mut group, &bytes),
            4 => join(&bytes),
            5 => rejoin(&bytes),
            6 => add(&mut bob, &mut group, &bytes),
            _ => inspect(&bytes),
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

fn world() -> (Member, Group) {
    let bob = Member::on(2, SCENE.bob.clone());
    let group = bob.group();
    (bob, group)
}

/// What an execution begins with.
pub fn begin() {
    drop(world());
}

const MOST_STEPS: usize = 16;

/// Bytes that an input may need: the rows and the loaded group, twice since a refusal loads them
/// again, and each message with what is decoded from it. No limit of the protocol says more than
/// that a message is at most 3 MiB (`Limits::payload`), and inputs are far shorter.
#[must_use]
pub fn budget() -> usize {
    LazyLock::force(&SCENE);
    256 * 1024
}

fn process(bob: &mut Member, group: &mut Group, bytes: &[u8]) {
    let before = Told::by(group);
    match group.process(&mut bob.device, bytes) {
        Ok(processed) => {
            let genuine = SCENE.messages.iter().any(|message| message == bytes);
            assert!(genuine, "accepted and not genuine: {processed:?}");
            if let Processed::Application { plaintext, .. } = processed {
                assert_eq!(Told::by(group), before);
                assert!(SCENE.texts.contains(&plaintext));
            }
            assert!(bob.save(), "what was used up is stored");
        }
        Err(_) => {
            assert!(!bob.save(), "a refusal changes nothing");
            assert_eq!(Told::by(group), before);
        }
    }
}

fn join(bytes: &[u8]) {
    let mut joiner = Member::on(4, SCENE.joiner.clone());
    match Group::join(&mut joiner.device, bytes, None, Policy::Qpq) {
        Ok(_) => {
            assert!(SCENE.others.iter().any(|other| other == bytes));
            assert!(joiner.save());
        }
        Err(_) => assert!(!joiner.save(), "a refusal uses up nothing"),
    }
}

fn rejoin(bytes: &[u8]) {
    let mut carol = Member::on(3, SCENE.carol.clone());
    match Group::rejoin(&mut carol.device, &SEED, bytes, None, Policy::Qpq) {
        Ok(_) => {
            assert!(SCENE.others.iter().any(|other| other == bytes));
            assert!(carol.save());
        }
        Err(_) => assert!(!carol.save(), "a refusal leaves the old group"),
    }
}

fn add(bob: &mut Member, group: &mut Group, bytes: &[u8]) {
    let before = Told::by(group);
    match group.add(&mut bob.device, &SEED, &[bytes], NOW_MS) {
        Ok(_) => {
            assert!(SCENE.others.iter().any(|other| other == bytes));
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
fn inspect(bytes: &[u8]) {
    if let Ok(info) = inspect_key_package(bytes, NOW_MS) {
        assert!(info.not_before <= NOW_MS && NOW_MS <= info.not_after);
        assert!(SCENE.others.iter().any(|other| other == bytes));
    }
    if let Ok(references) = welcome_references(bytes) {
        assert!(references.iter().map(Vec::len).sum::<usize>() <= bytes.len());
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

/// A device with its disk.
struct Member {
    name: u8,
    device: Device,
    rows: Rows,
}

impl Member {
    fn on(name: u8, rows: Rows) -> Self {
        let identity = IdentitySecret::from_seed([name; 32]);
        let secret = DeviceSecret::from_seed([name ^ 0x80; 32]);
        let device = DeviceId::new([name; 16]);
        let credential = Credential::issue(&identity, device, secret.public(), NOW_MS);
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

    fn package(&mut self, seed: u8) -> Vec<u8> {
        let package = self
            .device
            .key_package(&[seed; 32], Suite::X25519, NOW_MS, false);
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
    /// A message for each epoch, by its authenticator, that nobody has seen.
    last: BTreeMap<Vec<u8>, Vec<u8>>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(play);

fn play() -> Scene {
    let new = |name| Member::on(name, Rows::new());
    let [mut alice, mut bob, mut carol, mut joiner, mut dave] = [1, 2, 3, 4, 5].map(new);
    let mut group = Group::create(&mut alice.device, &[1; 32], Suite::X25519, GROUP).expect("made");
    let packages = [bob.package(2), carol.package(3)];
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

    let mut others = vec![welcome, packages[0].clone(), dave.package(20)];
    others.push(group.group_info(&alice.device).expect("a group info"));
    // Commits for the same slot: each is tried, and all but the last are taken back.
    let package = joiner.package(21);
    let out = group
        .add(&mut alice.device, &[22; 32], &[&package], NOW_MS)
        .expect("a commit");
    messages.push(out.commit);
    others.extend([package, out.welcome.expect("a welcome"), out.group_info]);
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
        last,
    }
}
