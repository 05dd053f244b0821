//! Storage commands and replies in a file. What a client seals stands there opened, and of what its
//! MLS library stores only the names.

use std::collections::BTreeSet;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use qpq_protocol::storage::{Command, Commit, Direction, Expect, Reply};
use serde_json::{Value, json};

use super::input::failure_name;
use crate::vectors::json::digits;

/// Prefix of the client's rows that the MLS library stores.
const MLS: &[u8] = b"s/m/";
/// Bytes of such a key behind the entity's name: two piece numbers, u32 and u16.
const MLS_PIECES: usize = 6;
/// Bytes of the nonce before a sealed value.
const NONCE: usize = 24;

/// How the values of a machine are to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// As they are.
    Plain,
    /// Sealed by a client under this storage key.
    Sealed([u8; 32]),
}

impl Values {
    /// A command in a file.
    pub fn command(&self, command: &Command) -> Value {
        match command {
            Command::Get(keys) => {
                let (keys, mls) = self.split(keys);
                with_mls(json!({"get": keys}), "mls", mls)
            }
            Command::Scan(scan) => json!({"scan": {
                "start": digits(&scan.start),
                "end": digits(&scan.end),
                "direction": match scan.direction {
                    Direction::Forward => "forward",
                    Direction::Backward => "backward",
                },
                "items": scan.items,
                "bytes": scan.bytes,
            }}),
            Command::Commit(commit) => json!({"commit": self.commit(commit)}),
        }
    }

    fn commit(&self, commit: &Commit) -> Value {
        let checks = commit.checks.iter().map(|(key, expect)| match expect {
            Expect::Equals(value) => json!([digits(key), self.value(key, value)]),
            Expect::Absent => json!([digits(key), null]),
        });
        let puts = commit.puts.iter().filter(|(key, _)| !self.is_mls(key));
        let puts = puts.map(|(key, value)| json!([digits(key), self.value(key, value)]));
        let (deletes, mls_deletes) = self.split(&commit.deletes);
        let mls_puts = commit.puts.iter().filter(|(key, _)| self.is_mls(key));
        let mls_puts: BTreeSet<_> = mls_puts.map(|(key, _)| entity(key)).collect();
        // A value that got shorter leaves pieces behind; its entity is written, not deleted.
        let mls_deletes = mls_deletes.difference(&mls_puts).copied().collect();
        let value = json!({
            "checks": checks.collect::<Vec<_>>(),
            "puts": puts.collect::<Vec<_>>(),
            "deletes": deletes,
        });
        let value = with_mls(value, "mls_puts", mls_puts);
        with_mls(value, "mls_deletes", mls_deletes)
    }

    /// A reply in a file.
    pub fn reply(&self, command: &Command, reply: &Reply) -> Value {
        match reply {
            Reply::Values(values) => {
                let keys: &[Bytes] = match command {
                    Command::Get(keys) => keys,
                    _ => &[],
                };
                let rows = keys.iter().zip(values).filter(|(key, _)| !self.is_mls(key));
                let values = rows.map(|(key, value)| match value {
                    Some(value) => self.value(key, value),
                    None => Value::Null,
                });
                json!({"values": values.collect::<Vec<_>>()})
            }
            Reply::Rows { rows, more } => {
                let plain = rows.iter().filter(|(key, _)| !self.is_mls(key));
                let plain = plain.map(|(key, value)| json!([digits(key), self.value(key, value)]));
                let value = json!({"rows": plain.collect::<Vec<_>>(), "more": more});
                let mls = rows.iter().filter(|(key, _)| self.is_mls(key));
                with_mls(value, "mls", mls.map(|(key, _)| entity(key)).collect())
            }
            Reply::Committed => "committed".into(),
            Reply::Conflict => "conflict".into(),
            Reply::Failed(failure) => json!({"failed": failure_name(*failure)}),
        }
    }

    fn is_mls(&self, key: &[u8]) -> bool {
        matches!(self, Self::Sealed(_)) && key.starts_with(MLS)
    }

    /// The keys of other rows, and the MLS entities among them.
    fn split<'a>(&self, keys: &'a [Bytes]) -> (Vec<Value>, BTreeSet<&'a [u8]>) {
        let plain = keys.iter().filter(|key| !self.is_mls(key)).map(digits);
        let mls = keys.iter().filter(|key| self.is_mls(key));
        (plain.collect(), mls.map(|key| entity(key)).collect())
    }

    fn value(&self, key: &[u8], value: &[u8]) -> Value {
        match self {
            Self::Plain => digits(value),
            Self::Sealed(storage_key) => match open(storage_key, key, value) {
                Some(value) => digits(value),
                None => json!({"does_not_open": digits(value)}),
            },
        }
    }
}

fn entity(key: &[u8]) -> &[u8] {
    key.get(..key.len().saturating_sub(MLS_PIECES))
        .unwrap_or_default()
}

fn with_mls(mut value: Value, name: &str, entities: BTreeSet<&[u8]>) -> Value {
    if !entities.is_empty() {
        value[name] = entities.into_iter().map(digits).collect();
    }
    value
}

/// What a client sealed: `nonce (24 bytes) || XChaCha20-Poly1305(value)`, with the row's key as
/// associated data. Written here once more, so that a recording also checks the sealing.
fn open(storage_key: &[u8; 32], row: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
    let payload = Payload {
        msg: ciphertext,
        aad: row,
    };
    let cipher = XChaCha20Poly1305::new(&Key::from(*storage_key));
    cipher.decrypt(&XNonce::from(*nonce), payload).ok()
}
