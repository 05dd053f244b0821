//! Compiles `proto/qpq/v1/*.proto` (the wire) and `proto/qpq/store/v1/*.proto` (stored rows) in pure
//! Rust; no system `protoc` is needed.

use std::{env, error::Error, fs, path::Path};

/// Messages that hold a token, a key, a login record or the text of users: `src/proto.rs` writes their `Debug`.
const REDACTED: &[&str] = &[
    "Auth",
    "OpaqueRegisterFinishRequest",
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
    "GroupName",
    "GroupWelcome",
];

fn main() -> Result<(), Box<dyn Error>> {
    // `src/defect.rs`. A cfg of this crate alone: with RUSTFLAGS everything below it would be built again.
    println!("cargo::rustc-check-cfg=cfg(qpq_defects)");
    println!("cargo::rerun-if-env-changed=QPQ_DEFECTS");
    if env::var_os("QPQ_DEFECTS").is_some_and(|on| on == "1") {
        println!("cargo::rustc-cfg=qpq_defects");
    }

    // Asked for when it runs: checkouts that share a target folder share this program.
    let root = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo runs build scripts")?;
    let root = Path::new(&root).join("../proto");
    let mut files = Vec::new();
    for folder in ["qpq/v1", "qpq/store/v1"] {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                files.push(path);
            }
        }
    }
    files.sort();

    let redacted = REDACTED.iter().map(|name| format!(".qpq.v1.{name}"));
    let descriptors = protox::compile(&files, [&root])?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .skip_debug(redacted.chain([".qpq.store.v1".to_owned()]))
        .compile_fds(descriptors)?;
    Ok(())
}
