//! The wire decoder against protobuf encodings that others published (protozero's test files and
//! protobuf's own golden messages), from `$QPQ_VECTORS`, else from `shared/vectors` beside the
//! workspace. They are not in this repository: the tests are ignored unless they are asked for.

// Tests may read files and the environment.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;

use bytes::Bytes;
use qpq_protocol::method::rpc;
use qpq_protocol::wire::{DecodeError, decode_request, decode_response};
use serde_json::Value;

fn folder() -> PathBuf {
    let root = match std::env::var_os("QPQ_VECTORS") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
    };
    let folder = root.join("protobuf-wire");
    assert!(folder.is_dir(), "no public vectors at {folder:?}");
    folder
}

/// Every file of protozero: (set, file, content).
fn protozero() -> Vec<(String, String, Bytes)> {
    let folder = folder();
    let manifest = std::fs::read_to_string(folder.join("protozero/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let mut files = Vec::new();
    for (set, entry) in manifest.as_object().unwrap() {
        for (file, hex) in entry["files"].as_object().unwrap() {
            let hex = hex.as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let content: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            files.push((set.clone(), file.clone(), content.into()));
        }
    }
    assert!(files.len() >= 100, "only {} files", files.len());
    files
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn fields_of_every_type_are_walked_and_ignored() {
    for (set, file, content) in protozero() {
        let read = decode_request::<rpc::Health>(content);
        assert!(read.is_ok(), "{set}/{file}: {read:?}");
    }
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn values_are_those_that_the_file_names_say() {
    for (set, file, content) in protozero() {
        match set.as_str() {
            "bool" => {
                let read = decode_response::<rpc::DeleteAccount>(content).unwrap();
                assert_eq!(read.success, file != "data-false.pbf", "{file}");
            }
            "bytes" => {
                let expected: &[u8] = match file.as_str() {
                    "data-binary.pbf" => &[1, 2, 3],
                    "data-empty.pbf" => b"",
                    "data-one.pbf" => b"x",
                    "data-string.pbf" => b"foobar",
                    _ => continue,
                };
                let read = decode_response::<rpc::FetchKeyPackage>(content).unwrap();
                assert_eq!(&read.package[..], expected, "{file}");
            }
            "string" => {
                let read = decode_response::<rpc::ResolveIdentity>(content).unwrap();
                match file.as_str() {
                    "data-empty.pbf" => assert_eq!(read.username, ""),
                    "data-one.pbf" => assert_eq!(read.username, "x"),
                    "data-string.pbf" => assert_eq!(read.username, "foobar"),
                    _ => {}
                }
            }
            "uint32" => {
                let read = decode_response::<rpc::CountKeyPackages>(content).unwrap();
                match file.as_str() {
                    "data-zero.pbf" => assert_eq!(read.count, 0),
                    "data-max.pbf" => assert_eq!(read.count, u32::MAX),
                    _ => {}
                }
            }
            "uint64" => {
                let read = decode_response::<rpc::ReportMessage>(content).unwrap();
                match file.as_str() {
                    "data-zero.pbf" => assert_eq!(read.report_id, 0),
                    "data-max.pbf" => assert_eq!(read.report_id, u64::MAX),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn text_that_is_not_utf8_and_groups_are_refused() {
    let folder = folder();
    let read = |file: &str| Bytes::from(std::fs::read(folder.join("google").join(file)).unwrap());
    // Text in field 14, which none of our messages has: moved to field 1.
    let bad_text = [&[0x0a], &read("bad_utf8_string.bin")[1..]].concat();
    let bad_text = decode_response::<rpc::ResolveIdentity>(bad_text.into());
    assert_eq!(bad_text, Err(DecodeError::Malformed));
    // The golden message holds groups, which proto3 does not have.
    let groups = decode_response::<rpc::Health>(read("golden_message.bin"));
    assert_eq!(groups, Err(DecodeError::Malformed));
}
