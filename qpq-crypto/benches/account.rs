//! What accounts and servers pay outside groups: envelopes, login, the transparency log.
//!
//! `cargo bench -p qpq-crypto --bench account`. Every case makes or reads whole messages, as a caller
//! does; nothing is kept between two of them.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::{IdentitySecret, verify};
use qpq_crypto::opaque::{ServerSetup, Suite, client, server};
use qpq_crypto::transparency::{
    Hash, Log, NodeId, ProofPlan, leaf_hash, verify_consistency, verify_inclusion,
};

const SEED: [u8; 32] = [7; 32];

fn signatures(c: &mut Criterion) {
    let secret = IdentitySecret::from_seed(SEED);
    let message = [1; 256];
    let signature = secret.sign(&message);
    let key = secret.public();
    c.bench_function("sign 256 B", |b| {
        b.iter(|| secret.sign(black_box(&message)))
    });
    c.bench_function("verify 256 B", |b| {
        b.iter(|| verify(key.as_bytes(), black_box(&message), &signature));
    });
}

fn envelopes(c: &mut Criterion) {
    let secret = HybridSecret::derive(&SEED, 0);
    let key = secret.public();
    let sender = IdentitySecret::from_seed(SEED);
    let mut group = c.benchmark_group("envelope");
    for (name, length) in [("256 B", 256), ("64 KiB", 64 * 1024)] {
        let content = vec![5; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("seal {name}"), |b| {
            b.iter(|| hybrid::seal(&key, b"", black_box(&content), &SEED));
        });
        let sealed = hybrid::seal(&key, b"", &content, &SEED).expect("the key is good");
        group.bench_function(format!("open {name}"), |b| {
            b.iter(|| hybrid::open(&secret, b"", black_box(&sealed)));
        });
        group.bench_function(format!("seal signed {name}"), |b| {
            b.iter(|| hybrid::seal_authenticated(&sender, &key, b"", black_box(&content), &SEED));
        });
        let sealed = hybrid::seal_authenticated(&sender, &key, b"", &content, &SEED)
            .expect("the key is good");
        group.bench_function(format!("open signed {name}"), |b| {
            b.iter(|| hybrid::open_authenticated(&secret, b"", black_box(&sealed)));
        });
    }
    group.finish();
}

fn login(c: &mut Criterion) {
    const DOMAIN: &str = "example.org";
    const NAME: &str = "alice";
    const PASSWORD: &[u8] = b"correct horse battery staple";
    let setup = ServerSetup::generate(&SEED);
    let record = |suite| {
        let (state, request) =
            client::registration_start(&SEED, PASSWORD).expect("the password is short");
        let response =
            server::registration_start(&setup, NAME, &request).expect("the request is good");
        let registration = state
            .finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
            .expect("the response is good");
        registration.upload
    };
    let mut group = c.benchmark_group("login");
    group.bench_function("client starts", |b| {
        b.iter(|| client::login_start(black_box(&SEED), PASSWORD));
    });
    // The weak suite shows what remains beside Argon2id.
    for (name, suite) in [("", Suite::DEFAULT), (" beside Argon2id", Suite::TEST)] {
        group.sample_size(if suite.is_weak() { 100 } else { 10 });
        let record = record(suite);
        let start = || {
            let (state, request) =
                client::login_start(&SEED, PASSWORD).expect("the password is short");
            let (server, response) =
                server::login_start(&setup, &SEED, DOMAIN, NAME, Some(&record), &request)
                    .expect("the request is good");
            (state, server, request, response)
        };
        group.bench_function(format!("client finishes{name}"), |b| {
            b.iter_batched(
                start,
                |(state, _, _, response)| {
                    state.finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
                },
                BatchSize::SmallInput,
            );
        });
        if !suite.is_weak() {
            continue;
        }
        let (_, _, request, _) = start();
        group.bench_function("server starts", |b| {
            b.iter(|| {
                server::login_start(
                    &setup,
                    &SEED,
                    DOMAIN,
                    NAME,
                    Some(&record),
                    black_box(&request),
                )
            });
        });
        group.bench_function("server finishes", |b| {
            b.iter_batched(
                || {
                    let (state, server, _, response) = start();
                    let login = state
                        .finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
                        .expect("the password is right");
                    (server, login.finalization)
                },
                |(server, finalization)| server.finish(&finalization),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn log(c: &mut Criterion) {
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

    let mut group = c.benchmark_group("log of 10^6");
    group.bench_function("append", |b| {
        b.iter_batched_ref(
            || log.clone(),
            |log| log.append(black_box([1; 32])),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("make inclusion proof", |b| {
        b.iter(|| prove(&black_box(inclusion())));
    });
    group.bench_function("make consistency proof", |b| {
        b.iter(|| prove(&black_box(consistency())));
    });
    let (leaf, path) = (leaf_hash(&INDEX.to_be_bytes()), prove(&inclusion()));
    group.bench_function("verify inclusion", |b| {
        b.iter(|| verify_inclusion(&leaf, INDEX, SIZE, black_box(&path), &root));
    });
    let path = prove(&consistency());
    group.bench_function("verify consistency", |b| {
        b.iter(|| verify_consistency(OLD_SIZE, &old_root, SIZE, &root, black_box(&path)));
    });
    group.finish();
}

criterion_group!(benches, signatures, envelopes, login, log);
criterion_main!(benches);
