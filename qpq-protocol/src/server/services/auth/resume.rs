//! Resuming a session by its token (method 104, protocol.md §5.18), and the device's chain of openings
//! with it (§5.31).

use bytes::Bytes;
use core::time::Duration;
use sha2::{Digest as _, Sha256};

use super::openings;
use super::session::{is_over, over};
use crate::ids::{DeviceId, IdentityKey};
use crate::proto::{ResumeSessionRequest, ResumeSessionResponse};
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::effects::{Effects, SessionChange};
use crate::server::services::devices::is_registered;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, commit, load_fresh, read};
use crate::storage::{keys, records};
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
    read(keys::session(&token_hash), move |ctx, stored| {
        let stored = stored.into_value().ok_or_else(over)?;
        if stored.device_id != auth.device_id || is_over(ctx, &stored) {
            return Err(over());
        }
        let identity = IdentityKey::try_from(stored.identity_key.as_ref()).map_err(|_| over())?;
        let device_id = DeviceId::from_wire(&stored.device_id).map_err(|_| over())?;
        let wanted = (
            keys::session(&token_hash),
            keys::account(&identity),
            keys::device(&identity, &device_id),
            keys::device_set(&identity),
        );
        load_fresh(ctx, wanted, move |ctx, (seen, account, device, devices)| {
            let stored = seen.value().ok_or_else(over)?;
            let mut used = device.value().unwrap_or_default();
            if used.retired {
                return Err(over());
            }
            let mut state = account.value().ok_or_else(over)?;
            let session = Session {
                identity_key: identity,
                device_id,
                token_hash,
                registered: is_registered(&devices, &device_id),
                login_at: UnixTime::from_millis(stored.login_at_ms),
                checked_at: ctx.now,
            };
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
            let mut change = Change::default();
            // Later than it should be: it was opened while the clock was ahead.
            if until + REFRESH <= end || until > end {
                answer.expires_at_ms = end.as_millis();
                used.last_seen_ms = ctx.unix.as_millis();
                for entry in &mut state.sessions {
                    if entry.token_hash.as_ref() == token_hash {
                        entry.expires_at_ms = end.as_millis();
                    }
                }
                let stored = records::Session {
                    expires_at_ms: end.as_millis(),
                    ..stored
                };
                change.put(&account, &state);
                change.put(&seen, &stored);
            }
            if used == device.value().unwrap_or_default() && change.is_empty() {
                return resumed(session, &answer);
            }
            change.put(&device, &used);
            commit(ctx, change, move |_| resumed(session, &answer))
        })
    })
}

fn resumed(session: Session, answer: &ResumeSessionResponse) -> Next<ResumeSessionResponse> {
    let effects = Effects {
        session: SessionChange::Bind(session),
        ..Effects::default()
    };
    Ok(Step::ok_with(answer, effects))
}
