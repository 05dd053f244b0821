//! Transactions that check by themselves. What a handler rests on is noted as it reads, so there is nothing to remember
//! by hand:
//!
//! - [`load`] gives a [`Seen`] for each key, and notes the row, whether it came from storage or from memory
//!   ([`rows`]).
//! - [`commit`] checks that every row that was noted still is what was read. If one is not, the request runs again.
//! - Every other way out, an answer or a refusal, is looked at by the machinery: if it rests on a row that was only
//!   remembered, which another core may have changed since, that row is forgotten and the request runs again.
//!
//! A key knows what its row is ([`Key`](crate::storage::keys::Key)), so no type is chosen where a row is read or
//! written.
//!
//! ```text
//! fn rename(ctx: &mut Ctx<'_>, caller: &Caller, request: RenameRequest) -> Next<RenameResponse> {
//!     load(ctx, keys::account(&caller.identity()?), move |ctx, seen| {
//!         let mut account = seen.value().ok_or_else(|| Fault::not_found("no such account"))?;
//!         account.name = request.name;
//!         let mut change = Change::default();
//!         change.put(&seen, &account);
//!         commit(ctx, change, |_| Ok(Step::ok(&RenameResponse {})))
//!     })
//! }
//! ```

mod change;
mod lru;
mod reads;
mod rows;
mod seen;
mod steps;

pub(super) use change::Change;
pub(super) use lru::Lru;
pub(super) use reads::Reads;
pub(super) use rows::{Issued, Row, Rows};
pub(super) use seen::{Found, Keys, Seen};
pub(super) use steps::{
    Page, commit, load, load_fresh, read, scan, scan_ordered, try_commit, wait,
};
