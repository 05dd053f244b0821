//! Whatever both cores and the network do, nothing is lost, told twice or left hanging.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use qpq_protocol::ids::{ConnId, Dir, OwnStream, StreamId};

use crate::echo::Event;
use crate::pair::Pair;

#[derive(Clone, Debug)]
enum Op {
    Dial,
    Call {
        on: usize,
        length: usize,
    },
    Push {
        on: usize,
        length: usize,
    },
    /// The client abandons a call.
    Abandon {
        which: usize,
    },
    /// The server abandons whatever the client opened as its n-th stream.
    Refuse {
        on: usize,
        index: u64,
    },
    Close {
        on: usize,
        by_server: bool,
    },
    /// Bytes that the server's core takes of a stream.
    Credit(Option<usize>),
    Loss(u64),
    Latency(u64),
    Sleep(u64),
    /// A datagram that was seen before arrives again.
    Replay {
        at: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let length = prop_oneof![0..300_usize, 0..300_000_usize];
    prop_oneof![
        2 => Just(Op::Dial),
        8 => (0..4_usize, length.clone()).prop_map(|(on, length)| Op::Call { on, length }),
        4 => (0..4_usize, length).prop_map(|(on, length)| Op::Push { on, length }),
        2 => (0..50_usize).prop_map(|which| Op::Abandon { which }),
        1 => (0..4_usize, 0..20_u64).prop_map(|(on, index)| Op::Refuse { on, index }),
        1 => (0..4_usize, any::<bool>()).prop_map(|(on, by_server)| Op::Close { on, by_server }),
        1 => prop_oneof![Just(None), Just(Some(0)), Just(Some(100))].prop_map(Op::Credit),
        1 => (0..300_u64).prop_map(Op::Loss),
        1 => (0..200_u64).prop_map(Op::Latency),
        6 => (0..400_u64).prop_map(Op::Sleep),
        1 => (0..1000_usize).prop_map(|at| Op::Replay { at }),
    ]
}

/// The code of streams that end because their connection is being closed.
const CLOSED: u64 = 0;

/// What is to come, by what was done.
#[derive(Default)]
struct Owed {
    dials: usize,
    /// Connections that stand for the client, and for the server.
    ours: Vec<ConnId>,
    theirs: Vec<ConnId>,
    calls: BTreeMap<(ConnId, OwnStream), Bytes>,
    /// Bytes of pushes under way or arrived.
    pushes: Vec<Bytes>,
}

impl Owed {
    fn settle(&mut self, pair: &mut Pair) {
        for event in pair.client.take() {
            match event {
                Event::Connected(conn, _, ticket) => {
                    assert!(ticket.is_some());
                    self.dials -= 1;
                    self.ours.push(conn);
                }
                Event::ConnectFailed(..) => self.dials -= 1,
                Event::Disconnected(conn) => {
                    self.ours.retain(|of| *of != conn);
                    self.calls.retain(|(of, _), _| *of != conn);
                }
                Event::Answer(conn, stream, data) => {
                    let sent = self.calls.remove(&(conn, stream));
                    assert!(sent == Some(data), "an answer nobody asked for");
                }
                Event::Push(_, data) => {
                    assert!(self.pushes.contains(&data), "a push nobody sent");
                }
                // The server abandoned it; either half may be heard of first.
                Event::Reset(conn, StreamId::Own(stream), code)
                | Event::Stopped(conn, StreamId::Own(stream), code) => {
                    assert!(code == 7 || code == CLOSED, "{code}");
                    self.calls.remove(&(conn, stream));
                }
                other => panic!("{other:?}"),
            }
        }
        for event in pair.server.take() {
            match event {
                Event::Connected(conn, _, None) => self.theirs.push(conn),
                Event::Disconnected(conn) => self.theirs.retain(|of| *of != conn),
                Event::Reset(_, _, code) | Event::Stopped(_, _, code) => {
                    assert!(code == 9 || code == CLOSED, "{code}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn carry_out(&mut self, pair: &mut Pair, op: &Op) {
        let now = pair.now;
        let pick = |of: &[ConnId], on: usize| of.get(on % of.len().max(1)).copied();
        match *op {
            Op::Dial => {
                self.dials += 1;
                pair.dial();
            }
            Op::Call { on, length } => {
                if let Some(conn) = pick(&self.ours, on) {
                    let data = Bytes::from(vec![u8::try_from(length % 251).unwrap_or(0); length]);
                    let stream = pair.client.act(now, |core| core.call(conn, data.clone()));
                    self.calls.insert((conn, stream), data);
                }
            }
            Op::Push { on, length } => {
                if let Some(conn) = pick(&self.theirs, on) {
                    let data = Bytes::from(vec![u8::try_from(length % 251).unwrap_or(0); length]);
                    pair.server.act(now, |core| core.push(conn, data.clone()));
                    self.pushes.push(data);
                }
            }
            Op::Abandon { which } => {
                let call = self.calls.keys().nth(which % self.calls.len().max(1));
                if let Some(&(conn, stream)) = call {
                    self.calls.remove(&(conn, stream));
                    pair.client
                        .act(now, |core| core.reset(conn, StreamId::Own(stream), 9));
                }
            }
            Op::Refuse { on, index } => {
                if let Some(conn) = pick(&self.theirs, on) {
                    let stream = StreamId::Peer(Dir::Bi, index);
                    pair.server.act(now, |core| core.reset(conn, stream, 7));
                }
            }
            Op::Close { on, by_server } => {
                let (node, of) = match by_server {
                    true => (&mut pair.server, &self.theirs),
                    false => (&mut pair.client, &self.ours),
                };
                if let Some(conn) = pick(of, on) {
                    node.act(now, |core| core.close(conn, 0));
                }
            }
            Op::Credit(credit) => pair.server.act(now, |core| core.credit = credit),
            Op::Loss(loss) => pair.loss = loss,
            Op::Latency(millis) => pair.latency = Duration::from_millis(millis),
            Op::Sleep(millis) => pair.sleep(Duration::from_millis(millis)),
            Op::Replay { at } => {
                let seen = &pair.server.seen;
                if let Some(datagram) = seen.get(at % seen.len().max(1)).cloned() {
                    let from = pair.client.address;
                    pair.server.receive(now, from, 0, &datagram);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_told_twice_or_left_hanging(
        ops in prop::collection::vec(op(), 1..60),
        seed in any::<[u8; 32]>(),
    ) {
        let mut pair = Pair::new();
        pair.rng = qpq_protocol::rng::Rng::new(seed);
        let mut owed = Owed::default();
        for op in [Op::Dial, Op::Sleep(300)].iter().chain(&ops) {
            owed.carry_out(&mut pair, op);
            pair.turn();
            owed.settle(&mut pair);
        }
        // Once the network is well and the core has room, all that is owed comes.
        pair.loss = 0;
        pair.server.act(pair.now, |core| core.credit = None);
        pair.sleep(Duration::from_secs(400));
        owed.settle(&mut pair);
        prop_assert_eq!(owed.dials, 0);
        prop_assert!(owed.calls.is_empty(), "{:?} unanswered", owed.calls.keys());
        for node in [&pair.client, &pair.server] {
            prop_assert!(node.core().conns.values().all(|&unsent| unsent == 0));
        }
        prop_assert_eq!(owed.ours.len(), owed.theirs.len());
        for conn in owed.ours.clone() {
            pair.client.act(pair.now, |core| core.close(conn, 0));
        }
        pair.sleep(Duration::from_secs(60));
        owed.settle(&mut pair);
        prop_assert!(owed.ours.is_empty() && owed.theirs.is_empty());
        prop_assert_eq!(pair.client.endpoint.connections(), 0);
        prop_assert_eq!(pair.server.endpoint.connections(), 0);
        prop_assert!(pair.is_at_rest(), "nobody has anything to wait for");
    }
}
