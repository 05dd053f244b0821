//! A client whose network comes and goes, and one that is to be quiet.

#[path = "support/net.rs"]
mod net;

use std::time::Duration;

use net::Net;
use net::people::{settle, world};
use qpq_protocol::client::{DisconnectReason, Event, intent};
use qpq_protocol::io::Core as _;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What the first client is told by this.
fn told(net: &mut Net, by: impl FnOnce(&mut Net)) -> Vec<Event> {
    let before = net.clients[0].events.len();
    by(net);
    net.clients[0].events[before..].to_vec()
}

fn connections(events: &[Event]) -> usize {
    let connected = |event: &&Event| matches!(event, Event::Connected { .. });
    events.iter().filter(connected).count()
}

fn failures(events: &[Event]) -> usize {
    let failed = |event: &&Event| matches!(event, Event::Disconnected { .. });
    events.iter().filter(failed).count()
}

#[test]
fn a_change_of_the_network_or_the_user_ends_a_backoff() {
    let mut net = world(&["alice"]);
    for input in [
        qpq_protocol::client::Client::handle_network_changed,
        qpq_protocol::client::Client::handle_reconnect,
    ] {
        net.stop_server();
        net.pass(20 * MINUTE);
        // It has failed so often that a pause may last a minute; it is in one.
        net.start_server();
        let soon = told(&mut net, |net| {
            net.pass(MILLISECOND);
            input(&mut net.clients[0].core, net.now);
            net.pump();
        });
        assert_eq!(connections(&soon), 1, "{soon:?}");
        settle(&mut net);
    }
}

#[test]
fn a_change_every_millisecond_makes_a_few_attempts_a_second() {
    let mut net = world(&["alice"]);
    net.stop_server();
    let heard = told(&mut net, |net| {
        for _ in 0..3000 {
            net.clients[0].core.handle_network_changed(net.now);
            net.clients[0].core.handle_reconnect(net.now);
            net.pass(MILLISECOND);
        }
    });
    let attempts = failures(&heard);
    assert!((2..=16).contains(&attempts), "{attempts} attempts");
}

#[test]
fn a_change_every_millisecond_asks_for_news_once_a_second() {
    let mut net = world(&["alice"]);
    settle(&mut net);
    net.asked.clear();
    for _ in 0..3000 {
        net.clients[0].core.handle_network_changed(net.now);
        net.pass(MILLISECOND);
    }
    let asked = net.asked.len();
    assert!((3..=4).contains(&asked), "{:?}", net.asked);
}

#[test]
fn who_is_suspended_sends_nothing_and_goes_on_where_it_was() {
    let mut net = world(&["alice", "bob"]);
    let dm = net.ask(0, intent::Dm("bob".to_owned())).expect("opens");
    let qpq_protocol::client::Outcome::Conversation(dm) = dm else {
        panic!("{dm:?}");
    };
    settle(&mut net);
    let heard = told(&mut net, |net| {
        net.clients[0].core.handle_suspend(net.now);
        net.pump();
    });
    let why = DisconnectReason::Suspended;
    let retry_in = Duration::MAX;
    assert_eq!(heard, [Event::Disconnected { why, retry_in }]);

    // It is written to, asked for things, told of networks, and told it again.
    net.ask(1, intent::Send::new(dm.id, "are you there?"))
        .expect("sends");
    net.asked.clear();
    let kept = net.begin(0, intent::Send::new(dm.id, "later"));
    let in_vain = net.begin(0, intent::ServerInfo);
    net.clients[1].away = true;
    let heard = told(&mut net, |net| {
        for _ in 0..60 {
            net.clients[0].core.handle_network_changed(net.now);
            net.clients[0].core.handle_reconnect(net.now);
            net.clients[0].core.handle_suspend(net.now);
            net.pass(MINUTE);
        }
    });
    assert_eq!((connections(&heard), failures(&heard)), (0, 0), "{heard:?}");
    assert!(net.asked.is_empty(), "{:?}", net.asked);
    assert!(net.result(0, kept).is_none(), "messages wait");
    assert!(net.result(0, in_vain).is_some_and(|end| end.is_err()));

    net.clients[1].away = false;
    let heard = told(&mut net, |net| {
        net.clients[0].core.handle_resume(net.now);
        net.pump();
    });
    assert_eq!(connections(&heard), 1, "at once");
    settle(&mut net);
    assert!(net.result(0, kept).is_some_and(|end| end.is_ok()));
    let said = ("bob".to_owned(), "are you there?".to_owned());
    assert!(net.texts(0).contains(&said));
}

#[test]
fn who_is_suspended_and_resumed_all_the_time_connects_four_times_a_second() {
    let mut net = world(&["alice"]);
    settle(&mut net);
    let heard = told(&mut net, |net| {
        for _ in 0..1500 {
            net.clients[0].core.handle_suspend(net.now);
            net.pass(MILLISECOND);
            net.clients[0].core.handle_resume(net.now);
            net.pass(MILLISECOND);
        }
    });
    let connected = connections(&heard);
    assert!((2..=13).contains(&connected), "{connected} times");
}

#[test]
fn nothing_of_it_matters_to_who_has_no_account() {
    let mut net = Net::new();
    net.add_client();
    for _ in 0..3 {
        let core = &mut net.clients[0].core;
        core.handle_resume(net.now);
        core.handle_network_changed(net.now);
        core.handle_reconnect(net.now);
        core.handle_suspend(net.now);
        net.pass(MINUTE);
    }
    let events = &net.clients[0].events;
    assert!(
        matches!(events.as_slice(), [Event::Opened { .. }]),
        "{events:?}"
    );
}
