//! The faults stop: everything has to settle, and then to agree.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::app::{App, Wish, without_padding};
use super::host::{Host as _, Who};
use super::invariants::Invariant;
use super::log::WORLD;
use super::network::Network;
use super::villains::Villain;
use super::world::World;
use super::{SETTLE, SETTLE_AFTER_HARM, ms};
use crate::client::{Body, ConversationId, Message, Standing};
use crate::ids::{IdentityKey, MessageId};
use crate::time::Time;

/// By then a server has noticed that all connections are gone, and ended what they asked for.
const FORGET: Duration = Duration::from_secs(90);

/// So long a user waits for a member to agree before he takes the group as it is.
const PATIENCE: Duration = Duration::from_secs(600);

/// Something that does not hold yet, and what it means if it stays so.
type Lack = (Invariant, String);

impl<N: Network> World<N> {
    /// Calms the world, and waits until it has settled.
    pub(super) fn settle(&mut self) {
        self.log
            .entry(self.now, WORLD, format_args!("the faults stop"));
        self.calm();
        self.end_harm();
        let now = self.now;
        let everyone: Vec<Who> = self.processes.keys().copied().collect();
        for who in everyone {
            if matches!(who, Who::Client(client) if self.means_ill(client)) {
                continue;
            }
            let disk = self.disk(who);
            disk.bad_until = now;
            disk.slow_until = now;
            if let Some(process) = self.processes.get_mut(&who) {
                process.power_cut = None;
            }
            self.set_clock(who, 0);
            self.start(who);
        }
        let end = match self.plan.is_any() {
            true => self.now + SETTLE_AFTER_HARM,
            false => self.now + SETTLE,
        };
        let mut lack = settles("the apps were not asked yet".to_owned());
        while self.now < end && !self.failed() {
            self.pass(ms(2_000));
            match self.is_settled() {
                Ok(true) => return self.all_leave(),
                Ok(false) => {}
                Err(found) => lack = found,
            }
        }
        let (invariant, what) = lack;
        self.checker.fail(self.now, invariant, what);
    }

    /// Every client goes away: the servers hold nothing more for any.
    fn all_leave(&mut self) {
        for client in 0..self.config.clients {
            self.end(Who::Client(client));
        }
        self.keep_clients_away(0);
        self.pass(FORGET + self.net.silence());
        for server in 0..self.config.servers {
            let now = self.now;
            let Some(host) = self.hosts.server(server) else {
                continue;
            };
            let held = host.act(now, |liar, _| liar.server().held_for_peers());
            let connections = host.connections();
            if held > 0 || connections > 0 {
                let what = format!(
                    "s{server} holds {held} bytes and {connections} connections for nobody"
                );
                self.checker.fail(now, Invariant::Footprint, what);
            }
        }
    }

    /// Looks at everything in turn; `false` if the apps had to be asked first for what is not known.
    fn is_settled(&mut self) -> Result<bool, Lack> {
        if let Err(late) = self.is_everyone_here() {
            self.agree_to_return();
            return Err(late);
        }
        if !self.are_all_asked() {
            return Ok(false);
        }
        let agreed = self.do_members_agree().and_then(|()| self.is_all_there());
        if agreed.is_err() {
            self.agree_to_return();
            self.remove_unlisted();
            // To be asked again.
            for app in &mut self.apps {
                app.listed = None;
                app.histories.clear();
            }
        }
        agreed.map(|()| true)
    }

    /// Everyone is logged in, and nothing that was asked for is open.
    fn is_everyone_here(&mut self) -> Result<(), Lack> {
        let mut late = Ok(());
        for client in 0..self.config.clients {
            let app = &self.apps[client];
            if !app.logged_in && !app.is_authenticating() {
                late = Err(settles(format!("c{client} is not logged in")));
                self.want(client, app.entrance());
            } else if let Some(wish) = app.open.values().next() {
                late = Err(settles(format!("c{client} still waits for {wish:?}")));
            }
        }
        late
    }

    /// The apps have listed their conversations, and read what is in them.
    fn are_all_asked(&mut self) -> bool {
        let mut known = true;
        for client in 0..self.config.clients {
            let app = &self.apps[client];
            let wishes: Vec<Wish> = match &app.listed {
                None => vec![Wish::Conversations],
                Some(all) => {
                    let unread = all.iter().map(|one| one.id);
                    let unread = unread.filter(|id| !app.histories.contains_key(id));
                    unread.map(Wish::History).collect()
                }
            };
            for wish in wishes {
                known = false;
                self.want(client, wish);
            }
        }
        known
    }

    /// The clients that mean well, and their apps.
    fn honest(&self) -> impl Iterator<Item = (usize, &App)> {
        self.apps.iter().take(self.config.clients).enumerate()
    }

    /// Who can come back only to people he saw go agrees to that, in the end; and so who waits for a member's
    /// agreement that nobody gives.
    fn agree_to_return(&mut self) {
        let now = self.now;
        for client in 0..self.config.clients {
            let app = &mut self.apps[client];
            let given_up = |_: &ConversationId, since: &mut Time| now.since(*since) >= PATIENCE;
            let awaited = app.awaited.extract_if(.., given_up);
            let awaited: Vec<_> = awaited.map(|(id, _)| id).collect();
            for id in core::mem::take(&mut app.refused).into_iter().chain(awaited) {
                if let Some(host) = self.hosts.client(client) {
                    host.act(now, |mask, now| mask.client().accept_group(now, id));
                }
            }
        }
    }

    /// Of whom the server says that he left, and who did not tell the group, is removed in the end.
    fn remove_unlisted(&mut self) {
        for client in 0..self.config.clients {
            for (id, gone) in core::mem::take(&mut self.apps[client].unlisted) {
                let gone = self.honest().find(|(_, app)| app.account == Some(gone));
                if let Some((gone, _)) = gone {
                    self.want(client, Wish::Remove(id, gone));
                }
            }
        }
    }

    /// Members of a group see the same group, and are those who see it.
    fn do_members_agree(&self) -> Result<(), Lack> {
        type View = (u64, BTreeSet<IdentityKey>);
        let mut views: BTreeMap<ConversationId, BTreeMap<usize, View>> = BTreeMap::new();
        let ill = self.apps.iter().skip(self.config.clients);
        let ill: BTreeSet<IdentityKey> = ill.filter_map(|app| app.account).collect();
        for (client, app) in self.honest() {
            for one in app.listed.iter().flatten() {
                match one.standing {
                    Standing::Active => {
                        // Anyone who means ill is gone, and may be listed or not.
                        let members = one.members.iter().map(|person| person.identity_key);
                        let members = members.filter(|member| !ill.contains(member));
                        let view = (one.epoch, members.collect());
                        views.entry(one.id).or_default().insert(client, view);
                    }
                    Standing::Over => {}
                    other => {
                        let id = one.id;
                        return Err(settles(format!("{id} is {other:?} for c{client}")));
                    }
                }
            }
        }
        for (id, mut views) in views {
            let accounts = views.keys().filter_map(|client| self.apps[*client].account);
            let here: BTreeSet<IdentityKey> = accounts.collect();
            // Who leaves says so once, and the server's list takes nobody out of the tree (protocol.md §5.10):
            // where all who stay have lost that, and were told of losses, he stays in it.
            if views.keys().all(|client| self.checker.said.to(*client, id)) {
                let left = self.honest().filter(|(_, app)| app.left.contains(&id));
                let left: BTreeSet<_> = left.filter_map(|(_, app)| app.account).collect();
                for (_, members) in views.values_mut() {
                    members.retain(|key| here.contains(key) || !left.contains(key));
                }
            }
            let mut all = views.values();
            let first = all.next();
            let agrees = all.all(|view| Some(view) == first);
            if !agrees || first.is_some_and(|(_, members)| *members != here) {
                return Err(settles(format!("{id} is seen differently: {views:?}")));
            }
        }
        Ok(())
    }

    /// Every message is where it belongs, once.
    fn is_all_there(&self) -> Result<(), Lack> {
        for (client, app) in self.honest() {
            let who = Who::Client(client);
            for (id, history) in &app.histories {
                self.is_sound(who, app, *id, history)?;
            }
            for one in app.listed.iter().flatten() {
                let read = app.read.get(&one.id).copied().unwrap_or_default();
                if one.unread > one.messages.saturating_sub(read) {
                    let what = format!("{who} forgot what was read of {}", one.id);
                    return Err((Invariant::AcknowledgedIsDurable, what));
                }
            }
            let lost = app
                .sent
                .iter()
                .find(|(id, message)| !app.holds(id, message));
            if let Some((id, message)) = lost {
                let what = format!("{who} lost its own {message} of {id}");
                return Err((Invariant::AcknowledgedIsDurable, what));
            }
        }
        self.is_all_delivered()
    }

    /// A history has no holes and nothing twice, says what the app was told, and nothing that
    /// nobody wrote.
    fn is_sound(
        &self,
        who: Who,
        app: &App,
        id: ConversationId,
        history: &[Message],
    ) -> Result<(), Lack> {
        let mut ids = BTreeSet::new();
        for (index, message) in (0..).zip(history) {
            if message.index != index || !ids.insert(message.message_id) {
                let what = format!("{who} holds message {index} of {id} twice, or not");
                return Err((Invariant::OnceInApp, what));
            }
            let text = match &message.body {
                Body::Text(text) => without_padding(text),
                Body::TakenBack | Body::Unsupported => "",
            };
            if !self.apps.iter().any(|app| app.texts.contains(text)) {
                let what = format!("{who} holds what nobody wrote: {text}");
                return Err((Invariant::OneMeaning, what));
            }
        }
        for (&(_, index), told) in app.told.range((id, 0)..=(id, u64::MAX)) {
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            let kept = history.get(place).map(|message| message.message_id);
            if kept != Some(*told) {
                let what = format!("{who} was told message {index} of {id} and lost it");
                return Err((Invariant::AcknowledgedIsDurable, what));
            }
        }
        Ok(())
    }

    /// Whether this client was told after a message was sent that it is out of the conversation. What a server that
    /// was set back has lost of before is sent again only to who is in it then (protocol.md §5.32).
    fn was_taken_out(&self, client: usize, message: MessageId) -> bool {
        self.plan.has(Villain::ServerCopy) && self.checker.said.is_out(client, message)
    }

    /// What a server took has reached all it was for, but those who left by themselves.
    fn is_all_delivered(&self) -> Result<(), Lack> {
        // What users wrote: a group's name travels the same way and is in nobody's history.
        let histories = self.apps.iter().flat_map(|app| app.histories.values());
        let own = histories.flatten().filter(|message| message.own);
        let mut own: BTreeSet<MessageId> = own.map(|message| message.message_id).collect();
        // And what a client called sent, though its disk was set back since.
        own.extend(self.honest().flat_map(|(_, app)| &app.called_sent).copied());
        let unsent = self.checker.said.unsent.iter();
        let unsent = unsent.filter_map(|(client, id, index)| {
            let history = self.apps.get(*client)?.histories.get(id)?;
            Some(history.get(usize::try_from(*index).ok()?)?.message_id)
        });
        let mut unsent: BTreeSet<MessageId> = unsent.collect();
        if self.plan.has(Villain::ServerCopy) {
            // Whether a server took it that has forgotten it since nobody knows: its sender was told so.
            let failed = self.honest().flat_map(|(_, app)| &app.called_unsent);
            unsent.extend(failed.copied());
        }
        for (message, accepted) in &self.checker.promised {
            let id = &accepted.channel;
            for (client, app) in self.honest() {
                let is_for = app
                    .account
                    .is_some_and(|key| accepted.recipients.contains(&key));
                let stays = own.contains(message) && !app.left.contains(id);
                let stays = stays && !self.was_taken_out(client, *message);
                // A copy younger than the last opening is not noticed by who has it, only by readers of what it
                // says next (protocol.md §5.31): what it said itself since is lost without a word.
                let is_unnoticed = app.forgotten.contains(message);
                let said = self.checker.said.to(client, *id)
                    && !self.checker.said.owes(client, *id, *message)
                    || unsent.contains(message);
                if is_for && stays && !said && !is_unnoticed && !app.holds(id, message) {
                    let what = format!("c{client} lacks {message} of {id}");
                    if self.plan.is_any() {
                        return Err((Invariant::SaidOrThere, what));
                    }
                    return Err((Invariant::AcknowledgedIsDurable, what));
                }
            }
        }
        Ok(())
    }
}

fn settles(what: String) -> Lack {
    (Invariant::Settles, what)
}
