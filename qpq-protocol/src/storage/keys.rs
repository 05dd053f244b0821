//! The keys of the server's storage: typed, order-preserving, one function a row.
//!
//! A key starts with one byte that names its space, then come its parts. A part of variable length
//! that is not last carries its length in a byte before it, so that no key is the start of another
//! and a range of keys holds just what its prefix says.
//!
//! | first byte | space | file |
//! | --- | --- | --- |
//! | `00` to `0f` | the server itself, names, accounts, devices, sessions | [`account`] |
//! | `10` and up | queues, channels, key packages | the other files of this folder |

pub mod account;
