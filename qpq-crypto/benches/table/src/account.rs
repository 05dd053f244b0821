//! What accounts and servers pay outside groups: envelopes, login, the transparency log.

use std::hint::black_box;

use qpq_crypto::{
    hybrid::{self, HybridSecret},
    identity::IdentitySecret,
    opaque::{ServerSetup, Suite, client, server},
    transparency::{Hash, Log, NodeId, ProofPlan, leaf_hash, verify_consistency, verify_inclusion},
};

use crate::{
    measure::{Effort, alone, median, timed},
    table::time,
};

const SEED: [u8; 32] = [7; 32];

pub fn print(effort: Effort) {
    println!("### Envelopes, login, transparency log\n");
    println!("| | |\n| --- | --: |");
    envelopes(effort);
    login(effort);
    log(effort);
}

fn row(label: &str, effort: Effort, many: u32, operation: impl FnMut()) {
    println!("| {label} | {} |", time(alone(effort, many, operation)));
}

fn envelopes(effort: Effort) {
    let secret = HybridSecret::derive(&SEED, 0);
    let key = secret.public();
    let sender = IdentitySecret::from_seed(SEED);
    for (name, length) in [("256 B", 256), ("64 KiB", 64 * 1024)] {
        let content = vec![5; length];
        row(&format!("envelope, seal {name}"), effort, 1, || {
            let sealed = hybrid::seal(&key, b"", black_box(&content), &SEED);
            _ = black_box(sealed.expect("the key is good"));
        });
        let sealed = hybrid::seal(&key, b"", &content, &SEED).expect("the key is good");
        row(&format!("envelope, open {name}"), effort, 1, || {
            let opened = hybrid::open(&secret, b"", black_box(&sealed));
            _ = black_box(opened.expect("it was sealed to this key"));
        });
        row(&format!("signed envelope, seal {name}"), effort, 1, || {
            let sealed = hybrid::seal_authenticated(&sender, &key, b"", black_box(&content), &SEED);
            _ = black_box(sealed.expect("the key is good"));
        });
        let sealed = hybrid::seal_authenticated(&sender, &key, b"", &content, &SEED)
            .expect("the key is good");
        row(&format!("signed envelope, open {name}"), effort, 1, || {
            let opened = hybrid::open_authenticated(&secret, b"", black_box(&sealed));
            _ = black_box(opened.expect("it was sealed to this key"));
        });
    }
}

fn login(effort: Effort) {
    const DOMAIN: &str = "example.org";
    const NAME: &str = "alice";
    const PASSWORD: &[u8] = b"correct horse battery staple";
    let setup = ServerSetup::generate(&SEED);
    row("login, client starts", effort, 1, || {
        let started = client::login_start(black_box(&SEED), PASSWORD);
        _ = black_box(started.expect("the password is short"));
    });
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
        let respond = |request: &[u8]| {
            server::login_start(&setup, &SEED, DOMAIN, NAME, Some(&record), request)
                .expect("the request is good")
        };
        let mut samples = [const { Vec::new() }; 3];
        for _ in 0..if suite.is_weak() { 100 } else { 5 } {
            let (state, request) =
                client::login_start(&SEED, PASSWORD).expect("the password is short");
            let (starting, (server, response)) = timed(|| respond(black_box(request.as_slice())));
            let (client_finishing, login) = timed(|| {
                state
                    .finish(&SEED, suite, DOMAIN, NAME, PASSWORD, &response)
                    .expect("the password is right")
            });
            let (server_finishing, done) = timed(|| server.finish(&login.finalization));
            done.expect("the client knew the password");
            let times = [starting, client_finishing, server_finishing];
            samples
                .iter_mut()
                .zip(times)
                .for_each(|(all, time)| all.push(time));
        }
        let [starting, client_finishing, server_finishing] = samples.map(median);
        println!(
            "| login, client finishes{name} | {} |",
            time(client_finishing)
        );
        if suite.is_weak() {
            println!("| login, server starts | {} |", time(starting));
            println!("| login, server finishes | {} |", time(server_finishing));
        }
    }
}

fn log(effort: Effort) {
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

    row("log of 10^6, append", effort, 1000, || {
        _ = black_box(log.append(black_box([1; 32])));
    });
    row("log of 10^6, make inclusion proof", effort, 100, || {
        black_box(prove(&black_box(inclusion())));
    });
    row("log of 10^6, make consistency proof", effort, 100, || {
        black_box(prove(&black_box(consistency())));
    });
    let (leaf, path) = (leaf_hash(&INDEX.to_be_bytes()), prove(&inclusion()));
    row("log of 10^6, verify inclusion", effort, 100, || {
        let verified = verify_inclusion(&leaf, INDEX, SIZE, black_box(&path), &root);
        verified.expect("the leaf is there");
    });
    let path = prove(&consistency());
    row("log of 10^6, verify consistency", effort, 100, || {
        let verified = verify_consistency(OLD_SIZE, &old_root, SIZE, &root, black_box(&path));
        verified.expect("the size was passed");
    });
}
