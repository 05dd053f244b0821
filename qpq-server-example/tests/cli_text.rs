//! Text as people type it and as they read it: normal forms, lines of standard input, dates, order,
//! and nothing that could pass for something else.

mod support;

use support::Server;
use support::world::{BUSY, World, texts};

#[test]
fn a_password_is_the_same_in_every_normal_form() {
    let world = World::new("text-password");
    let alice = world.user("alice");
    let made = alice.run_with("caf\u{e9} au\u{a0}lait", &["register", "alice"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let elsewhere = world.user("alice-2");
    let typed = elsewhere.run_with("cafe\u{301} au lait", &["login", "alice"]);
    assert_eq!(typed.code, Some(0), "{typed:?}");
    let wrong = world
        .user("alice-3")
        .run_with("cafe au lait", &["login", "alice"]);
    assert_eq!(wrong.code, Some(1));
}

#[test]
fn a_text_that_is_repeated_is_the_same_in_every_normal_form() {
    let mut world = World::new("text-forms");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    world.server.stop();
    let id = |said: &[serde_json::Value]| {
        let kept = said.iter().find(|line| line["type"] == "kept");
        kept.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let first = id(&alice.ends(&["send", "bob", "caf\u{e9}"], 3).said);
    let again = alice.ends(&["send", "bob", "cafe\u{301}", "--id", &first], 3);
    assert_eq!(id(&again.said), first);
    let second = alice.ends(&["send", "bob", "cafe\u{301}"], 3);
    assert_eq!(second.said[0]["type"], "like_kept");
    assert_eq!(second.said[0]["id"], first.as_str());
    let _server = Server::start(&world.path("server"), &world.address, BUSY);
    for _ in 0..2 {
        let sent = alice.ok(&["send", "bob", "cafe\u{301}", "--id", &first]);
        assert_eq!(sent[0]["message_id"], first.as_str());
    }
    assert_eq!(texts(&bob.ok(&["recv"])).len(), 2);
}

#[test]
fn each_line_is_answered_by_itself() {
    let world = World::new("text-lines");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let long = vec![b'x'; 50_000_000];
    let input = [b"one\n\ntwo\nth\xffree\n", &long[..], b"\nfour"].concat();
    let ended = alice.feed(&["send", "bob", "-"], &input);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    let mut answers: Vec<(u64, &str)> = ended
        .said
        .iter()
        .map(|line| {
            (
                line["line"].as_u64().unwrap(),
                line["type"].as_str().unwrap(),
            )
        })
        .collect();
    answers.sort_unstable();
    let expected = [
        (1, "sent"),
        (2, "sent"),
        (3, "sent"),
        (4, "not_sent"),
        (5, "not_sent"),
        (6, "sent"),
    ];
    assert_eq!(answers, expected);
    let heard = [
        ("alice", "one"),
        ("alice", ""),
        ("alice", "two"),
        ("alice", "four"),
    ];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
}

#[test]
fn a_text_is_never_an_option() {
    let world = World::new("text-options");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let all = ["--help", "--", "-h", "--version", "--no-keep", "--server"];
    for text in all {
        assert_eq!(alice.ok(&["send", "bob", text])[0]["type"], "sent");
    }
    let heard = bob.ok(&["recv"]);
    let heard: Vec<&str> = texts(&heard).into_iter().map(|(_, text)| text).collect();
    assert_eq!(heard, all);
}

#[test]
fn a_screen_shows_what_was_meant() {
    let world = World::new("text-screen");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let tower = format!("a{}", "\u{300}".repeat(100));
    alice.ok(&[
        "send",
        "bob",
        &format!("\u{61c}\u{200b}\u{2028}\u{e0041}\u{1b}[31m{tower}"),
    ]);
    let (code, screen, _) = bob.screen(&["recv"]);
    assert_eq!(code, Some(0));
    // What is invited is told before what is said there, by its name, in local time with the offset.
    let (joined, message) = screen.split_once('\n').unwrap();
    assert_eq!(joined, "you are in @alice");
    assert!(message.contains(" +05:30  @alice  @alice: "), "{message}");
    let shown = "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}[31ma\u{300}\u{300}\u{300}\u{300}\n";
    assert!(message.ends_with(shown), "{message:?}");
}

#[test]
fn messages_come_in_the_order_of_time_and_own_ones_are_not_unread() {
    let world = World::new("text-order");
    let (alice, bob, carol) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("carol"),
    );
    bob.ok(&["dm", "alice"]);
    carol.ok(&["dm", "alice"]);
    let mut expected = Vec::new();
    for round in 0..3 {
        for (user, name) in [(&bob, "bob"), (&carol, "carol")] {
            let text = format!("{name} {round}");
            user.ok(&["send", "alice", &text]);
            expected.push(text);
        }
    }
    // Takes them in, and reads nothing.
    alice.ok(&["send", "@bob", "own"]);
    let all = alice.ok(&["conversations"]);
    assert!(
        all.iter().all(|one| one["unread"].as_u64().unwrap() <= 3),
        "{all:?}"
    );
    let heard = alice.ok(&["recv"]);
    let heard: Vec<&str> = texts(&heard).into_iter().map(|(_, text)| text).collect();
    assert_eq!(heard, expected);
    let all = alice.ok(&["conversations"]);
    assert!(all.iter().all(|one| one["unread"] == 0), "{all:?}");
}

#[test]
fn recv_says_who_came_and_went() {
    let world = World::new("text-events");
    let (alice, bob, carol) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("carol"),
    );
    alice.ok(&["group", "create", "club", "bob"]);
    let said = bob.ok(&["recv"]);
    assert_eq!(said[0]["type"], "joined");
    assert_eq!(said[0]["name"], "club", "{said:?}");
    alice.ok(&["group", "invite", "#club", "carol"]);
    let said = bob.ok(&["recv"]);
    assert_eq!(said[0]["added"][0]["name"], "carol", "{said:?}");
    assert_eq!(carol.ok(&["recv"])[0]["name"], "club");
    alice.ok(&["group", "remove", "#club", "@bob"]);
    let said = bob.ok(&["recv"]);
    assert!(
        said.iter().any(|line| line["type"] == "removed"),
        "{said:?}"
    );
    let (_, screen, _) = carol.screen(&["recv"]);
    assert_eq!(screen, "#club: @alice removed @bob\n");
}
