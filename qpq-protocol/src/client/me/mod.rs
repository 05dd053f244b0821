//! What is the user's own at the server: the session, this device and the others of the account, key packages.
//!
//! Nothing here knows a conversation but by the key packages that lead into it.
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `account` | the session is taken up again and ended, the device registered |
//! | `identity` | the account and this device, as they are kept |
//! | `devices` | the account's devices; safety numbers |
//! | `packages` | key packages, kept above a floor |

pub(super) mod account;
pub(super) mod devices;
pub(super) mod identity;
pub(super) mod packages;
