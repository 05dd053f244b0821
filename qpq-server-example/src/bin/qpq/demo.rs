//! `qpq demo`: a server and three clients in this process, over QUIC on loopback, telling what they
//! do and checking that nothing is lost.

mod actor;
mod story;

use std::path::{Path, PathBuf};

use qpq_protocol::limits::{Limits, Rate};
use qpq_server_example::serve::{Options, Running};
use qpq_server_example::server_data::DATABASE_FILE;

use crate::failed::Failed;
use crate::output::Output;
use actor::Actor;
use story::Story;

/// Runs the demo in `dir`, which must be empty, or in a new temporary directory. What it made stays
/// there to be looked at.
pub async fn run(dir: Option<PathBuf>, output: &Output) -> Result<(), Failed> {
    let dir = place(dir)?;
    let mut story = Story::new(output);
    let messages = play(&dir, &mut story).await?;
    story.end(messages, &dir.join("server").join(DATABASE_FILE))
}

/// Everything that happens; returns how many messages were written.
async fn play(dir: &Path, story: &mut Story<'_>) -> Result<usize, Failed> {
    let mut limits = Limits::default();
    // Three people behind one address, who do not pause between what they do.
    limits.address_requests = Rate::per_secs(500, 1);
    let mut options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: dir.join("server"),
        domain: "localhost".to_owned(),
        admins: Vec::new(),
        limits,
        max_pages: None,
        new_certificate: false,
        accept_clock: false,
    };
    story.chapter("A server, and three people who have never met it")?;
    let server = start(&options, story, "starts").await?;
    options.listen = server.local_addr();
    let address = server.local_addr().to_string();
    let mut alice = Actor::enter("alice", dir, &address, story).await?;
    let mut bob = Actor::enter("bob", dir, &address, story).await?;
    let mut carol = Actor::enter("carol", dir, &address, story).await?;
    for actor in [&mut alice, &mut bob, &mut carol] {
        actor.register(story).await?;
    }
    carol.log_out_and_in(story).await?;

    story.chapter("A group with post-quantum keys")?;
    let garden = alice
        .create_group("garden", &["bob", "carol"], story)
        .await?;
    bob.joins(garden, story).await?;
    carol.joins(garden, story).await?;
    let mut said = Vec::new();
    for (speaker, text) in [
        (0, "The tomatoes are ripe. Who comes to pick some?"),
        (1, "Me, with a basket and both children."),
        (2, "I bring the bread."),
    ] {
        let people = [&mut alice, &mut bob, &mut carol];
        talk(people, speaker, garden, text, story).await?;
        said.push(text);
    }

    story.chapter("Two of them in private")?;
    let private = alice.dm("bob", story).await?;
    bob.joins(private, story).await?;
    let surprise = ["Carol's birthday is tomorrow.", "I know. I bake the cake."];
    alice.say(private, surprise[0], story).await?;
    bob.hears(private, surprise[0], story).await?;
    bob.say(private, surprise[1], story).await?;
    alice.hears(private, surprise[1], story).await?;

    story.chapter("Carol is offline, and the server stops meanwhile")?;
    let carol = carol.leave(story).await?;
    let missed = ["It rains, we sit in the shed.", "There is coffee."];
    alice.say(garden, missed[0], story).await?;
    bob.hears(garden, missed[0], story).await?;
    bob.say(garden, missed[1], story).await?;
    alice.hears(garden, missed[1], story).await?;
    story
        .timed("server", "finishes what runs and stops", server.stop())
        .await?;
    let waiting = "Is anyone there?";
    let intent = alice.begin_to_say(garden, waiting, story).await?;
    let server = start(&options, story, "starts again on the same data").await?;
    alice.is_confirmed(intent, waiting, story).await?;
    bob.hears(garden, waiting, story).await?;

    story.chapter("Carol comes back")?;
    let mut carol = carol.come_back(&address, story).await?;
    for text in missed.into_iter().chain([waiting]) {
        carol.hears(garden, text, story).await?;
        said.push(text);
    }
    let answer = "I am. Sorry, the train.";
    let people = [&mut alice, &mut bob, &mut carol];
    talk(people, 2, garden, answer, story).await?;
    said.push(answer);

    story.chapter("Does everyone have everything, once and in order?")?;
    for actor in [&mut alice, &mut bob, &mut carol] {
        actor.has_exactly(garden, &said, story).await?;
    }
    for actor in [&mut alice, &mut bob] {
        actor.has_exactly(private, &surprise, story).await?;
    }
    for actor in [alice, bob, carol] {
        actor.leave(story).await?;
    }
    story.timed("server", "stops", server.stop()).await?;
    Ok(said.len() + surprise.len())
}

/// One says something, the others hear it.
async fn talk(
    people: [&mut Actor; 3],
    speaker: usize,
    conversation: qpq_protocol::client::ConversationId,
    text: &str,
    story: &mut Story<'_>,
) -> Result<(), Failed> {
    let mut others = Vec::new();
    for (at, person) in people.into_iter().enumerate() {
        match at == speaker {
            true => person.say(conversation, text, story).await?,
            false => others.push(person),
        }
    }
    for other in others {
        other.hears(conversation, text, story).await?;
    }
    Ok(())
}

async fn start(options: &Options, story: &mut Story<'_>, verb: &str) -> Result<Running, Failed> {
    let server = story
        .timed("server", verb, Running::start(options))
        .await?
        .map_err(|error| Failed::Demo(error.to_string()))?;
    let hash = qpq_server_example::hex::hex(&server.certificate());
    let hash = hash.get(..16).unwrap_or_default();
    story.detail(&format!(
        "listens on {} (UDP), certificate {hash}…",
        server.local_addr()
    ))?;
    Ok(server)
}

/// An empty directory: `dir`, or one of its own.
fn place(dir: Option<PathBuf>) -> Result<PathBuf, Failed> {
    let dir = dir
        .unwrap_or_else(|| std::env::temp_dir().join(format!("qpq-demo-{}", std::process::id())));
    let unusable = |error: std::io::Error| {
        let kind = error.kind();
        Failed::Demo(format!("{} cannot be used ({kind})", dir.display()))
    };
    qpq_store::files::create_private_dir(&dir).map_err(unusable)?;
    match std::fs::read_dir(&dir).map_err(unusable)?.next() {
        None => Ok(dir),
        Some(_) => Err(Failed::Demo(format!(
            "{} is not empty: name a directory that is, or none",
            dir.display()
        ))),
    }
}
