//! The account and this device, as they are kept: names, keys, the session's token.

use qpq_crypto::identity::{Credential, DeviceSecret, IdentitySecret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::client::event::Account;
use crate::client::keep::keys::Name;
use crate::client::keep::record::AccountRecord;
use crate::client::keep::write::Writer;
use crate::ids::{DeviceId, IdentityKey};

/// The account and this device.
pub(in crate::client) struct Me {
    pub(in crate::client) name: String,
    pub(in crate::client) domain: String,
    pub(in crate::client) identity: IdentitySecret,
    pub(in crate::client) device_id: DeviceId,
    pub(in crate::client) device: DeviceSecret,
    pub(in crate::client) device_created_at_ms: u64,
    pub(in crate::client) token: Option<Zeroizing<[u8; 32]>>,
    /// Shown at the next login, which so counts apart from those of guessers; empty: none.
    pub(in crate::client) ticket: Zeroizing<Vec<u8>>,
    /// Whether the server has confirmed the device.
    pub(in crate::client) registered: bool,
    /// Whether it has the account's hybrid key.
    pub(in crate::client) hybrid_published: bool,
}

impl Me {
    pub(in crate::client) fn identity_key(&self) -> IdentityKey {
        self.identity.public()
    }

    pub(in crate::client) fn credential(&self) -> Credential {
        Credential::issue(
            &self.identity,
            self.device_id,
            self.device.public(),
            self.device_created_at_ms,
        )
    }

    pub(in crate::client) fn account(&self) -> Account {
        Account {
            name: self.name.clone(),
            domain: self.domain.clone(),
            identity_key: self.identity_key(),
            device_id: self.device_id,
            logged_in: self.token.is_some(),
        }
    }

    pub(in crate::client) fn save(&self, writer: &mut Writer) {
        let mut record = AccountRecord {
            name: self.name.clone(),
            domain: self.domain.clone(),
            identity_seed: self.identity.seed().to_vec(),
            device_id: self.device_id.as_bytes().to_vec(),
            device_seed: self.device.seed().to_vec(),
            device_created_at_ms: self.device_created_at_ms,
            session_token: self
                .token
                .as_ref()
                .map_or_else(Vec::new, |token| token.to_vec()),
            registered: self.registered,
            ticket: self.ticket.to_vec(),
            hybrid_published: self.hybrid_published,
        };
        writer.put(&Name::Account, &record);
        record.identity_seed.zeroize();
        record.device_seed.zeroize();
        record.session_token.zeroize();
        record.ticket.zeroize();
    }

    pub(in crate::client) fn load(mut record: AccountRecord) -> Option<Self> {
        let identity_seed = Zeroizing::new(core::mem::take(&mut record.identity_seed));
        let device_seed = Zeroizing::new(core::mem::take(&mut record.device_seed));
        let token = Zeroizing::new(core::mem::take(&mut record.session_token));
        Some(Self {
            name: record.name,
            domain: record.domain,
            identity: IdentitySecret::from_seed(identity_seed.as_slice().try_into().ok()?),
            device_id: DeviceId::from_wire(&record.device_id).ok()?,
            device: DeviceSecret::from_seed(device_seed.as_slice().try_into().ok()?),
            device_created_at_ms: record.device_created_at_ms,
            token: match token.len() {
                0 => None,
                _ => Some(Zeroizing::new(token.as_slice().try_into().ok()?)),
            },
            ticket: Zeroizing::new(record.ticket),
            registered: record.registered,
            hybrid_published: record.hybrid_published,
        })
    }
}
