//! What takes the place of a session: keys that the server knows only by their SHA-256.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::mls::{Group, GroupError};
use crate::secret::{Secret32, ct_eq};

/// The label under which members export the channel key from their MLS group (RFC 9420 §8.5); the
/// context is empty, the length 32 bytes. [`ChannelKey::of_epoch`] does it.
pub const CHANNEL_KEY_LABEL: &str = "qpq channel key";

/// What contacts of an account show to reach its default channel, 32 bytes. They get it end to end,
/// in a profile message.
pub struct AccessKey(Secret32);

impl AccessKey {
    /// The `counter`-th access key of the account with this identity seed, so that every device has
    /// it: HKDF-SHA256(identity seed, `"qpq access key v1" || counter`). To shut a contact out, count
    /// up and tell the others.
    pub fn derive(identity_seed: &[u8; 32], counter: u64) -> Self {
        let mut key = Zeroizing::new([0u8; 32]);
        Hkdf::<Sha256>::new(None, identity_seed)
            .expand_multi_info(
                &[b"qpq access key v1", &counter.to_be_bytes()],
                key.as_mut(),
            )
            .expect("32 bytes are within HKDF's bound");
        Self(Secret32::new(*key))
    }

    /// A contact's access key, as it told.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Secret32::new(key))
    }

    /// The 32 bytes, to be shown to the server with a sealed message or told to a contact.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The SHA-256 of the key, which the server keeps (method 503).
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

/// What members of a channel show to reach all its members, 32 bytes, another one in every epoch.
pub struct ChannelKey(Secret32);

impl ChannelKey {
    /// The channel key of the group's epoch: the same for all its members.
    ///
    /// # Errors
    /// [`GroupError::Inactive`] once this device was removed.
    pub fn of_epoch(group: &Group) -> Result<Self, GroupError> {
        let exported = group.export(CHANNEL_KEY_LABEL, &[], 32)?;
        let key = exported.expose().try_into();
        key.map(Self::new).map_err(|_| GroupError::Length)
    }

    /// The channel key of an epoch, as a member exported it under [`CHANNEL_KEY_LABEL`].
    pub fn new(exported: [u8; 32]) -> Self {
        Self(Secret32::new(exported))
    }

    /// The 32 bytes, to be shown to the server with a sealed message.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The SHA-256 of the key, which goes to the server with the commit of its slot.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

/// Whether a shown key is the one whose SHA-256 is `stored`. The server's check: no key, a wrong key
/// and an unknown recipient take the same time and mean the same.
pub fn authorised(shown: &[u8], stored: Option<&[u8; 32]>) -> bool {
    let hash: [u8; 32] = Sha256::digest(shown).into();
    let known = stored.is_some();
    ct_eq(&hash, stored.unwrap_or(&[0; 32])) & known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_is_authorised() {
        let key = AccessKey::derive(&[1; 32], 0);
        let hash = key.hash();
        assert!(authorised(key.expose(), Some(&hash)));
        assert!(!authorised(key.expose(), None));
        assert!(!authorised(&[], Some(&hash)));
        assert!(!authorised(&hash, Some(&hash)));
        let next = AccessKey::derive(&[1; 32], 1);
        assert!(!authorised(next.expose(), Some(&hash)));
        let other = AccessKey::derive(&[2; 32], 0);
        assert!(!authorised(other.expose(), Some(&hash)));
        let told = AccessKey::new(*key.expose());
        assert!(authorised(told.expose(), Some(&hash)));
        let channel = ChannelKey::new([7; 32]);
        assert!(authorised(channel.expose(), Some(&channel.hash())));
        assert!(!authorised(channel.expose(), Some(&hash)));
    }
}
