//! Compiles `proto/qpq/v1/*.proto` in pure Rust; no system `protoc` is needed.

use std::{error::Error, fs, path::Path};

/// Messages that hold a token, a key or the text of users: `src/proto.rs` writes their `Debug`.
const REDACTED: &[&str] = &[
    "Auth",
    "OpaqueLoginFinishResponse",
    "EnqueueRequest",
    "BatchEnqueueRequest",
    "RegisterPushTokenRequest",
    "FetchRecoveryBundleRequest",
    "DeleteRecoveryBundleRequest",
    "ResolveEndpointRequest",
    "Chat",
    "Reply",
    "Reaction",
    "Edit",
    "File",
    "Profile",
    "GroupWelcome",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let folder = root.join("qpq/v1");
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();

    let descriptors = protox::compile(&files, [&root])?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .skip_debug(REDACTED.iter().map(|name| format!(".qpq.v1.{name}")))
        .compile_fds(descriptors)?;
    Ok(())
}
