//! Groups with a member who means ill, with queues that overran and lists that do not fit: against the
//! real server core in virtual time. Nobody is ended by what another does, and what happened is said.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::people::{
    assert_agree, backup, changed, conversation, dm, group, invite, leave, method,
    put_back_silently, register, remove, send, settle,
};
use net::{Net, people};
use qpq_protocol::client::{
    ConversationId, Event, Misdeed, Outcome, RejoinReason, Sent, Standing, Twice, UnreadableReason,
    intent,
};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::proto;

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// A group of the first `count` people, made by the first; its id and their keys.
fn world(count: usize) -> (Net, ConversationId, Vec<IdentityKey>) {
    let mut net = Net::new();
    let (id, keys) = gather(&mut net, count);
    (net, id, keys)
}

fn gather(net: &mut Net, count: usize) -> (ConversationId, Vec<IdentityKey>) {
    let keys = NAMES[..count].iter().map(|name| register(net, name));
    let keys = keys.collect();
    let id = group(net, 0, &NAMES[1..count]);
    settle(net);
    (id, keys)
}

fn events(net: &Net, client: usize) -> impl Iterator<Item = &Event> {
    net.clients[client].events.iter()
}

fn misbehave(net: &mut Net, client: usize, id: ConversationId, misdeed: &Misdeed) {
    let done = net.act(client, |core, now| core.misbehave(now, id, misdeed));
    assert!(done, "{misdeed:?}");
    settle(net);
}

/// The slots of commits by this account that a client was told are void.
fn void_commits(net: &Net, client: usize, by: IdentityKey) -> usize {
    events(net, client)
        .filter(|event| match event {
            Event::VoidCommit {
                by: Some(person), ..
            } => person.identity_key == by,
            _ => false,
        })
        .count()
}

#[test]
fn a_void_commit_ends_the_group_for_nobody() {
    let (mut net, id, keys) = world(3);
    let misdeeds = [
        Misdeed::Bytes(b"no commit at all".to_vec()),
        Misdeed::Epoch(1 << 40),
        Misdeed::Epoch(0),
        Misdeed::Epoch(u64::MAX),
    ];
    for (done, misdeed) in (1..).zip(&misdeeds) {
        misbehave(&mut net, 1, id, misdeed);
        for honest in [0, 2] {
            assert_eq!(void_commits(&net, honest, keys[1]), done, "{misdeed:?}");
        }
        assert_agree(&mut net, &[0, 1, 2], id);
    }
    // The next commit takes the next slot.
    remove(&mut net, 0, id, "bob");
    assert_agree(&mut net, &[0, 2], id);
}

#[test]
fn who_cannot_merge_a_commit_that_others_can_comes_back() {
    let (mut net, id, keys) = world(4);
    let spoiled = Misdeed::Spoiled {
        victim: keys[2],
        rubbish: false,
    };
    misbehave(&mut net, 1, id, &spoiled);
    let was_unfit = |event: &Event| {
        matches!(
            event,
            Event::Rejoining {
                why: RejoinReason::Unfit,
                ..
            }
        )
    };
    assert_eq!(events(&net, 2).filter(|event| was_unfit(event)).count(), 1);
    assert!(!events(&net, 0).chain(events(&net, 3)).any(was_unfit));
    assert_agree(&mut net, &[0, 1, 2, 3], id);
    let back = events(&net, 2).find_map(|event| match event {
        Event::Rejoined { added, removed, .. } => Some((added.len(), removed.len())),
        _ => None,
    });
    assert_eq!(back, Some((0, 0)), "nobody new to it");
}

#[test]
fn a_group_info_that_leads_nowhere_is_renewed_by_who_is_in() {
    let (mut net, id, keys) = world(4);
    let spoiled = Misdeed::Spoiled {
        victim: keys[2],
        rubbish: true,
    };
    misbehave(&mut net, 1, id, &spoiled);
    net.pass(Duration::from_secs(60));
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

#[test]
fn a_group_that_nobody_can_follow_begins_anew() {
    let (mut net, id, _) = world(3);
    let done = net.act(1, |core, now| {
        core.misbehave(now, id, &Misdeed::SpoiledForAll)
    });
    assert!(done);
    let lost = |event: &Event| matches!(event, Event::Rejoining { .. });
    assert!(net.until(|net| [0, 2].iter().all(|client| events(net, *client).any(lost))));
    // Who did that is gone, and answers nobody.
    net.clients[1].away = true;
    net.cut_client(1);
    net.pass(Duration::from_secs(240));
    assert_agree(&mut net, &[0, 2], id);
    for honest in [0, 2] {
        assert!(events(&net, honest).any(|event| matches!(event, Event::Reset { .. })));
    }
}

#[test]
fn a_message_written_while_the_thread_is_lost_goes_out_after() {
    let (mut net, id, keys) = world(3);
    let spoiled = Misdeed::Spoiled {
        victim: keys[2],
        rubbish: false,
    };
    let done = net.act(1, |core, now| core.misbehave(now, id, &spoiled));
    assert!(done);
    let text = "written while lost";
    assert!(net.until(|net| events(net, 2).any(|event| matches!(event, Event::Rejoining { .. }))));
    send(&mut net, 2, id, text);
    settle(&mut net);
    for other in [0, 1] {
        assert_eq!(
            net.texts(other).pop().map(|(_, text)| text).as_deref(),
            Some(text)
        );
    }
}

/// A restart in the middle of coming back goes on with it.
#[test]
fn a_restart_while_coming_back_loses_nothing() {
    let (mut net, id, keys) = world(3);
    let spoiled = Misdeed::Spoiled {
        victim: keys[2],
        rubbish: false,
    };
    let done = net.act(1, |core, now| core.misbehave(now, id, &spoiled));
    assert!(done);
    assert!(net.until(|net| events(net, 2).any(|event| matches!(event, Event::Rejoining { .. }))));
    let before = net.clients[2].commands_run;
    for at in 1..12 {
        net.clients[2].lose_power(net::Crash {
            at,
            after: at % 2 == 0,
        });
        net.pass(Duration::from_secs(2));
    }
    assert!(net.crashes > 0 && before > 0);
    net.restart(2);
    assert_agree(&mut net, &[0, 1, 2], id);
}

/// The list says who gets mail, not who is in: a void commit that throws others off changes nothing for
/// good.
#[test]
fn a_void_commit_that_throws_others_off_the_list_takes_nobody_out() {
    let (mut net, id, keys) = world(4);
    misbehave(&mut net, 1, id, &Misdeed::ThrowOff(vec![keys[2], keys[3]]));
    net.pass(Duration::from_secs(60));
    for client in [0, 2, 3] {
        assert_eq!(conversation(&mut net, client, id).members.len(), 4);
        assert!(!events(&net, client).any(|event| match event {
            Event::Removed { .. } => true,
            Event::Membership { removed, .. } => !removed.is_empty(),
            _ => false,
        }));
    }
    assert_agree(&mut net, &[0, 1, 2, 3], id);
}

#[test]
fn a_stranger_that_is_only_on_the_list_comes_off_it() {
    let (mut net, id, keys) = world(4);
    remove(&mut net, 0, id, "dave");
    settle(&mut net);
    misbehave(&mut net, 1, id, &Misdeed::ListStrangers(vec![keys[3]]));
    net.pass(Duration::from_secs(60));
    let fetched = net.ask(0, intent::Send::new(id, "for three"));
    let Ok(Outcome::Sent(Sent { undelivered, .. })) = fetched else {
        panic!("{fetched:?}");
    };
    assert!(undelivered.is_empty());
    assert_eq!(conversation(&mut net, 0, id).members.len(), 3);
    assert_agree(&mut net, &[0, 1, 2], id);
}

#[test]
fn who_leaves_is_taken_out_of_the_tree_on_his_own_proposal() {
    let (mut net, id, keys) = world(4);
    // The first who could carry it out is away.
    net.clients[0].away = true;
    net.cut_client(0);
    leave(&mut net, 3, id);
    net.pass(Duration::from_secs(60));
    net.clients[0].away = false;
    net.pass(Duration::from_secs(60));
    for client in [0, 1, 2] {
        let members = conversation(&mut net, client, id).members;
        assert!(members.iter().all(|member| member.identity_key != keys[3]));
    }
    assert_agree(&mut net, &[0, 1, 2], id);
}

/// All who could carry it out are away: nobody takes himself off the list and leaves his leaf behind, and
/// nothing that is said meanwhile is shown to him.
#[test]
fn who_leaves_stays_on_the_list_until_he_is_out_of_the_tree() {
    let (mut net, id, keys) = world(3);
    for client in [0, 1] {
        net.clients[client].away = true;
        net.cut_client(client);
    }
    net.asked.clear();
    leave(&mut net, 2, id);
    assert_eq!(conversation(&mut net, 2, id).standing, Standing::Over);
    net.pass(Duration::from_secs(3600));
    assert!(
        !net.asked.contains(&method::REMOVE_MEMBER),
        "it waits for the others"
    );
    // One of them says something before he has read that somebody leaves, and moves the epoch on.
    net.clients[0].away = false;
    send(&mut net, 0, id, "not for who left");
    settle(&mut net);
    net.clients[1].away = false;
    settle(&mut net);
    assert_agree(&mut net, &[0, 1], id);
    let view = conversation(&mut net, 0, id);
    assert!(view.members.iter().all(|one| one.identity_key != keys[2]));
    assert!(
        !net.asked.contains(&method::REMOVE_MEMBER),
        "the others' commit did it"
    );
    let told = net.texts(2);
    assert!(told.is_empty(), "{told:?}");
    assert!(!events(&net, 2).any(|event| matches!(event, Event::Removed { .. })));
}

#[test]
fn who_leaves_alone_takes_himself_off_the_list() {
    let (mut net, id, _) = world(2);
    leave(&mut net, 1, id);
    settle(&mut net);
    net.asked.clear();
    leave(&mut net, 0, id);
    assert!(net.asked.contains(&method::REMOVE_MEMBER));
}

/// A server that says once that a channel is far ahead: who comes back believes what it signs since.
#[test]
fn one_false_word_about_a_slot_makes_nobody_come_back_for_ever() {
    let (mut net, id, _) = world(3);
    remove(&mut net, 0, id, "carol");
    settle(&mut net);
    net.lie = Some(|method, said| match method {
        method::LIST_QUEUES => changed(said, |page: &mut proto::ListQueuesResponse| {
            for queue in &mut page.queues {
                queue.slot += 1000;
            }
        }),
        _ => said,
    });
    net.restart(1);
    settle(&mut net);
    net.lie = None;
    let back = |net: &Net| {
        let told = events(net, 1);
        told.filter(|event| matches!(event, Event::Rejoined { .. }))
            .count()
    };
    net.pass(Duration::from_secs(600));
    assert_eq!(back(&net), 1, "it looked whether something is missing");
    assert_agree(&mut net, &[0, 1], id);
}

/// A commit that the server takes and refuses in the same breath.
#[test]
fn a_commit_that_was_refused_and_taken_is_caught_up_with() {
    let (mut net, id, _) = world(3);
    net.lie = Some(|method, said| match method {
        method::SUBMIT_COMMIT => said.and(Err(4)),
        _ => said,
    });
    let ended = net.ask(1, intent::Remove::new(id, "carol"));
    assert!(ended.is_err(), "{ended:?}");
    net.lie = None;
    net.restart(1);
    net.pass(Duration::from_secs(60));
    assert_agree(&mut net, &[0, 1], id);
}

/// More commits than a queue holds, while one is away.
#[test]
fn a_queue_that_overran_is_recovered_from() {
    let mut net = Net::new();
    net.stop_server();
    net.server_config.limits.queue_messages = 20;
    net.start_server();
    let (id, keys) = gather(&mut net, 3);
    net.clients[2].away = true;
    net.cut_client(2);
    for _ in 0..30 {
        let done = net.act(1, |core, now| core.misbehave(now, id, &Misdeed::Epoch(0)));
        assert!(done);
        net.pass(Duration::from_secs(10));
    }
    net.clients[2].away = false;
    net.pass(Duration::from_secs(60));
    assert!(events(&net, 2).any(|event| matches!(
        event,
        Event::Rejoining {
            why: RejoinReason::Missed,
            ..
        }
    )));
    assert!(void_commits(&net, 0, keys[1]) == 30);
    assert_agree(&mut net, &[0, 1, 2], id);
}

#[test]
fn a_dm_that_was_left_is_opened_again_by_either() {
    let mut net = people::world(&["alice", "bob"]);
    let id = dm(&mut net, 0, "bob");
    assert_agree(&mut net, &[0, 1], id);
    for (leaver, opener, peer) in [(0, 0, "bob"), (0, 1, "alice"), (1, 0, "bob")] {
        leave(&mut net, leaver, id);
        settle(&mut net);
        let told = events(&net, 1 - leaver).filter(|event| matches!(event, Event::Left { .. }));
        assert!(told.count() > 0, "the other is told");
        assert_eq!(dm(&mut net, opener, peer), id);
        assert_agree(&mut net, &[0, 1], id);
    }
}

fn unreadable(net: &Net, client: usize, why: UnreadableReason) -> usize {
    events(net, client)
        .filter(|event| matches!(event, Event::Unreadable { why: own, .. } if *own == why))
        .count()
}

/// A copy of a device at work: one key for two messages.
#[test]
fn a_key_that_is_used_twice_is_told() {
    let (mut net, id, _) = world(3);
    let texts = ["of the device", "of its copy"];
    let done = net.act(1, |core, now| core.say_twice(now, id, texts, Twice::Key));
    assert!(done);
    settle(&mut net);
    for reader in [0, 2] {
        assert_eq!(net.texts(reader).len(), 1);
        assert_eq!(unreadable(&net, reader, UnreadableReason::Copied), 1);
    }
}

/// The group has moved on and the server's slot fell: its commits are given back to it.
#[test]
fn a_server_that_lost_commits_is_given_them_back() {
    let (mut net, id, _) = world(4);
    remove(&mut net, 0, id, "dave");
    settle(&mut net);
    let before_all = backup(&net);
    for _ in 0..2 {
        invite(&mut net, 1, id, "dave");
        settle(&mut net);
        remove(&mut net, 2, id, "dave");
        settle(&mut net);
    }
    let before = conversation(&mut net, 0, id);
    put_back_silently(&mut net, before_all);
    settle(&mut net);
    assert_agree(&mut net, &[0, 1, 2], id);
    let after = conversation(&mut net, 0, id);
    assert!(
        after.epoch >= before.epoch,
        "nothing that was merged is undone"
    );
    assert_eq!(after.members, before.members);
    for client in [0, 1, 2] {
        assert!(!events(&net, client).any(|event| matches!(event, Event::Rejoining { .. })));
    }
    remove(&mut net, 2, id, "bob");
}
