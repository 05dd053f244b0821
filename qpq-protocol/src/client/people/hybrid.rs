//! Hybrid keys: one's own, published once, and those of others, as far as they can be trusted
//! (protocol.md §5.21).

use qpq_crypto::hybrid::{HybridPublicKey, HybridSecret};
use qpq_crypto::proof;

use crate::client::Client;
use crate::client::keep::keys::Name;
use crate::client::keep::record::HybridRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::ids::IdentityKey;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// Every device of an account has the same key: its seed's first one.
const COUNTER: u64 = 0;

impl Client {
    /// The own hybrid key. Derived when it is used, and wiped after.
    pub(super) fn hybrid_secret(&self) -> Option<HybridSecret> {
        let me = self.state.me.as_ref()?;
        Some(HybridSecret::derive(me.identity.seed(), COUNTER))
    }

    /// Offers the own key to the server, once a connection, until it has it.
    pub(super) fn publish_hybrid_key(&mut self) {
        let me = self.state.me.as_ref();
        let Some(me) = me.filter(|me| !me.hybrid_published && !self.is_hybrid_key_tried) else {
            return;
        };
        let created_at_ms = self.state.clocks.date(self.unix_ms());
        let public = HybridSecret::derive(me.identity.seed(), COUNTER).public();
        let signature = proof::hybrid_key(&me.identity, public.as_bytes(), created_at_ms);
        let request = proto::UploadHybridKeyRequest {
            identity_key: me.identity_key().as_bytes().to_vec().into(),
            hybrid_public_key: public.as_bytes().to_vec().into(),
            signature: signature.to_vec().into(),
            created_at_ms,
        };
        self.is_hybrid_key_tried = true;
        self.call::<rpc::UploadHybridKey>(&request, Then::UploadHybridKey);
    }

    pub(in crate::client) fn on_hybrid_key(&mut self, answer: Answer<rpc::UploadHybridKey>) {
        let is_there = match answer {
            Ok(_) => true,
            // Another device has published it, and later.
            Err(fault) => fault.status == Status::Conflict,
        };
        if let Some(me) = self.state.me.as_mut().filter(|_| is_there) {
            me.hybrid_published = true;
            me.save(&mut self.writer);
        }
    }

    /// The server was set back, perhaps to before it had the own key.
    pub(in crate::client) fn forget_published_key(&mut self) {
        if let Some(me) = &mut self.state.me {
            me.hybrid_published = false;
            me.save(&mut self.writer);
        }
    }

    /// The hybrid key that the server gives for an account; `None` if it gives none, one that the account
    /// has not signed, or one that is older than what was seen.
    pub(super) fn trusted_key(
        &mut self,
        of: IdentityKey,
        (key, signature, created_at_ms): (&[u8], &[u8], u64),
    ) -> Option<HybridPublicKey> {
        proof::verify_hybrid_key(&of, key, created_at_ms, signature).ok()?;
        let key = HybridPublicKey::from_bytes(key).ok()?;
        let newest = self.state.hybrid_dates.get(&of).copied();
        if newest.is_some_and(|newest| created_at_ms < newest) {
            return None;
        }
        if newest != Some(created_at_ms) {
            let record = HybridRecord { created_at_ms };
            self.writer.put(&Name::Hybrid(of), &record);
            self.state.hybrid_dates.insert(of, created_at_ms);
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientConfig, StorageKey};
    use crate::rng::Seed;
    use crate::time::{Time, UnixTime};
    use qpq_crypto::identity::IdentitySecret;

    #[test]
    fn keys_that_are_unsigned_or_older_are_not_used() {
        let (storage, seed) = (StorageKey::new([1; 32]), Seed::new([2; 32]));
        let unix = UnixTime::from_millis(0);
        let mut client = Client::new(ClientConfig::default(), storage, seed, Time::ZERO, unix);
        let bob = IdentitySecret::from_seed([3; 32]);
        let key = |counter| HybridSecret::derive(bob.seed(), counter).public();
        let (old, new) = (key(0), key(1));
        let signed = |key: &HybridPublicKey, date| proof::hybrid_key(&bob, key.as_bytes(), date);
        let mut trusts = |of, key: &HybridPublicKey, signature: &[u8], date| {
            let key = (&key.as_bytes()[..], signature, date);
            client.trusted_key(of, key).is_some()
        };
        let of = bob.public();
        assert!(!trusts(of, &old, &[], 4));
        assert!(!trusts(of, &old, &signed(&old, 4), 9), "another date");
        assert!(!trusts(of, &new, &signed(&old, 4), 4), "another key");
        let other = IdentityKey([7; 32]);
        assert!(!trusts(other, &old, &signed(&old, 4), 4), "another account");
        assert!(trusts(of, &old, &signed(&old, 4), 4));
        assert!(trusts(of, &new, &signed(&new, 5), 5));
        assert!(
            !trusts(of, &old, &signed(&old, 4), 4),
            "older than what was seen"
        );
        assert!(trusts(of, &new, &signed(&new, 5), 5));
    }
}
