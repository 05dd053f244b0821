//! `dictionaries/protobuf.dict` is one: libFuzzer refuses to start with a line that it cannot read.

use std::collections::BTreeMap;

// What a campaign builds has hooks of the engine's in it, which are in there.
use bolero as _;
use qpq_protocol::method::{Method, Push};

const DICTIONARY: &str = include_str!("../dictionaries/protobuf.dict");

/// The bytes of `"\x01\x02"`.
fn bytes(quoted: &str) -> Option<Vec<u8>> {
    let escaped = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = escaped.strip_prefix("\\x")?.split("\\x");
    bytes.try_fold(Vec::new(), |mut bytes, digits| {
        let is_whole = digits.len() == 2;
        bytes.push(is_whole.then(|| u8::from_str_radix(digits, 16).ok())??);
        Some(bytes)
    })
}

#[test]
fn every_line_names_bytes_and_nothing_of_the_wire_is_missing() {
    let mut words = BTreeMap::new();
    for line in DICTIONARY.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let word = line.split_once('=');
        let word = word.and_then(|(name, quoted)| Some((name, bytes(quoted)?)));
        let (name, bytes) = word.unwrap_or_else(|| panic!("{line} is no word"));
        assert!(
            name.bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()),
            "{line}"
        );
        assert_eq!(words.insert(name, bytes), None, "{line} is there twice");
    }
    let ids = Method::ALL
        .iter()
        .map(|method| (method.id(), "method_", method.name()));
    let ids = ids.chain(
        Push::ALL
            .iter()
            .map(|push| (push.id(), "push_", push.name())),
    );
    for (id, kind, name) in ids {
        let plain = |word: &str| word.replace('_', "").to_lowercase();
        let wanted = plain(&format!("{kind}{name}"));
        let found = words.iter().find(|(word, _)| plain(word) == wanted);
        let bytes = found.map(|(_, bytes)| bytes.clone());
        assert_eq!(bytes, Some(id.to_be_bytes().to_vec()), "{kind}{name}");
    }
}
