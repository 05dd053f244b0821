//! Removing what a revoked device leaves (protocol.md §5.19): its key packages. Its queues go with
//! [`delivery::purge`].

use crate::ids::{DeviceId, IdentityKey};
use crate::server::ctx::Ctx;
use crate::server::services::delivery;
use crate::server::step::Next;
use crate::server::txn::{Change, commit, scan_ordered};
use crate::storage::keys;

/// Key packages removed by one Commit.
const PAGE: usize = 200;

/// Removes everything stored for a device, then goes on. With the queues of the default device, if it has taken that
/// one's place, that one's packages go too.
pub(in crate::server) fn purge<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device_id: DeviceId,
    has_default_queues: bool,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let stored = match has_default_queues {
        true => DeviceId::DEFAULT,
        false => device_id,
    };
    delivery::purge(ctx, identity, stored, move |ctx| {
        let own = move |_: &mut Ctx<'_>| packages(identity, device_id, Box::new(then));
        match stored == device_id {
            true => own(ctx),
            false => packages(identity, stored, Box::new(own)),
        }
    })
}

type Then<R> = Box<dyn FnOnce(&mut Ctx<'_>) -> Next<R> + Send>;

fn packages<R: 'static>(identity: IdentityKey, device_id: DeviceId, then: Then<R>) -> Next<R> {
    let packages = keys::packages(&identity, &device_id);
    scan_ordered(packages, PAGE.into(), move |ctx, found, more| {
        ctx.notes.reads.begin_anew();
        let mut change = Change::default();
        for package in found {
            change.erase(package.key().clone());
        }
        change.erase(keys::package_pool(&identity, &device_id));
        commit(ctx, change, move |ctx| match more {
            true => self::packages(identity, device_id, then),
            false => then(ctx),
        })
    })
}
