//! Rows that an earlier build wrote still load and still serve.

use super::*;
use crate::vectors::decode_hex;

const ROWS: &str = include_str!("golden_v1.json");

/// A group with something of everything in its rows: a past epoch, a queued proposal, a pending
/// commit, key packages. The first phone, and a message to it that it has not read yet.
fn story() -> (Phone, Vec<u8>) {
    let mut phones = names([1, 2, 3]);
    let mut groups = together(Suite::X25519, &mut phones);
    let [first, second, third] = phones.as_mut_slice() else {
        unreachable!()
    };
    let seed = second.seed();
    let update = groups[1].update(&mut second.device, &seed).unwrap();
    groups[1].confirm_pending(&mut second.device).unwrap();
    groups[0]
        .process(&mut first.device, &update.commit)
        .unwrap();
    groups[2]
        .process(&mut third.device, &update.commit)
        .unwrap();
    let message = groups[1].encrypt(&mut second.device, &[9; 32], b"from before");
    let leave = groups[2].leave(&mut third.device, &[10; 32]).unwrap();
    groups[0].process(&mut first.device, &leave).unwrap();
    first.key_package(Suite::MlKem768X25519);
    first
        .device
        .key_package(&[11; 32], Suite::X25519, NOW, true)
        .unwrap();
    groups[0].update(&mut first.device, &[12; 32]).unwrap();
    first.save();
    (phones.swap_remove(0), message.unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[ignore = "prints the rows that this build writes, for a new golden file"]
fn print_rows() {
    let (phone, message) = story();
    let rows: BTreeMap<_, _> = phone.disk.iter().map(|(k, v)| (hex(k), hex(v))).collect();
    let story = serde_json::json!({ "message": hex(&message), "rows": rows });
    println!("{}", serde_json::to_string_pretty(&story).unwrap());
}

#[test]
fn rows_of_version_one_still_serve() {
    let golden: serde_json::Value = serde_json::from_str(ROWS).unwrap();
    let rows = golden["rows"].as_object().unwrap();
    let mut phone = Phone::new(1);
    phone.disk = rows
        .iter()
        .map(|(key, value)| (decode_hex(key), decode_hex(value.as_str().unwrap())))
        .collect();
    phone.restart();

    let held = phone.device.key_packages().unwrap();
    assert_eq!(held.len(), 2);
    assert_eq!(held.iter().filter(|held| held.last_resort).count(), 1);
    let mut group = phone.group();
    assert_eq!((group.epoch(), group.members().len()), (2, 3));
    assert!(group.has_pending_commit() && group.has_pending_proposals());

    let message = decode_hex(golden["message"].as_str().unwrap());
    let got = group.process(&mut phone.device, &message).unwrap();
    assert!(matches!(got, Processed::Application { plaintext, .. } if plaintext == b"from before"));
    let committed = group.confirm_pending(&mut phone.device).unwrap();
    assert_eq!((committed.epoch, committed.removed.len()), (3, 1));
    let seed = phone.seed();
    assert!(group.encrypt(&mut phone.device, &seed, b"on").is_ok());
    assert!(phone.save() > 0);
}
