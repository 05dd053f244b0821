//! A device and a server that are put back to a copy, and clocks that are a year wrong for once: what each
//! person sees, through the binaries (protocol.md §5.30-5.32).

mod support;

#[cfg(target_os = "linux")]
use std::process::Command;

use serde_json::Value;
use support::copies::{copy, put_back};
use support::world::{BUSY, World, texts};
use support::{Server, User};

fn told(said: &[Value], what: &str) -> usize {
    said.iter().filter(|line| line["type"] == what).count()
}

/// What everybody has of the group: the same people, and nobody is out.
fn assert_all_in(users: &[&User]) {
    for user in users {
        user.ok(&["recv"]);
    }
    let seen = users.iter().map(|user| {
        let all = user.ok(&["conversations"]);
        assert_eq!(all[0]["standing"], "active", "{all:?}");
        assert_eq!(all[0]["members"].as_array().unwrap().len(), users.len());
        all[0]["epoch"].clone()
    });
    let seen: Vec<Value> = seen.collect();
    assert!(seen.iter().all(|epoch| *epoch == seen[0]), "{seen:?}");
}

#[test]
fn a_device_that_is_put_back_says_so_and_goes_on_in_its_groups() {
    let world = World::new("restored-client");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    let carol = world.registered("carol");
    alice.ok(&["group", "create", "club", "bob"]);
    bob.ok(&["recv"]);
    let backup = world.path("backup");
    copy(&world.path("bob"), &backup);
    // What the copy does not have: messages both ways, and a change of members.
    bob.ok(&["send", "#club", "from before"]);
    alice.ok(&["group", "invite", "#club", "carol"]);
    carol.ok(&["recv"]);
    alice.ok(&["send", "#club", "read already"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "read already")]);
    alice.ok(&["recv"]);
    carol.ok(&["recv"]);

    put_back(&backup, &world.path("bob"));
    let said = bob.ok(&["recv"]);
    assert_eq!(told(&said, "set_back"), 1, "{said:?}");
    assert_eq!(told(&said, "agreement_awaited"), 1, "{said:?}");
    // Nobody of before has been here since, to say that this is the group: what he says waits for that.
    let kept = bob.ends(&["send", "#club", "I was put back"], 3);
    assert!(kept.error.contains("take it as it is"), "{kept:?}");
    assert_eq!(texts(&alice.ok(&["recv"])), []);
    bob.ok(&["recv"]);
    // Nothing of it is encrypted with keys of before, and everybody reads it.
    for user in [&alice, &carol] {
        assert_eq!(texts(&user.ok(&["recv"])), [("bob", "I was put back")]);
    }
    carol.ok(&["send", "#club", "welcome back"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("carol", "welcome back")]);
    assert_all_in(&[&alice, &bob, &carol]);
}

#[test]
fn a_server_that_is_put_back_is_noticed_and_given_what_it_lost() {
    let mut world = World::new("restored-server");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    let carol = world.registered("carol");
    alice.ok(&["group", "create", "club", "bob"]);
    bob.ok(&["recv"]);
    let (dir, backup) = (world.path("server"), world.path("backup"));
    world.server.stop();
    copy(&dir, &backup);
    world.server = Server::start(&dir, &world.address, BUSY).0;
    // What the copy does not have: one message that was read, one that was not, and a change of members.
    alice.ok(&["send", "#club", "was read"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "was read")]);
    alice.ok(&["group", "invite", "#club", "carol"]);
    carol.ok(&["recv"]);
    alice.ok(&["send", "#club", "was not read"]);

    world.server.stop();
    put_back(&backup, &dir);
    world.server = Server::start(&dir, &world.address, BUSY).0;
    let said = alice.ok(&["recv"]);
    assert_eq!(told(&said, "server_set_back"), 1, "{said:?}");
    // Whoever is online gives back what he has; what was called sent arrives, and once.
    let mut came = Vec::new();
    for _ in 0..3 {
        came.extend(bob.ok(&["recv"]));
        carol.ok(&["recv"]);
        alice.ok(&["recv"]);
    }
    assert_eq!(texts(&came), [("alice", "was not read")], "{came:?}");
    bob.ok(&["send", "#club", "all there?"]);
    for user in [&alice, &carol] {
        let said = user.ok(&["recv"]);
        assert!(texts(&said).contains(&("bob", "all there?")), "{said:?}");
    }
    assert_all_in(&[&alice, &bob, &carol]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_is_a_year_ahead_for_once_loses_nobody_anything() {
    let mut world = World::new("wrong-clock");
    let clocks = support::copies::Clocks::build(world.dir.path());
    let ahead = |mut command: Command| {
        clocks.set_ahead(&mut command, 366);
        command.output().unwrap()
    };
    let seconds = |said: std::process::Output| -> u64 {
        let said = String::from_utf8(said.stdout).unwrap();
        said.trim().parse().unwrap()
    };
    let date = || {
        let mut date = Command::new("date");
        date.arg("+%s");
        date
    };
    let right = seconds(date().output().unwrap());
    assert!(seconds(ahead(date())) >= right + 365 * 86_400);
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    // Bob is invited while he is away, and his computer thinks that it is next year when he looks.
    alice.ok(&["group", "create", "club", "bob"]);
    alice.ok(&["send", "#club", "hello"]);
    let looked = ahead(bob.command(&["recv"]));
    let said = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert!(looked.status.success(), "{said}");
    let mut came = String::from_utf8(looked.stdout).unwrap();
    // The next day it is right again.
    for line in bob.ok(&["recv"]) {
        came.push_str(&line.to_string());
    }
    assert_eq!(came.matches("hello").count(), 1, "{came}");
    bob.ok(&["send", "#club", "here I am"]);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "here I am")]);

    // Now it is the server's that is wrong, from one start to the next, while a message waits in it.
    alice.ok(&["send", "#club", "do not lose me"]);
    world.server.stop();
    let dir = world.path("server");
    world.server = Server::start_with(&dir, &world.address, BUSY, |command| {
        clocks.set_ahead(command, 366);
    });
    alice.run(&["recv"]);
    world.server.stop();
    world.server = Server::start(&dir, &world.address, BUSY).0;
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "do not lose me")]);
    bob.ok(&["send", "#club", "I have it"]);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "I have it")]);
    assert_all_in(&[&alice, &bob]);
}
