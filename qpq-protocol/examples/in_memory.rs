//! A first lesson: two people talk end to end through a server, without a socket, a clock or a disk.
//!
//!     cargo run -p qpq-protocol --example in_memory
//!
//! Both cores are state machines. Somebody has to carry bytes between them, run their storage
//! commands and tell them the time; in a program that is an adapter, here it is `Net`, a page of
//! queues (`tests/support/net.rs`, which the tests use as well). Time is a number that `Net` moves,
//! so this takes no longer than the computing does.

#[path = "../tests/support/net.rs"]
mod net;

use net::{Net, password};
use qpq_protocol::client::{Event, IntentError, Outcome, intent};

fn main() -> Result<(), IntentError> {
    // A server on an empty memory engine, and two clients on theirs.
    let mut net = Net::new();
    let (alice, bob) = (net.add_client(), net.add_client());

    // An app states an intent and reads events; each intent ends in one `Done` or one `Failed`.
    // Registering makes an identity and a device, logs in with OPAQUE (the server never sees the
    // password) and publishes key packages, by which others can add the device to a group.
    for (client, name) in [(alice, "alice"), (bob, "bob")] {
        net.ask(
            client,
            intent::Register::new(name, password("correct horse")),
        )?;
        println!("{:>9} {name} is registered and logged in", clock(&net));
    }

    // A conversation is an MLS group. Alice creates it with one of Bob's key packages; Bob's device
    // finds a Welcome in its queue.
    let Outcome::Conversation(dm) = net.ask(alice, intent::Dm("bob".into()))? else {
        return Err(IntentError::UnknownConversation);
    };
    println!(
        "{:>9} alice opened {} with bob, epoch {}",
        clock(&net),
        dm.id,
        dm.epoch
    );
    net.until(|net| joined(net, bob));

    // Messages are encrypted when their turn comes, stored, and only then sent; they are confirmed
    // when the server has them on durable storage.
    net.ask(alice, intent::Send::new(dm.id, "Hello Bob!"))?;
    net.ask(
        bob,
        intent::Send::new(dm.id, "Hello Alice, nobody else can read this."),
    )?;
    net.until(|net| net.texts(alice).len() == 1 && net.texts(bob).len() == 1);
    for (reader, name) in [(bob, "bob"), (alice, "alice")] {
        for (writer, text) in net.texts(reader) {
            println!("{:>9} {name} reads from {writer}: {text}", clock(&net));
        }
    }

    println!("{} bytes were carried between the cores", net.bytes);
    Ok(())
}

fn joined(net: &Net, client: usize) -> bool {
    let mut events = net.clients[client].events.iter();
    events.any(|event| matches!(event, Event::Joined { .. }))
}

/// The virtual time, in milliseconds since the start.
fn clock(net: &Net) -> String {
    format!("{} ms", net.now.as_micros() / 1000 - 1000)
}
