//! What the exit code says: 0 done, 1 will not happen, 3 kept and will be done, 4 done but not for
//! everybody; and that each command ends with one of them.

mod support;

use serde_json::Value;
use support::world::{BUSY, World, texts};
use support::{Ended, Server};

fn kept(ended: &Ended) -> String {
    let line = ended.said.iter().find(|line| line["type"] == "kept");
    line.unwrap()["id"].as_str().unwrap().to_owned()
}

fn code(ended: &Ended) -> String {
    let error: Value = serde_json::from_str(&ended.error).unwrap();
    error["code"].as_str().unwrap().to_owned()
}

/// Stops the world's server; starts it again on the same data.
fn restarted(world: &World) -> Server {
    Server::start(&world.path("server"), &world.address, BUSY).0
}

#[test]
fn what_is_kept_is_done_once_however_often_it_is_repeated() {
    let mut world = World::new("exit-kept");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    world.server.stop();
    let first = alice.ends(&["send", "bob", "hello"], 3);
    assert_eq!(code(&first), "kept");
    let id = kept(&first);
    // The same text again is a second message, and says so; the same id is the same message.
    let second = alice.ends(&["send", "bob", "hello"], 3);
    let like = second.said.iter().find(|line| line["type"] == "like_kept");
    assert_eq!(like.unwrap()["id"], id.as_str());
    assert_ne!(kept(&second), id);
    let same = alice.ends(&["send", "bob", "hello", "--id", &id], 3);
    assert_eq!(kept(&same), id);
    let other = alice.ends(&["send", "bob", "something else", "--id", &id], 1);
    assert_eq!(code(&other), "other_id");
    let waiting = alice.ok(&["outbox"]);
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0]["id"], id.as_str());

    let made = alice.ends(&["group", "create", "club", "bob"], 3);
    let group = kept(&made);
    let again = alice.ends(&["group", "create", "club", "bob"], 1);
    assert_eq!(code(&again), "kept_already");
    assert!(again.error.contains(&group), "{}", again.error);
    let same = alice.ends(&["group", "create", "club", "bob", "--id", &group], 3);
    assert_eq!(kept(&same), group);

    let _server = restarted(&world);
    alice.ok(&["send", "bob", "hello", "--id", &id]);
    let made = alice.ok(&["group", "create", "club", "bob", "--id", &group]);
    assert_eq!(made[0]["id"], group.as_str());
    // Once more, when all is done: nothing is sent and nothing is made.
    let sent = alice.ok(&["send", "bob", "hello", "--id", &id]);
    assert_eq!(sent[0]["message_id"], id.as_str());
    alice.ok(&["send", "bob", "the end"]);
    let heard = [("alice", "hello"), ("alice", "hello"), ("alice", "the end")];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
    let all = bob.ok(&["conversations"]);
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn what_is_not_to_be_kept_does_not_happen() {
    let mut world = World::new("exit-no-keep");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    alice.ok(&["group", "create", "club"]);
    world.server.stop();
    for act in [
        &["send", "bob", "now or never", "--no-keep"][..],
        &["group", "create", "other", "bob", "--no-keep"],
        &["group", "invite", "#club", "bob", "--no-keep"],
    ] {
        let ended = alice.ends(act, 1);
        assert!(ended.error.contains("not kept"), "{}", ended.error);
        assert!(ended.said.is_empty(), "{:?}", ended.said);
    }
    // What was kept before is taken back by its id.
    let id = kept(&alice.ends(&["send", "bob", "later"], 3));
    alice.ends(&["send", "bob", "later", "--id", &id, "--no-keep"], 1);
    assert!(alice.ok(&["outbox"]).is_empty());
    assert!(alice.ok(&["history", "bob"]).is_empty());
    // Nobody knows zoe, so nothing can be kept.
    let unknown = alice.ends(&["dm", "zoe"], 1);
    assert_eq!(code(&unknown), "no_connection");

    let _server = restarted(&world);
    alice.ok(&["send", "bob", "the end"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "the end")]);
    assert_eq!(alice.ok(&["conversations"]).len(), 2);
    assert_eq!(alice.ok(&["group", "members", "#club"]).len(), 1);
}

#[test]
fn local_questions_are_answered_without_a_server() {
    let mut world = World::new("exit-local");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    alice.ok(&["send", "bob", "hello"]);
    bob.ok(&["recv"]);
    world.server.stop();
    for _ in 0..10 {
        assert_eq!(texts(&bob.ok(&["history", "alice"])), [("alice", "hello")]);
        assert_eq!(bob.ok(&["group", "members", "alice"]).len(), 2);
        assert_eq!(bob.ok(&["conversations"]).len(), 1);
        assert_eq!(bob.ok(&["whoami"])[0]["name"], "bob");
        let number = bob.ok(&["verify", "alice"]);
        assert_eq!(number, bob.ok(&["verify", "@alice"]));
    }
}

#[test]
fn a_send_without_a_session_is_answered() {
    let world = World::new("exit-logged-out");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    alice.ok(&["logout"]);
    let said = alice.fails(&["send", "bob", "hello"]);
    assert!(said.contains("not logged in"), "{said}");
    let lines = alice.feed(&["send", "bob", "-"], b"one\ntwo\n");
    assert_eq!(lines.code, Some(1), "{lines:?}");
    alice.ok(&["login", "alice"]);
    assert!(alice.ok(&["outbox"]).is_empty());
    assert!(texts(&bob.ok(&["recv"])).is_empty());
}

#[test]
fn who_got_nothing_is_named() {
    let world = World::with("exit-undelivered", &["--enqueues-per-minute", "10000"]);
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["group", "create", "club", "bob"]);
    bob.ok(&["recv"]);
    // One sender fills a quarter of a queue of a thousand; the rest finds no room.
    let input: String = (0..300).map(|n| format!("{n}\n")).collect();
    let ended = alice.feed(&["send", "#club", "-"], input.as_bytes());
    assert_eq!(ended.code, Some(4), "{}", ended.error);
    assert_eq!(code(&ended), "undelivered");
    assert_eq!(ended.said.len(), 300);
    let missed = |line: &&Value| line["undelivered"][0]["name"] == "bob";
    assert!(ended.said.iter().filter(missed).count() >= 40);
    let one = alice.ends(&["send", "#club", "one more"], 4);
    assert_eq!(one.said[0]["undelivered"][0]["name"], "bob");
    bob.ok(&["recv"]);
    alice.ok(&["send", "#club", "again"]);
}

#[test]
fn a_group_is_made_without_who_cannot_be_in_it() {
    let mut world = World::new("exit-partly");
    let (alice, bob, carol) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("carol"),
    );
    let made = alice.ends(&["group", "create", "club", "bob", "zoe"], 4);
    assert_eq!(code(&made), "not_whole");
    assert!(made.error.contains("zoe"), "{}", made.error);
    let missing = &made.said[1];
    assert_eq!(missing["type"], "missing");
    assert_eq!(
        (&missing["name"], &missing["code"]),
        (&"zoe".into(), &"unknown_user".into())
    );
    assert_eq!(bob.ok(&["recv"])[0]["name"], "club");
    // Of nobody but strangers there is none.
    let none = alice.ends(&["group", "create", "other", "zoe"], 1);
    assert_eq!(code(&none), "unknown_user");
    let said = alice.fails(&["group", "create", "", "bob"]);
    assert!(said.contains("name of a group"), "{said}");
    assert_eq!(alice.ok(&["conversations"]).len(), 1);

    // One who has been put into too many is named, and the others come.
    for number in 0..4 {
        alice.ok(&["group", "create", &format!("{number}"), "bob"]);
    }
    let made = alice.ends(&["group", "create", "full", "bob", "carol"], 4);
    assert_eq!(made.said[1]["name"], "bob");
    assert_eq!(carol.ok(&["recv"])[0]["name"], "full");
    // Whoever does later what is kept says the same.
    world.server.stop();
    alice.ends(&["group", "create", "later", "bob", "carol"], 3);
    let _server = restarted(&world);
    // One of the next commands does, and nothing of it is told in vain.
    let mut said = (0..20).flat_map(|_| alice.ok(&["recv"]));
    let missing = said.find(|line| line["type"] == "not_added");
    assert_eq!(missing.unwrap()["person"]["name"], "bob");
    assert_eq!(carol.ok(&["recv"])[0]["name"], "later");
}

#[test]
fn another_server_is_refused_and_the_session_stays() {
    let (world, other) = (World::new("exit-here"), World::new("exit-there"));
    let alice = world.registered("alice");
    let astray = support::User::new(&other.address, &world.path("alice"));
    for command in [&["recv"][..], &["dm", "bob"], &["logout"]] {
        let said = astray.fails(command);
        assert!(said.contains("another server"), "{said}");
    }
    // It was shown nothing, and has taken nothing.
    assert_eq!(alice.ok(&["whoami"])[0]["logged_in"], true);
    alice.ok(&["recv"]);
}

#[test]
fn a_limit_is_named_with_its_end() {
    let world = World::with("exit-limit", &["--registrations-per-hour", "1"]);
    world.registered("alice");
    let refused = world.user("bob").ends(&["register", "bob"], 1);
    assert_eq!(code(&refused), "limit");
    assert!(refused.error.contains("minutes"), "{}", refused.error);
}
