//! The Merkle vectors of transparency-dev and of the Certificate Transparency reference tree, through
//! our log and verifiers.

mod vectors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use qpq_crypto::transparency::{
    Hash, Log, NodeId, ProofPlan, empty_root, leaf_hash, node_hash, verify_consistency,
    verify_inclusion,
};
use serde_json::Value;
use vectors::{array, folder, hex, hex_array, json, number, parse, text};

/// Every JSON file below `folder`, in order.
#[allow(clippy::disallowed_methods)]
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|end| end == "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A hash, or none where the text under `key` is not one.
fn hash(case: &Value, key: &str) -> Option<Hash> {
    Base64::decode_vec(text(case, key)).ok()?.try_into().ok()
}

/// A root; where no hash matters the file has "don't care", which is filled up to a hash's length.
fn root(case: &Value, key: &str) -> Hash {
    let mut bytes = Base64::decode_vec(text(case, key)).unwrap();
    bytes.resize(32, 0);
    bytes.try_into().unwrap()
}

/// The hashes under "proof", or none where one is not a hash.
fn proof(case: &Value) -> Option<Vec<Hash>> {
    let hashes = case["proof"].as_array().into_iter().flatten();
    hashes
        .map(|hash| {
            let text = hash.as_str().unwrap();
            Base64::decode_vec(text).unwrap().try_into().ok()
        })
        .collect()
}

/// Runs `accept` on every case and compares with the verdict; answers how many there were.
fn run(kind: &str, accept: impl Fn(&Value) -> Option<bool>) -> usize {
    let files = files(&folder("merkle-rfc6962").join(kind));
    for file in &files {
        let case = parse(file);
        let accepted = accept(&case).unwrap_or(false);
        let expected = !case["wantErr"].as_bool().unwrap();
        assert_eq!(accepted, expected, "{}", file.display());
    }
    println!("merkle {kind}: {} cases", files.len());
    files.len()
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn inclusion() {
    let count = run("inclusion", |case| {
        let (index, size) = (number(case, "leafIdx"), number(case, "treeSize"));
        let (leaf, root) = (hash(case, "leafHash")?, hash(case, "root")?);
        Some(verify_inclusion(&leaf, index, size, &proof(case)?, &root).is_ok())
    });
    assert_eq!(count, 98);
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn consistency() {
    let count = run("consistency", |case| {
        let (from, to) = (number(case, "size1"), number(case, "size2"));
        let (from_root, to_root) = (root(case, "root1"), root(case, "root2"));
        Some(verify_consistency(from, &from_root, to, &to_root, &proof(case)?).is_ok())
    });
    assert_eq!(count, 98);
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn certificate_transparency_reference() {
    let tree = json("merkle-ct-reference", "ct-reference-tree.json");
    assert_eq!(empty_root(), hex_array(&tree, "empty_root"));
    for case in array(&tree, "leaf_hashes") {
        assert_eq!(leaf_hash(&hex(case, "leaf")), hex_array(case, "hash"));
    }
    for case in array(&tree, "node_hashes") {
        let node = node_hash(&hex_array(case, "left"), &hex_array(case, "right"));
        assert_eq!(node, hex_array(case, "hash"));
    }

    let text_hash = |value: &Value| -> Hash {
        let bytes = vectors::decode_hex(value.as_str().unwrap());
        bytes.try_into().unwrap()
    };
    let mut log = Log::new();
    let mut rows: BTreeMap<NodeId, Hash> = BTreeMap::new();
    let roots = array(&tree, "roots_by_size_1_to_8");
    for (leaf, root) in array(&tree, "leaves").iter().zip(roots) {
        let leaf = vectors::decode_hex(leaf.as_str().unwrap());
        rows.extend(log.append(leaf_hash(&leaf)).unwrap());
        assert_eq!(log.root(), text_hash(root));
    }
    assert_eq!(log.size(), 8);

    let path = |plan: ProofPlan| {
        let hashes: Vec<_> = plan.nodes().map(|node| rows[&node]).collect();
        plan.finish(&hashes).unwrap()
    };
    let expected = |case| -> Vec<Hash> { array(case, "proof").iter().map(text_hash).collect() };
    let inclusions = array(&tree, "inclusion");
    for case in inclusions {
        let plan = ProofPlan::inclusion(number(case, "leaf_index"), number(case, "tree_size"));
        assert_eq!(path(plan.unwrap()), expected(case));
    }
    let consistencies = array(&tree, "consistency");
    for case in consistencies {
        let plan = ProofPlan::consistency(number(case, "size1"), number(case, "size2"));
        assert_eq!(path(plan.unwrap()), expected(case));
    }
    let counts = (roots.len(), inclusions.len(), consistencies.len());
    println!(
        "ct reference: {} roots, {} inclusion paths, {} consistency proofs",
        counts.0, counts.1, counts.2
    );
    assert_eq!(counts, (8, 5, 4));
}
