//! The transparency log: what a server shows of it, and who is to notice.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use qpq_crypto::identity::IdentitySecret;
use qpq_crypto::transparency::{
    Checkpoint, CheckpointOrigin, Hash, Log, LogVerifier, NodeId, ProofPlan, TreeHead, leaf_hash,
    verify_consistency, verify_inclusion,
};

use crate::choices::Choices;

/// A server's proofs, heads and checkpoints, with changes. Input: steps, each a byte for what is shown
/// and its choices.
///
/// A proof holds exactly if it is the one that the log gives; a checkpoint that opens says what was
/// signed; whoever follows the log's heads never accepts two pasts.
pub fn log_proofs(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut follower = Follower::new();
    for _ in 0..MOST_STEPS {
        if choices.is_empty() {
            break;
        }
        match choices.byte() % 8 {
            0 | 1 => inclusion(&mut choices),
            2 | 3 => consistency(&mut choices),
            4 => checkpoint(&mut choices),
            7 => stored(&mut choices),
            _ => follower.observe(&mut choices),
        }
    }
}

/// A log as a server takes it up from its rows: of the right ones it is the log again, of another number
/// of them it is none.
fn stored(choices: &mut Choices<'_>) {
    let history = &HISTORIES[choices.below(2)];
    let size = u64::from(choices.byte()) % (LEAVES + 1);
    let rows: Vec<Hash> = Log::peaks(size)
        .iter()
        .map(|node| history.rows[node])
        .collect();
    let whole = Log::load(size, rows).expect("all of its rows");
    assert_eq!(whole.root(), history.root(size));

    // Rows of nobody's: as many as there must be, or others.
    let (size, count) = (choices.u64(), choices.below(70));
    let loaded = Log::load(size, vec![[0; 32]; count]);
    let fits = size <= 1 << 62 && count == Log::peaks(size).len();
    assert_eq!(loaded.is_ok(), fits, "{count} rows of {size}");
    if let Ok(mut log) = loaded {
        let _ = log.append([1; 32]);
    }
}

const MOST_STEPS: usize = 32;
const LEAVES: u64 = 120;
/// How many leaves both pasts share.
const SHARED: u64 = 40;
const NOW_MS: u64 = 1_795_219_200_000;

/// A log with all its rows.
struct History {
    rows: BTreeMap<NodeId, Hash>,
    /// The root at each size.
    roots: Vec<Hash>,
}

/// Two logs that part after [`SHARED`] leaves.
static HISTORIES: LazyLock<[History; 2]> = LazyLock::new(|| {
    [0_u8, 1].map(|which| {
        let mut log = Log::new();
        let (mut rows, mut roots) = (BTreeMap::new(), vec![log.root()]);
        for number in 0..LEAVES {
            rows.extend(log.append(leaf(which, number)).expect("room"));
            roots.push(log.root());
        }
        History { rows, roots }
    })
});

static SERVER: LazyLock<IdentitySecret> = LazyLock::new(|| IdentitySecret::from_seed([7; 32]));

fn leaf(which: u8, number: u64) -> Hash {
    let parted = if number < SHARED { 0 } else { which };
    leaf_hash(&[&[parted][..], &number.to_be_bytes()].concat())
}

impl History {
    fn path(&self, plan: &ProofPlan) -> Vec<Hash> {
        let hashes: Vec<_> = plan.nodes().map(|node| self.rows[&node]).collect();
        plan.finish(&hashes).expect("as many as were asked for")
    }

    fn root(&self, size: u64) -> Hash {
        self.roots[usize::try_from(size).expect("small")]
    }
}

/// A path with changes; what is left of a hash is dropped.
fn altered(choices: &mut Choices<'_>, path: &[Hash]) -> Vec<Hash> {
    let bytes = choices.edited(path.as_flattened());
    bytes.as_chunks::<32>().0.to_vec()
}

fn inclusion(choices: &mut Choices<'_>) {
    let history = &HISTORIES[0];
    let size = 1 + u64::from(choices.byte()) % LEAVES;
    let index = u64::from(choices.byte()) % size;
    let plan = ProofPlan::inclusion(index, size).expect("in range");
    let genuine = history.path(&plan);
    let path = altered(choices, &genuine);
    let (hash, root) = (leaf(0, index), history.root(size));
    let holds = verify_inclusion(&hash, index, size, &path, &root).is_ok();
    assert_eq!(holds, path == genuine, "{index} of {size}");
    let other = u64::from(choices.byte()) % size;
    let holds = verify_inclusion(&hash, other, size, &path, &root).is_ok();
    assert_eq!(
        holds,
        other == index && path == genuine,
        "{other} for {index} of {size}"
    );
    // Whatever is claimed, nothing panics.
    let _ = verify_inclusion(&hash, choices.u64(), choices.u64(), &path, &root);
}

fn consistency(choices: &mut Choices<'_>) {
    let history = &HISTORIES[0];
    let to = 1 + u64::from(choices.byte()) % LEAVES;
    let from = 1 + u64::from(choices.byte()) % to;
    let plan = ProofPlan::consistency(from, to).expect("in range");
    let genuine = history.path(&plan);
    let path = altered(choices, &genuine);
    let (from_root, to_root) = (history.root(from), history.root(to));
    let holds = verify_consistency(from, &from_root, to, &to_root, &path).is_ok();
    assert_eq!(holds, path == genuine, "{from} to {to}");
    let holds = verify_consistency(from, &HISTORIES[1].root(from), to, &to_root, &path).is_ok();
    assert_eq!(
        holds,
        path == genuine && from <= SHARED,
        "another past of {from}"
    );
    let _ = verify_consistency(choices.u64(), &from_root, choices.u64(), &to_root, &path);
}

fn checkpoint(choices: &mut Choices<'_>) {
    let size = u64::from(choices.byte()) % (LEAVES + 1);
    let signed = Checkpoint {
        tree_size: size,
        root: HISTORIES[0].root(size),
    };
    let origin = CheckpointOrigin::of_server("example.org").expect("an origin");
    let text = choices.edited(signed.sign(&origin, &SERVER).as_bytes());
    if let Ok(text) = std::str::from_utf8(&text)
        && let Ok(opened) = Checkpoint::open(text, &origin, SERVER.public().as_bytes())
    {
        assert_eq!(opened, signed);
    }
}

/// A client who follows the log.
struct Follower {
    verifier: LogVerifier,
    /// The past it has accepted leaves of that the other does not have.
    past: Option<usize>,
}

impl Follower {
    fn new() -> Self {
        Self {
            verifier: LogVerifier::new(*SERVER.public().as_bytes(), None),
            past: None,
        }
    }

    fn observe(&mut self, choices: &mut Choices<'_>) {
        let which = choices.below(2);
        let size = u64::from(choices.byte()) % (LEAVES + 1);
        let history = &HISTORIES[which];
        let time = NOW_MS + u64::from(choices.byte());
        let head = TreeHead::sign(&SERVER, size, history.root(size), time);
        let genuine = match self.verifier.needs(&head) {
            None => Vec::new(),
            Some((from, to)) => history.path(&ProofPlan::consistency(from, to).expect("in range")),
        };
        let path = altered(choices, &genuine);
        let before = self.verifier.clone();
        if self.verifier.observe(&head, &path, NOW_MS).is_err() {
            assert_eq!(self.verifier, before, "a refusal is not remembered");
            return;
        }
        if size > SHARED {
            assert_eq!(
                *self.past.get_or_insert(which),
                which,
                "two pasts were accepted"
            );
        }
        assert!(self.verifier.last().is_some());
    }
}
