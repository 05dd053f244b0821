//! What a client core does for its user, against the real server core in virtual time.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{
    asked, assert_agree, changed, conversation, dm, group, history, invite, method, remove, send,
    settle, told, world,
};
use net::{Net, password};
use qpq_crypto::proof::{CommitSlot, verify_commit};
use qpq_protocol::client::{
    Event, Fatal, Intent, IntentError, MlsSuite, Outcome, Standing, intent,
};
use qpq_protocol::storage::memory::Fault;
use qpq_protocol::storage::{Command, Failure};

#[test]
fn two_people_talk_and_both_histories_hold_it() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    for (client, text) in [(0, "one"), (1, "two"), (0, "three")] {
        send(&mut net, client, id, text);
        settle(&mut net);
    }
    assert_eq!(history(&mut net, 0, id), ["one", "two", "three"]);
    assert_eq!(history(&mut net, 1, id), ["one", "two", "three"]);
    let told: Vec<_> = net.texts(1);
    let expected = [("alice", "one"), ("alice", "three")];
    assert_eq!(
        told,
        expected.map(|(who, what)| (who.to_owned(), what.to_owned()))
    );
    assert_eq!(conversation(&mut net, 1, id).name, "alice");
}

#[test]
fn a_dm_opened_by_both_at_once_is_one() {
    let mut net = world(&["alice", "bob"]);
    let a = net.begin(0, intent::Dm("bob".into()));
    let b = net.begin(1, intent::Dm("alice".into()));
    assert!(net.until(|net| net.result(0, a).is_some() && net.result(1, b).is_some()));
    let (Some(Ok(Outcome::Conversation(a))), Some(Ok(Outcome::Conversation(b)))) =
        (net.result(0, a), net.result(1, b))
    else {
        panic!("{:?} {:?}", net.result(0, a), net.result(1, b));
    };
    assert_eq!(a.id, b.id);
    assert_agree(&mut net, &[0, 1], a.id);
}

#[test]
fn a_group_grows_is_named_inside_and_shrinks() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    assert_eq!(conversation(&mut net, 2, id).name, "friends");
    assert_agree(&mut net, &[0, 1, 2], id);

    invite(&mut net, 1, id, "dave");
    assert_agree(&mut net, &[0, 1, 2, 3], id);
    assert_eq!(conversation(&mut net, 3, id).name, "friends");

    remove(&mut net, 0, id, "carol");
    settle(&mut net);
    assert_eq!(
        told(&net, 2, |event| matches!(event, Event::Removed { .. })),
        1
    );
    assert_eq!(conversation(&mut net, 2, id).standing, Standing::Over);
    let ended = net.ask(2, intent::Send::new(id, "still here?"));
    assert_eq!(ended, Err(IntentError::NotAMember));
    assert_agree(&mut net, &[0, 1, 3], id);

    // Whoever was removed can be invited again, and keeps the history.
    invite(&mut net, 3, id, "carol");
    settle(&mut net);
    send(&mut net, 2, id, "back");
    settle(&mut net);
    assert_eq!(
        history(&mut net, 0, id).last().map(String::as_str),
        Some("back")
    );
}

#[test]
fn who_leaves_is_removed_from_the_tree_by_the_others() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    let ended = net.ask(1, intent::Leave(id));
    assert_eq!(ended, Ok(Outcome::Left(id)));
    settle(&mut net);
    assert_eq!(conversation(&mut net, 0, id).members.len(), 2);
    assert_agree(&mut net, &[0, 2], id);
    assert_eq!(conversation(&mut net, 1, id).standing, Standing::Over);
}

#[test]
fn several_who_leave_at_once_are_all_removed() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob", "carol", "dave"]);
    settle(&mut net);
    for leaving in [1, 2] {
        net.begin(leaving, intent::Leave(id));
    }
    settle(&mut net);
    assert_eq!(conversation(&mut net, 0, id).members.len(), 2);
    assert_agree(&mut net, &[0, 3], id);
}

#[test]
fn who_is_removed_goes_with_every_device_and_is_named_once() {
    let mut net = world(&["alice", "bob", "carol"]);
    let second = net.add_client();
    let ended = net.ask(second, intent::Login::new("carol", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    settle(&mut net);
    let id = group(&mut net, 0, &["bob", "carol"]);
    assert_agree(&mut net, &[0, 1, 2, second], id);

    let epoch = conversation(&mut net, 0, id).epoch;
    remove(&mut net, 0, id, "carol");
    settle(&mut net);
    // One device a commit.
    assert_eq!(conversation(&mut net, 0, id).epoch, epoch + 2);
    for device in [2, second] {
        let told = told(&net, device, |event| matches!(event, Event::Removed { .. }));
        assert_eq!(told, 1);
    }
    let names_removed =
        |event: &Event| matches!(event, Event::Membership { removed, .. } if !removed.is_empty());
    assert_eq!(told(&net, 1, names_removed), 1);
    assert_agree(&mut net, &[0, 1], id);
}

#[test]
fn two_members_commit_at_once_and_the_loser_commits_again() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let a = net.begin(0, intent::Invite::new(id, "carol"));
    let b = net.begin(1, intent::Invite::new(id, "dave"));
    assert!(net.until(|net| net.result(0, a).is_some() && net.result(1, b).is_some()));
    assert!(
        matches!(net.result(0, a), Some(Ok(_))),
        "{:?}",
        net.result(0, a)
    );
    assert!(
        matches!(net.result(1, b), Some(Ok(_))),
        "{:?}",
        net.result(1, b)
    );
    assert_agree(&mut net, &[0, 1, 2, 3], id);
    assert_eq!(conversation(&mut net, 0, id).epoch, 3);
}

#[test]
fn a_slot_that_was_lost_is_fetched_once() {
    let mut net = world(&["alice", "bob", "carol", "dave"]);
    let id = group(&mut net, 0, &["bob", "carol", "dave"]);
    settle(&mut net);
    // Nothing is pushed, and only these two are there.
    net.deaf = true;
    net.clients[2].away = true;
    net.clients[3].away = true;
    net.asked.clear();
    let carol = net.begin(0, intent::Remove::new(id, "carol"));
    let dave = net.begin(1, intent::Remove::new(id, "dave"));
    assert!(net.until(|net| net.result(0, carol).is_some() && net.result(1, dave).is_some()));
    let count = |method: u16| net.asked.iter().filter(|own| **own == method).count();
    assert_eq!(count(206), 3, "one of them twice: {:?}", net.asked);
    // Each after its own commit, and one of them the other's.
    assert_eq!(count(201), 3, "{:?}", net.asked);
}

#[test]
fn who_was_away_gets_everything_in_order() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    net.restart(1);
    net.clients[1].away = true;
    for number in 0..100 {
        send(&mut net, 0, id, &format!("message {number}"));
        if number == 50 {
            invite(&mut net, 0, id, "carol");
        }
    }
    net.clients[1].away = false;
    net.until(|net| net.texts(1).len() == 100);
    let texts: Vec<String> = net.texts(1).into_iter().map(|(_, text)| text).collect();
    let expected: Vec<String> = (0..100).map(|number| format!("message {number}")).collect();
    assert_eq!(texts, expected);
    assert_eq!(
        told(&net, 1, |event| matches!(event, Event::Unreadable { .. })),
        0
    );
}

#[test]
fn who_is_synced_knows_the_names_of_what_was_joined() {
    let mut net = world(&["alice", "bob"]);
    settle(&mut net);
    net.restart(1);
    net.clients[1].away = true;
    let id = dm(&mut net, 0, "bob");
    let before = net.clients[1].events.len();
    net.clients[1].away = false;
    settle(&mut net);
    let told = &net.clients[1].events[before..];
    let joined = told.iter().position(|event| {
        matches!(event, Event::Joined { conversation } if conversation.id == id && conversation.name == "alice")
    });
    let synced = told.iter().position(|event| *event == Event::Synced);
    assert!(joined.unwrap() < synced.unwrap(), "{told:?}");
}

#[test]
fn messages_written_without_a_server_are_sent_when_it_is_back() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    settle(&mut net);
    net.stop_server();
    let sent: Vec<_> = (0..3)
        .map(|number| net.begin(0, intent::Send::new(id, format!("late {number}"))))
        .collect();
    net.pass(Duration::from_secs(300));
    assert!(sent.iter().all(|intent| net.result(0, *intent).is_none()));
    // A restart forgets the intents, not the messages.
    net.restart(0);
    net.pass(Duration::from_secs(10));
    net.start_server();
    assert!(net.until(|net| net.texts(1).len() == 3));
    settle(&mut net);
    assert_eq!(history(&mut net, 1, id), ["late 0", "late 1", "late 2"]);
    assert_eq!(history(&mut net, 0, id), ["late 0", "late 1", "late 2"]);
}

#[test]
fn connections_that_break_are_made_again_and_lose_nothing() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    let mut expected = Vec::new();
    for number in 0..20 {
        let text = format!("message {number}");
        let intent = net.begin(0, intent::Send::new(id, &text));
        expected.push(text);
        // Somewhere in the middle of it.
        for _ in 0..number {
            net.turn();
        }
        net.cut_client(number % 2);
        assert!(net.until(|net| net.result(0, intent).is_some()));
    }
    settle(&mut net);
    assert_eq!(history(&mut net, 0, id), expected);
    assert_eq!(history(&mut net, 1, id), expected);
}

#[test]
fn a_session_survives_a_restart_and_a_password_opens_a_second_device() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    net.restart(0);
    settle(&mut net);
    assert_eq!(
        told(&net, 0, |event| matches!(event, Event::LoggedIn { .. })),
        2
    );
    send(&mut net, 0, id, "after the restart");

    let second = net.add_client();
    let ended = net.ask(second, intent::Login::new("alice", password("secret")));
    let Ok(Outcome::LoggedIn(account)) = ended else {
        panic!("{ended:?}");
    };
    let Ok(Outcome::Account(Some(first))) = net.ask(0, intent::WhoAmI) else {
        panic!("no account");
    };
    assert_eq!(account.identity_key, first.identity_key);
    assert_ne!(account.device_id, first.device_id);
}

#[test]
fn a_device_that_a_conversation_began_without_is_told_so_at_once() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    let second = net.add_client();
    let ended = net.ask(second, intent::Login::new("alice", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    let name = "bob".to_owned();
    let error = Err(IntentError::OtherDevice { name });
    for _ in 0..2 {
        let begin = net.now;
        let ended = net.ask(second, intent::Dm("bob".into()));
        assert_eq!(ended, error);
        assert!(net.now.since(begin) < Duration::from_secs(1));
    }
    let all = net.ask(second, intent::Conversations);
    assert_eq!(all, Ok(Outcome::Conversations(Vec::new())));
    // The others go on, and what the error advises works.
    send(&mut net, 1, id, "to the first device");
    let id = group(&mut net, second, &["bob"]);
    assert_agree(&mut net, &[1, second], id);
}

#[test]
fn a_peer_without_a_key_package_is_named_at_once() {
    let mut net = world(&["alice"]);
    // One whose packages nobody here can use is as good as one without any.
    net.client_config.mls_suite = MlsSuite::default();
    let bob = net.add_client();
    let ended = net.ask(bob, intent::Register::new("bob", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    let begin = net.now;
    let name = "bob".to_owned();
    let ended = net.ask(0, intent::Dm("bob".into()));
    assert_eq!(ended, Err(IntentError::NoDevices { name }));
    assert!(net.now.since(begin) < Duration::from_secs(1));
}

#[test]
fn a_server_that_holds_back_is_told_from_one_that_is_gone() {
    let mut net = world(&["alice", "bob"]);
    net.server_config.limits.key_package_fetches.count = 0;
    net.stop_server();
    net.start_server();
    let begin = net.now;
    let ended = net.ask(0, intent::Dm("bob".into()));
    assert_eq!(ended, Err(IntentError::HeldBack));
    assert!(net.now.since(begin) >= net.client_config.intent_timeout);
}

#[test]
fn a_logout_ends_the_session_and_a_login_takes_the_same_device() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    assert_eq!(net.ask(0, intent::Logout), Ok(Outcome::LoggedOut));
    assert_eq!(
        net.ask(0, intent::Dm("carol".into())),
        Err(IntentError::NotLoggedIn)
    );
    send(&mut net, 1, id, "while you were out");
    let ended = net.ask(0, intent::Login::new("alice", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    settle(&mut net);
    assert_eq!(history(&mut net, 0, id), ["while you were out"]);
}

#[test]
fn mistakes_are_told_apart() {
    let mut net = world(&["alice", "bob"]);
    let wrong = net.add_client();
    for (name, pass, error) in [
        ("alice", "guess", IntentError::WrongPassword),
        ("nobody", "secret", IntentError::WrongPassword),
        ("Not A Name", "secret", IntentError::BadName),
    ] {
        let ended = net.ask(wrong, intent::Login::new(name, password(pass)));
        assert_eq!(ended, Err(error), "{name}");
    }
    let ended = net.ask(wrong, intent::Register::new("alice", password("mine")));
    assert_eq!(ended, Err(IntentError::NameTaken));
    let ended = net.ask(wrong, intent::Dm("alice".into()));
    assert_eq!(ended, Err(IntentError::NotLoggedIn));

    let name = "zoe".to_owned();
    let ended = net.ask(0, intent::Dm("zoe".into()));
    assert_eq!(ended, Err(IntentError::UnknownUser { name: name.clone() }));
    let ended = net.ask(0, intent::CreateGroup::new("g", &["zoe"]));
    assert_eq!(ended, Err(IntentError::UnknownUser { name }));
    assert_eq!(
        net.ask(0, intent::Dm("alice".into())),
        Err(IntentError::Yourself)
    );
    let ended = net.ask(0, intent::Login::new("bob", password("secret")));
    let name = "alice".to_owned();
    assert_eq!(ended, Err(IntentError::OtherAccount { name }));

    let nowhere = qpq_protocol::ids::ChannelId([0; 16]);
    let unknown = Err(IntentError::UnknownConversation);
    assert_eq!(net.ask(0, intent::Send::new(nowhere, "x")), unknown);
    assert_eq!(net.ask(0, intent::Invite::new(nowhere, "bob")), unknown);
    assert_eq!(net.ask(0, intent::Leave(nowhere)), unknown);
    assert_eq!(net.ask(0, intent::Members(nowhere)), unknown);
    assert_eq!(
        net.ask(
            0,
            intent::History {
                conversation: nowhere,
                before: None,
                limit: 1
            }
        ),
        unknown
    );
    let id = dm(&mut net, 0, "bob");
    let long = "x".repeat(64 * 1024 + 1);
    let ended = net.ask(0, intent::Send::new(id, &long));
    assert!(
        matches!(ended, Err(IntentError::BadLength { .. })),
        "{ended:?}"
    );
    let ended = net.ask(0, intent::Invite::new(id, "bob"));
    assert_eq!(ended, Err(IntentError::NotAGroup));
    let id = group(&mut net, 0, &["bob"]);
    let ended = net.ask(0, intent::Invite::new(id, "bob"));
    let name = "bob".to_owned();
    assert_eq!(ended, Err(IntentError::AlreadyMember { name }));
}

#[test]
fn a_name_that_nobody_has_ends_whatever_waits_for_it_at_once() {
    let mut net = world(&["alice", "bob"]);
    let id = group(&mut net, 0, &["bob"]);
    let begin = net.now;
    let unknown = Err(IntentError::UnknownUser {
        name: "zoe".to_owned(),
    });
    let intents: [Intent; 5] = [
        intent::Dm("zoe".into()).into(),
        intent::CreateGroup::new("club", &["zoe"]).into(),
        intent::Invite::new(id, "zoe").into(),
        intent::Remove::new(id, "zoe").into(),
        intent::SafetyNumber("zoe".into()).into(),
    ];
    let intents = intents.map(|intent| net.begin(0, intent));
    for intent in intents {
        assert!(net.until(|net| net.result(0, intent).is_some()));
        assert_eq!(net.result(0, intent), Some(unknown.clone()));
    }
    assert!(net.now.since(begin) < Duration::from_secs(1));
}

#[test]
fn a_stopped_server_is_told_and_an_intent_ends_at_its_deadline() {
    let mut net = world(&["alice"]);
    net.stop_server();
    let ended = net.ask(0, intent::Dm("bob".into()));
    assert_eq!(ended, Err(IntentError::TimedOut));
    assert!(told(&net, 0, |event| matches!(event, Event::Disconnected { .. })) > 3);
}

#[test]
fn a_second_process_ends_the_first_and_names_itself() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    // Both on one disk: the second one's fence is written to it, then the first wants to store.
    let second = net.add_second(0);
    net.pump();
    net.clients[0].disk = net.clients[second].disk.clone();
    let ended = net.ask(0, intent::Send::new(id, "from the first"));
    let Err(IntentError::Fatal(Fatal::WriterReplaced { holder })) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(holder, "start 4");
    assert_eq!(told(&net, 0, |event| matches!(event, Event::Fatal(_))), 1);
    let ended = net.ask(0, intent::WhoAmI);
    assert!(matches!(ended, Err(IntentError::Fatal(_))), "{ended:?}");
    send(&mut net, second, id, "from the second");
}

#[test]
fn failures_of_storage_are_told_and_survived() {
    for fault in [
        Fault::Full,
        Fault::Unavailable,
        Fault::UnknownMade,
        Fault::UnknownLost,
    ] {
        let mut net = world(&["alice", "bob"]);
        let id = dm(&mut net, 0, "bob");
        settle(&mut net);
        net.clients[0].disk.fail_next(fault);
        let ended = net.ask(0, intent::Send::new(id, "one"));
        match fault {
            Fault::Full => assert_eq!(ended, Err(IntentError::Storage(Failure::Full))),
            Fault::Unavailable => {
                assert_eq!(ended, Err(IntentError::Storage(Failure::Unavailable)));
            }
            Fault::UnknownLost => assert_eq!(ended, Err(IntentError::Storage(Failure::Unknown))),
            // It was stored after all, so it is sent.
            Fault::UnknownMade => assert!(matches!(ended, Ok(Outcome::Sent { .. })), "{ended:?}"),
        }
        net.clients[1].disk.fail_next(fault);
        send(&mut net, 0, id, "two");
        settle(&mut net);
        let mut expected = vec!["two".to_owned()];
        if fault == Fault::UnknownMade {
            expected.insert(0, "one".to_owned());
        }
        assert_eq!(history(&mut net, 0, id), expected, "{fault:?}");
        assert_eq!(history(&mut net, 1, id), expected, "{fault:?}");
        let told: Vec<_> = net.texts(1).into_iter().map(|(_, text)| text).collect();
        assert_eq!(told, expected, "{fault:?}");
        assert_agree(&mut net, &[0, 1], id);
    }
}

#[test]
fn a_message_to_nobody_that_was_never_stored_is_not_sent() {
    for fault in [Fault::Full, Fault::UnknownMade, Fault::UnknownLost] {
        let mut net = world(&["alice"]);
        let id = group(&mut net, 0, &[]);
        settle(&mut net);
        net.clients[0].disk.fail_next(fault);
        let ended = net.ask(0, intent::Send::new(id, "one"));
        let stored = history(&mut net, 0, id).len();
        assert_eq!(ended.is_ok(), stored == 1, "{fault:?}: {ended:?}");
    }
}

#[test]
fn an_opening_whose_fate_is_unknown_is_tried_again() {
    for fault in [Fault::UnknownMade, Fault::UnknownLost] {
        let mut net = world(&["alice"]);
        net.restart(0);
        // The second command of an opening puts up the fence, in place of that of the last one.
        assert!(net.turn());
        net.clients[0].hold = true;
        assert!(net.turn());
        let fence = net.clients[0].commands.front();
        assert!(matches!(fence, Some((_, Command::Commit(_)))), "{fence:?}");
        net.clients[0].disk.fail_next(fault);
        net.clients[0].hold = false;
        let ended = net.ask(0, intent::WhoAmI);
        assert!(
            matches!(ended, Ok(Outcome::Account(Some(_)))),
            "{fault:?}: {ended:?}"
        );
    }
}

#[test]
fn a_registration_survives_a_connection_lost_at_any_moment() {
    for turns in 0..100 {
        let mut net = Net::new();
        // So that requests are lost halfway too.
        net.piece = 100;
        net.add_client();
        let intent = net.begin(0, intent::Register::new("alice", password("secret")));
        for _ in 0..turns {
            if !net.turn() {
                net.jump(net.now + Duration::from_millis(5));
            }
        }
        net.cut_client(0);
        net.until(|net| net.result(0, intent).is_some());
        let ended = net.result(0, intent);
        assert!(
            matches!(ended, Some(Ok(Outcome::LoggedIn(_)))),
            "{turns}: {ended:?}"
        );
    }
}

#[test]
fn a_dm_that_could_not_be_made_does_not_keep_the_peer_from_making_it() {
    let mut net = world(&["alice"]);
    let usual = net.client_config.mls_suite;
    net.client_config.mls_suite = MlsSuite::default();
    net.add_client();
    let ended = net.ask(1, intent::Register::new("bob", password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    // Alice's suite is another than that of Bob's key packages.
    let name = "bob".to_owned();
    let ended = net.ask(0, intent::Dm("bob".into()));
    assert_eq!(ended, Err(IntentError::NoDevices { name }));
    net.client_config.mls_suite = usual;
    net.restart(1);
    net.pass(Duration::from_secs(60));
    let id = dm(&mut net, 1, "alice");
    settle(&mut net);
    assert_agree(&mut net, &[0, 1], id);
}

#[test]
fn a_logout_ends_a_login_that_still_publishes_its_key_packages() {
    let mut net = Net::new();
    net.add_client();
    let register = net.begin(0, intent::Register::new("alice", password("secret")));
    let is_in = |net: &Net| {
        let mut events = net.clients[0].events.iter();
        events.any(|event| matches!(event, Event::LoggedIn { .. }))
    };
    while !is_in(&net) {
        if !net.turn() {
            net.jump(net.now + Duration::from_millis(5));
        }
    }
    assert_eq!(net.result(0, register), None);
    let logout = net.ask(0, intent::Logout);
    assert_eq!(logout, Ok(Outcome::LoggedOut));
    assert_eq!(net.result(0, register), Some(Err(IntentError::NotLoggedIn)));
}

#[test]
fn every_message_ends_when_storage_fails_between_two() {
    for turns in 0..12 {
        let mut net = world(&["alice", "bob"]);
        let id = dm(&mut net, 0, "bob");
        settle(&mut net);
        let one = net.begin(0, intent::Send::new(id, "one"));
        for _ in 0..turns {
            net.turn();
        }
        let two = net.begin(0, intent::Send::new(id, "two"));
        net.clients[0].disk.fail_next(Fault::Full);
        settle(&mut net);
        let ended = [one, two].map(|intent| net.result(0, intent));
        assert!(ended.iter().all(Option::is_some), "{turns}: {ended:?}");
        let sent = ended.iter().filter(|ended| matches!(ended, Some(Ok(_))));
        assert_eq!(sent.count(), history(&mut net, 1, id).len(), "{turns}");
    }
}

#[test]
fn unread_messages_are_counted_until_they_are_read() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    for number in 0..5 {
        send(&mut net, 0, id, &format!("{number}"));
    }
    settle(&mut net);
    assert_eq!(conversation(&mut net, 1, id).unread, 5);
    let ended = net.ask(
        1,
        intent::Unread {
            conversation: id,
            limit: 2,
        },
    );
    let Ok(Outcome::Messages(first)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(
        first
            .iter()
            .map(|message| message.index)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(
        net.ask(
            1,
            intent::MarkRead {
                conversation: id,
                up_to: 2
            }
        ),
        Ok(Outcome::Read)
    );
    net.restart(1);
    assert_eq!(conversation(&mut net, 1, id).unread, 3);
}

#[test]
fn a_long_message_arrives_whole_and_the_rows_hold_none_of_it() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    let text = "a secret that nobody else may see ".repeat(1900);
    send(&mut net, 0, id, &text);
    settle(&mut net);
    net.restart(1);
    assert_eq!(history(&mut net, 1, id), [text]);
    let secret = b"nobody else may see";
    for node in &net.clients {
        for (key, value) in node.disk.rows() {
            for bytes in [key, value] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret));
            }
        }
    }
}

#[test]
fn key_packages_are_replaced_as_they_are_used() {
    let names: Vec<String> = (0..6).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut net = world(&names);
    // Five groups need five of user0's packages; the pool holds three.
    for client in 1..6 {
        group(&mut net, client, &["user0"]);
        settle(&mut net);
    }
    assert_eq!(
        told(&net, 0, |event| matches!(event, Event::Joined { .. })),
        5
    );
}

#[test]
fn a_commit_that_the_server_does_not_sign_for_is_told_and_submitted_again() {
    use prost::Message as _;
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let unproven = |event: &Event| matches!(event, Event::Unproven { conversation, .. } if *conversation == id);
    assert_eq!(told(&net, 0, unproven), 0);
    net.lie = Some(|method, said| match (method, said) {
        (method::SUBMIT_COMMIT, Ok(payload)) => {
            let answer = qpq_protocol::proto::SubmitCommitResponse::decode(payload);
            let mut answer = answer.expect("an answer");
            answer.commit_proof = answer.commit_proof.iter().map(|byte| byte ^ 1).collect();
            Ok(answer.encode_to_vec().into())
        }
        (_, said) => said,
    });
    let invite = net.begin(0, intent::Invite::new(id, "carol"));
    net.pass(Duration::from_secs(3));
    assert!(told(&net, 0, unproven) >= 1);
    assert_eq!(net.result(0, invite), None);
    net.lie = None;
    net.pass(Duration::from_secs(60));
    let ended = net.result(0, invite);
    assert!(matches!(ended, Some(Ok(Outcome::Changed(_)))), "{ended:?}");
    assert_agree(&mut net, &[0, 1, 2], id);
}

#[test]
fn a_server_that_was_set_back_is_not_asked_for_ever() {
    let mut net = world(&["alice", "bob", "carol"]);
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    let before = net.server.as_ref().unwrap().disk.clone();
    invite(&mut net, 0, id, "carol");
    net.stop_server();
    net.server_disk = before;
    net.start_server();
    // Carol is in the tree and not on the server's list: alice wants to put that right.
    let bytes = net.bytes;
    net.pass(Duration::from_secs(600));
    assert!(net.bytes - bytes < 1_000_000, "{}", net.bytes - bytes);
}

#[test]
fn two_commits_in_one_slot_are_told_with_both_proofs() {
    let mut net = world(&["alice", "bob", "carol", "dave", "erin"]);
    let id = group(&mut net, 0, &["bob", "carol"]);
    settle(&mut net);
    // While carol is away bob commits. Then the server takes that back and lets her commit.
    net.restart(2);
    net.clients[2].away = true;
    let before = net.server.as_ref().unwrap().disk.clone();
    invite(&mut net, 1, id, "dave");
    settle(&mut net);
    // What is kept outlives the process.
    net.restart(0);
    net.stop_server();
    net.server_disk = before;
    // Who knows of it would give the server bob's commit back.
    net.clients[0].away = true;
    net.clients[1].away = true;
    net.start_server();
    net.clients[2].away = false;
    settle(&mut net);
    for text in ["takes the place of bob's commit", "and is behind it"] {
        send(&mut net, 2, id, text);
    }
    invite(&mut net, 2, id, "erin");
    net.clients[0].away = false;
    net.clients[1].away = false;
    settle(&mut net);

    let forks = net.clients[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Forked {
                conversation,
                slot,
                proofs,
            } => Some((*conversation, *slot, proofs.clone())),
            _ => None,
        });
    let forks: Vec<_> = forks.collect();
    let [(conversation, slot, proofs)] = forks.as_slice() else {
        panic!("{forks:?}");
    };
    assert_eq!(*conversation, id);
    assert_ne!(proofs[0].commit_hash, proofs[1].commit_hash);
    let Ok(Outcome::Server(server)) = net.ask(3, intent::ServerInfo) else {
        panic!("no answer");
    };
    for proof in proofs.iter() {
        let taken = CommitSlot {
            channel_id: &id.0,
            slot: *slot,
            commit_hash: &proof.commit_hash,
            sender: &proof.sender,
        };
        let epoch = verify_commit(&server.signing_key, &taken, &proof.proof);
        assert_eq!(epoch, Ok(proof.server_epoch));
    }
}

#[test]
fn a_shutdown_lets_what_runs_finish() {
    use qpq_protocol::io::Core as _;
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    let intent = net.begin(0, intent::Send::new(id, "last words"));
    let now = net.now;
    net.clients[0].core.handle_shutdown(now);
    net.until(|net| net.clients[0].core.is_shut_down());
    assert!(matches!(
        net.result(0, intent),
        Some(Ok(Outcome::Sent { .. }))
    ));
    settle(&mut net);
    assert_eq!(history(&mut net, 1, id), ["last words"]);
}

#[test]
fn a_message_that_nobody_was_told_of_is_found_all_the_same() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    net.pass(Duration::from_secs(5));
    net.deaf = true;
    let sent = net.ask(0, intent::Send::new(id, "unheard"));
    assert!(matches!(sent, Ok(Outcome::Sent { .. })), "{sent:?}");
    assert_eq!(net.texts(1), []);
    net.pass(net.client_config.look_interval);
    assert_eq!(net.texts(1), [("alice".to_owned(), "unheard".to_owned())]);
}

#[test]
fn the_server_says_what_it_is_without_an_account() {
    let mut net = Net::new();
    let client = net.add_client();
    let ended = net.ask(client, intent::ServerInfo);
    let Ok(Outcome::Server(info)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(info.domain, "localhost");
}

#[test]
fn a_wrong_password_leaves_the_session_as_it_was() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    settle(&mut net);
    net.restart(0);
    let ended = net.ask(0, intent::Login::new("alice", password("guess")));
    assert_eq!(ended, Err(IntentError::WrongPassword));
    send(&mut net, 0, id, "still here");
}

#[test]
fn the_post_quantum_suite_carries_a_group() {
    let mut net = Net::new();
    net.client_config.mls_suite = qpq_protocol::client::MlsSuite::default();
    for name in ["alice", "bob", "carol"] {
        let client = net.add_client();
        let ended = net.ask(client, intent::Register::new(name, password("secret")));
        assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    }
    let id = group(&mut net, 0, &["bob"]);
    settle(&mut net);
    invite(&mut net, 1, id, "carol");
    assert_agree(&mut net, &[0, 1, 2], id);
}

#[test]
fn an_account_is_for_the_server_that_the_user_means() {
    let mut net = Net::new();
    net.client_config.server = "example.org:5001".to_owned();
    let client = net.add_client();
    let other = |expected: &str| {
        Err(IntentError::OtherDomain {
            expected: expected.to_owned(),
            claimed: "localhost".to_owned(),
        })
    };
    let register =
        |net: &mut Net, name| net.ask(client, intent::Register::new(name, password("x")));
    let login = |net: &mut Net, name| net.ask(client, intent::Login::new(name, password("x")));
    assert_eq!(register(&mut net, "alice"), other("example.org"));
    assert_eq!(login(&mut net, "alice"), other("example.org"));
    assert_eq!(
        register(&mut net, "alice@elsewhere.org"),
        other("elsewhere.org")
    );
    assert!(
        net.asked.iter().all(|method| !(100..=104).contains(method)),
        "nothing was shown: {:?}",
        net.asked
    );
    let ended = register(&mut net, "alice@localhost");
    let Ok(Outcome::LoggedIn(account)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(account.domain, "localhost");
    // The account knows its server by itself now.
    assert!(matches!(login(&mut net, "alice"), Ok(Outcome::LoggedIn(_))));
    let ended = login(&mut net, "alice@example.org");
    assert!(
        matches!(ended, Err(IntentError::OtherAccount { .. })),
        "{ended:?}"
    );
}

#[test]
fn an_address_does_not_say_which_server_is_meant() {
    let mut net = Net::new();
    net.client_config.server = "192.0.2.7:5001".to_owned();
    let client = net.add_client();
    let ended = net.ask(client, intent::Register::new("alice", password("x")));
    let name = "alice".to_owned();
    assert_eq!(ended, Err(IntentError::NoDomain { name }));
}

#[test]
fn a_server_with_another_key_is_shown_nothing() {
    let mut net = world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    settle(&mut net);
    net.stop_server();
    let right = core::mem::take(&mut net.server_disk);
    net.start_server();
    net.asked.clear();
    let ended = net.ask(0, intent::Dm("carol".into()));
    assert_eq!(ended, Err(IntentError::OtherServer));
    let ended = net.ask(0, intent::Login::new("alice", password("secret")));
    assert_eq!(ended, Err(IntentError::OtherServer));
    settle(&mut net);
    // Each asks who the server is, and nothing else.
    assert!(
        net.asked.iter().all(|method| *method == 803),
        "{:?}",
        net.asked
    );
    let other_key = |event: &Event| matches!(event, Event::ServerKeyChanged { .. });
    assert!(told(&net, 0, other_key) > 0);
    assert_eq!(told(&net, 0, |event| matches!(event, Event::LoggedOut)), 0);
    // Back at the right one the session is still there.
    net.stop_server();
    net.server_disk = right;
    net.start_server();
    send(&mut net, 0, id, "still here");
}

#[test]
fn a_device_has_a_name_of_its_own_and_a_long_one_is_refused() {
    let mut net = Net::new();
    net.client_config.device_name = "x".repeat(65);
    let client = net.add_client();
    let ended = net.ask(client, intent::Register::new("alice", password("x")));
    assert_eq!(ended, Err(IntentError::DeviceNameTooLong { limit: 64 }));
    // What a process calls itself is nobody's business: it may be long, and is not told.
    net.client_config.device_name = "laptop".to_owned();
    net.holder = "x".repeat(200);
    let client = net.add_client();
    let ended = net.ask(client, intent::Register::new("alice", password("x")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
}

#[test]
fn a_page_of_queues_that_comes_again_ends_the_listing() {
    for ids in [vec![7; 16], vec![7; 17]] {
        let mut net = world(&["alice", "bob"]);
        let id = dm(&mut net, 0, "bob");
        settle(&mut net);
        net.lie = match ids.len() {
            16 => Some(|method, said| repeat_page(method, said, &[7; 16])),
            _ => Some(|method, said| repeat_page(method, said, &[7; 17])),
        };
        net.asked.clear();
        net.cut_client(0);
        net.pass(Duration::from_secs(60));
        let pages = asked(&net, method::LIST_QUEUES);
        assert!(pages <= 4, "{pages} pages were asked for");
        send(&mut net, 0, id, "still here");
    }

    fn repeat_page(
        method: u16,
        said: Result<bytes::Bytes, u8>,
        id: &[u8],
    ) -> Result<bytes::Bytes, u8> {
        if method != method::LIST_QUEUES {
            return said;
        }
        changed(
            said,
            |page: &mut qpq_protocol::proto::ListQueuesResponse| {
                page.queues.push(qpq_protocol::proto::Queue {
                    channel_id: bytes::Bytes::copy_from_slice(id),
                    first_seq: 1,
                    next_seq: 1,
                    ..Default::default()
                });
            },
        )
    }
}
