//! Queues: putting messages in, reading them, letting them go, and the order of commits
//! (protocol.md §5.1-5.9).
//!
//! | file | decides |
//! | --- | --- |
//! | `enqueue` | what an Enqueue or BatchEnqueue changes, and that it does so once |
//! | `commit` | who gets a slot, and what goes with it |
//! | `fetch` | what a reader sees |
//! | `ack` | what may go |
//! | `sweep` | what time takes |
//! | `leftovers` | what goes when nobody is there who could need it |
//! | `purge` | what goes with a device |
//! | `queue` | the arithmetic of a queue's head |
//! | `payload` | where payloads lie |
//! | `recipient` | whose queues a message reaches |
//! | `share` | how much of a queue one sender may fill |

mod ack;
mod commit;
mod enqueue;
mod fetch;
mod leftovers;
mod payload;
mod purge;
mod queue;
mod recipient;
mod share;
mod sweep;

pub(in crate::server) use ack::ack;
pub(in crate::server) use commit::submit_commit;
pub(in crate::server) use enqueue::{batch_enqueue, enqueue};
pub(in crate::server) use fetch::{fetch, fetch_wait, list_queues, peek};
pub(in crate::server) use leftovers::{drop_channels, drop_queues};
pub(in crate::server) use payload::{joined, piece_count};
pub(in crate::server) use purge::purge;
pub(in crate::server) use recipient::{own_device, parse_identity};
pub(in crate::server) use sweep::{
    drop_allowances, drop_answers, drop_formers, drop_given, drop_payloads, drop_slots,
    expire_queues, pages, sweep,
};
