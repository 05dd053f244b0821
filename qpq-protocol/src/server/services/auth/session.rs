//! Sessions: opened by a login, resumed by a token, ended by Logout (methods 103 to 105,
//! protocol.md §5.18).

use bytes::Bytes;
use core::time::Duration;
use prost::Message;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::ids::{DeviceId, IdentityKey};
use crate::proto::{LogoutRequest, LogoutResponse, ResumeSessionRequest, ResumeSessionResponse};
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Ended, Fault, Next, Session, SessionChange, Step, commit, decode_row,
    encode_row, load_fresh, read, unchanged,
};
use crate::storage::records::{self, Account, DeviceSet, DeviceUse, SessionEntry};
use crate::storage::{Commit, keys};
use crate::time::UnixTime;

/// A session's end is not moved more often than this, so that not every resume writes.
const REFRESH: Duration = Duration::from_secs(3600);

/// A session about to be opened: who, and the rows it rests on.
pub(super) struct Opening {
    pub(super) identity: IdentityKey,
    pub(super) device_id: DeviceId,
    /// The name's key and row: the password was shown for that one.
    pub(super) name: (Bytes, Row),
    pub(super) account: Row,
    pub(super) device: Row,
    pub(super) devices: Row,
}

/// A session that was opened.
pub(super) struct Opened {
    pub(super) token: [u8; 32],
    pub(super) expires_at_ms: u64,
    pub(super) server_time_ms: u64,
    pub(super) server_epoch: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

impl Opening {
    /// Stores the session, binds the connection to it and answers.
    pub(super) fn open<M: Message>(
        self,
        ctx: &mut Ctx<'_>,
        response: impl FnOnce(&Opened) -> M + Send + 'static,
    ) -> Next {
        let mut account: Account =
            decode_row(&self.account)?.ok_or_else(|| Fault::internal("a name has no account"))?;
        let opened = Opened {
            token: ctx.seed(),
            expires_at_ms: (ctx.date + ctx.config.limits.session).as_millis(),
            server_time_ms: ctx.unix.as_millis(),
            server_epoch: ctx.keys.epoch,
        };
        let token_hash: [u8; 32] = Sha256::digest(opened.token).into();
        let ended = make_room(&mut account, ctx.date, ctx.config.limits.sessions);
        account.sessions.push(SessionEntry {
            token_hash: Bytes::copy_from_slice(&token_hash),
            device_id: Bytes::copy_from_slice(self.device_id.as_bytes()),
            expires_at_ms: opened.expires_at_ms,
        });
        let login_at = ctx.date;
        let stored = records::Session {
            identity_key: Bytes::copy_from_slice(self.identity.as_bytes()),
            device_id: Bytes::copy_from_slice(self.device_id.as_bytes()),
            login_at_ms: login_at.as_millis(),
            expires_at_ms: opened.expires_at_ms,
        };
        let (name_key, name) = self.name;
        let account_key = keys::account(&self.identity);
        let device_key = keys::device(&self.identity, &self.device_id);
        let change = Commit {
            checks: vec![
                unchanged(&name_key, &name),
                unchanged(&account_key, &self.account),
                unchanged(&device_key, &self.device),
            ],
            puts: vec![
                (account_key, encode_row(&account)),
                (device_key, encode_row(&seen(login_at))),
                (keys::session(&token_hash), encode_row(&stored)),
            ],
            deletes: ended.iter().map(keys::session).collect(),
        };
        let session = Session {
            identity_key: self.identity,
            device_id: self.device_id,
            token_hash,
            registered: is_registered(&self.devices, &self.device_id)?,
            login_at,
            checked_at: ctx.now,
        };
        commit(change, move |ctx| {
            *ctx.login = None;
            let ended = ended.into_iter();
            let effects = Effects {
                session: SessionChange::Bind(session),
                ended: ended
                    .map(|hash| Ended::Session(session.identity_key, hash))
                    .collect(),
                ..Effects::default()
            };
            Ok(Step::ok_with(&response(&opened), effects))
        })
    }
}

/// Takes sessions that are over off the list, and then those used longest ago until there is room
/// for one more; their token hashes.
fn make_room(account: &mut Account, now: UnixTime, most: usize) -> Vec<[u8; 32]> {
    let (mut kept, mut ended): (Vec<_>, Vec<_>) = core::mem::take(&mut account.sessions)
        .into_iter()
        .partition(|session| session.expires_at_ms > now.as_millis());
    kept.sort_by_key(|session| session.expires_at_ms);
    let over = kept.len().saturating_add(1).saturating_sub(most.max(1));
    ended.extend(kept.drain(..over));
    account.sessions = kept;
    let hashes = ended.iter().map(|session| session.token_hash.as_ref());
    hashes.filter_map(|hash| hash.try_into().ok()).collect()
}

fn seen(now: UnixTime) -> DeviceUse {
    DeviceUse {
        last_seen_ms: now.as_millis(),
        ..DeviceUse::default()
    }
}

fn is_registered(devices: &Row, device_id: &DeviceId) -> Result<bool, Fault> {
    let devices: DeviceSet = decode_row(devices)?.unwrap_or_default();
    let mut devices = devices.devices.iter();
    Ok(devices.any(|device| device.device_id.as_ref() == device_id.as_bytes()))
}

/// Asks storage whether a session that a connection has is still one, then goes on.
pub(in crate::server) fn check_again(
    caller: Caller,
    session: Session,
    then: impl FnOnce(&mut Ctx<'_>, &Caller) -> Next + Send + 'static,
) -> Next {
    let keys = [
        keys::session(&session.token_hash),
        keys::device_set(&session.identity_key),
    ];
    read(keys, move |ctx, [row, devices]| {
        let stored: Option<records::Session> = decode_row(&row)?;
        if stored.is_none_or(|stored| stored.expires_at_ms <= ctx.date.as_millis()) {
            ctx.notes.session = SessionChange::End;
            return Err(over());
        }
        let session = Session {
            registered: is_registered(&devices, &session.device_id)?,
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

/// 104: binds the connection to a session that was opened before.
pub(in crate::server) fn resume(
    ctx: &mut Ctx<'_>,
    _: &Caller,
    request: ResumeSessionRequest,
) -> Next {
    let auth = request.auth.unwrap_or_default();
    let token_hash: [u8; 32] = Sha256::digest(&auth.access_token).into();
    let unix = ctx.date;
    read([keys::session(&token_hash)], move |ctx, [row]| {
        let stored: records::Session = decode_row(&row)?.ok_or_else(over)?;
        if stored.device_id != auth.device_id || stored.expires_at_ms <= unix.as_millis() {
            return Err(over());
        }
        let identity = IdentityKey::try_from(stored.identity_key.as_ref()).map_err(|_| over())?;
        let device_id = DeviceId::from_wire(&stored.device_id).map_err(|_| over())?;
        let keys = [
            keys::session(&token_hash),
            keys::account(&identity),
            keys::device(&identity, &device_id),
            keys::device_set(&identity),
        ];
        load_fresh(ctx, keys, move |ctx, [row, account, device, devices]| {
            let stored: records::Session = decode_row(&row)?.ok_or_else(over)?;
            let used: DeviceUse = decode_row(&device)?.unwrap_or_default();
            if used.retired || account.is_none() {
                return Err(over());
            }
            let login_at = UnixTime::from_millis(stored.login_at_ms);
            let session = Session {
                identity_key: identity,
                device_id,
                token_hash,
                registered: is_registered(&devices, &device_id)?,
                login_at,
                checked_at: ctx.now,
            };
            let end = ctx.date + ctx.config.limits.session;
            if UnixTime::from_millis(stored.expires_at_ms) + REFRESH > end {
                return resumed(ctx, session, stored.expires_at_ms);
            }
            let change = refresh(&session, end, ctx.date, [row, account, device])?;
            commit(change, move |ctx| resumed(ctx, session, end.as_millis()))
        })
    })
}

/// Moves the end of a session.
fn refresh(
    session: &Session,
    end: UnixTime,
    now: UnixTime,
    [row, account, device]: [Row; 3],
) -> Result<Commit, Fault> {
    let mut stored: records::Session = decode_row(&row)?.ok_or_else(over)?;
    let mut state: Account = decode_row(&account)?.ok_or_else(over)?;
    stored.expires_at_ms = end.as_millis();
    for entry in &mut state.sessions {
        if entry.token_hash.as_ref() == session.token_hash {
            entry.expires_at_ms = end.as_millis();
        }
    }
    let session_key = keys::session(&session.token_hash);
    let account_key = keys::account(&session.identity_key);
    let device_key = keys::device(&session.identity_key, &session.device_id);
    Ok(Commit {
        checks: vec![
            unchanged(&session_key, &row),
            unchanged(&account_key, &account),
            unchanged(&device_key, &device),
        ],
        puts: vec![
            (session_key, encode_row(&stored)),
            (account_key, encode_row(&state)),
            (device_key, encode_row(&seen(now))),
        ],
        deletes: Vec::new(),
    })
}

fn resumed(ctx: &Ctx<'_>, session: Session, expires_at_ms: u64) -> Next {
    let response = ResumeSessionResponse {
        identity_key: Bytes::copy_from_slice(session.identity_key.as_bytes()),
        expires_at_ms,
        server_time_ms: ctx.unix.as_millis(),
        server_epoch: ctx.keys.epoch,
        ..ResumeSessionResponse::default()
    };
    let effects = Effects {
        session: SessionChange::Bind(session),
        ..Effects::default()
    };
    Ok(Step::ok_with(&response, effects))
}

/// The one answer to a token that is wrong, over, or of another device.
fn over() -> Fault {
    Fault::unauthorized("this session is over: log in again")
}

/// 105: ends the session of this connection, and with it every connection that has it.
pub(in crate::server) fn logout(ctx: &mut Ctx<'_>, caller: &Caller, _: LogoutRequest) -> Next {
    let session = caller.session()?;
    let account_key = keys::account(&session.identity_key);
    load_fresh(ctx, [account_key.clone()], move |_, [account]| {
        let mut state: Account = decode_row(&account)?.ok_or_else(over)?;
        state
            .sessions
            .retain(|entry| entry.token_hash.as_ref() != session.token_hash);
        let change = Commit {
            checks: vec![unchanged(&account_key, &account)],
            puts: vec![(account_key, encode_row(&state))],
            deletes: vec![keys::session(&session.token_hash)],
        };
        commit(change, move |_| {
            let effects = Effects {
                session: SessionChange::End,
                ended: vec![Ended::Session(session.identity_key, session.token_hash)],
                ..Effects::default()
            };
            Ok(Step::ok_with(&LogoutResponse {}, effects))
        })
    })
}
