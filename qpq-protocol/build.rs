//! Says whether the cores are built with defects (`src/defect.rs`).

use std::env;

fn main() {
    // A cfg of this crate alone: with RUSTFLAGS everything below it would be built again.
    println!("cargo::rustc-check-cfg=cfg(qpq_defects)");
    println!("cargo::rerun-if-env-changed=QPQ_DEFECTS");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("QPQ_DEFECTS").is_some_and(|on| on == "1") {
        println!("cargo::rustc-cfg=qpq_defects");
    }
}
