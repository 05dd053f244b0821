//! When servers say what is not so: anything for a while, or one thing where it matters.

use super::aims::Aims;
use super::kinds::Villain;
use crate::rng::Rng;
use crate::sim::host::{Host as _, Who};
use crate::sim::network::Network;
use crate::sim::world::World;
use crate::sim::{below, ms};

impl<N: Network> World<N> {
    /// One or all of the servers begin to lie. Not at first sight: anyone who has seen no other server takes this one for
    /// the right one.
    pub(super) fn lie(&mut self) {
        if self.apps.iter().any(|app| app.account.is_none()) {
            return;
        }
        let until = self.now + ms(self.ill.below(20_000));
        let all = self.ill.below(2) == 0;
        let one = below(&mut self.ill, self.config.servers);
        for server in 0..self.config.servers {
            let rng = self.ill.child();
            if let Some(host) = self.hosts.server(server).filter(|_| all || server == one) {
                host.act(self.now, |liar, _| liar.lie(until, rng));
            }
        }
    }

    /// All servers say what is so. Whom a lie told that his leaving was taken says it again in another session
    /// (protocol.md §5.10): where somebody left, others start in place of those that have lied; so they do where listings
    /// were late, since what was not listed is listed again then.
    pub(super) fn tell_truth(&mut self) {
        let somebody_left = !self.checker.leavers.is_empty();
        let is_over = self.plan.has(Villain::Liar) && somebody_left || self.plan.has(Villain::Late);
        for server in 0..self.config.servers {
            if is_over {
                self.end(Who::Server(server));
            } else if let Some(host) = self.hosts.server(server) {
                host.act(self.now, |liar, _| liar.tell_truth());
            }
        }
    }

    fn aim(&mut self, mut aim: impl FnMut(&mut Aims, Rng)) {
        for server in 0..self.config.servers {
            let rng = self.ill.child();
            if let Some(host) = self.hosts.server(server) {
                host.act(self.now, |liar, _| aim(liar.aims(), rng));
            }
        }
    }

    /// The servers say no to what they did, and a member throws others off lists. Who is refused his place twice has
    /// no reason to ask a third time: it is said once.
    pub(super) fn refuse(&mut self) {
        self.aim(|aims, _| {
            aims.packages.get_or_insert_default();
        });
        if self.ill.below(4) == 0 && !core::mem::replace(&mut self.has_struck, true) {
            self.aim(|aims, _| aims.refuses_place = true);
        }
        self.put_rubbish(true);
    }

    /// The servers' listings are late from now on.
    pub(super) fn list_late(&mut self) {
        self.aim(|aims, rng| aims.lists_late = Some(rng));
    }
}
