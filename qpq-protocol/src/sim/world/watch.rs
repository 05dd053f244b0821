//! What is seen and heard of processes goes to the checker, the apps and the log.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;

use super::World;
use crate::client::{self, ConversationId, Outcome};
use crate::ids::IdentityKey;
use crate::method::Method;
use crate::proto::{OpaqueLoginFinishRequest, ResumeSessionRequest};
use crate::sim::app::{App, brief};
use crate::sim::host::Who;
use crate::sim::invariants::Invariant;
use crate::sim::log::mark;
use crate::sim::network::Network;
use crate::sim::tap::Seen;
use crate::sim::villains::Villain;
use crate::status::Status;

/// The opening that goes with a request for a session.
fn shown(method: Method, request: &Bytes) -> Option<Bytes> {
    let chain = match method {
        Method::ResumeSession => ResumeSessionRequest::decode(request.clone()).ok()?.chain?,
        Method::OpaqueLoginFinish => {
            let request = OpaqueLoginFinishRequest::decode(request.clone());
            request.ok()?.chain?
        }
        _ => return None,
    };
    Some(chain.next)
}

impl<N: Network> World<N> {
    pub(super) fn see(&mut self, who: Who, seen: Seen) {
        let now = self.now;
        match seen {
            Seen::Asked {
                call,
                method,
                request,
            } => {
                let (name, length, mark) = (method.name(), request.len(), mark(&request));
                self.log
                    .entry(now, who, format_args!("asks {name} {length} {mark:08x}"));
                if let Who::Client(client) = who {
                    self.waits(client, call, method);
                    self.apps[client].shown.extend(shown(method, &request));
                    let memory = &self.disks[client].memory;
                    let what = (method, &request);
                    self.checker.asked(now, client, what, memory);
                }
            }
            Seen::Heard { call, status } => {
                if let Who::Client(client) = who {
                    self.hears(client, call, status);
                }
            }
            Seen::GaveUp { conn, stream } => {
                if let Who::Client(client) = who {
                    self.gives_up(client, Some(conn), stream);
                }
            }
            Seen::Answered {
                method,
                request,
                status,
                response,
            } => {
                let (name, length, mark) = (method.name(), response.len(), mark(&response));
                self.log.entry(
                    now,
                    who,
                    format_args!("answers {name} {} {length} {mark:08x}", status.name()),
                );
                // What a liar says is held against nothing.
                if status == Status::Ok && !self.plan.has(Villain::Liar) {
                    let accounts: Vec<IdentityKey> =
                        self.apps.iter().filter_map(|app| app.account).collect();
                    let what = (method, &request, &response);
                    let memory = &self.store.memory;
                    self.checker.answered(now, what, memory, &accounts);
                }
            }
            Seen::Pushed(event) => {
                self.log.entry(now, who, format_args!("pushes"));
                self.checker.pushed(now, &event);
            }
            Seen::Broken(what) => {
                let detail = format!("{who}: {what}");
                self.checker.fail(now, Invariant::Carrier, detail);
            }
            // Anyone who means ill sends what it likes, and is answered before it is read to its end.
            Seen::Nonsense if self.plan.is_any() => {}
            Seen::Nonsense => {
                let detail = format!("{who} sent what is no frame");
                self.checker.fail(now, Invariant::NothingBreaks, detail);
            }
        }
    }

    /// The clients whose accounts the server has as members.
    fn listed_in(&self, conversation: &ConversationId) -> BTreeSet<usize> {
        let members = self.members_of(conversation);
        let clients = (0..).zip(&self.apps);
        let is_member = |app: &App| app.account.is_some_and(|own| members.contains(&own));
        let listed = clients.filter(|(_, app)| is_member(app));
        listed.map(|(client, _)| client).collect()
    }

    pub(super) fn app_told(&mut self, client: usize, event: client::Event) {
        let now = self.now;
        self.log.entry(
            now,
            Who::Client(client),
            format_args!("is told {}", brief(&event)),
        );
        if self.plan.is_any() && !self.means_ill(client) {
            self.is_told(&event);
        }
        let means_ill = self.means_ill(client);
        if let (client::Event::Removed { conversation }, false) = (&event, means_ill) {
            self.checker.listed = self.listed_in(conversation);
        }
        if let (client::Event::Reset { conversation }, true) = (&event, self.plan.is_any()) {
            // It does not matter who makes the new group.
            self.checker.anew.insert(*conversation);
        }
        let app = &mut self.apps[client];
        let memory = &self.disks[client].memory;
        if !means_ill {
            self.checker.app_told(now, client, app, &event, memory);
        }
        match event {
            client::Event::Done { intent, outcome } => {
                if matches!(outcome, Outcome::Sent { .. }) {
                    self.messages += 1;
                }
                app.done(intent, outcome);
            }
            client::Event::Failed { intent, error } => {
                app.failed(intent, &error);
            }
            client::Event::Kept {
                intent,
                kept: client::Kept::Message { message_id, .. },
            } => {
                app.kept.insert(intent, message_id);
            }
            client::Event::NotSent { message, .. } => {
                app.called_unsent.insert(message.message_id);
            }
            client::Event::Joined { conversation } => app.learn(&conversation),
            client::Event::RejoinRefused { conversation, .. } => {
                app.refused.insert(conversation);
            }
            client::Event::AgreementAwaited { conversation, .. } => {
                app.awaited.insert(conversation, now);
            }
            client::Event::Unlisted {
                conversation,
                person,
            } => {
                app.unlisted.insert((conversation, person.identity_key));
            }
            client::Event::Opened { account } => {
                app.logged_in = account.as_ref().is_some_and(|account| account.logged_in);
                app.registered |= account.is_some();
                app.account = account.map(|account| account.identity_key).or(app.account);
            }
            client::Event::LoggedOut => {
                app.logged_in = false;
                app.logouts = app.logouts.saturating_sub(1);
            }
            client::Event::LoggedIn { account } => {
                app.logged_in = true;
                app.registered = true;
                app.account = Some(account.identity_key);
            }
            _ => {}
        }
    }
}
