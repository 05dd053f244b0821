//! MLS groups (RFC 9420) over openmls, with everything that openmls would fetch from its
//! surroundings handed in: randomness as one seed per operation, storage as rows in and a
//! [`Batch`] of changes out, time as a number.
//!
//! A [`Device`] holds the rows of one device, a [`Group`] is one of its groups loaded. The order
//! of work around them is the caller's: publish a commit, then [`Group::confirm_pending`] it;
//! encrypt, store the batch, then send; process, store the batch with the cursor, then
//! acknowledge.
//!
//! With the feature `aws-lc-rs` AEADs, signing and X25519 come from that crate. Seeds and bytes mean the
//! same, so that devices with and without it share groups, and rows move between builds. Verification
//! stays where it is: it has to be equally strict everywhere. So do ML-KEM, since aws-lc-rs lets nobody
//! hand in its randomness, and hashes, which are no faster there.

mod as_byte;
#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
mod change;
mod codec;
mod commit;
mod config;
mod crypto;
mod device;
mod encoder;
mod error;
mod group;
#[cfg(any(test, feature = "hostile"))]
mod hostile;
mod hpke;
mod kdf;
mod key_package;
mod member;
mod overwrite;
mod pieces;
mod process;
mod provider;
mod rejoin;
mod rows;
#[cfg(any(test, not(feature = "aws-lc-rs")))]
mod rust_crypto;
mod storage;
mod suite;
mod value;
mod verdict;

#[cfg(feature = "aws-lc-rs")]
use aws_lc as primitives;
#[cfg(not(feature = "aws-lc-rs"))]
use rust_crypto as primitives;

pub use commit::{CommitOut, Committed};
#[cfg(feature = "openmls-provider")]
pub use crypto::QpqCrypto;
pub use device::{Device, HeldKeyPackage, KeyPackage};
#[cfg(feature = "openmls-provider")]
pub use encoder::encode_plain;
pub use error::{
    BadLeaf, GroupError, JoinError, KeyPackageError, ProcessError, ProcessErrorKind, StateError,
};
pub use group::{Group, TREE_INSIDE_UP_TO};
pub use key_package::{KeyPackageInfo, inspect_key_package, welcome_references};
pub use member::{Author, Member, Policy};
pub use pieces::PIECE;
pub use process::Processed;
#[cfg(feature = "openmls-provider")]
pub use provider::{DeviceSigner, QpqRand, Unseeded};
pub use rows::Batch;
pub use suite::{LIFETIME_EXTENSION, PROFILE, PROFILE_EXTENSION, Suite};

#[cfg(test)]
mod tests;
