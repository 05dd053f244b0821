//! SIGKILL, twenty times each, under traffic: of the server, of a sending and of a receiving `qpq`.
//! No message whose sending was confirmed is lost, and none reaches the app twice: a file holds each
//! exactly once; on a pipe, where that is impossible, what comes again has the same id.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use qpq_server_example::scratch::Scratch;
use serde_json::Value;
use support::{Running, Server, User};

const KILLS: u32 = 20;
/// Tests do not pause between what they do.
const BUSY: &[&str] = &[
    "--requests-per-second",
    "10000",
    "--enqueues-per-minute",
    "1000000",
];

struct World {
    dir: Scratch,
    server: Server,
    address: String,
    alice: User,
    bob: User,
}

impl World {
    fn new(name: &str) -> Self {
        let dir = Scratch::try_new(name).unwrap();
        let (server, address) = Server::start(&dir.path().join("server"), "127.0.0.1:0", BUSY);
        let user = |name: &str| {
            let user = User::new(&address, &dir.path().join(name));
            user.ok(&["register", name]);
            user
        };
        let (alice, bob) = (user("alice"), user("bob"));
        alice.ok(&["dm", "bob"]);
        Self {
            dir,
            server,
            address,
            alice,
            bob,
        }
    }

    fn restart_server(&mut self) {
        let dir = self.dir.path().join("server");
        self.server.kill();
        self.server = Server::start(&dir, &self.address, BUSY).0;
    }

    /// What bob's client has stored, oldest first.
    fn bobs_history(&self) -> Vec<String> {
        self.bob.ok(&["recv"]);
        texts(&self.bob.ok(&["history", "alice", "--limit", "100000"]))
    }
}

/// Each a bit later than the one before, so that kills meet every stage of what runs.
fn a_while(kill: u32) -> Duration {
    Duration::from_millis(u64::from(kill * 37 % 101))
}

fn texts(said: &[Value]) -> Vec<String> {
    let messages = said.iter().filter(|line| line["type"] == "message");
    let text = |line: &Value| line["text"].as_str().unwrap().to_owned();
    messages.map(text).collect()
}

/// Which lines of a sender were confirmed.
fn confirmed(said: &[Value]) -> impl Iterator<Item = usize> {
    let sent = said.iter().filter(|line| line["type"] == "sent");
    sent.map(|line| usize::try_from(line["line"].as_u64().unwrap()).unwrap())
}

fn assert_once(history: &[String]) -> BTreeSet<&str> {
    let once: BTreeSet<&str> = history.iter().map(String::as_str).collect();
    assert_eq!(once.len(), history.len(), "a message is there twice");
    once
}

/// Waits until the follower has printed `count` messages.
fn follow(follower: &Running, printed: &mut Vec<Value>, count: usize) {
    while printed
        .iter()
        .filter(|line| line["type"] == "message")
        .count()
        < count
    {
        printed.push(follower.next().expect("the follower went on"));
    }
}

#[test]
fn a_killed_server_loses_and_repeats_nothing() {
    let mut world = World::new("kill-server");
    let follower = world.bob.spawn(&["recv", "--follow"]);
    let mut sender = world.alice.spawn(&["send", "bob", "-"]);
    let (mut written, mut said) = (Vec::new(), Vec::new());
    for kill in 0..KILLS {
        for n in 0..8 {
            let text = format!("message {n} before kill {kill}");
            assert!(sender.tell(&text));
            written.push(text);
        }
        // Some have arrived, some are on their way.
        let enough = written.len().saturating_sub(5);
        while confirmed(&said).count() < enough {
            said.push(sender.next().expect("the sender goes on"));
        }
        std::thread::sleep(a_while(kill));
        world.restart_server();
    }
    said.extend(sender.finish());
    let lines: BTreeSet<usize> = confirmed(&said).collect();
    assert_eq!(lines, (1..=written.len()).collect());

    let mut printed = Vec::new();
    follow(&follower, &mut printed, written.len());
    printed.extend(follower.interrupt());
    assert_eq!(texts(&printed), written, "what the app was told");
    assert_eq!(world.bobs_history(), written);
    world.server.stop();
}

#[test]
fn a_killed_sender_loses_and_repeats_nothing() {
    let mut world = World::new("kill-sender");
    let follower = world.bob.spawn(&["recv", "--follow"]);
    let mut sure = BTreeSet::new();
    let mut printed = Vec::new();
    for kill in 0..KILLS {
        let mut sender = world.alice.spawn(&["send", "bob", "-"]);
        let text = |n: usize| format!("line {n} of sender {kill}");
        for n in 1..=12 {
            assert!(sender.tell(&text(n)));
        }
        let mut said = Vec::new();
        while confirmed(&said).count() < 3 {
            said.push(sender.next().expect("the sender goes on"));
        }
        std::thread::sleep(a_while(kill) / 4);
        said.extend(sender.kill());
        sure.extend(confirmed(&said).map(text));
        follow(&follower, &mut printed, sure.len());
    }
    // What the killed ones had stored goes out before this.
    world.alice.ok(&["send", "bob", "the end"]);
    sure.insert("the end".to_owned());
    while !texts(&printed).contains(&"the end".to_owned()) {
        printed.push(follower.next().expect("the follower goes on"));
    }
    printed.extend(follower.interrupt());

    let told = texts(&printed);
    let once = assert_once(&told);
    let lost: Vec<_> = sure
        .iter()
        .filter(|text| !once.contains(text.as_str()))
        .collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    assert_eq!(world.bobs_history(), told);
    // The sender keeps the same in the same order.
    let own = texts(&world.alice.ok(&["history", "bob", "--limit", "100000"]));
    assert_eq!(own, told);
    world.server.stop();
}

/// The complete lines of a file.
fn lines_of(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line| serde_json::from_str(line).unwrap();
    whole.lines().map(parse).collect()
}

/// What names each message for good, in the order they came.
fn ids(said: &[Value]) -> Vec<(String, u64)> {
    let messages = said.iter().filter(|line| line["type"] == "message");
    let id = |line: &Value| {
        let conversation = line["conversation"].as_str().unwrap().to_owned();
        (conversation, line["index"].as_u64().unwrap())
    };
    messages.map(id).collect()
}

#[test]
fn a_killed_receiver_writes_each_message_to_its_file_exactly_once() {
    let mut world = World::new("kill-receiver-file");
    let file = world.dir.path().join("messages");
    let args = ["recv", "--follow", "--output", file.to_str().unwrap()];
    let mut sender = world.alice.spawn(&["send", "bob", "-"]);
    let mut written = Vec::new();
    for kill in 0..KILLS {
        let before = lines_of(&file).len();
        let follower = world.bob.spawn(&args);
        for n in 0..8 {
            let text = format!("message {n} for receiver {kill}");
            assert!(sender.tell(&text));
            written.push(text);
        }
        let patience = Instant::now();
        while lines_of(&file).len() < before + 2 {
            assert!(
                patience.elapsed() < support::PATIENCE,
                "the receiver went on"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(a_while(kill) / 4);
        follower.kill();
        // A kill leaves whole writes; a power loss would not. More is torn off here than one could,
        // since these lines were synced and may be marked read.
        if kill % 4 == 3 {
            let length = std::fs::metadata(&file).unwrap().len();
            let torn = OpenOptions::new().write(true).open(&file).unwrap();
            torn.set_len(length - 10 - u64::from(kill) * 20).unwrap();
        }
    }
    let said = sender.finish();
    assert!(!said.is_empty());
    world.bob.ok(&["recv", "--output", file.to_str().unwrap()]);

    let held = lines_of(&file);
    assert_eq!(texts(&held), written);
    let history = world.bob.ok(&["history", "alice", "--limit", "100000"]);
    assert_eq!(held, history, "the same lines in the order of the history");
    // All of it is read, and stays written once.
    assert!(world.bob.ok(&["recv"]).is_empty());
    world.bob.ok(&["recv", "--output", file.to_str().unwrap()]);
    assert_eq!(lines_of(&file), held);
    world.server.stop();
}

/// Messages that `qpq recv` prints before it marks them read.
const PRINTED: u64 = 20;

#[test]
fn a_killed_receiver_prints_each_message_once_by_its_id() {
    let mut world = World::new("kill-receiver-pipe");
    let mut sender = world.alice.spawn(&["send", "bob", "-"]);
    let mut written = Vec::new();
    let mut printed: Vec<Vec<Value>> = Vec::new();
    for kill in 0..KILLS {
        let follower = world.bob.spawn(&["recv", "--follow"]);
        for n in 0..8 {
            let text = format!("message {n} for receiver {kill}");
            assert!(sender.tell(&text));
            written.push(text);
        }
        let mut said = Vec::new();
        follow(&follower, &mut said, 2);
        std::thread::sleep(a_while(kill) / 4);
        said.extend(follower.kill());
        printed.push(said);
    }
    sender.finish();
    printed.push(world.bob.ok(&["recv"]));

    // Each run goes on behind the one before, or with its last page again: never with a hole.
    let mut next = 0;
    for said in &printed {
        let came = ids(said);
        let first = came.first().map_or(next, |(_, index)| *index);
        let pages = next.saturating_sub(PRINTED)..=next;
        assert!(pages.contains(&first), "{first} where {next} belongs");
        for (at, (_, index)) in (first..).zip(came) {
            assert_eq!(index, at);
            next = next.max(at + 1);
        }
    }
    // A reader that knows the ids has each message once, and its text with it.
    let all = printed.concat();
    let once: BTreeMap<_, _> = ids(&all).into_iter().zip(texts(&all)).collect();
    assert_eq!(once.into_values().collect::<Vec<_>>(), written);
    let history = world.bob.ok(&["history", "alice", "--limit", "100000"]);
    assert_eq!(texts(&history), written);
    world.server.stop();
}
