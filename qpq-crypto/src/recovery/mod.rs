//! The way back into an account for who has lost every device and the password.
//!
//! An account gets 8 one-time [`RecoveryCode`]s to print. Each seals a copy of the account's
//! [`RecoveryBundle`], which the server keeps under the SHA-256 of the code's token (methods 750 to
//! 752, protocol.md §5.24). With a code the token is shown, the bundle fetched and opened, the
//! password set anew and the code, now used, replaced.
//!
//! A bundle holds the identity seed, the device list and the contacts, never message secrets: who
//! finds a code can become the account, visibly to its devices and contacts, but reads no old
//! messages. The server can neither open a bundle nor tell whose it is from the token.

mod bundle;
mod code;

pub use bundle::{
    BundleError, RecoveredContact, RecoveredDevice, RecoveryBundle, open_bundle, seal_bundle,
};
pub use code::{CODE_COUNT, CodeError, RecoveryCode};
