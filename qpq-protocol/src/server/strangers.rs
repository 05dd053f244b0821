//! Connections without a session: an address has a number, and for one more the longest silent one gives
//! way (protocol.md §5.27). So nobody keeps others of an address out by holding connections.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::Server;
use crate::ids::ConnId;
use crate::site::{region, site};
use crate::status::AppCode;

/// A /40 of IPv6 has this many times what one address has.
const SITES: usize = 16;

/// Who they are, by site: an IPv4 address, or a /56.
#[derive(Default)]
pub(super) struct Strangers {
    sites: BTreeMap<IpAddr, Vec<ConnId>>,
    /// Where each one is.
    homes: BTreeMap<ConnId, IpAddr>,
}

impl Strangers {
    /// One has come. Those of whom one has to go, if there are too many now.
    fn enter(&mut self, conn: ConnId, address: IpAddr, most: usize) -> Vec<ConnId> {
        let site = site(address);
        if self.homes.insert(conn, site).is_some() {
            return Vec::new();
        }
        let here = self.sites.entry(site).or_default();
        here.push(conn);
        if here.len() > most {
            return here.clone();
        }
        let Some((first, last)) = region(site) else {
            return Vec::new();
        };
        let region = || self.sites.range(first..=last).map(|(_, here)| here);
        if region().map(Vec::len).sum::<usize>() > most.saturating_mul(SITES) {
            return region().flatten().copied().collect();
        }
        Vec::new()
    }

    /// One has gone, or is no stranger any more.
    pub(super) fn leave(&mut self, conn: ConnId) {
        if let Some(site) = self.homes.remove(&conn)
            && let Some(here) = self.sites.get_mut(&site)
        {
            here.retain(|other| *other != conn);
            if here.is_empty() {
                self.sites.remove(&site);
            }
        }
    }
}

impl Server {
    /// A connection has no session.
    pub(super) fn enter_as_stranger(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let address = connection.peer.address.ip();
        let most = self.config.limits.anonymous_connections;
        let crowd = self.strangers.enter(conn, address, most);
        self.close_longest_silent(crowd.into_iter().filter(|other| *other != conn));
        self.check_when_silent(conn);
    }

    /// Closes the one of these connections on which nothing has happened for longest.
    pub(super) fn close_longest_silent(&mut self, of: impl Iterator<Item = ConnId>) {
        let heard = |conn: &ConnId| self.connections.get(conn).map(|one| one.heard);
        if let Some(conn) = of.min_by_key(heard) {
            self.close_connection(conn, AppCode::Overloaded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sites_of_one_region_share_what_sixteen_have() {
        let mut strangers = Strangers::default();
        let mut come = 0;
        // 256 sites of one /48, four of each.
        for number in 0..1024_u16 {
            let site = format!("2001:db8:0:{:x}::1", (number % 256) << 8);
            let crowd = strangers.enter(ConnId(number.into()), address(&site), 4);
            if crowd.is_empty() {
                come += 1;
            } else {
                strangers.leave(crowd[0]);
            }
        }
        assert_eq!(come, 4 * 16);
        assert_eq!(strangers.homes.len(), 4 * 16);
        let elsewhere = address("2001:db9::1");
        assert!(strangers.enter(ConnId(9999), elsewhere, 4).is_empty());
        for conn in 0..10_000 {
            strangers.leave(ConnId(conn));
        }
        assert!(strangers.sites.is_empty() && strangers.homes.is_empty());
    }
}
