//! What accounts and servers pay outside groups: signatures, envelopes, login, the transparency log.
//! Measured with criterion (`../account.rs`) and for the table (`../table`).
//!
//! Every case makes or reads whole messages, as a caller does; nothing is kept between two of them.

use std::hint::black_box;

use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::{IdentitySecret, verify};
use qpq_crypto::opaque::{ServerSetup, Suite, client, server};
use qpq_crypto::transparency::{
    Hash, Log, NodeId, ProofPlan, leaf_hash, verify_consistency, verify_inclusion,
};

const SEED: [u8; 32] = [7; 32];

/// Takes the time of cases.
pub trait Measure {
    /// An operation that can be repeated as it is.
    fn case<T>(&mut self, name: &str, operation: impl FnMut() -> T);

    /// An operation that uses up what was prepared for it.
    fn prepared<T, U>(
        &mut self,
        name: &str,
        prepare: impl FnMut() -> T,
        operation: impl FnMut(T) -> U,
    );
}

pub fn all(to: &mut impl Measure) {
    signatures(to);
    envelopes(to);
    login(to);
    log(to);
}

fn signatures(to: &mut impl Measure) {
    let secret = IdentitySecret::from_seed(SEED);
    let message = [1; 256];
    let signature = secret.sign(&message);
    let key = secret.public();
    to.case("sign 256 B", || secret.sign(black_box(&message)));
    to.case("verify 256 B", || {
        verify(key.as_bytes(), black_box(&message), &signature).expect("it was signed here");
    });
}

fn envelopes(to: &mut impl Measure) {
    let secret = HybridSecret::derive(&SEED, 0);
    let key = secret.public();
    let sender = IdentitySecret::from_seed(SEED);
    for (name, length) in [("256 B", 256), ("64 KiB", 64 * 1024)] {
        let content = vec![5; length];
        let seal = || hybrid::seal(&key, b"", black_box(&content), &SEED).expect("the key is good");
        to.case(&format!("envelope, seal {name}"), seal);
        let sealed = seal();
        to.case(&format!("envelope, open {name}"), || {
            hybrid::open(&secret, b"", black_box(&sealed)).expect("it was sealed to this key")
        });
        let seal = || {
            hybrid::seal_authenticated(&sender, &key, b"", black_box(&content), &SEED)
                .expect("the key is good")
        };
        to.case(&format!("signed envelope, seal {name}"), seal);
        let sealed = seal();
        to.case(&format!("signed envelope, open {name}"), || {
            hybrid::open_authenticated(&secret, b"", black_box(&sealed))
                .expect("it was sealed to this key")
        });
    }
}

fn login(to: &mut impl Measure) {
    const DOMAIN: &str = "example.org";
    const NAME: &str = "alice";
    const PASSWORD: &[u8] = b"correct horse battery staple";
    let setup = ServerSetup::generate(&SEED);
    let ask = || client::login_start(black_box(&SEED), PASSWORD).expect("the password is short");
    to.case("login, client starts", ask);
    // The weak suite shows what remains beside Argon2id.
    for (name, suite) in [("", Suite::DEFAULT), (" but for Argon2id", Suite::TEST)] {
        let (state, request) =
            client::registration_start(&SEED, PASSWORD).expect("the password is short");
        let response =
            server::registration_start(&setup, NAME, &request).expect("the request is good");
        let record = state
            .finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
            .expect("the response is good")
            .upload;
        let answer = |request: &[u8]| {
            server::login_start(&setup, &SEED, DOMAIN, NAME, Some(&record), request)
                .expect("the request is good")
        };
        let begin = || {
            let (state, request) = ask();
            let (server, response) = answer(&request);
            (state, server, response)
        };
        to.prepared(
            &format!("login, client finishes{name}"),
            begin,
            |(state, _, response)| {
                state
                    .finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
                    .expect("the password is right")
            },
        );
        if !suite.is_weak() {
            continue;
        }
        let (_, request) = ask();
        to.case("login, server starts", || answer(black_box(&request)));
        let finish = || {
            let (state, server, response) = begin();
            let login = state
                .finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
                .expect("the password is right");
            (server, login.finalization)
        };
        to.prepared(
            "login, server finishes",
            finish,
            |(server, finalization)| {
                server
                    .finish(&finalization)
                    .expect("the client knew the password")
            },
        );
    }
}

fn log(to: &mut impl Measure) {
    const SIZE: u64 = 1_000_000;
    const OLD_SIZE: u64 = 654_321;
    const INDEX: u64 = 123_456;
    let mut log = Log::new();
    let mut old_root = log.root();
    let mut rows: Vec<Vec<Hash>> = Vec::new();
    for number in 0..SIZE {
        let puts = log
            .append(leaf_hash(&number.to_be_bytes()))
            .expect("the log is small");
        for (node, hash) in puts {
            let level = usize::from(node.level);
            if rows.len() == level {
                rows.push(Vec::new());
            }
            rows[level].push(hash);
        }
        if log.size() == OLD_SIZE {
            old_root = log.root();
        }
    }
    let root = log.root();
    let get = |node: NodeId| rows[usize::from(node.level)][node.index as usize];
    let prove = |plan: &ProofPlan| {
        let hashes: Vec<_> = plan.nodes().map(get).collect();
        plan.finish(&hashes).expect("every row was read")
    };
    let inclusion = || ProofPlan::inclusion(INDEX, SIZE).expect("the leaf is there");
    let consistency = || ProofPlan::consistency(OLD_SIZE, SIZE).expect("the size was passed");

    to.prepared(
        "log of 10^6, append",
        || log.clone(),
        |mut log| {
            log.append(black_box([1; 32])).expect("the log is small");
            log
        },
    );
    to.case("log of 10^6, make inclusion proof", || {
        prove(&black_box(inclusion()))
    });
    to.case("log of 10^6, make consistency proof", || {
        prove(&black_box(consistency()))
    });
    let (leaf, path) = (leaf_hash(&INDEX.to_be_bytes()), prove(&inclusion()));
    to.case("log of 10^6, verify inclusion", || {
        verify_inclusion(&leaf, INDEX, SIZE, black_box(&path), &root).expect("the leaf is there");
    });
    let path = prove(&consistency());
    to.case("log of 10^6, verify consistency", || {
        verify_consistency(OLD_SIZE, &old_root, SIZE, &root, black_box(&path))
            .expect("the size was passed");
    });
}
