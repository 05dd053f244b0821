//! The devices of an account, and safety numbers.

mod support;

use support::User;
use support::world::World;

fn device_of(user: &User) -> String {
    user.ok(&["whoami"])[0]["device_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// An account with as many devices as it may have, the first one's directory called `alice`.
fn full_account(world: &World) -> User {
    let first = world.registered("alice");
    for n in 2..=5 {
        world.user(&format!("alice-{n}")).ok(&["login", "alice"]);
    }
    first
}

#[test]
fn who_finds_no_room_is_told_which_devices_there_are() {
    let world = World::new("devices-full");
    let first = full_account(&world);
    let sixth = world.user("alice-6");
    let full = sixth.ends(&["login", "alice"], 1);
    assert!(full.error.contains("--remove"), "{}", full.error);
    assert_eq!(full.said.len(), 5);
    // Any device lists and removes the others.
    let second = world.user("alice-2");
    let gone = device_of(&second);
    let is_gone = |line: &serde_json::Value| line["id"] == gone.as_str();
    assert!(first.ok(&["devices"]).iter().any(is_gone));
    let removed = first.ok(&["device", "remove", &gone[..12]]);
    assert_eq!(removed[0]["id"], gone.as_str());
    let said = second.fails(&["recv"]);
    assert!(said.contains("not logged in"), "{said}");
    let said = first.fails(&["device", "remove", &gone]);
    assert!(said.contains("qpq devices"), "{said}");
    sixth.ok(&["login", "alice"]);
    let listed = first.ok(&["devices"]);
    assert_eq!(listed.len(), 5);
    assert!(!listed.iter().any(is_gone));
}

#[test]
fn a_login_makes_room_for_itself() {
    let world = World::new("devices-room");
    let first = full_account(&world);
    let second = world.user("alice-2");
    let gone = device_of(&second);
    let sixth = world.user("alice-6");
    sixth.ok(&["login", "alice", "--remove", &gone[..12]]);
    let said = second.fails(&["recv"]);
    assert!(said.contains("not logged in"), "{said}");
    let listed = first.ok(&["devices"]);
    assert_eq!(listed.len(), 5);
    assert!(listed.iter().all(|line| line["id"] != gone.as_str()));
}

#[test]
fn two_people_compare_one_number() {
    let world = World::new("devices-verify");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    let ours = &alice.ok(&["verify", "bob"])[0];
    let theirs = &bob.ok(&["verify", "@alice"])[0];
    assert_eq!(ours["number"], theirs["number"]);
    let scanned = theirs["qr"].as_str().unwrap();
    alice.ok(&["verify", "bob", "--scanned", scanned]);
    let other = scanned.replace(['0', '1', '2', '3'], "4");
    let said = alice.fails(&["verify", "bob", "--scanned", &format!("01{}", &other[2..])]);
    assert!(said.contains("differ"), "{said}");
    let said = alice.fails(&["verify", "bob", "--scanned", "hello"]);
    assert!(said.contains("no safety number"), "{said}");
    assert!(alice.fails(&["verify", "zoe"]).contains("no user zoe"));
    let (code, screen, _) = alice.screen(&["verify", "bob"]);
    assert_eq!(code, Some(0));
    assert_eq!(screen.lines().count(), 5, "{screen}");
}
