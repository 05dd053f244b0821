//! What villains cost the others: how long they waited, how much memory it took, what everybody was told.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Villain;
use crate::client::Event;
use crate::ids::{ConnId, OwnStream};
use crate::method::Method;
use crate::sim::host::{Host as _, Who};
use crate::sim::invariants::Invariant;
use crate::sim::network::Network;
use crate::sim::world::World;
use crate::status::Status;
use crate::time::Time;

/// The longest that an account waits for Health, Fetch and Enqueue, whatever another one does.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the villains of one world cost the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Who was there.
    pub villains: Vec<Villain>,
    /// The longest that an honest client waited for an answer to Health, Fetch or Enqueue; over all weather, so only
    /// where there was none it is the villain's work.
    pub slowest: Duration,
    /// The most that a server held, in bytes.
    pub memory: usize,
    /// What servers answered the villains, and how often.
    pub answers: BTreeMap<Status, usize>,
    /// What apps of honest clients were told beyond what happens without villains, and how often.
    pub told: BTreeMap<String, usize>,
}

impl Cost {
    /// Of two worlds, the worse and the sum.
    pub fn add(&mut self, other: &Self) {
        self.slowest = self.slowest.max(other.slowest);
        self.memory = self.memory.max(other.memory);
        for (status, count) in &other.answers {
            *self.answers.entry(*status).or_default() += count;
        }
        for (what, count) in &other.told {
            *self.told.entry(what.clone()).or_default() += count;
        }
    }
}

/// Requests of honest clients that wait for their answer.
#[derive(Default)]
pub(in crate::sim) struct Waiting(BTreeMap<(usize, ConnId, OwnStream), (Method, Time)>);

impl<N: Network> World<N> {
    /// An honest client asked.
    pub(in crate::sim) fn waits(&mut self, client: usize, call: (ConnId, OwnStream), what: Method) {
        let counts = matches!(what, Method::Health | Method::Fetch | Method::BatchEnqueue);
        if counts && self.plan.is_any() && !self.means_ill(client) {
            let (conn, stream) = call;
            self.waiting
                .0
                .insert((client, conn, stream), (what, self.now));
        }
    }

    /// It was answered, or its stream was reset.
    pub(in crate::sim) fn hears(
        &mut self,
        client: usize,
        (conn, stream): (ConnId, OwnStream),
        status: Option<Status>,
    ) {
        let Some((what, since)) = self.waiting.0.remove(&(client, conn, stream)) else {
            return;
        };
        let waited = self.now - since;
        self.cost.slowest = self.cost.slowest.max(waited);
        let is_served = !matches!(
            status,
            None | Some(
                Status::Unavailable
                    | Status::RateLimited
                    | Status::QuotaExceeded
                    | Status::DeadlineExceeded
                    | Status::Internal
            )
        );
        if self.plan.is_calm() && (!is_served || waited > PATIENCE) {
            let (name, status) = (what.name(), status.map(Status::name));
            let detail = format!("{name} of c{client} was answered {status:?} after {waited:?}");
            self.checker.fail(self.now, Invariant::Served, detail);
        }
    }

    /// What a client asked on a connection, or on one stream of it, it asks no more.
    pub(in crate::sim) fn gives_up(
        &mut self,
        client: usize,
        conn: Option<ConnId>,
        stream: Option<OwnStream>,
    ) {
        self.waiting.0.retain(|(of, on, call), _| {
            *of != client
                || conn.is_some_and(|conn| conn != *on)
                || stream.is_some_and(|stream| stream != *call)
        });
    }

    /// Whether somebody has waited for too long.
    pub(in crate::sim) fn look_who_waits(&mut self) {
        if !self.plan.is_calm() {
            return;
        }
        let now = self.now;
        let late = self
            .waiting
            .0
            .iter()
            .find(|(_, (_, since))| now - *since > PATIENCE);
        if let Some(((client, ..), (what, since))) = late {
            let name = what.name();
            let detail = format!("c{client} waits for {name} since {since:?}");
            self.checker.fail(now, Invariant::Served, detail);
        }
    }

    /// The app of an honest client is told something.
    pub(in crate::sim) fn is_told(&mut self, event: &Event) {
        let what = match event {
            Event::Unreadable { why, .. } => format!("Unreadable({why:?})"),
            Event::Unproven { .. } => "Unproven".to_owned(),
            Event::Forked { .. } => "Forked".to_owned(),
            Event::Compared { result, .. } => format!("Compared({result:?})"),
            Event::SetBack => "SetBack".to_owned(),
            Event::ServerSetBack { .. } => "ServerSetBack".to_owned(),
            Event::NotFollowed { .. } => "NotFollowed".to_owned(),
            Event::KeyChanged { .. } => "KeyChanged".to_owned(),
            Event::ServerKeyChanged { .. } => "ServerKeyChanged".to_owned(),
            Event::Failed { error, .. } => {
                let error = format!("{error:?}");
                let kind = error.split([' ', '(', '{']).next().unwrap_or_default();
                format!("Failed({kind})")
            }
            _ => return,
        };
        *self.cost.told.entry(what).or_default() += 1;
    }

    /// What a villain was answered.
    pub(super) fn count_answers(&mut self, villain: usize) {
        let now = self.now;
        if let Some(host) = self.hosts.client(villain) {
            let told = host.act(now, |mask, _| mask.told().clone());
            for (status, count) in told {
                *self.cost.answers.entry(status).or_default() += count;
            }
        }
    }

    /// What there is to say of the villains at the end.
    pub(in crate::sim) fn cost(&mut self) -> Cost {
        let mut cost = core::mem::take(&mut self.cost);
        cost.villains.clone_from(&self.plan.kinds);
        cost
    }

    /// A server holds so much.
    pub(in crate::sim) fn is_held(&mut self, who: Who, bytes: usize) {
        if matches!(who, Who::Server(_)) && self.plan.is_any() {
            self.cost.memory = self.cost.memory.max(bytes);
        }
    }
}
