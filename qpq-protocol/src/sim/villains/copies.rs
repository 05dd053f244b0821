//! Disks that are set back to an earlier state, and clocks that jump and come back: what a copy of last week and a
//! dead battery do.

use core::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::sim::app::App;
use crate::sim::host::Who;
use crate::sim::invariants::{Known, Views};
use crate::sim::log::WORLD;
use crate::sim::network::Network;
use crate::sim::world::World;
use crate::sim::{ms, pick};
use crate::storage::records::DeviceUse;
use crate::storage::{Command, Commit, Direction, Engine as _, Memory, Reply, Scan, keys};
use crate::time::Time;

/// A year, in milliseconds.
const YEAR: u64 = 365 * 24 * 3_600_000;

/// Disks as they were.
#[derive(Default)]
pub(in crate::sim) struct Copies {
    /// A client's disk, with what its app knew and had seen: all lies in one directory.
    client: Option<(usize, Memory, App, Views)>,
    /// The servers' disk, with what everyone has a right to rely on then.
    servers: Option<(Memory, Known)>,
    /// When disks were set back last: disasters don't come by the second.
    last: Option<Time>,
}

/// Between two disasters.
const PEACE: Duration = Duration::from_secs(30);

impl<N: Network> World<N> {
    /// A client's directory is copied, or put back.
    pub(super) fn set_client_back(&mut self) {
        let Some((client, memory, app, views)) = self.copies.client.take() else {
            return self.copy_client();
        };
        // Now and then it is kept for later.
        if self.is_peace() || self.ill.below(3) == 0 {
            self.copies.client = Some((client, memory, app, views));
            return;
        }
        self.copies.last = Some(self.now);
        let who = Who::Client(client);
        self.log.entry(
            self.now,
            WORLD,
            format_args!("{who} is put back to its copy"),
        );
        self.crash(who, ms(100));
        self.forget_late_writes(client);
        self.disk(who).memory = memory;
        let held = self.held_opening(client);
        let lost = self.apps[client].set_back(app, &held);
        self.checker.said.owe(client, lost.into_iter());
        self.checker.see_again(client, views);
    }

    /// The opening of a client's data that the servers know, the newest that they heard.
    fn held_opening(&mut self, client: usize) -> Bytes {
        let Some(account) = self.apps[client].account else {
            return Bytes::new();
        };
        let devices = keys::devices(&account);
        let scan = Scan {
            start: devices.start,
            end: devices.end,
            direction: Direction::Forward,
            items: 16,
            bytes: 1024 * 1024,
        };
        let store = self.disk(Who::Server(0));
        let replies = store.memory.run(vec![Command::Scan(scan)]);
        let Some(Reply::Rows { rows, .. }) = replies.into_iter().next() else {
            return Bytes::new();
        };
        let used = rows.into_iter();
        let used = used.filter_map(|(_, row)| DeviceUse::decode(row).ok());
        let newest = used.max_by_key(|used| used.last_seen_ms);
        newest.map_or_else(Bytes::new, |used| used.opening)
    }

    fn is_peace(&self) -> bool {
        let last = self.copies.last;
        last.is_some_and(|last| self.now - last < PEACE)
    }

    fn copy_client(&mut self) {
        let Some(client) = self.some_victim().filter(|client| {
            let app = &self.apps[*client];
            app.logged_in && !app.is_authenticating()
        }) else {
            return;
        };
        let who = Who::Client(client);
        self.log
            .entry(self.now, WORLD, format_args!("{who} is copied"));
        let mut memory = self.disk(who).memory.clone();
        memory.crash();
        let views = self.checker.views_of(client);
        self.copies.client = Some((client, memory, self.apps[client].clone(), views));
    }

    /// The servers' database is copied, or put back: as an operator does it, or in silence.
    pub(super) fn set_servers_back(&mut self) {
        let Some((memory, known)) = self.copies.servers.take() else {
            return self.copy_servers();
        };
        if self.is_peace() || self.ill.below(3) == 0 {
            self.copies.servers = Some((memory, known));
            return;
        }
        self.copies.last = Some(self.now);
        let is_said = self.ill.below(2) == 0;
        self.log.entry(
            self.now,
            WORLD,
            format_args!("the servers are put back to their copy, said: {is_said}"),
        );
        for server in 0..self.config.servers {
            self.crash(Who::Server(server), ms(100));
        }
        let store = self.disk(Who::Server(0));
        store.memory = memory;
        if is_said {
            // As `restore` does it: the next start draws another epoch.
            let forget = Commit {
                deletes: vec![keys::meta("epoch").into()],
                ..Commit::default()
            };
            store.memory.run(vec![Command::Commit(forget)]);
        }
        self.checker.servers_are_set_back(known);
    }

    fn copy_servers(&mut self) {
        // Who is not in it can't be known to it.
        if !self.apps.iter().all(|app| app.registered) {
            return;
        }
        self.log
            .entry(self.now, WORLD, format_args!("the servers are copied"));
        let mut memory = self.stored().clone();
        memory.crash();
        self.copies.servers = Some((memory, self.checker.known()));
    }

    /// A clock jumps, or all come back.
    pub(super) fn jump(&mut self) {
        let whos: Vec<Who> = self.processes.keys().copied().collect();
        if self.ill.below(3) == 0 {
            for who in whos {
                self.set_clock(who, 0);
            }
            return;
        }
        let who = pick(&mut self.ill, &whos);
        let reach = pick(&mut self.ill, &[3_600_000, 30 * YEAR / 365, YEAR]);
        let skew = i64::try_from(self.ill.below(reach)).unwrap_or_default();
        let skew = if self.ill.below(2) == 0 { skew } else { -skew };
        self.log.entry(
            self.now,
            WORLD,
            format_args!("the clock of {who} jumps by {skew}"),
        );
        self.set_clock(who, skew);
    }
}
