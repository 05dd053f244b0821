//! Which cipher suites and which profile a qpq group may use, and how a leaf says that it can.

use openmls::{
    extensions::{
        Extension, ExtensionType, Extensions, RequiredCapabilitiesExtension, UnknownExtension,
    },
    group::GroupContext,
    prelude::{Capabilities, CredentialType, ProtocolVersion},
};
use openmls_traits::types::Ciphersuite;

/// The provider profile of this crate: labelled `DeriveKeyPair` for X-Wing (draft-ietf-hpke-pq),
/// credentials of protocol.md §5.12, application messages padded by [`crate::padding`].
pub const PROFILE: u16 = 1;

/// Private-use extension type (RFC 9420 §17.3) of the group context: profile `u16`, suite `u16`.
/// A member that would derive other tree keys sees it before it forks.
pub const PROFILE_EXTENSION: u16 = 0xF1A0;

/// Private-use extension type of a key package: `not_before`, `not_after`, each `u64` milliseconds
/// since 1970. The leaf's own lifetime is left open, because openmls holds that one against the
/// wall clock of the member who *receives* an Add: a member whose clock is wrong would drop a commit that
/// all others take.
pub const LIFETIME_EXTENSION: u16 = 0xF1A1;

/// A cipher suite of RFC 9420 §17.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// 0x004F: X-Wing (ML-KEM-768 and X25519), AES-128-GCM, SHA-256, Ed25519. The default. The
    /// number is provisional (draft-ietf-mls-pq-ciphersuites).
    #[default]
    MlKem768X25519,
    /// 0x004E: X-Wing, AES-256-GCM, SHA-384, Ed25519. The number is provisional.
    MlKem768X25519High,
    /// 0x0001: X25519, AES-128-GCM, SHA-256, Ed25519, mandatory in RFC 9420. Not post-quantum.
    X25519,
    /// 0x0003: X25519, ChaCha20-Poly1305, SHA-256, Ed25519. Never offered; a second AEAD for the
    /// public test vectors.
    X25519ChaCha20,
}

impl Suite {
    /// What a device offers, best first. A key package or group of another suite is refused.
    pub const OFFERED: [Suite; 3] = [
        Suite::MlKem768X25519,
        Suite::MlKem768X25519High,
        Suite::X25519,
    ];

    /// The IANA number.
    pub fn id(self) -> u16 {
        self.ciphersuite().into()
    }

    /// The suite with this IANA number, if it is one of ours.
    pub fn from_id(id: u16) -> Option<Self> {
        [
            Suite::MlKem768X25519,
            Suite::MlKem768X25519High,
            Suite::X25519,
            Suite::X25519ChaCha20,
        ]
        .into_iter()
        .find(|suite| suite.id() == id)
    }

    /// Whether [`Suite::OFFERED`] holds it.
    pub fn is_offered(self) -> bool {
        Suite::OFFERED.contains(&self)
    }

    pub(super) fn ciphersuite(self) -> Ciphersuite {
        match self {
            Suite::MlKem768X25519 => Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519,
            Suite::MlKem768X25519High => {
                Ciphersuite::MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519
            }
            Suite::X25519 => Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
            Suite::X25519ChaCha20 => {
                Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519
            }
        }
    }

    pub(super) fn from_ciphersuite(ciphersuite: Ciphersuite) -> Option<Self> {
        Suite::from_id(ciphersuite.into())
    }
}

/// What our leaves say they can do: the offered suites (and `suite`), our two extensions and the
/// last-resort mark, Basic credentials.
pub(super) fn capabilities(suite: Suite) -> Capabilities {
    let mut suites: Vec<Ciphersuite> = Suite::OFFERED.map(Suite::ciphersuite).to_vec();
    if !suite.is_offered() {
        suites.push(suite.ciphersuite());
    }
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&suites),
        Some(&[
            ExtensionType::LastResort,
            ExtensionType::Unknown(PROFILE_EXTENSION),
            ExtensionType::Unknown(LIFETIME_EXTENSION),
        ]),
        None,
        Some(&[CredentialType::Basic]),
    )
}

/// The group context extensions of a new group.
pub(super) fn group_extensions(
    suite: Suite,
) -> Result<Extensions<GroupContext>, openmls::extensions::errors::InvalidExtensionError> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
            &[ExtensionType::Unknown(PROFILE_EXTENSION)],
            &[],
            &[CredentialType::Basic],
        )),
        Extension::Unknown(PROFILE_EXTENSION, UnknownExtension(profile_bytes(suite))),
    ])
}

/// Whether a group context carries our profile for its own suite.
pub(super) fn has_profile(context: &GroupContext) -> bool {
    let Some(suite) = Suite::from_ciphersuite(context.ciphersuite()) else {
        return false;
    };
    context
        .extensions()
        .unknown(PROFILE_EXTENSION)
        .is_some_and(|extension| extension.0 == profile_bytes(suite))
}

fn profile_bytes(suite: Suite) -> Vec<u8> {
    [PROFILE.to_be_bytes(), suite.id().to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_registry() {
        for (suite, id) in [
            (Suite::MlKem768X25519, 0x004F),
            (Suite::MlKem768X25519High, 0x004E),
            (Suite::X25519, 0x0001),
            (Suite::X25519ChaCha20, 0x0003),
        ] {
            assert_eq!(suite.id(), id);
            assert_eq!(Suite::from_id(id), Some(suite));
        }
        assert_eq!(Suite::from_id(0x0002), None);
        assert!(!Suite::X25519ChaCha20.is_offered());
    }
}
