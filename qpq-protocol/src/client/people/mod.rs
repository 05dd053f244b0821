//! Other people, and how far what is said of them can be trusted: names and keys, what the server signed, what
//! members tell of the group that they hold.
//!
//! Nothing here changes a group: what does not fit together is told, and the app or `talk` acts.
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `contacts` | names and keys of people |
//! | `proofs` | what the server signed, held against it |
//! | `report`, `compare`, `hybrid` | what members tell each other of the group they hold, and the keys for that |

pub(super) mod compare;
pub(super) mod contacts;
pub(super) mod hybrid;
pub(super) mod proofs;
pub(super) mod report;
