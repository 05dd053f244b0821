//! Who someone is: account identities, their devices, and the certificates that bind one to the other.
//!
//! An account is an Ed25519 key ([`IdentityKey`]). Each of its devices has an Ed25519 key of its own
//! ([`DeviceKey`]) and a certificate by the identity key; the default device has the empty id, the
//! identity key as device key and no certificate (protocol.md §5.12 and §5.18). In MLS the
//! [`Credential`] travels in the leaf, whose signature key is the device key.
//!
//! Signatures are over domain-separated strings built with [`SigningInput`], so that a signature made
//! for one purpose is never valid for another.

mod credential;
mod keys;
mod signing;

pub use credential::{BadCertificate, Credential, CredentialError};
pub use keys::{
    DeviceId, DeviceKey, DeviceSecret, Fingerprint, IdentityKey, IdentitySecret, WrongLength,
};
pub use signing::{BadSignature, SigningInput, verify};
