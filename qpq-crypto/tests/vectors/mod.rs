//! Reads the public vectors: from `$QPQ_VECTORS`, else from `shared/vectors` beside the workspace.
//!
//! They are other people's and not in this repository; each set's SOURCE.txt says where it comes from.
//! So the tests that read them are ignored unless they are asked for (`cargo test -- --ignored`, as `.ci/run`
//! does where there are vectors), and fail where there are none.

// Each test binary uses its part of this; tests may read files and the environment.
#![allow(dead_code, clippy::disallowed_methods)]

use std::path::PathBuf;

use serde_json::Value;

/// The folder `name` of the vectors.
pub fn folder(name: &str) -> PathBuf {
    let root = match std::env::var_os("QPQ_VECTORS") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
    };
    let folder = root.join(name);
    assert!(folder.is_dir(), "no public vectors at {}", folder.display());
    folder
}

/// One JSON file of the vectors.
pub fn json(set: &str, file: &str) -> Value {
    parse(&folder(set).join(file))
}

/// Reads a JSON file that must be there.
pub fn parse(path: &std::path::Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The array under `key`.
pub fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no array {key}"))
}

/// The string under `key`.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text {key}"))
}

/// The number under `key`.
pub fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {key}"))
}

/// The bytes that the hexadecimal text under `key` stands for.
pub fn hex(value: &Value, key: &str) -> Vec<u8> {
    decode_hex(text(value, key))
}

/// The bytes under `key`, which have a fixed length.
pub fn hex_array<const N: usize>(value: &Value, key: &str) -> [u8; N] {
    hex(value, key)
        .try_into()
        .unwrap_or_else(|_| panic!("{key} is not {N} bytes long"))
}

/// Decodes hexadecimal text.
pub fn decode_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hexadecimal text");
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hexadecimal text is ASCII");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        })
        .collect()
}
