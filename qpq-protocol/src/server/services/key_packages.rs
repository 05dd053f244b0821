//! Key packages, each given out once (protocol.md §5.12, §5.20).
//!
//! A device's packages are listed in one row, its pool. Anyone who takes one checks that the pool is
//! what was read and replaces it in the same Commit that removes the package, so no package is
//! taken twice. A package that was uploaded once is remembered for a while: a retry of the upload must
//! not put back what was taken in between.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use qpq_crypto::mls::inspect_key_package;

use super::delivery::{own_device, parse_identity, sweep};
use crate::defect::seeded;
use crate::ids::{DeviceId, IdentityKey};
use crate::limits::RateClass;
use crate::proto;
use crate::server::caller::{Caller, Session};
use crate::server::ctx::Ctx;
use crate::server::fault::Fault;
use crate::server::step::{Next, Step};
use crate::server::txn::{Change, Seen, commit, load, load_fresh, read};
use crate::storage::keys::{self, Key};
use crate::storage::records::{DeviceSet, PackagePool, PackageSeen, PooledPackage};
use crate::time::UnixTime;

/// Method 300.
pub(in crate::server) fn upload_key_package(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::UploadKeyPackageRequest,
) -> Next<proto::UploadKeyPackageResponse> {
    let session = caller.session()?;
    own_device(&session, &request.device_id)?;
    if request.package.len() > ctx.config.limits.key_package {
        return Err(Fault::bad_request(
            "the key package is longer than `key_package`",
        ));
    }
    let fingerprint: [u8; 32] = Sha256::digest(&request.package).into();
    let answer = proto::UploadKeyPackageResponse {
        fingerprint: Bytes::copy_from_slice(&fingerprint),
    };
    let (identity, device) = (session.identity_key, session.device_id);
    let wanted = (
        keys::device_set(&identity),
        keys::package_pool(&identity, &device),
        keys::package_seen(&identity, &device, &fingerprint),
    );
    load_fresh(ctx, wanted, move |ctx, (devices, pool, was_seen)| {
        if was_seen.is_some() {
            return Ok(Step::ok(&answer));
        }
        let expires_at_ms = inspect(ctx, &request, &session, &devices)?;
        let mut there = pool.iter().flat_map(|pool| {
            let packages = pool.packages.iter();
            packages.chain(&pool.last_resort)
        });
        if there.any(|package| package.fingerprint == answer.fingerprint) {
            return Ok(Step::ok(&answer));
        }
        ctx.limit_once(RateClass::KeyPackageUploads, &[identity.as_bytes()], 1)?;
        let package = PooledPackage {
            fingerprint: answer.fingerprint.clone(),
            expires_at_ms,
        };
        let mut left = pool.value().unwrap_or_default();
        let mut gone = Vec::new();
        if request.replace {
            gone.append(&mut left.packages);
            gone.extend(left.last_resort.take());
        }
        if request.last_resort {
            gone.extend(left.last_resort.replace(package));
            left.last_resort_used = false;
        } else {
            gone.append(&mut drop_expired(&mut left, ctx.date));
            if left.packages.len() >= ctx.config.limits.key_packages {
                return Err(Fault::full(
                    "key_packages",
                    "the device has as many as it may have",
                ));
            }
            left.packages.push(package);
        }
        let mut change = Change::default();
        for old in gone {
            change.erase(package_key(&identity, &device, &old)?);
        }
        let seen_until = ctx.lasting + ctx.config.limits.key_package_seen;
        let keep = PackageSeen {
            keep_until_ms: expires_at_ms.min(seen_until.as_millis()),
        };
        change.put(&pool, &left);
        change.put(&was_seen, &keep);
        let row = keys::package(&identity, &device, &fingerprint);
        change.write(row, &request.package);
        ctx.leave_untidy();
        commit(ctx, change, move |_| Ok(Step::ok(&answer)))
    })
}

/// Checks a key package as every member will (protocol.md §5.12); the end of its lifetime.
fn inspect(
    ctx: &Ctx<'_>,
    request: &proto::UploadKeyPackageRequest,
    session: &Session,
    devices: &Seen<DeviceSet>,
) -> Result<u64, Fault> {
    let info = inspect_key_package(&request.package, ctx.unix.as_millis())
        .map_err(|error| Fault::bad_request(error.to_string()))?;
    if !ctx.config.ciphersuites.contains(&info.suite.id()) {
        return Err(Fault::bad_request(
            "the key package has a suite that this server does not allow",
        ));
    }
    let credential = &info.credential;
    if credential.identity_key != session.identity_key || credential.device_id != session.device_id
    {
        return Err(Fault::bad_request(
            "the key package belongs to somebody else",
        ));
    }
    let id = session.device_id.as_bytes();
    let devices = devices.iter().flat_map(|set| &set.devices);
    let mut registered = devices.filter(|device| device.device_id == id);
    if !registered.any(|device| device.device_key == info.device_key.as_bytes().as_slice()) {
        return Err(Fault::bad_request(
            "the key package has another key than the device",
        ));
    }
    if request.last_resort != info.last_resort {
        return Err(Fault::bad_request(
            "last_resort does not say what the key package says",
        ));
    }
    Ok(info.not_after)
}

/// Method 301.
pub(in crate::server) fn fetch_key_package(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::FetchKeyPackageRequest,
) -> Next<proto::FetchKeyPackageResponse> {
    let identity = parse_identity(&request.identity_key)?;
    limit(ctx, caller, &identity)?;
    let wanted = DeviceId::from_wire(&request.device_id)
        .map_err(|_| Fault::bad_request("device_id has 16 bytes or none"))?;
    take(ctx, identity, Some(wanted), |taken| {
        let package = taken.into_iter().next().map(|(_, package)| package);
        Ok(Step::ok(&proto::FetchKeyPackageResponse {
            package: package.unwrap_or_default(),
        }))
    })
}

/// Method 305.
pub(in crate::server) fn fetch_key_packages(
    ctx: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::FetchKeyPackagesRequest,
) -> Next<proto::FetchKeyPackagesResponse> {
    let identity = parse_identity(&request.identity_key)?;
    limit(ctx, caller, &identity)?;
    take(ctx, identity, None, |taken| {
        let packages = taken
            .into_iter()
            .map(|(device, package)| proto::DeviceKeyPackage {
                device_id: Bytes::copy_from_slice(device.as_bytes()),
                package,
            });
        Ok(Step::ok(&proto::FetchKeyPackagesResponse {
            packages: packages.collect(),
        }))
    })
}

/// Counts a fetch of this account's packages by the caller.
fn limit(ctx: &mut Ctx<'_>, caller: &Caller, target: &IdentityKey) -> Result<(), Fault> {
    let caller = caller.identity()?;
    let pair: &[&[u8]] = &[caller.as_bytes(), target.as_bytes()];
    ctx.limit(RateClass::KeyPackageFetches, pair, 1)?;
    ctx.limit(RateClass::KeyPackageTargets, &[caller.as_bytes()], 1)
}

/// The package of one device that is given out.
struct Taken {
    device: DeviceId,
    key: Key<Bytes>,
    last_resort: bool,
}

/// Takes a package of one registered device, or one of each.
fn take<R: 'static>(
    ctx: &mut Ctx<'_>,
    identity: IdentityKey,
    wanted: Option<DeviceId>,
    answer: fn(Vec<(DeviceId, Bytes)>) -> Next<R>,
) -> Next<R> {
    load(ctx, keys::device_set(&identity), move |ctx, devices| {
        let Some(devices) = &*devices else {
            return Err(Fault::not_found("there is no such account"));
        };
        let ids = devices.devices.iter();
        let ids = ids.map(|device| DeviceId::from_wire(&device.device_id));
        let mut ids = ids
            .collect::<Result<Vec<DeviceId>, _>>()
            .map_err(|_| Fault::internal("a stored row cannot be read"))?;
        if let Some(wanted) = wanted {
            ids.retain(|id| *id == wanted);
        }
        let pools = ids.iter().map(|id| keys::package_pool(&identity, id));
        load(ctx, pools.collect::<Vec<_>>(), move |ctx, pools| {
            let mut change = Change::default();
            let mut taken = Vec::new();
            for (device, pool) in ids.into_iter().zip(pools) {
                let mut left = pool.value().unwrap_or_default();
                for old in drop_expired(&mut left, ctx.date) {
                    change.erase(package_key(&identity, &device, &old)?);
                }
                if let Some((package, last_resort)) = take_from(&mut left, ctx.date) {
                    taken.push(Taken {
                        device,
                        key: package_key(&identity, &device, &package)?,
                        last_resort,
                    });
                }
                let is_changed = pool.as_ref().unwrap_or(&PackagePool::default()) != &left;
                if is_changed && !seeded!(ctx.config, PackageTwice) {
                    change.put(&pool, &left);
                }
            }
            hand_out(ctx, change, taken, answer)
        })
    })
}

/// Reads the packages, removes those that are single use, then answers.
fn hand_out<R: 'static>(
    ctx: &mut Ctx<'_>,
    mut change: Change,
    taken: Vec<Taken>,
    answer: fn(Vec<(DeviceId, Bytes)>) -> Next<R>,
) -> Next<R> {
    let packages: Vec<_> = taken.iter().map(|one| one.key.clone()).collect();
    load(ctx, packages, move |ctx, packages| {
        let mut given = Vec::with_capacity(taken.len());
        for (one, package) in taken.into_iter().zip(packages) {
            if !one.last_resort && !seeded!(ctx.config, PackageTwice) {
                change.delete(&package);
            }
            let Some(package) = package.into_value() else {
                // Taken by somebody else since the pool was remembered.
                return Ok(Step::rerun());
            };
            given.push((one.device, package));
        }
        match change.is_empty() {
            true => answer(given),
            false => commit(ctx, change, move |_| answer(given)),
        }
    })
}

/// Method 306.
pub(in crate::server) fn count_key_packages(
    _: &mut Ctx<'_>,
    caller: &Caller,
    request: proto::CountKeyPackagesRequest,
) -> Next<proto::CountKeyPackagesResponse> {
    let session = caller.session()?;
    own_device(&session, &request.device_id)?;
    let pool = keys::package_pool(&session.identity_key, &session.device_id);
    read(pool, move |ctx, pool| {
        let mut pool = pool.into_value().unwrap_or_default();
        drop_expired(&mut pool, ctx.date);
        Ok(Step::ok(&proto::CountKeyPackagesResponse {
            count: u32::try_from(pool.packages.len()).unwrap_or(u32::MAX),
            last_resort_used: pool.last_resort_used,
        }))
    })
}

/// Forgets packages whose lifetime is over: they would not be taken again.
pub(in crate::server) fn forget_packages(ctx: &mut Ctx<'_>) -> Next {
    sweep(
        ctx,
        "swept packages",
        keys::packages_seen(),
        |seen, now, _| seen.keep_until_ms <= now.as_millis(),
    )
}

/// Takes the packages out of the pool whose lifetime is over.
fn drop_expired(pool: &mut PackagePool, now: UnixTime) -> Vec<PooledPackage> {
    let packages = core::mem::take(&mut pool.packages);
    let (left, over) = packages
        .into_iter()
        .partition(|package| package.expires_at_ms > now.as_millis());
    pool.packages = left;
    over
}

/// The oldest single-use package, or the last-resort one, which stays and is marked as used.
fn take_from(pool: &mut PackagePool, now: UnixTime) -> Option<(PooledPackage, bool)> {
    if !pool.packages.is_empty() {
        return Some((pool.packages.remove(0), false));
    }
    let last_resort = pool.last_resort.clone()?;
    if last_resort.expires_at_ms <= now.as_millis() {
        return None;
    }
    pool.last_resort_used = true;
    Some((last_resort, true))
}

fn package_key(
    identity: &IdentityKey,
    device: &DeviceId,
    package: &PooledPackage,
) -> Result<Key<Bytes>, Fault> {
    let fingerprint = package.fingerprint.as_ref().try_into();
    let fingerprint = fingerprint.map_err(|_| Fault::internal("a stored row cannot be read"))?;
    Ok(keys::package(identity, device, fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(id: u8, expires_at_ms: u64) -> PooledPackage {
        PooledPackage {
            fingerprint: vec![id; 32].into(),
            expires_at_ms,
        }
    }

    const NOW: UnixTime = UnixTime::from_millis(100);

    /// The package that is taken: its id, and whether it is the last resort.
    fn taken(pool: &mut PackagePool) -> Option<(u8, bool)> {
        let (package, last_resort) = take_from(pool, NOW)?;
        Some((package.fingerprint[0], last_resort))
    }

    #[test]
    fn packages_go_once_and_the_oldest_first() {
        let mut pool = PackagePool {
            packages: vec![package(1, 200), package(2, 200)],
            ..PackagePool::default()
        };
        assert_eq!(taken(&mut pool), Some((1, false)));
        assert_eq!(taken(&mut pool), Some((2, false)));
        assert_eq!(taken(&mut pool), None);
    }

    #[test]
    fn the_last_resort_stays_and_its_use_is_noted() {
        let mut pool = PackagePool {
            packages: vec![package(1, 200)],
            last_resort: Some(package(9, 200)),
            last_resort_used: false,
        };
        assert_eq!(taken(&mut pool), Some((1, false)));
        assert!(!pool.last_resort_used, "another one was left");
        for _ in 0..2 {
            assert_eq!(taken(&mut pool), Some((9, true)));
            assert!(pool.last_resort_used);
        }
        pool.last_resort = Some(package(9, 100));
        assert_eq!(taken(&mut pool), None, "its lifetime is over");
    }

    #[test]
    fn expired_packages_are_dropped() {
        let mut pool = PackagePool {
            packages: vec![package(1, 100), package(2, 101)],
            ..PackagePool::default()
        };
        let dropped = drop_expired(&mut pool, NOW);
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].fingerprint[0], 1);
        assert_eq!(taken(&mut pool), Some((2, false)));
    }
}
