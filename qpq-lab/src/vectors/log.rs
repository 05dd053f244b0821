//! `log`: leaves, roots, proofs, signed heads and checkpoints of the transparency log.

use std::collections::BTreeMap;

use qpq_crypto::identity::{IdentityKey, IdentitySecret};
use qpq_crypto::transparency::{
    Checkpoint, CheckpointOrigin, Hash, Leaf, Log, NodeId, ProofPlan, TreeHead, leaf_hash,
    verify_consistency, verify_inclusion,
};
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{BOB, SERVER, TIME_MS, inputs as keep, seed};
use super::json::{Fields as _, digits, unhex, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// Leaves of the tree that the proofs are about.
const SIZE: u64 = 7;

pub(super) fn inputs() -> Result<Vec<Value>> {
    let time = TIME_MS.to_string();
    let mut cases = vec![
        json!({
            "name": "a name and its key", "kind": "bind", "nonce": seed(7), "username": "alice",
            "identity_key": seed(BOB), "time_ms": time,
        }),
        json!({
            "name": "a key that is given up", "kind": "revoke", "identity_key": seed(BOB),
            "reason": "superseded", "time_ms": time,
        }),
    ];
    let leaves: Vec<String> = (0..SIZE)
        .map(|number| format!("{number:02x}").repeat(4))
        .collect();
    cases.push(json!({"name": "roots", "kind": "tree", "leaves": leaves}));
    for size in 1..=SIZE {
        let first: Vec<&String> = (0..size).zip(&leaves).map(|(_, leaf)| leaf).collect();
        for index in 0..size {
            cases.push(json!({
                "name": format!("leaf {index} of {size}"), "kind": "inclusion",
                "leaves": first, "size": size, "index": index,
            }));
        }
        for from in 1..=size {
            cases.push(json!({
                "name": format!("{from} leaves, then {size}"), "kind": "consistency",
                "leaves": first, "from": from, "size": size,
            }));
        }
    }
    cases.push(json!({
        "name": "tree head", "kind": "tree_head", "server_seed": seed(SERVER), "size": 6,
        "root": seed(9), "time_ms": time,
    }));
    cases.push(json!({
        "name": "checkpoint", "kind": "checkpoint", "server_seed": seed(SERVER),
        "domain": "example.org", "size": 6, "root": seed(9),
    }));
    Ok(cases)
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    match case.text("kind")? {
        "bind" => {
            let names = [
                "name",
                "kind",
                "nonce",
                "username",
                "identity_key",
                "time_ms",
            ];
            let key = IdentityKey(case.array("identity_key")?);
            let (nonce, name) = (case.array("nonce")?, case.text("username")?);
            leaf(
                keep(case, &names)?,
                &Leaf::bind(&nonce, name, &key, case.number("time_ms")?),
            )
        }
        "revoke" => {
            let names = ["name", "kind", "identity_key", "reason", "time_ms"];
            let key = IdentityKey(case.array("identity_key")?);
            let revoked = Leaf::revoke(&key, case.text("reason")?, case.number("time_ms")?);
            leaf(keep(case, &names)?, &revoked)
        }
        "tree" => {
            let mut out = keep(case, &["name", "kind", "leaves"])?;
            let leaves = leaves(case)?;
            let roots = (1..=leaves.len()).map(|size| Ok(digits(tree(&leaves, size)?.root)));
            out["roots"] = roots.collect::<Result<_>>()?;
            Ok(out)
        }
        "inclusion" => {
            let mut out = keep(case, &["name", "kind", "leaves", "size", "index"])?;
            let (leaves, size) = (leaves(case)?, case.number("size")?);
            let (index, tree) = (case.number("index")?, tree(&leaves, size)?);
            let plan = ProofPlan::inclusion(index, size as u64);
            let path = tree.path(plan.map_err(|_| wrong("index", "below size"))?)?;
            let leaf = leaves.get(usize::try_from(index).unwrap_or(usize::MAX));
            let hash = leaf_hash(leaf.ok_or_else(|| wrong("index", "that of a leaf"))?);
            verify_inclusion(&hash, index, size as u64, &path, &tree.root)
                .map_err(|_| VectorError::Broken("an inclusion proof"))?;
            out["path"] = path.iter().map(digits).collect();
            Ok(out)
        }
        "consistency" => {
            let mut out = keep(case, &["name", "kind", "leaves", "from", "size"])?;
            let (leaves, size) = (leaves(case)?, case.number("size")?);
            let (before, after) = (tree(&leaves, case.number("from")?)?, tree(&leaves, size)?);
            let from = case.number("from")?;
            let plan = ProofPlan::consistency(from, size as u64);
            let path = after.path(plan.map_err(|_| wrong("from", "at most size"))?)?;
            verify_consistency(from, &before.root, size as u64, &after.root, &path)
                .map_err(|_| VectorError::Broken("a consistency proof"))?;
            out["path"] = path.iter().map(digits).collect();
            Ok(out)
        }
        "tree_head" => {
            let names = ["name", "kind", "server_seed", "size", "root", "time_ms"];
            let mut out = keep(case, &names)?;
            let server = IdentitySecret::from_seed(case.array("server_seed")?);
            let (size, root) = (case.number("size")?, case.array("root")?);
            let head = TreeHead::sign(&server, size, root, case.number("time_ms")?);
            let read = TreeHead::decode(&head.encode());
            read.and_then(|head| head.verify(server.public().as_bytes()).ok())
                .ok_or(VectorError::Broken("a tree head"))?;
            out["server_key"] = digits(server.public());
            out["tree_head"] = digits(head.encode());
            Ok(out)
        }
        "checkpoint" => {
            let names = ["name", "kind", "server_seed", "domain", "size", "root"];
            let mut out = keep(case, &names)?;
            let server = IdentitySecret::from_seed(case.array("server_seed")?);
            let origin = CheckpointOrigin::of_server(case.text("domain")?);
            let origin = origin.map_err(|_| wrong("domain", "a domain"))?;
            let checkpoint = Checkpoint {
                tree_size: case.number("size")?,
                root: case.array("root")?,
            };
            let text = checkpoint.sign(&origin, &server);
            let opened = Checkpoint::open(&text, &origin, server.public().as_bytes());
            opened.map_err(|_| VectorError::Broken("a checkpoint"))?;
            out["server_key"] = digits(server.public());
            out["checkpoint"] = text.into();
            out["verifier_key"] = origin.verifier_key(server.public().as_bytes()).into();
            Ok(out)
        }
        _ => Err(wrong("kind", "a known one")),
    }
}

fn leaf(mut out: Value, leaf: &Leaf) -> Result<Value> {
    let read = Leaf::decode(&leaf.encode());
    read.map_err(|_| VectorError::Broken("a leaf"))?;
    out["leaf"] = digits(leaf.encode());
    out["leaf_hash"] = digits(leaf.hash());
    Ok(out)
}

fn leaves(case: &Value) -> Result<Vec<Vec<u8>>> {
    let leaves = case.list("leaves")?.iter();
    let leaves = leaves.map(|leaf| leaf.as_str().and_then(unhex));
    let leaves: Option<Vec<_>> = leaves.collect();
    leaves.ok_or_else(|| wrong("leaves", "hexadecimal"))
}

/// A tree with all nodes that proofs need.
struct Tree {
    root: Hash,
    nodes: BTreeMap<NodeId, Hash>,
}

fn tree(leaves: &[Vec<u8>], size: usize) -> Result<Tree> {
    let leaves = leaves
        .get(..size)
        .ok_or_else(|| wrong("size", "at most the leaves"))?;
    let (mut log, mut nodes) = (Log::new(), BTreeMap::new());
    for leaf in leaves {
        let appended = log.append(leaf_hash(leaf));
        nodes.extend(appended.map_err(|_| VectorError::Broken("a log"))?);
    }
    Ok(Tree {
        root: log.root(),
        nodes,
    })
}

impl Tree {
    fn path(&self, plan: ProofPlan) -> Result<Vec<Hash>> {
        let hashes: Option<Vec<_>> = plan
            .nodes()
            .map(|node| self.nodes.get(&node).copied())
            .collect();
        let path = hashes.and_then(|hashes| plan.finish(&hashes).ok());
        path.ok_or(VectorError::Broken("a log"))
    }
}
