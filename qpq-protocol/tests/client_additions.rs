//! People who are to be added and can't be: the others are, and whoever is missing is named, once.

#[path = "support/net.rs"]
mod net;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use net::people::{
    asked, assert_agree, changed, conversations, invite, members, method, names, register, settle,
    world,
};
use net::{Net, Snapshot};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use qpq_protocol::client::{
    Conversation, ConversationId, Event, IntentError, Missing, MlsSuite, Outcome, intent,
};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::proto;
use qpq_protocol::status::Status;

thread_local! {
    /// Whose key packages the server gives out twice.
    static DOUBLED: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
    /// Whose packages are spoilt, and how.
    static SPOILT: RefCell<BTreeMap<IdentityKey, Spoilt>> = const { RefCell::new(BTreeMap::new()) };
    /// A package of frank's.
    static ANOTHERS: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// What may be wrong with what is given out of one person.
#[derive(Clone, Copy, Debug)]
enum Spoilt {
    /// There is none.
    Missing,
    /// A bit of it is another, at this place modulo its length.
    Flipped(usize),
    /// It ends there.
    Cut(usize),
    /// It is followed by something.
    Longer,
    /// It is somebody else's, well signed.
    Anothers,
    /// There are two of one device, each of them good.
    Doubled,
}

fn spoilt() -> impl Strategy<Value = Spoilt> {
    prop_oneof![
        Just(Spoilt::Missing),
        any::<usize>().prop_map(Spoilt::Flipped),
        any::<usize>().prop_map(Spoilt::Cut),
        Just(Spoilt::Longer),
        Just(Spoilt::Anothers),
        Just(Spoilt::Doubled),
    ]
}

/// Spoils the packages of an answer, as is meant for who they are of.
fn spoil(answer: &mut proto::FetchKeyPackagesResponse) {
    let Some(first) = answer.packages.first_mut() else {
        return;
    };
    let whose = SPOILT.with_borrow(|all| {
        let mut all = all.iter();
        let of = |key: &IdentityKey| first.package.windows(32).any(|part| part == key.as_bytes());
        all.find(|(key, _)| of(key)).map(|(_, how)| *how)
    });
    let mut bytes = first.package.to_vec();
    let place = |place: usize| place % bytes.len();
    match whose {
        None => return,
        Some(Spoilt::Missing) => return answer.packages.clear(),
        Some(Spoilt::Doubled) => {
            let again = first.clone();
            return answer.packages.push(again);
        }
        Some(Spoilt::Flipped(at)) => {
            let at = place(at);
            bytes[at] ^= 1;
        }
        Some(Spoilt::Cut(at)) => bytes.truncate(place(at)),
        Some(Spoilt::Longer) => bytes.push(0),
        Some(Spoilt::Anothers) => bytes = ANOTHERS.with_borrow(|another| another.to_vec()),
    }
    first.package = bytes.into();
}

/// A group that stands with only some of these.
fn partly(net: &mut Net, members: &[&str]) -> (Conversation, Vec<Missing>) {
    match net.ask(0, intent::CreateGroup::new("club", members)) {
        Ok(Outcome::Partly {
            conversation,
            missing,
        }) => (conversation, missing),
        other => panic!("{other:?}"),
    }
}

fn not_added(net: &Net, client: usize, id: ConversationId) -> Vec<String> {
    let events = net.clients[client].events.iter();
    let names = events.filter_map(|event| match event {
        Event::NotAdded {
            conversation,
            person,
        } if *conversation == id => person.name.clone(),
        _ => None,
    });
    names.collect()
}

fn refused(missing: &[Missing]) -> Vec<&str> {
    let refused = missing.iter();
    let refused = refused.filter(|one| matches!(one.error, IntentError::Refused { .. }));
    let mut names: Vec<_> = refused.map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_group_is_made_with_those_who_can_be_in_it() {
    let mut net = world(&["alice", "bob"]);
    // Nobody here can use her packages.
    net.client_config.mls_suite = MlsSuite::default();
    register(&mut net, "carol");
    let (made, missing) = partly(&mut net, &["bob", "carol", "zoe"]);
    let (carol, zoe) = ("carol".to_owned(), "zoe".to_owned());
    let expected = [
        Missing {
            name: zoe.clone(),
            error: IntentError::UnknownUser { name: zoe },
        },
        Missing {
            name: carol.clone(),
            error: IntentError::NoDevices { name: carol },
        },
    ];
    assert_eq!(missing, expected);
    assert_eq!(names(&made), ["alice", "bob"]);
    settle(&mut net);
    assert_eq!(names(&conversations(&mut net, 1)[0]), ["alice", "bob"]);
    // Who asked has heard it already.
    assert!(not_added(&net, 0, made.id).is_empty());
}

#[test]
fn a_group_of_nobody_but_strangers_is_not_made() {
    let mut net = world(&["alice"]);
    let ended = net.ask(0, intent::CreateGroup::new("club", &["zoe"]));
    let name = "zoe".to_owned();
    assert_eq!(ended, Err(IntentError::UnknownUser { name }));
    let ended = net.ask(0, intent::CreateGroup::new("club", &["zoe", "yan"]));
    assert!(
        matches!(ended, Err(IntentError::UnknownUser { .. })),
        "{ended:?}"
    );
    assert!(conversations(&mut net, 0).is_empty());
}

/// It passes each inspection, and MLS does not take it.
#[test]
fn a_key_package_that_fails_in_the_commit_costs_only_its_owner() {
    let mut net = world(&["alice", "bob", "dave"]);
    let carol = register(&mut net, "carol");
    DOUBLED.set(Bytes::copy_from_slice(carol.as_bytes()));
    net.lie = Some(|method, said| match method {
        method::FETCH_KEY_PACKAGES => {
            changed(said, |answer: &mut proto::FetchKeyPackagesResponse| {
                let whose = DOUBLED.with_borrow(Clone::clone);
                let first = answer.packages[0].clone();
                if first.package.windows(32).any(|piece| *piece == whose[..]) {
                    answer.packages.push(first);
                }
            })
        }
        _ => said,
    });
    let (made, missing) = partly(&mut net, &["bob", "carol", "dave"]);
    let name = "carol".to_owned();
    let expected = Missing {
        name: name.clone(),
        error: IntentError::NoDevices { name },
    };
    assert_eq!(missing, [expected]);
    assert_eq!(names(&made), ["alice", "bob", "dave"]);
}

const PEOPLE: [&str; 4] = ["bob", "carol", "dave", "erin"];

/// Alice makes a group with all of them, of whom some have nothing good to be added with.
fn assert_only_those_are_missing(
    snapshot: &Snapshot,
    keys: &[IdentityKey],
    how: [Option<Spoilt>; 4],
) -> Result<(), TestCaseError> {
    let mut net = Net::resume(snapshot);
    settle(&mut net);
    let bad: Vec<&str> = PEOPLE
        .into_iter()
        .zip(how)
        .filter_map(|(name, how)| how.map(|_| name))
        .collect();
    let good: Vec<&str> = PEOPLE
        .into_iter()
        .filter(|name| !bad.contains(name))
        .collect();
    let of = keys
        .iter()
        .zip(how)
        .filter_map(|(key, how)| Some((*key, how?)));
    SPOILT.set(of.collect());
    net.lie = Some(|method, said| match method {
        method::FETCH_KEY_PACKAGES => changed(said, spoil),
        _ => said,
    });
    let ended = net.ask(0, intent::CreateGroup::new("club", &PEOPLE));
    net.lie = None;
    let (made, missing) = match ended {
        Ok(Outcome::Conversation(made)) => (made, Vec::new()),
        Ok(Outcome::Partly {
            conversation,
            missing,
        }) => (conversation, missing),
        other => panic!("{other:?}"),
    };
    let none = |one: &Missing| matches!(one.error, IntentError::NoDevices { .. });
    prop_assert!(missing.iter().all(none), "{:?}", missing);
    let mut named: Vec<&str> = missing.iter().map(|one| one.name.as_str()).collect();
    named.sort_unstable();
    prop_assert_eq!(&named, &bad);
    let mut inside = [&["alice"], &good[..]].concat();
    prop_assert_eq!(names(&made), inside);
    // Nothing is held against them: they come in once what is given out of them is good.
    for name in &bad {
        invite(&mut net, 0, made.id, name);
    }
    inside = [&["alice"], &PEOPLE[..]].concat();
    assert_agree(&mut net, &[0, 1, 2, 3, 4], made.id);
    prop_assert_eq!(members(&mut net, 0, made.id), inside);
    Ok(())
}

/// Whatever is wrong with whichever of them: the others come in, and who is missing is named, once.
#[test]
fn bad_key_packages_cost_only_their_owners() {
    let mut net = world(&["alice"]);
    let keys = PEOPLE.map(|name| register(&mut net, name));
    register(&mut net, "frank");
    net.lie = Some(|method, said| match method {
        method::FETCH_KEY_PACKAGES => {
            changed(said, |answer: &mut proto::FetchKeyPackagesResponse| {
                ANOTHERS.set(answer.packages.remove(0).package);
            })
        }
        _ => said,
    });
    let ended = net.ask(0, intent::CreateGroup::new("club", &["frank"]));
    assert!(matches!(ended, Ok(Outcome::Partly { .. })), "{ended:?}");
    net.lie = None;
    settle(&mut net);
    let world = net.snapshot();
    let one = || prop::option::of(spoilt());
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let run = TestRunner::new(config).run(&[one(), one(), one(), one()], |how| {
        assert_only_those_are_missing(&world, &keys, how)
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn whom_the_server_names_is_given_up_and_the_others_come() {
    let mut net = Net::new();
    net.stop_server();
    net.server_config.limits.memberships_a_day = 1;
    net.start_server();
    for name in ["alice", "bob", "carol", "dave"] {
        register(&mut net, name);
    }
    let ended = net.ask(0, intent::CreateGroup::new("first", &["bob"]));
    assert!(matches!(ended, Ok(Outcome::Conversation(_))), "{ended:?}");
    // Bob is full of what alice gives.
    let (made, missing) = partly(&mut net, &["bob", "carol"]);
    assert_eq!(refused(&missing), ["bob"]);
    assert_eq!(names(&made), ["alice", "carol"]);
    // The same for two who are asked for at once, and come in one commit.
    let bob = net.begin(0, intent::Invite::new(made.id, "bob"));
    let dave = net.begin(0, intent::Invite::new(made.id, "dave"));
    assert!(net.until(|net| net.result(0, bob).is_some() && net.result(0, dave).is_some()));
    let bob = net.result(0, bob);
    assert!(
        matches!(bob, Some(Err(IntentError::Refused { .. }))),
        "{bob:?}"
    );
    let dave = net.result(0, dave);
    assert!(matches!(dave, Some(Ok(Outcome::Changed(_)))), "{dave:?}");
    settle(&mut net);
    assert_eq!(
        names(&conversations(&mut net, 3)[0]),
        ["alice", "carol", "dave"]
    );
}

/// Nobody waits for it any more, since the process that asked has ended.
#[test]
fn who_is_given_up_later_is_told_by_an_event() {
    let mut net = Net::new();
    net.stop_server();
    net.server_config.limits.memberships_a_day = 1;
    net.start_server();
    for name in ["alice", "bob", "carol"] {
        register(&mut net, name);
    }
    let ended = net.ask(0, intent::CreateGroup::new("first", &["bob"]));
    assert!(matches!(ended, Ok(Outcome::Conversation(_))), "{ended:?}");
    // Alice gets to know carol.
    let ended = net.ask(2, intent::CreateGroup::new("other", &["alice"]));
    assert!(matches!(ended, Ok(Outcome::Conversation(_))), "{ended:?}");
    settle(&mut net);
    net.stop_server();
    let members = ["bob", "carol"];
    net.begin(0, intent::CreateGroup::new("second", &members));
    net.pass(Duration::from_secs(1));
    net.restart(0);
    net.start_server();
    settle(&mut net);
    let all = conversations(&mut net, 0);
    let second = all.iter().find(|one| one.name == "second").expect("it");
    assert_eq!(names(second), ["alice", "carol"]);
    assert_eq!(not_added(&net, 0, second.id), ["bob"]);
}

/// A refusal that names nobody is about all: none of them may come in after it was said that none will.
#[test]
fn who_was_said_not_to_come_does_not_come() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    net.asked.clear();
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => Err(Status::BadRequest.code()),
        _ => said,
    });
    let (made, missing) = partly(&mut net, &["bob", "carol", "dave"]);
    assert_eq!(refused(&missing), ["bob", "carol", "dave"]);
    assert_eq!(names(&made), ["alice"]);
    net.lie = None;
    settle(&mut net);
    let commits = asked(&net, method::SUBMIT_COMMIT);
    assert_eq!(commits, 1);
}
