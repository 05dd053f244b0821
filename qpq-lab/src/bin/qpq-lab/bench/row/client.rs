//! Rows of the client core: logging in, and opening with what was stored before.

use std::path::Path;
use std::time::Duration;

use qpq_protocol::client::intent::{CreateGroup, Login, Logout, Register, Send};
use qpq_protocol::client::{self, Client, ConversationId, Event, Intent};
use qpq_protocol::io::{Core as _, Output};
use qpq_protocol::storage::{Engine as _, Memory};
use qpq_protocol::time::Time;

use super::world::{World, config, core};
use super::{Figures, HELD, MICROS, RowArgs, state, timed};
use crate::bench::process::{own_id, resident};
use crate::bench::{Failure, Outcome};

/// Groups in the stored state, each of two members.
pub const GROUPS: usize = 100;
/// When a client opens what was stored: long after that, by a clock of its own.
const LATER: Time = Time::from_micros(1_000_000_000_000);
/// Between logins: limits count them.
const BETWEEN: Duration = Duration::from_secs(60);
const PASSWORD: &[u8] = b"a password";
/// The clients of a world.
const ALICE: usize = 0;
const BOB: usize = 1;

/// A logout and a login, again and again.
pub fn login(args: &RowArgs) -> Outcome<Figures> {
    let mut world = World::new(1)?;
    register(&mut world, ALICE, "alice")?;
    if args.dry {
        return Ok(Vec::new());
    }
    let micros = timed(|| {
        for _ in 0..args.count {
            world.ask(ALICE, Logout)?;
            world.pass(BETWEEN)?;
            world.ask(ALICE, Login::new("alice", PASSWORD.to_vec()))?;
        }
        Ok(())
    })?;
    Ok(vec![(MICROS, micros / args.count as f64)])
}

/// Makes a client with [`GROUPS`] groups that has got as many messages as it is told to, and writes its rows.
pub fn prepare(args: &RowArgs) -> Outcome<()> {
    let disk = stored(GROUPS, args.count)?;
    state::write(state_of(args)?, &disk)
}

/// What a client has stored that has so many groups of two and got so many messages, as many in each.
fn stored(groups: usize, messages: usize) -> Outcome<Memory> {
    let mut world = World::new(2)?;
    register(&mut world, ALICE, "alice")?;
    register(&mut world, BOB, "bob")?;
    let mut made = Vec::new();
    for number in 0..groups {
        let group = CreateGroup::new(format!("group {number}"), &["bob"]);
        match world.ask(ALICE, group)? {
            client::Outcome::Conversation(conversation) => made.push(conversation.id),
            other => return Err(Failure::new(format!("a group was made: {other:?}"))),
        }
        world.pass(Duration::from_secs(5))?;
    }
    let mut sent = 0;
    while sent < messages {
        let round = groups.min(messages - sent);
        let send = |id: &ConversationId| Intent::from(Send::new(*id, format!("message {sent}")));
        world.ask_all(BOB, made.iter().take(round).map(send).collect())?;
        sent += round;
    }
    world.until(|world| world.heard(ALICE) == messages)?;
    // What is acknowledged and replenished late.
    world.pass(Duration::from_secs(60))?;
    Ok(world.into_disk(ALICE))
}

/// Opening, from the first storage command to the event that says that all is loaded.
pub fn open(args: &RowArgs) -> Outcome<Figures> {
    let mut disk = state::read(state_of(args)?)?;
    if args.dry {
        return Ok(Vec::new());
    }
    let rows = disk.len();
    let micros = timed(|| {
        for _ in 0..args.count {
            opened(&mut disk)?;
        }
        Ok(())
    })?;
    Ok(vec![
        (MICROS, micros / args.count as f64),
        ("rows", rows as f64),
    ])
}

/// What a client holds after opening: that of a few, without the first, which also pays for what a process
/// has once.
pub fn memory(args: &RowArgs) -> Outcome<Figures> {
    let mut disk = state::read(state_of(args)?)?;
    let mut clients = vec![opened(&mut disk)?];
    let before = resident(own_id())?;
    for _ in 0..args.count {
        clients.push(opened(&mut disk)?);
    }
    let more = resident(own_id())?.saturating_sub(before);
    Ok(vec![(HELD, more as f64 / args.count as f64)])
}

/// A client that has opened what the disk holds, and does not connect.
fn opened(disk: &mut Memory) -> Outcome<Client> {
    let config = client::ClientConfig {
        offline: true,
        ..config()
    };
    let mut core = core(ALICE, 2, config, LATER);
    loop {
        let (mut tickets, mut batch) = (Vec::new(), Vec::new());
        while let Some(output) = core.poll_output() {
            match output {
                Output::Store {
                    ticket, command, ..
                } => {
                    tickets.push(ticket);
                    batch.push(command);
                }
                Output::Event(Event::Opened { account: Some(_) }) => return Ok(core),
                Output::Event(Event::Opened { account: None }) => {
                    return Err(Failure::new("the stored state has no account"));
                }
                Output::Event(Event::Fatal(why)) => return Err(Failure::new(why.to_string())),
                _ => {}
            }
        }
        if batch.is_empty() {
            return Err(Failure::new("a client does not open"));
        }
        for (ticket, reply) in tickets.into_iter().zip(disk.run(batch)) {
            core.handle_stored(LATER, ticket, reply);
        }
    }
}

fn register(world: &mut World, client: usize, name: &str) -> Outcome<()> {
    world.ask(client, Register::new(name, PASSWORD.to_vec()))?;
    world.pass(Duration::from_secs(5))
}

fn state_of(args: &RowArgs) -> Outcome<&Path> {
    let why = || Failure::new("--state FILE is missing");
    args.state.as_deref().ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use qpq_server_example::scratch::Scratch;

    use super::*;

    #[test]
    fn what_was_stored_is_opened_from_its_file() {
        let disk = stored(2, 5).expect("a state");
        let history = disk.rows().filter(|(key, _)| key.starts_with(b"h/"));
        assert_eq!(history.count(), 5, "a row for each message");
        let scratch = Scratch::try_new("state").expect("a directory");
        let path = scratch.path().join("state");
        state::write(&path, &disk).expect("written");
        let mut again = state::read(&path).expect("read");
        assert!(again.rows().eq(disk.rows()));
        opened(&mut again).expect("it opens");

        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &whole[..whole.len() - 1]).expect("a file");
        assert!(state::read(&path).is_err(), "cut off");
        assert!(opened(&mut Memory::new()).is_err(), "no account");
    }

    #[test]
    fn a_client_logs_in_again_and_again() {
        let args = RowArgs {
            name: None,
            count: 2,
            state: None,
            dry: false,
        };
        let figures = login(&args).expect("figures");
        assert!(matches!(figures.as_slice(), [(MICROS, micros)] if *micros > 0.0));
    }
}
