//! Bad weather: lost connections, lost power, full disks, bytes that come one by one, a server that
//! comes and goes, people who change a group at the same time. Afterwards everyone agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use crate::net::{Crash, Net, Snapshot, people};
use qpq_protocol::client::{Body, Conversation, Event, IntentError, Outcome, Standing, intent};
use qpq_protocol::ids::ChannelId;
use qpq_protocol::storage::memory::Fault;

/// The users.
pub const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Four users in a DM of the first two and a group of the first three.
pub struct Start {
    snapshot: Snapshot,
    dm: ChannelId,
    group: ChannelId,
}

/// What every storm begins with.
pub static START: LazyLock<Start> = LazyLock::new(|| {
    let mut net = people::world(&NAMES);
    let dm = people::dm(&mut net, 0, "bob");
    let group = people::group(&mut net, 0, &["bob", "carol"]);
    people::settle(&mut net);
    Start {
        snapshot: net.snapshot(),
        dm,
        group,
    }
});

#[derive(Clone, Debug)]
pub enum Act {
    /// Somebody writes, to the group or to the DM.
    Send(usize, bool),
    Invite(usize, usize),
    Remove(usize, usize),
    Cut(usize),
    /// Power is lost some commands later.
    Crash(usize, usize, bool),
    CrashServer(usize, bool),
    /// The disk fails some time.
    Fault(usize, u8),
    /// The disk is slow from now on, or no longer.
    Hold(usize, bool),
    /// Bytes come in pieces of at most so many from now on.
    Pieces(usize),
    Turns(usize),
    Pass(u16),
}

fn conversation(net: &mut Net, client: usize, id: ChannelId) -> Option<Conversation> {
    loop {
        match net.ask(client, intent::Conversations) {
            Ok(Outcome::Conversations(all)) => return all.into_iter().find(|one| one.id == id),
            Err(IntentError::TimedOut | IntentError::Storage(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn texts(net: &mut Net, client: usize, id: ChannelId) -> Vec<String> {
    match net.ask(
        client,
        intent::History {
            conversation: id,
            before: None,
            limit: 10_000,
        },
    ) {
        Ok(Outcome::Messages(all)) => all
            .into_iter()
            .map(|message| match message.body {
                Body::Text(text) => text,
                other => format!("{other:?}"),
            })
            .collect(),
        Err(IntentError::UnknownConversation) => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// Runs the acts; what was sent, with the intent and how many machines had crashed before it.
fn run(net: &mut Net, acts: Vec<Act>) -> BTreeMap<(usize, ChannelId), Vec<String>> {
    let mut sent: BTreeMap<(usize, ChannelId), Vec<String>> = BTreeMap::new();
    for (number, act) in acts.into_iter().enumerate() {
        match act {
            Act::Send(who, group) => {
                let id = if group { START.group } else { START.dm };
                let text = format!("{number} by {who}");
                let said = text.clone();
                net.begin(who, intent::Send::new(id, &said));
                sent.entry((who, id)).or_default().push(text);
            }
            Act::Invite(who, whom) => {
                net.begin(who, intent::Invite::new(START.group, NAMES[whom]));
            }
            Act::Remove(who, whom) => {
                net.begin(who, intent::Remove::new(START.group, NAMES[whom]));
            }
            Act::Cut(who) => net.cut_client(who),
            Act::Crash(who, at, after) => net.clients[who].lose_power(Crash { at, after }),
            Act::CrashServer(at, after) => {
                let server = net.server.as_mut().expect("a server");
                server.lose_power(Crash { at, after });
            }
            Act::Fault(who, fault) => net.clients[who].disk.fail_next(match fault % 4 {
                0 => Fault::Full,
                1 => Fault::Unavailable,
                2 => Fault::UnknownMade,
                _ => Fault::UnknownLost,
            }),
            Act::Hold(who, hold) => net.clients[who].hold = hold,
            Act::Pieces(longest) => net.piece = longest.max(1),
            Act::Turns(turns) => {
                for _ in 0..turns {
                    net.turn();
                }
            }
            Act::Pass(millis) => net.pass(Duration::from_millis(millis.into())),
        }
    }
    sent
}

fn agree(net: &mut Net, id: ChannelId, sent: &BTreeMap<(usize, ChannelId), Vec<String>>) {
    let mut views = BTreeMap::new();
    for client in 0..NAMES.len() {
        let view = conversation(net, client, id).filter(|one| one.standing != Standing::Over);
        if let Some(view) = view {
            assert_eq!(view.standing, Standing::Active, "client {client}");
            views.insert(client, (view.epoch, view.members));
        }
    }
    let first = views.values().next().cloned().expect("a member");
    assert!(views.values().all(|view| *view == first), "{views:#?}");
    assert_eq!(views.len(), first.1.len());

    // An honest server is never accused.
    for client in &net.clients {
        let mut told = client.events.iter();
        assert!(!told.any(|event| matches!(
            event,
            Event::Unproven { .. } | Event::Forked { .. } | Event::ServerKeyChanged { .. }
        )));
    }

    // What a member holds of another's messages is what that one holds of its own, in its order.
    for writer in 0..NAMES.len() {
        let own = texts(net, writer, id);
        let mine: Vec<_> = own
            .iter()
            .filter(|text| text.ends_with(&format!("by {writer}")))
            .collect();
        let all: BTreeSet<_> = mine.iter().collect();
        assert_eq!(all.len(), mine.len(), "{writer} wrote something twice");
        let said = sent.get(&(writer, id)).cloned().unwrap_or_default();
        let mut asked = said.iter();
        assert!(
            mine.iter().all(|text| asked.any(|one| one == *text)),
            "{mine:?} {said:?}"
        );
        // Members all along got all of it.
        for reader in 0..3 {
            if writer < 3 && (id == START.group || (writer < 2 && reader < 2)) {
                let theirs = texts(net, reader, id);
                let theirs: Vec<_> = theirs
                    .iter()
                    .filter(|text| text.ends_with(&format!("by {writer}")))
                    .collect();
                assert_eq!(theirs, mine, "{reader} reads {writer}");
            }
        }
    }
}

/// What every storm begins with: all have just been started.
pub fn world() -> Net {
    Net::resume(&START.snapshot)
}

/// Runs the acts; then the weather is fair, everyone starts once more, and everyone agrees.
pub fn storm(acts: Vec<Act>) {
    let start = &*START;
    let mut net = world();
    let sent = run(&mut net, acts);
    for node in &mut net.clients {
        node.hold = false;
    }
    net.piece = usize::MAX;
    net.pass(Duration::from_secs(600));
    // Power that is to be lost at a command still to come is lost now.
    for client in 0..NAMES.len() {
        net.restart(client);
    }
    net.stop_server();
    net.start_server();
    net.pass(Duration::from_secs(600));
    for id in [start.dm, start.group] {
        agree(&mut net, id, &sent);
    }
    for (client, node) in net.clients.iter().enumerate() {
        let mut told = BTreeSet::new();
        for event in &node.events {
            match event {
                Event::Message(message) => {
                    let first = told.insert((message.conversation, message.index));
                    assert!(first, "client {client} was told twice: {message:?}");
                }
                Event::Fatal(_) => panic!("client {client}: {event:?}"),
                _ => {}
            }
        }
    }
}
