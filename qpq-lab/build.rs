//! Says that the cores were built with defects that can be switched on (`qpq_protocol::defect`), as
//! their own build script does.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(qpq_defects)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=QPQ_DEFECTS");
    if env::var_os("QPQ_DEFECTS").is_some_and(|on| on == "1") {
        println!("cargo::rustc-cfg=qpq_defects");
    }
}
