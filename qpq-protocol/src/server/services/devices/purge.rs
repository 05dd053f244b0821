//! Removing what a device leaves that was revoked, or that another has replaced (protocol.md §5.18 and §5.19):
//! its key packages. The queues of one that was revoked go with [`delivery::purge`].

use bytes::Bytes;

use crate::ids::{DeviceId, IdentityKey};
use crate::server::services::delivery;
use crate::server::step::{Ctx, Next, commit, scan_ordered};
use crate::storage::keys::{self, Range};
use crate::storage::{Commit, Direction, Scan};

/// Key packages removed by one Commit.
const PAGE: usize = 200;

/// Removes everything stored for a device, then goes on. `stored` is the device in the keys of its
/// queues.
pub(super) fn purge(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    device_id: DeviceId,
    stored: DeviceId,
    then: impl FnOnce(&mut Ctx<'_>) -> Next + Send + 'static,
) -> Next {
    delivery::purge(ctx, identity, stored, move |_| {
        packages(identity, device_id, Box::new(then))
    })
}

pub(super) type Then = Box<dyn FnOnce(&mut Ctx<'_>) -> Next + Send>;

/// Removes the key packages of a device, then goes on.
pub(super) fn packages(identity: IdentityKey, device_id: DeviceId, then: Then) -> Next {
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
