//! A person of the demo: a client of its own, on its own data, over its own connection.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qpq_protocol::client::{
    Body, Conversation, ConversationId, Event, IntentId, Message, MlsSuite, Outcome, intent,
};
use qpq_server_example::session::{ForClients, Options, Patience, Session, SessionError};
use tokio::time::error::Elapsed;
use zeroize::Zeroizing;

use super::story::{Meter, Story};
use crate::address::conversations;
use crate::failed::Failed;

/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is online.
pub struct Actor {
    name: &'static str,
    dir: PathBuf,
    session: Session,
    /// Messages that came and were not asked for yet.
    heard: Vec<Message>,
    /// Conversations that were joined.
    joined: Vec<ConversationId>,
    /// Messages that the server has.
    sent: Vec<IntentId>,
}

/// Who is offline.
pub struct Away {
    name: &'static str,
    dir: PathBuf,
}

impl Actor {
    /// Opens a new client.
    pub async fn enter(
        name: &'static str,
        dir: &Path,
        server: &str,
        story: &Story<'_>,
    ) -> Result<Self, Failed> {
        let away = Away {
            name,
            dir: dir.join(name),
        };
        away.open(server, "opens an empty, sealed database", story)
            .await
    }

    pub async fn register(&mut self, story: &Story<'_>) -> Result<(), Failed> {
        let name = self.name;
        let password = password(name);
        let meter = self.meter().await?;
        self.enter_account(intent::Register::new(name, password))
            .await?;
        self.told("registers (OPAQUE), uploads key packages", &meter, story)
            .await
    }

    pub async fn log_out_and_in(&mut self, story: &Story<'_>) -> Result<(), Failed> {
        let name = self.name;
        let meter = self.meter().await?;
        self.ask(intent::Logout).await?;
        self.told("logs out", &meter, story).await?;
        let password = password(name);
        let meter = self.meter().await?;
        self.enter_account(intent::Login::new(name, password))
            .await?;
        self.told("logs in with her password (OPAQUE)", &meter, story)
            .await
    }

    pub async fn create_group(
        &mut self,
        name: &'static str,
        members: &'static [&'static str],
        story: &Story<'_>,
    ) -> Result<ConversationId, Failed> {
        let meter = self.meter().await?;
        let made = self.ask(intent::CreateGroup::new(name, members)).await?;
        let group = match made.missing.is_empty() {
            true => made.conversation,
            false => return Err(Failed::Unexpected),
        };
        let what = format!("makes the group \"{name}\" with {}", members.join(" and "));
        self.told(&what, &meter, story).await?;
        story.detail(&format!(
            "MLS suite 0x{:04x} (ML-KEM-768 and X25519), epoch {}, {} members",
            MlsSuite::MlKem768X25519.id(),
            group.epoch,
            group.members.len()
        ))?;
        Ok(group.id)
    }

    pub async fn dm(
        &mut self,
        peer: &'static str,
        story: &Story<'_>,
    ) -> Result<ConversationId, Failed> {
        let meter = self.meter().await?;
        let conversation = self.ask(intent::Dm(peer.into())).await?;
        let what = format!(
            "opens a conversation with {peer}, epoch {}",
            conversation.epoch
        );
        self.told(&what, &meter, story).await?;
        Ok(conversation.id)
    }

    /// Waits for the invitation, and for the name that the others gave it.
    pub async fn joins(&mut self, id: ConversationId, story: &Story<'_>) -> Result<(), Failed> {
        let meter = self.meter().await?;
        self.wait("the invitation", |actor| {
            actor.joined.contains(&id).then_some(())
        })
        .await?;
        let end = Instant::now() + PATIENCE;
        let joined = loop {
            let joined = self.look_at(id).await?;
            if !joined.name.is_empty() {
                break joined;
            }
            if Instant::now() >= end {
                return Err(self.gave_up("the group's name"));
            }
            self.one_more("the group's name", end).await?;
        };
        let what = format!("is in \"{}\", epoch {}", joined.name, joined.epoch);
        self.told(&what, &meter, story).await
    }

    pub async fn say(
        &mut self,
        conversation: ConversationId,
        text: &str,
        story: &Story<'_>,
    ) -> Result<(), Failed> {
        let meter = self.meter().await?;
        self.ask(intent::Send::new(conversation, text)).await?;
        self.told(&format!("says: {text}"), &meter, story).await
    }

    /// Writes a message that cannot leave yet.
    pub async fn begin_to_say(
        &mut self,
        conversation: ConversationId,
        text: &str,
        story: &Story<'_>,
    ) -> Result<IntentId, Failed> {
        let begun = Instant::now();
        let intent = self
            .session
            .begin(intent::Send::new(conversation, text))
            .await?;
        let what = format!("writes, with no server there: {text}");
        story.did(self.name, &what, begun.elapsed(), None)?;
        Ok(intent)
    }

    /// Waits until the server has it.
    pub async fn is_confirmed(
        &mut self,
        intent: IntentId,
        text: &str,
        story: &Story<'_>,
    ) -> Result<(), Failed> {
        let meter = self.meter().await?;
        self.wait("the confirmation", |actor| {
            actor.sent.contains(&intent).then_some(())
        })
        .await?;
        self.told(
            &format!("has found the server, and said: {text}"),
            &meter,
            story,
        )
        .await
    }

    pub async fn hears(
        &mut self,
        conversation: ConversationId,
        text: &str,
        story: &Story<'_>,
    ) -> Result<(), Failed> {
        let meter = self.meter().await?;
        let message = self
            .wait(text, |actor| {
                let wanted = |message: &Message| {
                    message.conversation == conversation
                        && message.body == Body::Text(text.to_owned())
                };
                let at = actor.heard.iter().position(wanted)?;
                Some(actor.heard.swap_remove(at))
            })
            .await?;
        let from = message.sender.name.as_deref().unwrap_or("someone unknown");
        let what = format!("hears {from}, {} bytes decrypted", text.len());
        self.told(&what, &meter, story).await
    }

    /// Reads the whole history and compares it.
    pub async fn has_exactly(
        &mut self,
        id: ConversationId,
        said: &[&str],
        story: &Story<'_>,
    ) -> Result<(), Failed> {
        let meter = self.meter().await?;
        let messages = self
            .ask(intent::History {
                conversation: id,
                before: None,
                limit: 1000,
            })
            .await?;
        let texts: Vec<&Body> = messages.iter().map(|message| &message.body).collect();
        let expected: Vec<Body> = said
            .iter()
            .map(|text| Body::Text((*text).to_owned()))
            .collect();
        if !texts.iter().copied().eq(expected.iter()) {
            return Err(Failed::Demo(format!(
                "{} has {} messages that are not the {} that were written",
                self.name,
                texts.len(),
                said.len()
            )));
        }
        let this = self.look_at(id).await?;
        let what = format!(
            "has all {} of \"{}\", epoch {}",
            said.len(),
            this.name,
            this.epoch
        );
        self.told(&what, &meter, story).await
    }

    /// Closes connection and database.
    pub async fn leave(self, story: &Story<'_>) -> Result<Away, Failed> {
        story
            .timed(self.name, "closes", self.session.close())
            .await?;
        Ok(Away {
            name: self.name,
            dir: self.dir,
        })
    }

    async fn ask<A: ForClients>(&mut self, asked: A) -> Result<A::End, Failed> {
        let end = tokio::time::timeout(PATIENCE, self.session.ask(asked)).await;
        self.end(end)
    }

    /// Registers or logs in.
    async fn enter_account<A: ForClients>(&mut self, asked: A) -> Result<A::End, Failed> {
        let asked = self.session.ask_without_session(asked);
        let end = tokio::time::timeout(PATIENCE, asked).await;
        self.end(end)
    }

    fn end<T>(&self, end: Result<Result<T, SessionError>, Elapsed>) -> Result<T, Failed> {
        let name = self.name;
        match end {
            Ok(end) => end.map_err(|error| Failed::Demo(format!("{name}: {error}"))),
            Err(_) => Err(self.gave_up("an answer")),
        }
    }

    /// The conversation as this client knows it now.
    async fn look_at(&mut self, id: ConversationId) -> Result<Conversation, Failed> {
        let all = conversations(&mut self.session).await?;
        let this = all.into_iter().find(|conversation| conversation.id == id);
        this.ok_or(Failed::Unexpected)
    }

    /// Takes events until `found` finds what is waited for.
    async fn wait<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, Failed> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            self.one_more(what, end).await?;
        }
    }

    /// Takes one event.
    async fn one_more(&mut self, what: &str, end: Instant) -> Result<(), Failed> {
        let next = tokio::time::timeout_at(end.into(), self.session.next()).await;
        match next.map_err(|_| self.gave_up(what))?? {
            Event::Message(message) => self.heard.push(message),
            Event::Joined { conversation } => self.joined.push(conversation.id),
            Event::Done {
                intent,
                outcome: Outcome::Sent { .. },
            } => self.sent.push(intent),
            Event::Failed { error, .. } => {
                return Err(Failed::Demo(format!("{}: {error}", self.name)));
            }
            Event::Unreadable { why, .. } => {
                return Err(Failed::Demo(format!("{} lost a message: {why}", self.name)));
            }
            _ => {}
        }
        Ok(())
    }

    fn gave_up(&self, what: &str) -> Failed {
        let seconds = PATIENCE.as_secs();
        Failed::Demo(format!(
            "{} waited {seconds} s in vain for: {what}",
            self.name
        ))
    }

    async fn meter(&self) -> Result<Meter, Failed> {
        Ok(Meter::new(self.session.traffic().await?))
    }

    async fn told(&self, what: &str, meter: &Meter, story: &Story<'_>) -> Result<(), Failed> {
        let took = meter.took();
        let traffic = meter.since(self.session.traffic().await?);
        story.did(self.name, what, took, Some(traffic))
    }
}

impl Away {
    /// Opens the client again and waits for what it missed.
    pub async fn come_back(self, server: &str, story: &Story<'_>) -> Result<Actor, Failed> {
        let mut actor = self
            .open(
                server,
                "opens her database again, no password needed",
                story,
            )
            .await?;
        let meter = actor.meter().await?;
        let synced = tokio::time::timeout(PATIENCE, actor.session.sync()).await;
        synced.map_err(|_| actor.gave_up("what she missed"))??;
        actor
            .told("resumes her session and fetches", &meter, story)
            .await?;
        Ok(actor)
    }

    async fn open(self, server: &str, what: &str, story: &Story<'_>) -> Result<Actor, Failed> {
        let options = Options {
            server: server.to_owned(),
            data_dir: self.dir.clone(),
            ca_cert: None,
            patience: Patience::Forever,
        };
        let session = story
            .timed(self.name, what, Session::open(&options))
            .await??;
        Ok(Actor {
            name: self.name,
            dir: self.dir,
            session,
            heard: Vec::new(),
            joined: Vec::new(),
            sent: Vec::new(),
        })
    }
}

fn password(name: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!("{name}'s long and secret password").into_bytes())
}
