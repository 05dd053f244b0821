//! What happens besides messages, told to people and to scripts once all that is to be said of it is
//! known.

use std::collections::{BTreeMap, BTreeSet};
use std::{mem, slice};

use qpq_protocol::client::{
    CommitProof, Comparison, Conversation, ConversationId, Event, Person, RejoinReason, Unsent,
};
use qpq_protocol::ids::IdentityKey;
use qpq_server_example::hex::hex;
use qpq_server_example::session::Session;
use serde_json::{Value, json};

use crate::address::{address, conversations};
use crate::failed::Failed;
use crate::output::{Output, names, person};
use qpq_server_example::printable::printable;

/// What is known now of conversations and of the people in them.
struct Known {
    conversations: BTreeMap<ConversationId, Conversation>,
    names: BTreeMap<IdentityKey, String>,
}

impl Known {
    async fn load(session: &mut Session) -> Result<Self, Failed> {
        let all = conversations(session).await?;
        let people = all.iter().flat_map(|one| &one.members);
        let named = people.filter_map(|one| Some((one.identity_key, one.name.clone()?)));
        Ok(Self {
            names: named.collect(),
            conversations: all.into_iter().map(|one| (one.id, one)).collect(),
        })
    }

    /// What a conversation is called, for people.
    fn called(&self, id: ConversationId) -> String {
        let known = self.conversations.get(&id);
        printable(&known.map_or_else(|| id.to_string(), address))
    }

    fn name(&self, id: ConversationId) -> &str {
        let known = self.conversations.get(&id);
        known.map_or("", |one| one.name.as_str())
    }

    /// The same people, by names that came after the event.
    fn named(&self, people: &[Person]) -> Vec<Person> {
        let named = |person: &Person| Person {
            identity_key: person.identity_key,
            name: person
                .name
                .clone()
                .or_else(|| self.names.get(&person.identity_key).cloned()),
        };
        people.iter().map(named).collect()
    }

    /// A person, for people.
    fn people(&self, person: &Person) -> String {
        names(&self.named(slice::from_ref(person)))
    }

    /// Whether all that is to be said of an event is known.
    fn is_complete(&self, event: &Event) -> bool {
        match event {
            Event::Joined { conversation } => !self.name(conversation.id).is_empty(),
            Event::Membership {
                by, added, removed, ..
            } => {
                let all = [slice::from_ref(by), added, removed];
                let all = all.into_iter().flat_map(|people| self.named(people));
                all.into_iter().all(|person| person.name.is_some())
            }
            _ => true,
        }
    }
}

/// A line for people, and the same for scripts.
type Line = (String, Value);

/// How what came in beside a command is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// On standard output: it is what the command is for.
    Said,
    /// To people, on standard error.
    Noted,
}

/// Tells events.
pub struct Teller<'a> {
    output: &'a Output,
    /// Events whose contents are not all known, and what followed them in their conversation.
    waiting: Vec<Event>,
    /// The names by which conversations were told of.
    told: BTreeMap<ConversationId, String>,
}

impl<'a> Teller<'a> {
    pub const fn new(output: &'a Output) -> Self {
        Self {
            output,
            waiting: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Whether something waits to be told.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells of an event, or keeps it until what belongs to it is known.
    pub async fn tell(&mut self, event: &Event, session: &mut Session) -> Result<(), Failed> {
        if let Event::Disconnected { why, retry_in } = event {
            let seconds = retry_in.as_secs();
            self.output.note(&format!("{why}; next try in {seconds} s"));
            return Ok(());
        }
        if let Event::Connected { .. } = event {
            self.output.note("connected");
            return Ok(());
        }
        if !is_told(event) {
            return Ok(());
        }
        self.waiting.push(event.clone());
        let known = Known::load(session).await?;
        for (human, machine) in self.ready(&known, |event| known.is_complete(event)) {
            self.output.line(&human, &machine)?;
        }
        Ok(())
    }

    /// Tells what waits with what is known of it: all, or what concerns the conversation that is about
    /// to be spoken of.
    pub async fn tell_waiting(
        &mut self,
        of: Option<ConversationId>,
        session: &mut Session,
    ) -> Result<(), Failed> {
        let is_meant = |event: &Event| of.is_none() || conversation_of(event) == of;
        if !self.waiting.iter().any(is_meant) {
            return Ok(());
        }
        let known = Known::load(session).await?;
        let is_due = |event: &Event| is_meant(event) || known.is_complete(event);
        for (human, machine) in self.ready(&known, is_due) {
            self.output.line(&human, &machine)?;
        }
        Ok(())
    }

    /// Closes the session and tells what else came in until then, since nobody is told it again: in
    /// `way`.
    pub async fn close(mut self, mut session: Session, way: Rest) -> Result<(), Failed> {
        let known = Known::load(&mut session).await;
        let rest = session.close().await;
        self.waiting.extend(rest.into_iter().filter(is_told));
        if self.waiting.is_empty() {
            return Ok(());
        }
        let known = known?;
        for (human, machine) in self.ready(&known, |_| true) {
            match way {
                Rest::Said => self.output.line(&human, &machine)?,
                Rest::Noted => self.output.note(&human),
            }
        }
        Ok(())
    }

    /// The lines of what waits and is due, in their order. What follows another in a conversation
    /// waits with it.
    fn ready(&mut self, known: &Known, is_due: impl Fn(&Event) -> bool) -> Vec<Line> {
        let mut behind = BTreeSet::new();
        let mut lines = Vec::new();
        for event in mem::take(&mut self.waiting) {
            let conversation = conversation_of(&event);
            let is_behind = conversation.is_some_and(|id| behind.contains(&id));
            if is_behind || !is_due(&event) {
                behind.extend(conversation);
                self.waiting.push(event);
            } else {
                lines.extend(self.line(&event, known));
            }
        }
        lines
    }

    /// What is said of an event; `None` where there is nothing to say.
    fn line(&mut self, event: &Event, known: &Known) -> Option<Line> {
        let line = match event {
            Event::Joined { conversation } => {
                let id = conversation.id;
                let name = known.name(id).to_owned();
                self.told.insert(id, name.clone());
                (
                    format!("you are in {}", known.called(id)),
                    json!({
                        "type": "joined",
                        "conversation": id.to_string(),
                        "name": name,
                        "epoch": conversation.epoch,
                    }),
                )
            }
            // That of two people has the name of the other one, which is learnt and does not change.
            Event::Renamed { conversation, .. } if conversation.is_dm() => return None,
            // It was told of by this name.
            Event::Renamed { conversation, name } if self.told.get(conversation) == Some(name) => {
                return None;
            }
            Event::Renamed { conversation, name } => {
                self.told.insert(*conversation, name.clone());
                (
                    format!("{} is called so now", known.called(*conversation)),
                    json!({
                        "type": "renamed",
                        "conversation": conversation.to_string(),
                        "name": name,
                    }),
                )
            }
            Event::Membership {
                conversation,
                by,
                added,
                removed,
                epoch,
            } => {
                let by = known.named(slice::from_ref(by));
                let (added, removed) = (known.named(added), known.named(removed));
                let called = known.called(*conversation);
                (
                    format!("{called}: {}", changed(&by, &added, &removed)),
                    json!({
                        "type": "membership",
                        "conversation": conversation.to_string(),
                        "by": by.first().map(person),
                        "added": added.iter().map(person).collect::<Vec<_>>(),
                        "removed": removed.iter().map(person).collect::<Vec<_>>(),
                        "epoch": epoch,
                    }),
                )
            }
            Event::Removed { conversation } => (
                format!("you are not in {} any more", known.called(*conversation)),
                json!({ "type": "removed", "conversation": conversation.to_string() }),
            ),
            Event::Unreadable {
                conversation,
                seq,
                why,
            } => (
                format!("{}: something was passed over: {why}", known.called(*conversation)),
                json!({
                    "type": "unreadable",
                    "conversation": conversation.to_string(),
                    "seq": seq,
                    "why": why.to_string(),
                }),
            ),
            Event::KeyChanged {
                name,
                known,
                claimed,
            } => (
                format!(
                    "the server says that @{name} has another key; the one known so far is kept: `qpq verify {name}` shows the safety number to compare"
                ),
                json!({
                    "type": "key_changed",
                    "name": name,
                    "known": hex(known.as_bytes()),
                    "claimed": hex(claimed.as_bytes()),
                }),
            ),
            Event::ServerKeyChanged { known, claimed } => (
                "this server has another signing key than the one of this account: check --server, or ask who runs it".to_owned(),
                json!({
                    "type": "server_key_changed",
                    "known": hex(known),
                    "claimed": hex(claimed),
                }),
            ),
            Event::Unproven { conversation, slot } => (
                format!(
                    "{}: the server gave no valid proof of a change of members: compare safety numbers with `qpq verify`",
                    known.called(*conversation)
                ),
                json!({
                    "type": "unproven",
                    "conversation": conversation.to_string(),
                    "slot": slot,
                }),
            ),
            Event::Forked {
                conversation,
                slot,
                proofs,
            } => (
                format!(
                    "{}: the server has shown members different changes: do not trust this conversation, compare safety numbers with `qpq verify`",
                    known.called(*conversation)
                ),
                json!({
                    "type": "forked",
                    "conversation": conversation.to_string(),
                    "slot": slot,
                    "proofs": proofs.iter().map(proof).collect::<Vec<_>>(),
                }),
            ),
            Event::Compared {
                conversation,
                with,
                slot,
                result,
            } => (
                format!(
                    "{}: {}",
                    known.called(*conversation),
                    compared(&known.people(with), *result)
                ),
                json!({
                    "type": "compared",
                    "conversation": conversation.to_string(),
                    "with": known.named(slice::from_ref(with)).first().map(person),
                    "slot": slot,
                    "result": comparison(*result),
                }),
            ),
            Event::Left {
                conversation,
                person: left,
            } => (
                format!(
                    "{}: {} has left; `qpq dm` opens it again",
                    known.called(*conversation),
                    known.people(left)
                ),
                json!({
                    "type": "left",
                    "conversation": conversation.to_string(),
                    "person": person(left),
                }),
            ),
            Event::VoidCommit {
                conversation,
                slot,
                by,
            } => (
                format!(
                    "{}: a change of members was invalid and had no effect (by {})",
                    known.called(*conversation),
                    by.as_ref().map_or_else(|| "nobody named".to_owned(), |by| known.people(by)),
                ),
                json!({
                    "type": "void_commit",
                    "conversation": conversation.to_string(),
                    "slot": slot,
                    "by": by.as_ref().map(person),
                }),
            ),
            Event::Rejoining { conversation, why } => (
                format!(
                    "{}: this device has lost the thread ({}) and comes back by itself; messages wait",
                    known.called(*conversation),
                    lost_by(*why),
                ),
                json!({
                    "type": "rejoining",
                    "conversation": conversation.to_string(),
                    "why": lost_by(*why),
                }),
            ),
            Event::Rejoined {
                conversation,
                added,
                removed,
                epoch,
            } => (
                rejoined(&known.called(*conversation), &known.named(added), &known.named(removed)),
                json!({
                    "type": "rejoined",
                    "conversation": conversation.to_string(),
                    "added": known.named(added).iter().map(person).collect::<Vec<_>>(),
                    "removed": known.named(removed).iter().map(person).collect::<Vec<_>>(),
                    "epoch": epoch,
                }),
            ),
            Event::AgreementAwaited { conversation, of } => (
                format!(
                    "{}: this device's data were of an earlier day; nothing is sent there before {} was here, or `qpq group accept` takes the group as it is",
                    known.called(*conversation),
                    one_of(&known.named(of)),
                ),
                json!({
                    "type": "agreement_awaited",
                    "conversation": conversation.to_string(),
                    "of": known.named(of).iter().map(person).collect::<Vec<_>>(),
                }),
            ),
            Event::RejoinRefused {
                conversation,
                returned,
            } => (
                format!(
                    "{}: coming back means to talk to {} again, who had gone; nothing is sent there before `qpq group accept` agrees to that",
                    known.called(*conversation),
                    names(&known.named(returned)),
                ),
                json!({
                    "type": "rejoin_refused",
                    "conversation": conversation.to_string(),
                    "returned": known.named(returned).iter().map(person).collect::<Vec<_>>(),
                }),
            ),
            Event::NotAdded {
                conversation,
                person: missing,
            } => (
                format!(
                    "{}: {} or one of their devices could not be added, the others were",
                    known.called(*conversation),
                    known.people(missing),
                ),
                json!({
                    "type": "not_added",
                    "conversation": conversation.to_string(),
                    "person": person(missing),
                }),
            ),
            Event::NotMade {
                conversation,
                name,
                error,
            } => (
                format!("the conversation with the name {} will not come to be: {error}", printable(name)),
                json!({
                    "type": "not_made",
                    "conversation": conversation.to_string(),
                    "name": name,
                    "error": error.to_string(),
                }),
            ),
            Event::NotSent { message, error } => (
                format!(
                    "{}: a message that was kept will not be sent: {error}",
                    known.called(message.conversation),
                ),
                json!({
                    "type": "not_sent",
                    "conversation": message.conversation.to_string(),
                    "id": message.message_id.to_string(),
                    "may_have_come": message.on_its_way,
                    "error": error.to_string(),
                }),
            ),
            Event::NotRemoved {
                conversation,
                person: stays,
                error,
            } => (
                format!(
                    "{}: {} was to be removed and stays: {error}",
                    known.called(*conversation),
                    known.people(stays),
                ),
                json!({
                    "type": "not_removed",
                    "conversation": conversation.to_string(),
                    "person": person(stays),
                    "error": error.to_string(),
                }),
            ),
            Event::Unlisted {
                conversation,
                person: member,
            } => (
                format!(
                    "{}: the server says that {} has left, without telling the others: remove them, and invite them again \
                     if they did not",
                    known.called(*conversation),
                    known.people(member),
                ),
                json!({
                    "type": "unlisted",
                    "conversation": conversation.to_string(),
                    "person": person(member),
                }),
            ),
            Event::Reset { conversation } => (
                format!(
                    "{}: nobody could follow any more, so a member began anew; the history stays",
                    known.called(*conversation)
                ),
                json!({ "type": "reset", "conversation": conversation.to_string() }),
            ),
            Event::NotFollowed { followed } => (
                format!(
                    "strangers began more conversations than are looked into at once ({followed}); the others wait at the server, and yours are not held up"
                ),
                json!({ "type": "not_followed", "followed": followed }),
            ),
            Event::SetBack => (
                "this device's data are of an earlier day than what the server has seen of it: a copy was put back, or is in use elsewhere. What came in between is not here; groups are entered anew before anything is sent there. Use one of the two alone".to_owned(),
                json!({ "type": "set_back" }),
            ),
            Event::ServerSetBack { unsent } => (
                server_set_back(unsent, known),
                json!({
                    "type": "server_set_back",
                    "unsent": unsent.iter().map(lost).collect::<Vec<_>>(),
                }),
            ),
            // Told elsewhere: by the command that asked, by the session that fails, as messages, or
            // as a note.
            Event::Opened { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::LoggedIn { .. }
            | Event::LoggedOut
            | Event::Synced
            | Event::Message(_)
            | Event::Kept { .. }
            | Event::StorageTrouble(_)
            | Event::Fatal(_)
            | Event::Done { .. }
            | Event::Failed { .. } => return None,
        };
        Some(line)
    }
}

/// Whether an event has a line of its own, so that the conversations have to be looked up for it.
const fn is_told(event: &Event) -> bool {
    !matches!(
        event,
        Event::Opened { .. }
            | Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::LoggedIn { .. }
            | Event::LoggedOut
            | Event::Synced
            | Event::Message(_)
            | Event::Kept { .. }
            | Event::StorageTrouble(_)
            | Event::Fatal(_)
            | Event::Done { .. }
            | Event::Failed { .. }
    )
}

/// The conversation that an event is about, in which its order counts.
const fn conversation_of(event: &Event) -> Option<ConversationId> {
    match event {
        Event::Joined { conversation } => Some(conversation.id),
        Event::NotSent { message, .. } => Some(message.conversation),
        Event::Membership { conversation, .. }
        | Event::Renamed { conversation, .. }
        | Event::Removed { conversation }
        | Event::Unreadable { conversation, .. }
        | Event::Unproven { conversation, .. }
        | Event::Left { conversation, .. }
        | Event::VoidCommit { conversation, .. }
        | Event::Rejoining { conversation, .. }
        | Event::Rejoined { conversation, .. }
        | Event::AgreementAwaited { conversation, .. }
        | Event::RejoinRefused { conversation, .. }
        | Event::NotAdded { conversation, .. }
        | Event::NotMade { conversation, .. }
        | Event::NotRemoved { conversation, .. }
        | Event::Unlisted { conversation, .. }
        | Event::Reset { conversation }
        | Event::Compared { conversation, .. }
        | Event::Forked { conversation, .. } => Some(*conversation),
        _ => None,
    }
}

/// "bob", or "one of bob, carol".
fn one_of(people: &[Person]) -> String {
    match people {
        [_] => names(people),
        all => format!("one of {}", names(all)),
    }
}

fn lost_by(why: RejoinReason) -> &'static str {
    match why {
        RejoinReason::Unfit => "a change of members does not fit here",
        RejoinReason::Missed => "changes of members are missing",
        RejoinReason::State => "its state cannot be used",
        RejoinReason::SetBack => "it was set back to an earlier state",
        RejoinReason::Forgotten => "it was set back to before it joined",
        _ => "for another reason",
    }
}

/// What came of comparing with a member, for people.
fn compared(with: &str, result: Comparison) -> String {
    match result {
        Comparison::Agrees => format!("{with} holds the same conversation as this device"),
        Comparison::OtherTree => format!(
            "{with} holds another conversation than this device, or says so: compare safety numbers with `qpq verify`"
        ),
        Comparison::OtherCommit => format!(
            "{with} was shown another change of members than this device: do not trust this conversation"
        ),
        Comparison::NotComparable => {
            format!("what {with} holds could not be compared with what this device holds")
        }
    }
}

/// The same, for scripts.
const fn comparison(result: Comparison) -> &'static str {
    match result {
        Comparison::Agrees => "agrees",
        Comparison::OtherTree => "other_tree",
        Comparison::OtherCommit => "other_commit",
        Comparison::NotComparable => "not_comparable",
    }
}

fn rejoined(called: &str, added: &[Person], removed: &[Person]) -> String {
    let mut said = format!("{called}: this device is back");
    if !added.is_empty() {
        said.push_str(&format!(
            "; {} came in meanwhile, compare safety numbers with `qpq verify`",
            names(added)
        ));
    }
    if !removed.is_empty() {
        said.push_str(&format!("; {} went", names(removed)));
    }
    said
}

fn server_set_back(unsent: &[Unsent], known: &Known) -> String {
    let mut said =
        "the server's data are of an earlier day: what you had sent since is sent again".to_owned();
    let mut counts: BTreeMap<ConversationId, usize> = BTreeMap::new();
    for one in unsent {
        let count = counts.entry(one.conversation).or_default();
        *count = count.saturating_add(1);
    }
    let listed = counts
        .iter()
        .map(|(id, count)| format!("{count} in {}", known.called(*id)));
    let listed = listed.collect::<Vec<_>>().join(", ");
    if !listed.is_empty() {
        said.push_str(&format!(
            ", but for these messages: {listed}. `qpq history` shows them; send again what still matters"
        ));
    }
    said
}

fn lost(unsent: &Unsent) -> Value {
    json!({ "conversation": unsent.conversation.to_string(), "index": unsent.index })
}

fn changed(by: &[Person], added: &[Person], removed: &[Person]) -> String {
    let (by, came, went) = (names(by), names(added), names(removed));
    match (added, removed) {
        ([], []) => format!("{by} renewed the keys"),
        (_, []) => format!("{by} added {came}"),
        ([], _) => format!("{by} removed {went}"),
        (_, _) => format!("{by} added {came} and removed {went}"),
    }
}

fn proof(proof: &CommitProof) -> Value {
    json!({
        "commit_hash": hex(&proof.commit_hash),
        "sender": hex(proof.sender.as_bytes()),
        "server_epoch": proof.server_epoch.to_string(),
        "proof": hex(&proof.proof),
    })
}
