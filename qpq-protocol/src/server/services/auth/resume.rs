//! Resuming a session by its token (method 104, protocol.md §5.18), and the device's chain of openings
//! with it (§5.31).

use bytes::Bytes;
use core::time::Duration;
use sha2::{Digest as _, Sha256};

use super::openings;
use super::session::{is_over, is_registered, over};
use crate::ids::{DeviceId, IdentityKey};
use crate::proto::{ResumeSessionRequest, ResumeSessionResponse};
use crate::server::rows::Row;
use crate::server::step::{
    Caller, Ctx, Effects, Fault, Next, Session, SessionChange, Step, commit, decode_row,
    encode_row, load_fresh, read, unchanged,
};
use crate::storage::records::{self, Account, DeviceUse};
use crate::storage::{Commit, keys};
use crate::time::UnixTime;

/// A session's end is not moved more often than this, so that not every resume writes.
const REFRESH: Duration = Duration::from_secs(3600);

/// 104: binds the connection to a session that was opened before.
pub(in crate::server) fn resume(
    _: &mut Ctx<'_>,
    _: &Caller,
    request: ResumeSessionRequest,
) -> Next<ResumeSessionResponse> {
    let auth = request.auth.unwrap_or_default();
    let token_hash: [u8; 32] = Sha256::digest(&auth.access_token).into();
    read([keys::session(&token_hash)], move |ctx, [row]| {
        let stored: records::Session = decode_row(&row)?.ok_or_else(over)?;
        if stored.device_id != auth.device_id || is_over(ctx, &stored) {
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
            let mut used: DeviceUse = decode_row(&device)?.unwrap_or_default();
            if used.retired || account.is_none() {
                return Err(over());
            }
            let session = Session {
                identity_key: identity,
                device_id,
                token_hash,
                registered: is_registered(&devices, &device_id)?,
                login_at: UnixTime::from_millis(stored.login_at_ms),
                checked_at: ctx.now,
            };
            let before = used.clone();
            let last = openings::advance(&mut used, request.chain.as_ref());
            let end = ctx.lasting + ctx.config.limits.session;
            let until = UnixTime::from_millis(stored.expires_at_ms);
            let mut answer = ResumeSessionResponse {
                identity_key: Bytes::copy_from_slice(identity.as_bytes()),
                expires_at_ms: stored.expires_at_ms,
                last,
                server_time_ms: ctx.unix.as_millis(),
                server_epoch: ctx.keys.epoch,
            };
            let mut change = Commit {
                checks: vec![
                    unchanged(&keys::session(&token_hash), &row),
                    unchanged(&keys::device(&identity, &device_id), &device),
                ],
                ..Commit::default()
            };
            // Later than it should be: it was opened while the clock was ahead.
            if until + REFRESH <= end || until > end {
                answer.expires_at_ms = end.as_millis();
                used.last_seen_ms = ctx.unix.as_millis();
                refresh(&mut change, &session, end, stored, &account)?;
            }
            if used == before && change.puts.is_empty() {
                return resumed(session, &answer);
            }
            let device_key = keys::device(&identity, &device_id);
            change.puts.push((device_key, encode_row(&used)));
            commit(change, move |_| resumed(session, &answer))
        })
    })
}

/// Adds to the change that a session ends later.
fn refresh(
    change: &mut Commit,
    session: &Session,
    end: UnixTime,
    mut stored: records::Session,
    account: &Row,
) -> Result<(), Fault> {
    let mut state: Account = decode_row(account)?.ok_or_else(over)?;
    stored.expires_at_ms = end.as_millis();
    for entry in &mut state.sessions {
        if entry.token_hash.as_ref() == session.token_hash {
            entry.expires_at_ms = end.as_millis();
        }
    }
    let account_key = keys::account(&session.identity_key);
    change.checks.push(unchanged(&account_key, account));
    change.puts.push((account_key, encode_row(&state)));
    let session_key = keys::session(&session.token_hash);
    change.puts.push((session_key, encode_row(&stored)));
    Ok(())
}

fn resumed(session: Session, answer: &ResumeSessionResponse) -> Next<ResumeSessionResponse> {
    let effects = Effects {
        session: SessionChange::Bind(session),
        ..Effects::default()
    };
    Ok(Step::ok_with(answer, effects))
}
