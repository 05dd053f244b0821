//! Bytes on streams: order, limits, credit, ends.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use qpq_protocol::ids::{Dir, StreamId};
use qpq_protocol::quic::Effect;
use qpq_protocol::storage::{Command, Reply};

use crate::echo::{Echo, Event};
use crate::pair::Pair;

fn text(length: usize, salt: usize) -> Bytes {
    (0..length)
        .map(|i| u8::try_from((i * 31 + i / 251 + salt) % 256).expect("below 256"))
        .collect()
}

/// Makes `calls` calls of `length` bytes at once, and sees that each gets its own answer.
fn calls_are_answered(pair: &mut Pair, calls: usize, length: usize) {
    let (ours, _) = pair.connect();
    let sent = pair.client.act(pair.now, |core| {
        (0..calls)
            .map(|i| (core.call(ours, text(length, i)), text(length, i)))
            .collect::<BTreeMap<_, _>>()
    });
    pair.run();
    assert!(pair.client.answers() == sent);
    // All that was given was taken by the transport and said so.
    assert_eq!(pair.client.core().conns.get(&ours), Some(&0));
    assert!(pair.server.core().conns.values().all(|&unsent| unsent == 0));
}

#[test]
fn a_call_is_answered() {
    calls_are_answered(&mut Pair::new(), 1, 5);
    calls_are_answered(&mut Pair::new(), 1, 0);
}

#[test]
fn more_calls_than_streams_wait_for_their_turn() {
    calls_are_answered(&mut Pair::new(), 1000, 100);
}

#[test]
fn four_mebibytes_go_both_ways() {
    calls_are_answered(&mut Pair::new(), 1, 4 << 20);
}

#[test]
fn one_datagram_a_transmit_will_do() {
    let mut pair = Pair::new();
    pair.segments = 1;
    calls_are_answered(&mut pair, 100, 3000);
}

#[test]
fn answers_of_many_streams_share_datagrams() {
    let mut pair = Pair::new();
    calls_are_answered(&mut pair, 1, 1);
    let (ours, _) = pair.connect();
    let before = pair.server.sent.0;
    pair.client.act(pair.now, |core| {
        for _ in 0..60 {
            core.call(ours, text(100, 0));
        }
    });
    pair.run();
    let datagrams = pair.server.sent.0 - before;
    assert!(datagrams < 20, "{datagrams} datagrams for 60 answers");
}

#[test]
fn loss_and_delay_change_nothing() {
    for seed in 0..5 {
        let mut pair = Pair::new();
        pair.rng = qpq_protocol::rng::Rng::new([seed; 32]);
        pair.latency = Duration::from_millis(75);
        let (ours, _) = pair.connect();
        pair.loss = 100;
        let sent = pair.client.act(pair.now, |core| {
            (0..100)
                .map(|i| (core.call(ours, text(10_000, i)), text(10_000, i)))
                .collect::<BTreeMap<_, _>>()
        });
        pair.run_for(Duration::from_secs(20));
        assert!(pair.client.answers() == sent, "seed {seed}");
    }
}

#[test]
fn pushes_arrive_one_by_one_within_the_peers_limit() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| {
        for i in 0..20 {
            core.push(theirs, text(2000, i));
        }
    });
    pair.run();
    let events = pair.client.take();
    assert_eq!(events.len(), 20);
    for i in 0..20 {
        assert!(events.contains(&Event::Push(ours, text(2000, i))));
    }
}

#[test]
fn too_many_waiting_streams_are_refused() {
    let mut pair = Pair::limited(|server, client| {
        server.peer_bi = 64;
        client.waiting_streams = 3;
    });
    let (ours, _) = pair.connect();
    let names = pair.client.act(pair.now, |core| {
        let calls = (0..70).map(|_| core.call(ours, "x"));
        calls.collect::<Vec<_>>()
    });
    pair.run();
    let events = pair.client.take();
    let answers = events.iter().filter(|e| matches!(e, Event::Answer(..)));
    assert_eq!(answers.count(), 67);
    for name in &names[67..] {
        let name = StreamId::Own(*name);
        assert!(events.contains(&Event::Stopped(ours, name, 5)));
        assert!(events.contains(&Event::Reset(ours, name, 5)));
    }
}

#[test]
fn a_stream_that_waits_can_be_abandoned() {
    let mut pair = Pair::limited(|server, _| server.peer_bi = 64);
    let (ours, _) = pair.connect();
    let calls = pair.client.act(pair.now, |core| {
        let calls = (0..100).map(|_| core.call(ours, "x")).collect::<Vec<_>>();
        for call in &calls[64..90] {
            core.reset(ours, StreamId::Own(*call), 9);
        }
        calls
    });
    pair.run();
    let answers = pair.client.answers();
    assert!(calls[..64].iter().all(|call| answers.contains_key(call)));
    assert!(!calls[64..90].iter().any(|call| answers.contains_key(call)));
    assert!(calls[90..].iter().all(|call| answers.contains_key(call)));
}

#[test]
fn a_stranger_has_eight_streams_and_who_is_admitted_the_rest() {
    let mut pair = Pair::new();
    pair.server
        .act(pair.now, |core| (core.strict, core.silent) = (true, true));
    let (ours, theirs) = pair.connect();
    pair.client.act(pair.now, |core| {
        for _ in 0..20 {
            core.call(ours, "x");
        }
    });
    pair.run();
    assert_eq!(pair.server.take().len(), 8);
    pair.server.act(pair.now, |core| core.admit(theirs));
    pair.run();
    assert_eq!(pair.server.take().len(), 12);
}

#[test]
fn a_stranger_has_64_kib_and_who_is_admitted_a_mebibyte() {
    let mut pair = Pair::new();
    let held_back = |core: &mut Echo| (core.strict, core.credit) = (true, Some(0));
    let heard = |pair: &Pair| pair.server.seen.iter().map(BytesMut::len).sum::<usize>();
    pair.server.act(pair.now, held_back);
    let (ours, theirs) = pair.connect();
    pair.client.act(pair.now, |core| {
        for _ in 0..20 {
            core.call(ours, text(100_000, 0));
        }
    });
    pair.run();
    let before = heard(&pair);
    assert!((64 * 1024..100_000).contains(&before), "{before}");
    pair.server.act(pair.now, |core| core.admit(theirs));
    pair.run();
    let after = heard(&pair) - before;
    assert!((950_000..1_200_000).contains(&after), "{after}");
    // One stream may have what the connection has.
    let mut pair = Pair::new();
    pair.server.act(pair.now, held_back);
    let (ours, _) = pair.connect();
    pair.client
        .act(pair.now, |core| core.call(ours, text(200_000, 0)));
    pair.run();
    assert!((64 * 1024..100_000).contains(&heard(&pair)));
}

#[test]
fn a_stream_is_told_though_its_first_byte_is_missing() {
    let mut pair = Pair::new();
    pair.server.act(pair.now, |core| core.silent = true);
    let (ours, theirs) = pair.connect();
    pair.client
        .act(pair.now, |core| core.call(ours, text(5_000, 0)));
    let (now, remote) = (pair.now, pair.client.address);
    let mut datagrams = Vec::new();
    while let Some(transmit) = pair.client.endpoint.poll_transmit(now, 1) {
        datagrams.push(transmit.contents.to_vec());
    }
    assert!(datagrams.len() > 2);
    for datagram in datagrams.iter().skip(1) {
        pair.server.receive(now, remote, 0, datagram);
    }
    pair.server.endpoint.poll_timeout();
    let stream = StreamId::Peer(Dir::Bi, 0);
    let told = &pair.server.core().collected;
    assert_eq!(told.get(&(theirs, stream)), Some(&Vec::new()));
    // It comes all the same.
    pair.run();
    assert_eq!(pair.server.take(), [Event::Push(theirs, text(5_000, 0))]);
}

#[test]
fn without_credit_nothing_is_taken_and_the_sender_is_held_back() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    pair.server.act(pair.now, |core| core.credit = Some(0));
    let call = pair
        .client
        .act(pair.now, |core| core.call(ours, text(4 << 20, 0)));
    pair.sleep(Duration::from_secs(5));
    assert_eq!(pair.client.take(), []);
    let unsent = pair.client.core().conns[&ours];
    // One stream window with the server, one send window on the way.
    assert!(unsent >= (4 << 20) - (1 << 20), "{unsent} unsent");
    // Nobody polls for credit; the input that gives it is enough.
    assert_eq!(pair.run_for(Duration::from_secs(10)), 0);
    pair.server.act(pair.now, |core| core.credit = Some(1000));
    pair.sleep(Duration::from_secs(30));
    assert!(pair.client.answers() == BTreeMap::from([(call, text(4 << 20, 0))]));
}

#[test]
fn the_end_of_a_stream_needs_no_credit() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| core.silent = true);
    let own = pair.client.act(pair.now, |core| {
        core.start(ours, Dir::Bi, "abc".into(), false)
    });
    pair.run();
    pair.server.act(pair.now, |core| core.credit = Some(0));
    let name = StreamId::Own(own);
    pair.client
        .act(pair.now, |core| core.send(ours, name, Bytes::new(), true));
    pair.run();
    assert_eq!(pair.server.take(), [Event::Push(theirs, "abc".into())]);
}

#[test]
fn credit_is_a_limit_for_each_piece() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    // The core checks it.
    pair.server.act(pair.now, |core| {
        (core.credit, core.silent) = (Some(7), true);
    });
    pair.client
        .act(pair.now, |core| core.push(ours, text(100_000, 3)));
    pair.run();
    let events = pair.server.take();
    assert!(matches!(events.as_slice(), [Event::Push(_, data)] if *data == text(100_000, 3)));
}

#[test]
fn both_halves_of_a_reset_stream_end_and_its_place_comes_back() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| core.silent = true);
    for round in 0..200 {
        let own = pair.client.act(pair.now, |core| {
            core.start(ours, Dir::Bi, "abc".into(), false)
        });
        pair.run();
        pair.client
            .act(pair.now, |core| core.reset(ours, StreamId::Own(own), 6));
        pair.run();
        let events = pair.server.take();
        let name = StreamId::Peer(Dir::Bi, round);
        assert!(
            events.contains(&Event::Reset(theirs, name, 6)),
            "{events:?}"
        );
        assert!(
            events.contains(&Event::Stopped(theirs, name, 6)),
            "{events:?}"
        );
    }
    assert_eq!(pair.client.take(), []);
}

#[test]
fn a_stopped_sender_drops_what_it_had() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| {
        (core.silent, core.credit) = (true, Some(0))
    });
    let own = pair
        .client
        .act(pair.now, |core| core.call(ours, text(8 << 20, 0)));
    pair.run();
    let name = StreamId::Peer(Dir::Bi, 0);
    pair.server
        .act(pair.now, |core| core.reset(theirs, name, 2));
    pair.run();
    let events = pair.client.take();
    let name = StreamId::Own(own);
    assert!(
        events.contains(&Event::Stopped(ours, name, 2)),
        "{events:?}"
    );
    assert!(events.contains(&Event::Reset(ours, name, 2)), "{events:?}");
    // The window that it filled is free again.
    pair.server
        .act(pair.now, |core| (core.silent, core.credit) = (false, None));
    pair.client
        .act(pair.now, |core| core.call(ours, text(4 << 20, 1)));
    pair.run();
    assert_eq!(pair.client.answers().len(), 1);
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| {
        core.push(theirs, text(900_000, 1));
        core.push(theirs, text(900_000, 2));
        core.close(theirs, 6);
        core.push(theirs, "too late");
    });
    pair.run();
    let events = pair.client.take();
    assert_eq!(events.len(), 3);
    assert!(events.contains(&Event::Push(ours, text(900_000, 1))));
    assert!(events.contains(&Event::Push(ours, text(900_000, 2))));
    assert_eq!(events.last(), Some(&Event::Disconnected(ours)));
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
}

#[test]
fn a_close_waits_three_seconds_for_a_peer_that_does_not_read() {
    let mut pair = Pair::new();
    let (_, theirs) = pair.connect();
    pair.client.act(pair.now, |core| core.credit = Some(0));
    pair.server.act(pair.now, |core| {
        core.push(theirs, text(3 << 20, 1));
        core.close(theirs, 6);
    });
    pair.sleep(Duration::from_millis(2_900));
    assert_eq!(pair.server.take(), []);
    pair.sleep(Duration::from_millis(200));
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
}

#[test]
fn a_reader_too_slow_for_what_it_asked_is_cut_off() {
    let mut pair = Pair::limited(|server, _| server.unsent = 2 << 20);
    let (ours, theirs) = pair.connect();
    pair.client.act(pair.now, |core| core.credit = Some(0));
    pair.server.act(pair.now, |core| {
        for _ in 0..40 {
            core.push(theirs, text(100_000, 1));
        }
    });
    pair.run();
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
    assert_eq!(pair.client.take(), [Event::Disconnected(ours)]);
}

#[test]
fn a_bulk_transfer_does_not_hold_up_the_others() {
    let mut pair = Pair::new();
    let (bulk, _) = pair.connect();
    let (small, _) = pair.connect();
    let big = pair
        .client
        .act(pair.now, |core| core.call(bulk, text(4 << 20, 1)));
    pair.turn();
    let same = pair.client.act(pair.now, |core| core.call(bulk, "small"));
    let other = pair.client.act(pair.now, |core| core.call(small, "small"));
    pair.run();
    let order: Vec<_> = pair
        .client
        .take()
        .into_iter()
        .map(|event| match event {
            Event::Answer(_, stream, _) => stream,
            event => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(order.len(), 3);
    assert_eq!(order.last(), Some(&big), "{same:?} and {other:?} go first");
}

#[test]
fn nothing_is_read_while_storage_is_behind() {
    let mut pair = Pair::limited(|server, _| server.stores = 2);
    let (ours, _) = pair.connect();
    let tickets = pair.server.act(pair.now, |core| {
        [(); 2].map(|()| core.store(Command::Get(Vec::new())))
    });
    pair.run();
    assert!(matches!(
        pair.server.effects.as_slice(),
        [Effect::Store { .. }, Effect::Store { .. }]
    ));
    pair.client.act(pair.now, |core| core.call(ours, "hello"));
    pair.sleep(Duration::from_secs(1));
    assert_eq!(pair.client.take(), []);
    let reply = Reply::Values(Vec::new());
    pair.server
        .endpoint
        .handle_stored(pair.now, [(tickets[0], reply.clone())]);
    pair.sleep(Duration::from_millis(100));
    assert_eq!(pair.client.answers().len(), 1);
    assert_eq!(pair.server.take(), [Event::Stored(tickets[0], reply)]);
}

#[test]
fn events_nobody_takes_stop_a_client_and_not_a_server() {
    let mut pair = Pair::limited(|server, client| (server.events, client.events) = (4, 4));
    let (ours, theirs) = pair.connect();
    // Nobody takes events: `turn` does, so the endpoints are driven by hand.
    let turn = |pair: &mut Pair| {
        for _ in 0..20 {
            pair.now += pair.latency;
            pair.exchange();
        }
    };
    pair.client.act(pair.now, |core| {
        for _ in 0..20 {
            core.call(ours, "x");
        }
    });
    pair.server.act(pair.now, |core| core.silent = true);
    pair.server.act(pair.now, |core| {
        for _ in 0..20 {
            core.push(theirs, "y");
        }
    });
    turn(&mut pair);
    // Three pushes may be open at a time: as many come over the limit, and when there is room again.
    let held = core::iter::from_fn(|| pair.client.endpoint.poll_event()).count();
    assert!((4..=9).contains(&held), "{held} events held");
    let lost = core::iter::from_fn(|| pair.server.endpoint.poll_event()).count();
    assert_eq!(lost, 4, "a server keeps no more than it may");
    for _ in 0..20 {
        turn(&mut pair);
        pair.client
            .events
            .extend(core::iter::from_fn(|| pair.client.endpoint.poll_event()));
    }
    assert_eq!(held + pair.client.take().len(), 20, "none is lost");
}

#[test]
fn a_peer_that_opens_and_abandons_streams_without_end_is_cut_off() {
    let mut pair = Pair::limited(|server, _| server.resets = 200);
    pair.latency = Duration::from_micros(50);
    let (ours, theirs) = pair.connect();
    let storm = |pair: &mut Pair, rounds| {
        for _ in 0..rounds {
            let own = pair.client.act(pair.now, |core| {
                core.start(ours, Dir::Bi, "x".into(), false)
            });
            pair.run_for(Duration::from_millis(1));
            pair.client
                .act(pair.now, |core| core.reset(ours, StreamId::Own(own), 0));
            pair.run_for(Duration::from_millis(1));
        }
    };
    // Each ends two halves; a hundred a second are nothing to worry about.
    storm(&mut pair, 90);
    pair.sleep(Duration::from_secs(2));
    storm(&mut pair, 90);
    assert!(!pair.server.take().contains(&Event::Disconnected(theirs)));
    storm(&mut pair, 90);
    assert!(pair.server.take().contains(&Event::Disconnected(theirs)));
}

/// Found by `random.rs`: quinn's count of streams went below zero.
#[test]
fn a_call_begun_and_abandoned_while_the_server_closes_does_no_harm() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.server.act(pair.now, |core| {
        core.push(theirs, text(12_000, 0));
        core.close(theirs, 0);
    });
    pair.turn();
    let call = pair.client.act(pair.now, |core| core.call(ours, ""));
    pair.turn();
    pair.client
        .act(pair.now, |core| core.reset(ours, StreamId::Own(call), 9));
    let closed = pair.now;
    pair.run();
    assert_eq!(pair.server.take(), [Event::Disconnected(theirs)]);
    assert!(pair.client.take().contains(&Event::Disconnected(ours)));
    assert!(
        pair.now - closed < Duration::from_secs(3),
        "it closed before it had to"
    );
}
