//! Keys of the server's own rows, of names, accounts, devices and sessions. The values are the
//! messages of `proto/qpq/store/v1/account.proto`.

use bytes::Bytes;

use crate::ids::{DeviceId, IdentityKey};

/// The schema version, u32 big-endian. Example: `00 76`.
#[must_use]
pub fn schema_version() -> Bytes {
    Bytes::from_static(b"\x00v")
}

/// The server's secrets ([`crate::storage::records::ServerSecrets`]). Example: `00 73`.
#[must_use]
pub fn server_secrets() -> Bytes {
    Bytes::from_static(b"\x00s")
}

/// A name ([`crate::storage::records::Name`]). Example for `al`: `01 61 6c`.
#[must_use]
pub fn name(username: &str) -> Bytes {
    key(0x01, &[username.as_bytes()])
}

/// An account ([`crate::storage::records::Account`]): `02`, identity key (32).
#[must_use]
pub fn account(identity_key: &IdentityKey) -> Bytes {
    key(0x02, &[identity_key.as_bytes()])
}

/// The devices of an account ([`crate::storage::records::DeviceSet`]): `03`, identity key (32).
#[must_use]
pub fn devices(identity_key: &IdentityKey) -> Bytes {
    key(0x03, &[identity_key.as_bytes()])
}

/// A device id that was used ([`crate::storage::records::DeviceUse`]): `04`, identity key (32),
/// device id (0 or 16).
#[must_use]
pub fn device_use(identity_key: &IdentityKey, device_id: &DeviceId) -> Bytes {
    key(0x04, &[identity_key.as_bytes(), device_id.as_bytes()])
}

/// The sessions of an account ([`crate::storage::records::SessionSet`]): `05`, identity key (32).
#[must_use]
pub fn sessions(identity_key: &IdentityKey) -> Bytes {
    key(0x05, &[identity_key.as_bytes()])
}

/// A session ([`crate::storage::records::Session`]): `06`, SHA-256 of the token (32).
#[must_use]
pub fn session(token_hash: &[u8; 32]) -> Bytes {
    key(0x06, &[token_hash])
}

fn key(space: u8, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut key = Vec::with_capacity(1 + length);
    key.push(space);
    for part in parts {
        key.extend_from_slice(part);
    }
    key.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_documented() {
        assert_eq!(schema_version().as_ref(), [0x00, 0x76]);
        assert_eq!(server_secrets().as_ref(), [0x00, 0x73]);
        assert_eq!(name("al").as_ref(), [0x01, 0x61, 0x6c]);
        let identity = IdentityKey([7; 32]);
        let spaces = [
            account(&identity),
            devices(&identity),
            device_use(&identity, &DeviceId::DEFAULT),
            sessions(&identity),
            session(&[7; 32]),
        ];
        for (space, key) in (2..).zip(spaces) {
            assert_eq!(key.first(), Some(&space));
            assert_eq!(&key[1..], [7; 32]);
        }
        let device = device_use(&identity, &DeviceId::new([9; 16]));
        assert_eq!(device.len(), 1 + 32 + 16);
        assert!(device > device_use(&identity, &DeviceId::DEFAULT));
    }
}
