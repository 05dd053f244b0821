//! Names and keys of people, as the server told them, and what the server says of itself.
//!
//! A name keeps the key that it first had here: a server that names another one is not believed.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::client::Client;
use crate::client::error::IntentError;
use crate::client::event::{ConversationId, Event};
use crate::client::keep::keys::Name;
use crate::client::keep::record::ContactRecord;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::Timer;
use crate::client::outcome::ServerInfo;
use crate::ids::{IdentityKey, IntentId};
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

/// What is being asked, beyond what is stored.
#[derive(Default)]
pub(in crate::client) struct Contacts {
    /// Members whose name is not known, and the conversations whose queues wait for it.
    nameless: BTreeMap<IdentityKey, BTreeSet<ConversationId>>,
    info: Option<proto::GetServerInfoResponse>,
    /// Answers to [`Client::server_info`].
    pub(in crate::client) server_info: BTreeMap<IntentId, ServerInfo>,
    asking_server: BTreeSet<IntentId>,
}

/// What is known of a name.
pub(in crate::client) enum LookUp {
    Known(IdentityKey),
    /// The answer is on its way, or will be asked for.
    Asked,
    Failed(IntentError),
}

impl Client {
    /// The key of a user.
    pub(in crate::client) fn look_up(&mut self, name: &str) -> LookUp {
        if !is_name(name) {
            return LookUp::Failed(IntentError::BadName);
        }
        if let Some(me) = self.state.me.as_ref().filter(|me| me.name == name) {
            return LookUp::Known(me.identity_key());
        }
        if let Some(key) = self.state.names.get(name) {
            return LookUp::Known(*key);
        }
        let then = Then::ResolveUser(name.to_owned());
        if self.link.is_ready() && !self.link.is_asked(&then) && !self.timers.is_set(Timer::Names) {
            let request = proto::ResolveUserRequest {
                username: name.to_owned(),
            };
            self.call::<rpc::ResolveUser>(&request, then);
        }
        LookUp::Asked
    }

    pub(in crate::client) fn on_user_resolved(
        &mut self,
        name: String,
        answer: Answer<rpc::ResolveUser>,
    ) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                let error = match fault.status {
                    Status::NotFound => IntentError::UnknownUser { name: name.clone() },
                    _ => IntentError::Refused {
                        message: fault.message,
                    },
                };
                self.name_failed(&name, &error);
                return;
            }
        };
        match IdentityKey::try_from(answer.identity_key.as_ref()) {
            Ok(key) if self.learn(key, &name) => {}
            Ok(_) => self.name_failed(&name, &IntentError::KeyChanged { name: name.clone() }),
            Err(_) => self.name_failed(&name, &IntentError::BadServer),
        }
    }

    /// Keeps a name for a key; `false` if one of the two is known otherwise.
    fn learn(&mut self, key: IdentityKey, name: &str) -> bool {
        let known = self.state.names.get(name).copied();
        match known {
            Some(known) if known == key => return true,
            Some(known) => {
                self.writer.emit(Event::KeyChanged {
                    name: name.to_owned(),
                    known,
                    claimed: key,
                });
                return false;
            }
            None if self.state.contacts.contains_key(&key) => return false,
            None => {}
        }
        self.state.names.insert(name.to_owned(), key);
        self.state.contacts.insert(key, name.to_owned());
        let record = ContactRecord {
            name: name.to_owned(),
        };
        self.writer.put(&Name::Contact(key), &record);
        let dms = self.state.conversations.iter();
        let dms = dms.filter(|(_, channel)| channel.peer == Some(key) && channel.name.is_empty());
        let dms: Vec<_> = dms.map(|(id, _)| *id).collect();
        for conversation in dms {
            self.rename(conversation, name.to_owned());
        }
        true
    }

    /// Asks for the names of members that are not known; the conversation's queue waits for the
    /// answers, so that its messages come with the names of their writers.
    pub(in crate::client) fn need_names(
        &mut self,
        conversation: ConversationId,
        keys: &[IdentityKey],
    ) {
        for key in keys {
            if self.state.person(*key).name.is_none() {
                let waiting = self.contacts.nameless.entry(*key).or_default();
                waiting.insert(conversation);
                // Asked again after a restart.
                self.writer
                    .put(&Name::Contact(*key), &ContactRecord::default());
            }
        }
        self.ask_names();
    }

    /// People whose name was not known when the state was stored.
    pub(in crate::client) fn remember_nameless(&mut self) {
        for key in core::mem::take(&mut self.state.nameless) {
            self.contacts.nameless.entry(key).or_default();
        }
    }

    /// Whether the queue of this conversation waits for names.
    pub(in crate::client) fn is_nameless(&self, conversation: ConversationId) -> bool {
        self.contacts
            .nameless
            .values()
            .any(|waiting| waiting.contains(&conversation))
    }

    pub(in crate::client) fn ask_names(&mut self) {
        if !self.link.is_ready() || self.timers.is_set(Timer::Names) {
            return;
        }
        let keys: Vec<_> = self.contacts.nameless.keys().copied().collect();
        for key in keys {
            let then = Then::ResolveIdentity(key);
            if !self.link.is_asked(&then) {
                let request = proto::ResolveIdentityRequest {
                    identity_key: key.as_bytes().to_vec().into(),
                };
                self.call::<rpc::ResolveIdentity>(&request, then);
            }
        }
    }

    pub(in crate::client) fn on_identity_resolved(
        &mut self,
        key: IdentityKey,
        answer: Answer<rpc::ResolveIdentity>,
    ) {
        match answer {
            Err(fault) if fault.is_passing() => {
                self.try_again(Timer::Names, &fault);
                // The queues go on without the name.
                if let Some(waiting) = self.contacts.nameless.get_mut(&key) {
                    let waiting = core::mem::take(waiting);
                    self.resume_queues(waiting);
                }
                self.check_synced();
                return;
            }
            Ok(answer) if is_name(&answer.username) => {
                self.learn(key, &answer.username);
            }
            Ok(_) | Err(_) => {}
        }
        let waiting = self.contacts.nameless.remove(&key).unwrap_or_default();
        self.resume_queues(waiting);
        self.check_synced();
    }

    fn resume_queues(&mut self, conversations: BTreeSet<ConversationId>) {
        for conversation in conversations {
            if !self.is_nameless(conversation) {
                self.announce(conversation);
                self.fetch(Some(conversation));
            }
        }
    }

    /// Asks the server what it is, for an intent.
    pub(in crate::client) fn ask_server_info(&mut self, intent: IntentId) {
        self.contacts.asking_server.insert(intent);
        if !self.link.is_up() || self.link.is_asked(&Then::ServerHealth) {
            return;
        }
        if self.contacts.info.is_some() {
            self.call::<rpc::Health>(&proto::HealthRequest {}, Then::ServerHealth);
        }
    }

    pub(in crate::client) fn keep_server_info(&mut self, info: proto::GetServerInfoResponse) {
        self.contacts.info = Some(info);
    }

    pub(in crate::client) fn on_health(&mut self, answer: Answer<rpc::Health>) {
        let health = match answer {
            Ok(health) => health,
            Err(fault) => {
                for intent in core::mem::take(&mut self.contacts.asking_server) {
                    self.fail(intent, Self::refusal(fault.clone()));
                }
                return;
            }
        };
        let Some(info) = &self.contacts.info else {
            return;
        };
        let Ok(signing_key) = <[u8; 32]>::try_from(info.signing_key.as_ref()) else {
            return;
        };
        let info = ServerInfo {
            domain: info.domain.clone(),
            signing_key,
            ciphersuites: info.ciphersuites.clone(),
            max_payload: info.max_payload,
            wire_version: info.wire_version,
            features: info.features.clone(),
            version: health.version,
            uptime: Duration::from_millis(health.uptime_ms),
        };
        for intent in core::mem::take(&mut self.contacts.asking_server) {
            if self.intents.is_open(intent) {
                self.contacts.server_info.insert(intent, info.clone());
            }
        }
    }

    /// What the server of this connection calls itself, `None` until it has said so.
    pub(in crate::client) fn server_domain(&self) -> Option<&str> {
        self.contacts.info.as_ref().map(|info| info.domain.as_str())
    }

    pub(in crate::client) fn forget_asked_names(&mut self) {
        self.contacts.info = None;
        self.timers.cancel(Timer::Names);
    }
}

/// Whether a user may have this name (protocol.md §5.15).
pub(in crate::client) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_few_characters_and_a_length() {
        for good in ["a", "alice", "a.b_c-9", &"x".repeat(32)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Alice", "a b", "é", "a@b", &"x".repeat(33)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
