//! `src/generated` is what `proto/qpq/v1` (the wire) and `proto/qpq/store/v1` (stored rows) say. It is committed, so that
//! whoever builds the crate needs no compiler of Protobuf. After a change of a schema:
//!
//! ```sh
//! QPQ_GENERATE=1 cargo test -p qpq-protocol --test generated
//! ```

#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

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

/// Generates into a folder.
fn generate(proto: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["qpq/v1", "qpq/store/v1"] {
        for entry in fs::read_dir(proto.join(folder))? {
            files.push(entry?.path());
        }
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();
    let redacted = REDACTED.iter().map(|name| format!(".qpq.v1.{name}"));
    let descriptors = protox::compile(&files, [proto])?;
    prost_build::Config::new()
        .out_dir(out)
        .bytes(["."])
        .btree_map(["."])
        .skip_debug(redacted.chain([".qpq.store.v1".to_owned()]))
        .compile_fds(descriptors)?;
    Ok(())
}

#[test]
fn what_is_committed_is_what_the_schema_says() -> Result<(), Box<dyn Error>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = home.join("src/generated");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(&fresh)?;
    generate(&home.join("../proto"), &fresh)?;
    for name in ["qpq.v1.rs", "qpq.store.v1.rs"] {
        let (fresh, committed) = (fresh.join(name), committed.join(name));
        if env::var_os("QPQ_GENERATE").is_some() {
            fs::copy(fresh, committed)?;
            continue;
        }
        let is_same = fs::read(fresh)? == fs::read(&committed)?;
        assert!(
            is_same,
            "{} is not what the schema says: run this test with QPQ_GENERATE=1",
            committed.display()
        );
    }
    Ok(())
}
