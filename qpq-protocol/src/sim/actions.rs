//! What people and bad luck do, at random.

use super::app::Wish;
use super::host::{Input, Who};
use super::log::WORLD;
use super::network::Network;
use super::world::{PowerCut, World};
use super::{below, ms, pick};
use crate::client::{ConversationId, Intent, intent};
use crate::rng::Rng;

/// One step of the story.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    /// A user wants something.
    Wish(usize, Wish),
    /// A process dies.
    Crash(Who),
    /// A process dies when its disk has carried out so many batches more: before the next one is
    /// durable, or when it is, and before it is answered.
    PowerCut(Who, PowerCut),
    /// A process is asked to stop, and starts again.
    Restart(Who),
    /// A client's connections break.
    Cut(usize),
    /// A client can't reach the servers, for so many milliseconds.
    Part(usize, u64),
    /// A client gets another address.
    Move(usize),
    /// A disk fails some of the time, for so many milliseconds.
    BadDisk(Who, u64),
    /// A disk is slow for so many milliseconds.
    SlowDisk(Who, u64),
    /// A wall clock is set, so many milliseconds off.
    Clock(Who, i64),
}

impl<N: Network> World<N> {
    /// Something is done, and some time passes.
    pub(super) fn step(&mut self) {
        if self.ill.below(2) == 0 {
            self.do_harm();
        }
        if let Some(action) = self.choose() {
            self.log.entry(self.now, WORLD, format_args!("{action:?}"));
            self.perform(action);
        }
        let pause = match self.rng.below(10) {
            0..=2 => 0,
            3..=6 => self.rng.below(100),
            7..=8 => self.rng.below(3_000),
            _ => self.rng.below(30_000),
        };
        self.pass(ms(pause));
        self.look_who_waits();
    }

    fn choose(&mut self) -> Option<Action> {
        let people = self.people();
        let client = below(&mut self.rng, people);
        let server = below(&mut self.rng, self.config.servers);
        let app = &self.apps[client];
        if !app.logged_in && self.rng.below(3) > 0 {
            let wish = app.entrance();
            return (!app.is_authenticating()).then_some(Action::Wish(client, wish));
        }
        let who = match self.rng.below(3) {
            0 => Who::Server(server),
            _ => Who::Client(client),
        };
        let is_calm = self.plan.is_calm();
        let rng = &mut self.rng;
        // Where only villains are to do harm there is no weather.
        let weather = if is_calm { 100 } else { rng.below(100) };
        Some(match weather {
            0..=3 => Action::Crash(who),
            4..=5 => Action::Restart(who),
            6..=9 => Action::Cut(client),
            10..=12 => Action::Part(client, rng.below(60_000)),
            13 => Action::Move(client),
            14..=16 => Action::BadDisk(who, rng.below(5_000)),
            17..=18 => Action::SlowDisk(who, rng.below(20_000)),
            19 => Action::Clock(who, pick(rng, &[-100_000, -1000, 0, 1000, 100_000])),
            20..=22 => Action::PowerCut(
                who,
                PowerCut {
                    batches: below(rng, 6),
                    is_durable: rng.below(2) == 0,
                },
            ),
            _ => Action::Wish(client, self.wish(client)?),
        })
    }

    /// Something that the user of this client may want.
    fn wish(&mut self, client: usize) -> Option<Wish> {
        let usable = self.apps[client].usable();
        let (people, means_ill) = (self.people(), self.means_ill(client));
        let rng = &mut self.rng;
        let other = |rng: &mut Rng, clients: usize| match clients {
            0 | 1 => None,
            _ => Some((client + 1 + below(rng, clients - 1)) % clients),
        };
        let peer = other(rng, people)?;
        let some = |rng: &mut Rng, of: &[ConversationId]| match of {
            [] => None,
            of => Some(pick(rng, of)),
        };
        let groups: Vec<ConversationId> = usable.iter().filter(|id| !id.is_dm()).copied().collect();
        Some(match rng.below(80) {
            0..=5 => Wish::Dm(peer),
            6..=10 => {
                let members = (0..people).filter(|other| *other != client);
                Wish::Group(members.filter(|_| rng.below(2) == 0).collect())
            }
            11..=16 => Wish::Invite(some(rng, &groups)?, peer),
            // Who means ill takes people out in other ways.
            17..=20 if means_ill => return None,
            17..=20 => Wish::Remove(some(rng, &groups)?, peer),
            21..=22 => Wish::Leave(some(rng, &groups)?),
            23..=24 => Wish::Logout,
            25 => Wish::ServerInfo,
            26..=30 => {
                let id = some(rng, &usable)?;
                Wish::MarkRead(id, rng.below(20))
            }
            _ => Wish::Send(some(rng, &usable)?),
        })
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Wish(client, wish) => self.want(client, wish),
            Action::Crash(who) => {
                let back_after = ms(pick(&mut self.rng, &[0, 100, 3_000, 20_000]));
                self.crash(who, back_after);
            }
            Action::PowerCut(who, cut) => {
                if let Some(process) = self.processes.get_mut(&who) {
                    process.power_cut = Some(cut);
                }
            }
            Action::Restart(who) => {
                if let Some(process) = self.processes.get_mut(&who)
                    && self.hosts.runs(who)
                {
                    process.stopping = true;
                    self.hosts.input(self.now, who, Input::Shutdown);
                }
            }
            Action::Cut(client) => self.net.cut(self.now, client),
            Action::Part(client, millis) => self.net.part(client, self.now + ms(millis)),
            Action::Move(client) => self.net.move_address(client),
            Action::BadDisk(who, millis) => {
                let until = self.now + ms(millis);
                self.disk(who).bad_until = until;
            }
            Action::SlowDisk(who, millis) => {
                let until = self.now + ms(millis);
                self.disk(who).slow_until = until;
            }
            Action::Clock(who, skew) => self.set_clock(who, skew),
        }
    }

    pub(super) fn set_clock(&mut self, who: Who, skew: i64) {
        if let Some(process) = self.processes.get_mut(&who) {
            process.skew = skew;
        }
        let unix = self.unix(who);
        self.hosts.input(self.now, who, Input::Clock(unix));
    }

    /// The user of a client wants something.
    pub(super) fn want(&mut self, client: usize, wish: Wish) {
        if !self.hosts.runs(Who::Client(client)) {
            return;
        }
        let intent = self.intent(client, &wish);
        self.begin(client, wish, intent);
    }

    /// How a user's app puts what the user wants; and what is known from then on.
    fn intent(&mut self, client: usize, wish: &Wish) -> Intent {
        let name = || self.apps[client].name.clone();
        let user = |number: &usize| format!("user{number}");
        let password = || zeroize::Zeroizing::new(b"password".to_vec());
        match wish {
            Wish::Register => intent::Register::new(name(), password()).into(),
            Wish::Login => intent::Login::new(name(), password()).into(),
            Wish::Logout => {
                self.apps[client].logouts += 1;
                intent::Logout.into()
            }
            Wish::Dm(peer) => intent::Dm(user(peer)).into(),
            Wish::Group(members) => intent::CreateGroup {
                id: None,
                name: "friends".to_owned(),
                members: members.iter().map(user).collect(),
            }
            .into(),
            Wish::Invite(id, peer) => intent::Invite::new(*id, user(peer)).into(),
            Wish::Remove(id, peer) => {
                self.checker.removals.insert((*id, *peer));
                intent::Remove::new(*id, user(peer)).into()
            }
            Wish::Leave(id) => {
                self.apps[client].left.insert(*id);
                self.checker.leavers.insert((*id, client));
                intent::Leave(*id).into()
            }
            Wish::Send(id) => intent::Send::new(*id, self.text(client)).into(),
            Wish::MarkRead(id, up_to) => intent::MarkRead {
                conversation: *id,
                up_to: *up_to,
            }
            .into(),
            Wish::Conversations => {
                self.apps[client].listed = None;
                intent::Conversations.into()
            }
            Wish::History(id) => intent::History {
                conversation: *id,
                before: None,
                limit: u64::MAX,
            }
            .into(),
            Wish::ServerInfo => intent::ServerInfo.into(),
        }
    }

    /// A text that nobody has written before; now and then a long one.
    fn text(&mut self, client: usize) -> String {
        let texts = &mut self.apps[client].texts;
        let mut text = format!("{} by {client}", texts.len());
        texts.insert(text.clone());
        if self.rng.below(10) == 0 {
            let length = 1 + below(&mut self.rng, 40_000);
            text.push(' ');
            text.extend(core::iter::repeat_n('x', length));
        }
        text
    }
}
