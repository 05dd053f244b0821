//! The runs that are recorded.

use core::time::Duration;

use qpq_protocol::client::intent::Password;
use qpq_protocol::client::{ConversationId, Outcome, intent};
use serde_json::Value;
use zeroize::Zeroizing;

use super::world::World;
use crate::vectors::VectorError;

type Result<T> = core::result::Result<T, VectorError>;

/// A run by its name, and what happens in it.
pub struct Story {
    /// Name of its file.
    pub name: &'static str,
    /// For the reader of the file.
    pub text: &'static str,
    /// How many clients are recorded, the first ones.
    clients: usize,
    tell: fn(&mut World) -> Result<()>,
}

/// All runs.
pub const STORIES: [Story; 3] = [
    Story {
        name: "dm",
        text: "Alice and Bob register, Bob logs out and in again, Alice opens a conversation, both write, Bob reads; all stop in order.",
        clients: 2,
        tell: dm,
    },
    Story {
        name: "conflict",
        text: "In a group of two both members add someone at once: one commit is refused, its writer takes the winner's in and commits again. Recorded are the server and the two.",
        clients: 2,
        tell: conflict,
    },
    Story {
        name: "crashes",
        text: "Power is lost before a message is durable at its writer, after that but before the writer learns of it, and at the server between storing a message and answering; each message comes at most once.",
        clients: 2,
        tell: crashes,
    },
];

impl Story {
    /// Tells it to a new world; what was recorded.
    ///
    /// # Errors
    /// [`VectorError::Story`] if it does not come out as it should.
    pub fn record(&self) -> Result<Vec<Value>> {
        let mut world = World::new()?;
        (self.tell)(&mut world)?;
        Ok(world.recording(self.clients))
    }
}

fn dm(world: &mut World) -> Result<()> {
    let alice = register(world, "alice")?;
    let bob = register(world, "bob")?;
    world.ask(bob, intent::Logout)?;
    world.ask(bob, intent::Login::new("bob", secret("bob")))?;
    let dm = conversation(world.ask(alice, intent::Dm("bob".to_owned()))?)?;
    say(world, alice, dm, "hello")?;
    world.until(|world| world.texts(bob) == ["hello"])?;
    say(world, bob, dm, "hello yourself")?;
    say(world, alice, dm, "how are you?")?;
    world.until(|world| world.texts(bob).len() == 2 && world.texts(alice) == ["hello yourself"])?;
    world.ask(
        bob,
        intent::MarkRead {
            conversation: dm,
            up_to: 2,
        },
    )?;
    world.ask(
        bob,
        intent::History {
            conversation: dm,
            before: None,
            limit: 10,
        },
    )?;
    world.pass(Duration::from_secs(60))?;
    world.shut_down()
}

fn conflict(world: &mut World) -> Result<()> {
    let alice = register(world, "alice")?;
    let bob = register(world, "bob")?;
    let carol = register(world, "carol")?;
    let dave = register(world, "dave")?;
    let group = world.ask(alice, intent::CreateGroup::new("friends", &["bob"]))?;
    let group = conversation(group)?;
    world.pass(Duration::from_secs(1))?;
    let one = world.say(alice, intent::Invite::new(group, "carol"))?;
    let other = world.say(bob, intent::Invite::new(group, "dave"))?;
    world.until(|world| {
        world.outcome(alice, one).is_some() && world.outcome(bob, other).is_some()
    })?;
    say(world, alice, group, "all here?")?;
    world.until(|world| {
        [bob, carol, dave]
            .iter()
            .all(|of| world.texts(*of) == ["all here?"])
    })?;
    world.pass(Duration::from_secs(1))
}

fn crashes(world: &mut World) -> Result<()> {
    let alice = register(world, "alice")?;
    let bob = register(world, "bob")?;
    let dm = conversation(world.ask(alice, intent::Dm("bob".to_owned()))?)?;
    world.pass(Duration::from_secs(1))?;

    world.hold_client(alice)?;
    world.say(alice, intent::Send::new(dm, "lost"))?;
    world.settle()?;
    world.restart_client(alice)?;
    world.pass(Duration::from_secs(2))?;

    world.hold_client(alice)?;
    world.say(alice, intent::Send::new(dm, "kept"))?;
    world.settle()?;
    world.unseen_by_client(alice)?;
    world.restart_client(alice)?;
    world.until(|world| world.texts(bob) == ["kept"])?;
    world.pass(Duration::from_secs(2))?;

    world.say(alice, intent::Send::new(dm, "answered late"))?;
    world.server.hold = true;
    world.settle()?;
    world.unseen_by_server()?;
    world.restart_server()?;
    world.until(|world| world.texts(bob) == ["kept", "answered late"])?;
    world.pass(Duration::from_secs(5))?;
    match world.texts(bob).len() {
        2 => Ok(()),
        _ => Err(VectorError::Story),
    }
}

fn register(world: &mut World, name: &'static str) -> Result<usize> {
    let client = world.add_client(name)?;
    world.ask(client, intent::Register::new(name, secret(name)))?;
    Ok(client)
}

fn secret(name: &str) -> Password {
    Zeroizing::new(format!("the secret of {name}").into_bytes()).into()
}

fn say(world: &mut World, client: usize, id: ConversationId, text: &str) -> Result<()> {
    world.ask(client, intent::Send::new(id, text))?;
    Ok(())
}

fn conversation(outcome: Outcome) -> Result<ConversationId> {
    match outcome {
        Outcome::Conversation(conversation) => Ok(conversation.id),
        _ => Err(VectorError::Story),
    }
}
