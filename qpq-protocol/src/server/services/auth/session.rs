//! Sessions: opened by a login, looked at again while they last, ended by Logout (methods 103 and 105,
//! protocol.md §5.18).

use bytes::Bytes;
use std::collections::BTreeSet;

use prost::Message;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use super::{openings, tickets};
use crate::ids::{DeviceId, IdentityKey};
use crate::proto::{Chain, LogoutRequest, LogoutResponse};
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::{Effects, Ended, SessionChange};
use crate::server::event::Event;
use crate::server::fault::Fault;
use crate::server::services::delivery::sweep;
use crate::server::services::devices::is_registered;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load_fresh, read};
use crate::storage::keys;
use crate::storage::records::{self, Account, DeviceSet, DeviceUse, SessionEntry};
use crate::time::UnixTime;

/// A session about to be opened: who, and the rows it rests on.
pub(super) struct Opening {
    pub(super) identity: IdentityKey,
    pub(super) device_id: DeviceId,
    pub(super) account: Seen<Account>,
    pub(super) device: Seen<DeviceUse>,
    pub(super) devices: Seen<DeviceSet>,
    /// The openings of the device, if it keeps some.
    pub(super) chain: Option<Chain>,
}

/// A session that was opened.
pub(super) struct Opened {
    pub(super) token: [u8; 32],
    pub(super) expires_at_ms: u64,
    pub(super) server_time_ms: u64,
    pub(super) server_epoch: u64,
    /// The opening of the device that was held.
    pub(super) last: Bytes,
    /// What the device may show at its next login.
    pub(super) ticket: [u8; 32],
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.token.zeroize();
        self.ticket.zeroize();
    }
}

impl Opening {
    /// Stores the session, binds the connection to it and answers.
    pub(super) fn open<M: Message>(
        self,
        ctx: &mut Ctx<'_>,
        response: impl FnOnce(&Opened) -> M + Send + 'static,
    ) -> Next<M> {
        let account = self.account.value();
        let mut account = account.ok_or_else(|| Fault::internal("a name has no account"))?;
        let mut used = self.device.value().unwrap_or_default();
        used.last_seen_ms = ctx.unix.as_millis();
        let opened = Opened {
            last: openings::advance(&mut used, self.chain.as_ref()),
            ticket: ctx.seed(),
            token: ctx.seed(),
            expires_at_ms: (ctx.lasting + ctx.config.limits.session).as_millis(),
            server_time_ms: ctx.unix.as_millis(),
            server_epoch: ctx.keys.epoch,
        };
        let token_hash: [u8; 32] = Sha256::digest(opened.token).into();
        let ended = end_surplus(&mut account, ctx.date, ctx.config.limits.sessions);
        account.sessions.push(SessionEntry {
            token_hash: Bytes::copy_from_slice(&token_hash),
            device_id: Bytes::copy_from_slice(self.device_id.as_bytes()),
            expires_at_ms: opened.expires_at_ms,
        });
        tickets::replace_ticket(&mut account, &self.device_id, &opened.ticket, &self.devices);
        let login_at = ctx.date;
        let stored = records::Session {
            identity_key: Bytes::copy_from_slice(self.identity.as_bytes()),
            device_id: Bytes::copy_from_slice(self.device_id.as_bytes()),
            login_at_ms: login_at.as_millis(),
            expires_at_ms: opened.expires_at_ms,
        };
        let mut change = Change::default();
        change.put(&self.account, &account);
        change.put(&self.device, &used);
        change.write(keys::session(&token_hash), &stored);
        drop_leftovers(&mut change, &self.identity, &account, &ended, &self.devices);
        let session = Session {
            identity_key: self.identity,
            device_id: self.device_id,
            token_hash,
            registered: is_registered(&self.devices, &self.device_id),
            login_at,
            checked_at: ctx.now,
        };
        ctx.leave_untidy();
        commit(ctx, change, move |ctx| {
            *ctx.login = None;
            let hashes = ended.iter().filter_map(hash_of);
            let effects = Effects {
                session: SessionChange::Bind(session),
                ended: hashes
                    .map(|hash| Ended::Session(session.identity_key, hash))
                    .collect(),
                ..Effects::event(Event::LoggedIn {
                    identity_key: session.identity_key,
                    device_id: session.device_id,
                })
            };
            Ok(Step::ok_with(&response(&opened), effects))
        })
    }
}

/// Takes sessions that are over off the list, and then those used longest ago until there is room
/// for one more.
fn end_surplus(account: &mut Account, now: UnixTime, most: usize) -> Vec<SessionEntry> {
    let (mut kept, mut ended): (Vec<_>, Vec<_>) = core::mem::take(&mut account.sessions)
        .into_iter()
        .partition(|session| session.expires_at_ms > now.as_millis());
    kept.sort_by_key(|session| session.expires_at_ms);
    let over = kept.len().saturating_add(1).saturating_sub(most.max(1));
    ended.extend(kept.drain(..over));
    account.sessions = kept;
    ended
}

/// Removes the rows that go with sessions that were taken off the account's list: their own, and those of devices that
/// have no session any more and are not registered. A login may name any device, so that their rows would never end.
pub(super) fn drop_leftovers(
    change: &mut Change,
    identity: &IdentityKey,
    account: &Account,
    ended: &[SessionEntry],
    devices: &Seen<DeviceSet>,
) {
    let mut gone: BTreeSet<DeviceId> = BTreeSet::new();
    for session in ended {
        if let Some(hash) = hash_of(session) {
            change.erase(keys::session(&hash));
        }
        let Ok(device_id) = DeviceId::from_wire(&session.device_id) else {
            continue;
        };
        let mut left = account.sessions.iter();
        let is_used = left.any(|other| other.device_id == session.device_id);
        if !is_used && !is_registered(devices, &device_id) {
            gone.insert(device_id);
        }
    }
    for device_id in gone {
        change.erase(keys::device(identity, &device_id));
    }
}

fn hash_of(session: &SessionEntry) -> Option<[u8; 32]> {
    session.token_hash.as_ref().try_into().ok()
}

/// Asks storage whether a session that a connection has is still one, then goes on.
pub(in crate::server) fn check_again<R: 'static>(
    caller: Caller,
    session: Session,
    then: impl FnOnce(&mut Ctx<'_>, &Caller) -> Next<R> + Send + 'static,
) -> Next<R> {
    let wanted = (
        keys::session(&session.token_hash),
        keys::device_set(&session.identity_key),
    );
    read(wanted, move |ctx, (stored, devices)| {
        if stored.as_ref().is_none_or(|stored| is_over(ctx, stored)) {
            ctx.notes.session = SessionChange::End;
            return Err(over());
        }
        let session = Session {
            registered: is_registered(&devices, &session.device_id),
            checked_at: ctx.now,
            ..session
        };
        ctx.notes.session = SessionChange::Bind(session);
        let caller = Caller {
            session: Some(session),
            ..caller
        };
        then(ctx, &caller)
    })
}

/// Removes sessions that ended by time. What the accounts keep of them goes with their next login.
pub(in crate::server) fn forget_sessions(ctx: &mut Ctx<'_>) -> Next {
    sweep(ctx, "swept sessions", keys::sessions(), |stored, now, _| {
        UnixTime::from_millis(stored.expires_at_ms) <= now
    })
}

/// Whether a session has ended by time.
pub(super) fn is_over(ctx: &Ctx<'_>, stored: &records::Session) -> bool {
    UnixTime::from_millis(stored.expires_at_ms) <= ctx.date
}

/// The one answer to a token that is wrong, over, or of another device.
pub(super) fn over() -> Fault {
    Fault::unauthorized("this session is over: log in again")
}

/// 105: ends the session of this connection, and with it every connection that has it.
pub(in crate::server) fn logout(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    _: LogoutRequest,
) -> Next<LogoutResponse> {
    let session = caller.session()?;
    let identity = session.identity_key;
    let wanted = (keys::account(&identity), keys::device_set(&identity));
    load_fresh(ctx, wanted, move |ctx, (account, devices)| {
        let mut state = account.value().ok_or_else(over)?;
        let (ended, kept): (Vec<_>, Vec<_>) = core::mem::take(&mut state.sessions)
            .into_iter()
            .partition(|entry| entry.token_hash.as_ref() == session.token_hash);
        state.sessions = kept;
        let mut change = Change::default();
        change.put(&account, &state);
        drop_leftovers(&mut change, &identity, &state, &ended, &devices);
        let row = keys::session(&session.token_hash);
        if !change.erases(&row) {
            change.erase(row);
        }
        commit(ctx, change, move |_| {
            let effects = Effects {
                session: SessionChange::End,
                ended: vec![Ended::Session(session.identity_key, session.token_hash)],
                ..Effects::default()
            };
            Ok(Step::ok_with(&LogoutResponse {}, effects))
        })
    })
}
