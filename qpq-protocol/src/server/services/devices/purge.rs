//! Removing what a revoked device leaves (protocol.md §5.19): its key packages. Its queues go with
//! [`delivery::purge`].

use bytes::Bytes;

use crate::ids::{DeviceId, IdentityKey};
use crate::server::services::delivery;
use crate::server::step::{Ctx, Next, commit, scan_ordered};
use crate::storage::keys::{self, Range};
use crate::storage::{Commit, Direction, Scan};

/// Key packages removed by one Commit.
const PAGE: usize = 200;

/// Removes everything stored for a device, then goes on. `stored` is the device in the keys of its
/// queues: the default one, whose packages go too, where the device has taken that one's place.
pub(super) fn purge<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device_id: DeviceId,
    stored: DeviceId,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
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
    let Range { start, end } = keys::packages(&identity, &device_id);
    let page = Scan {
        start,
        end,
        direction: Direction::Forward,
        items: PAGE,
        bytes: usize::MAX,
    };
    scan_ordered(page, move |_, rows, more| {
        let mut deletes: Vec<Bytes> = rows.into_iter().map(|(key, _)| key).collect();
        deletes.push(keys::package_pool(&identity, &device_id));
        let change = Commit {
            deletes,
            ..Commit::default()
        };
        commit(change, move |ctx| {
            if more {
                packages(identity, device_id, then)
            } else {
                then(ctx)
            }
        })
    })
}
