//! `qpq` as its user sees it, against a real `qpq-server`: what works.

mod support;

use serde_json::Value;
use support::world::{World, texts};

#[test]
fn two_people_talk_and_a_group_comes_and_goes() {
    let world = World::new("cli-talk");
    let (alice, bob, carol) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("carol"),
    );
    let me = alice.ok(&["whoami"]);
    assert_eq!(me[0]["name"], "alice");
    assert_eq!(me[0]["identity_key"].as_str().unwrap().len(), 64);
    let server = alice.ok(&["server-info"]);
    assert_eq!(server[0]["certificate_sha256"].as_str().unwrap().len(), 64);

    alice.ok(&["dm", "bob"]);
    alice.ok(&["send", "bob", "one\nand a half"]);
    alice.ok(&["send", "bob", "two"]);
    let heard = [("alice", "one\nand a half"), ("alice", "two")];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
    assert!(bob.ok(&["recv"]).is_empty(), "printed twice");
    bob.ok(&["send", "alice", "three"]);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "three")]);
    let all = [heard[0], heard[1], ("bob", "three")];
    for (user, peer) in [(&alice, "bob"), (&bob, "alice")] {
        assert_eq!(texts(&user.ok(&["history", peer])), all);
        assert_eq!(
            texts(&user.ok(&["history", peer, "--limit", "1"])),
            all[2..]
        );
    }

    let made = alice.ok(&["group", "create", "club", "bob"]);
    assert_eq!(made[0]["members"].as_array().unwrap().len(), 2);
    let changed = alice.ok(&["group", "invite", "#club", "carol"]);
    assert_eq!(changed[0]["members"].as_array().unwrap().len(), 3);
    alice.ok(&["send", "#club", "welcome"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "welcome")]);
    assert_eq!(texts(&carol.ok(&["recv"])), [("alice", "welcome")]);
    // By the start of its id, as `conversations` shows it.
    let id = made[0]["id"].as_str().unwrap();
    assert_eq!(carol.ok(&["group", "members", &id[..16]]).len(), 3);
    carol.ok(&["group", "leave", "#club"]);
    alice.ok(&["recv"]);
    assert_eq!(alice.ok(&["group", "members", "#club"]).len(), 2);
    let said = carol.fails(&["send", "#club", "still here?"]);
    assert!(said.contains("not in this conversation any more"), "{said}");

    // Another device needs the name and the password only.
    let second = world.user("alice-2");
    second.ok(&["login", "alice"]);
    assert_eq!(
        second.ok(&["whoami"])[0]["identity_key"],
        me[0]["identity_key"]
    );
}

#[test]
fn each_line_of_standard_input_is_a_message() {
    let world = World::new("cli-lines");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let follower = bob.spawn(&["recv", "--follow"]);
    let mut sender = alice.spawn(&["send", "bob", "-"]);
    for line in ["a", "", "b", "c"] {
        assert!(sender.tell(line));
    }
    let confirmed = sender.finish();
    let numbers: Vec<_> = confirmed.iter().map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4)]);
    let mut heard = Vec::new();
    while heard.len() < 4 {
        let line = follower.next().unwrap();
        if line["type"] == "message" {
            heard.push(line["text"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, ["a", "", "b", "c"]);
    follower.interrupt();
}

#[test]
fn who_logs_out_comes_back_as_the_same_device() {
    let world = World::new("cli-logout");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let me = alice.ok(&["whoami"]);
    assert_eq!(alice.ok(&["logout"])[0]["type"], "logged_out");
    assert_eq!(alice.ok(&["whoami"])[0]["logged_in"], false);
    for command in [&["logout"][..], &["recv"], &["dm", "bob"]] {
        let said = alice.fails(command);
        assert!(said.contains("not logged in"), "{said}");
    }
    bob.ok(&["send", "alice", "while you were out"]);
    alice.ok(&["login", "alice"]);
    assert_eq!(alice.ok(&["whoami"]), me);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "while you were out")]);
}

#[test]
fn a_file_holds_each_message_once_whatever_was_read_elsewhere() {
    let world = World::new("cli-output");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let path = world.path("messages");
    let file = path.to_str().unwrap();
    let held = || -> Vec<String> {
        let text = std::fs::read_to_string(&path).unwrap();
        let parse = |line| serde_json::from_str::<Value>(line).unwrap();
        let own = |line: Value| line["text"].as_str().unwrap().to_owned();
        text.lines().map(parse).map(own).collect()
    };
    alice.ok(&["send", "bob", "before"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "before")]);
    // A new file begins with what is unread; own messages are not received.
    alice.ok(&["send", "bob", "one"]);
    bob.ok(&["recv", "--output", file]);
    bob.ok(&["send", "alice", "own"]);
    assert_eq!(held(), ["one"]);
    // From then on it is complete.
    alice.ok(&["send", "bob", "two"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "two")]);
    alice.ok(&["send", "bob", "three"]);
    bob.ok(&["recv", "--output", file]);
    assert_eq!(held(), ["one", "two", "three"]);
    assert!(bob.ok(&["recv"]).is_empty());
    // Lines that are taken off its end come back, and are what `--json` prints.
    let whole = std::fs::read_to_string(&path).unwrap();
    let first = whole.find('\n').unwrap() + 1;
    std::fs::write(&path, &whole[..first]).unwrap();
    bob.ok(&["recv", "--output", file]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    let last: Value = serde_json::from_str(whole.lines().last().unwrap()).unwrap();
    assert_eq!(Some(&last), bob.ok(&["history", "alice"]).last());

    // Another client's file is refused and stays as it is, and so does any other.
    alice.ok(&["recv"]);
    bob.ok(&["send", "alice", "for alice"]);
    let said = alice.fails(&["recv", "--output", file]);
    assert!(said.contains("choose another file"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "for alice")]);
    let follower = bob.spawn(&["recv", "--follow", "--output", file]);
    let cert = world.path("server").join("server-cert.der");
    let said = alice.fails(&["recv", "--output", cert.to_str().unwrap()]);
    assert!(said.contains("was not written by"), "{said}");

    // One that was moved away while it was written to is left behind, and the next begins anew.
    alice.ok(&["send", "bob", "four"]);
    while held().len() < 4 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(
        follower
            .interrupt()
            .iter()
            .all(|line| line["type"] != "message")
    );
    std::fs::rename(&path, world.path("messages.1")).unwrap();
    alice.ok(&["send", "bob", "five"]);
    bob.ok(&["recv", "--output", file]);
    assert_eq!(held(), ["five"]);
}

#[test]
#[cfg(target_os = "linux")]
fn what_could_not_be_printed_is_printed_later() {
    let world = World::new("cli-closed");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    alice.ok(&["send", "bob", "one"]);
    alice.ok(&["send", "bob", "two"]);
    let mut command = bob.command(&["recv"]);
    // Always full.
    command.stdout(std::fs::File::create("/dev/full").unwrap());
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("standard output cannot be written"), "{said}");
    let heard = [("alice", "one"), ("alice", "two")];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
}
