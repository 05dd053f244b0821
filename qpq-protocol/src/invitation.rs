//! What the operator of a server gives to a person who may register there.

use bytes::Bytes;

/// An invitation to make an account: at most 64 bytes that the server's policy knows, empty for none. `Debug` does not
/// show it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Invitation(Bytes);

impl Invitation {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Invitation {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<String> for Invitation {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Invitation> for Bytes {
    fn from(invitation: Invitation) -> Self {
        invitation.0
    }
}

impl core::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Invitation")
    }
}
