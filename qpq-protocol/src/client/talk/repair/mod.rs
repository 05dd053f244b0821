//! What is done when the thread of a conversation was lost: by this device, by another member, or by a server that
//! was set back.
//!
//! Whatever can go on in order is not here.
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `rejoin`, `reset` | coming back into a group whose thread was lost; a new one where nobody can |
//! | `regain`, `trees` | groups that this device is in and knows nothing of; members in different trees |
//! | `set_back`, `doubt`, `enter`, `resubmit` | what a server that was set back has of each conversation; commits it lost |
//! | `agreement` | what a device that was set back waits for before it says anything |
//! | `ahead` | messages of a later epoch, and no commit that leads there |

pub(in crate::client) mod agreement;
pub(in crate::client) mod ahead;
pub(in crate::client) mod doubt;
pub(in crate::client) mod enter;
pub(in crate::client) mod regain;
pub(in crate::client) mod rejoin;
pub(in crate::client) mod reset;
pub(in crate::client) mod resubmit;
pub(in crate::client) mod set_back;
pub(in crate::client) mod trees;
