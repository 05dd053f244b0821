//! Who is meant by what is typed: names that others give never stand for a person or an id, and what
//! is shown can be typed.

mod support;

use support::world::{World, texts};

#[test]
fn a_group_called_like_a_person_or_an_id_gets_none_of_their_messages() {
    let world = World::new("address-shadow");
    let (alice, bob, mallory) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("mallory"),
    );
    let dm = alice.ok(&["dm", "bob"]);
    let id = dm[0]["id"].as_str().unwrap();
    mallory.ok(&["group", "create", id, "alice"]);
    mallory.ok(&["group", "create", "bob", "alice"]);
    alice.ok(&["recv"]);
    for (name, text) in [
        (id, "by its id"),
        ("bob", "by his name"),
        ("@bob", "with an @"),
    ] {
        alice.ok(&["send", name, text]);
    }
    let heard = [
        ("alice", "by its id"),
        ("alice", "by his name"),
        ("alice", "with an @"),
    ];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
    assert!(texts(&mallory.ok(&["recv"])).is_empty());
    // A person whom one has no conversation with is no group either.
    mallory.ok(&["group", "create", "carol", "alice"]);
    let said = alice.fails(&["send", "carol", "for carol only"]);
    assert!(said.contains("#carol"), "{said}");
    alice.ok(&["send", "#carol", "for the group"]);
    assert_eq!(texts(&mallory.ok(&["recv"])), [("alice", "for the group")]);
}

#[test]
fn what_is_shown_can_be_typed() {
    let world = World::new("address-shown");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "@bob"]);
    // One name twice, one with something invisible in it, one in another normal form.
    for name in ["club", "club", "a\u{202e}b", "cafe\u{301}"] {
        alice.ok(&["group", "create", name, "@bob"]);
    }
    bob.ok(&["recv"]);
    let (code, screen, _) = bob.screen(&["conversations"]);
    assert_eq!(code, Some(0));
    assert_eq!(screen.lines().count(), 5, "{screen}");
    for line in screen.lines() {
        let mut words = line.split("  ");
        let (name, id) = (words.next().unwrap(), words.next().unwrap());
        bob.ok(&["send", id, "by the id that is shown"]);
        match name {
            "#club" => {
                let said = bob.fails(&["send", name, "which one?"]);
                assert!(said.contains(id), "{said}");
            }
            _ => drop(bob.ok(&["send", name, "by the name that is shown"])),
        }
    }
    bob.ok(&["send", "#caf\u{e9}", "typed"]);
    assert_eq!(texts(&alice.ok(&["recv"])).len(), 9);
}
