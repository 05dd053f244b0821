//! A real life of a client, told once, for tests that go on from it or tell it again.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpq_protocol::client::{Intent, Outcome, intent};
use qpq_protocol::frame::{Decoded, Decoder, PushHeader};
use qpq_protocol::ids::{ChannelId, ConnId, IdentityKey, StreamId};
use qpq_protocol::io::StreamInput;
use qpq_protocol::proto;
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::time::Time;

use crate::net::{Birth, Input, Net, password};

/// A real life of a client, told from its embedder's side, and what it left behind.
pub struct Story {
    /// From the first start: registers, makes a DM and a group, talks.
    pub birth: Birth,
    pub trace: Vec<(Time, Input)>,
    /// Its disk at the end, and what a start on it begins with.
    pub disk: Memory,
    pub reborn: Birth,
    pub identity_key: IdentityKey,
    /// The key of its server.
    pub server_key: [u8; 32],
    pub dm: ChannelId,
    pub group: ChannelId,
    /// What came to it after that while it ran on: messages, a commit.
    pub envelopes: Vec<(Bytes, proto::Envelope)>,
}

pub static STORY: LazyLock<Story> = LazyLock::new(tell_story);

fn tell_story() -> Story {
    let mut net = Net::new();
    for name in ["bob", "carol"] {
        let client = net.add_client();
        say(
            &mut net,
            client,
            intent::Register::new(name, password("secret")),
        );
    }
    let alice = net.add_silent_client();
    let birth = net.last_birth.clone().expect("a birth");
    net.clients[alice].trace = Some(Vec::new());
    let Outcome::LoggedIn(account) = say(
        &mut net,
        alice,
        intent::Register::new("alice", password("secret")),
    ) else {
        panic!("no login");
    };
    let Outcome::Conversation(dm) = say(&mut net, alice, intent::Dm("bob".into())) else {
        panic!("no conversation");
    };
    let Outcome::Conversation(group) = say(
        &mut net,
        alice,
        intent::CreateGroup::new("friends", &["bob"]),
    ) else {
        panic!("no conversation");
    };
    net.pass(Duration::from_secs(5));
    for id in [dm.id, group.id] {
        say(&mut net, alice, intent::Send::new(id, "from alice"));
        say(&mut net, 0, intent::Send::new(id, "from bob"));
    }
    say(
        &mut net,
        alice,
        intent::History {
            conversation: dm.id,
            before: None,
            limit: 100,
        },
    );
    let Outcome::Server(server) = say(&mut net, alice, intent::ServerInfo) else {
        panic!("no server");
    };
    net.pass(Duration::from_secs(5));
    let trace = net.clients[alice].trace.take().expect("a trace");

    net.restart(alice);
    let reborn = net.last_birth.clone().expect("a birth");
    let disk = net.clients[alice].disk.clone();
    net.clients[alice].trace = Some(Vec::new());
    net.pass(Duration::from_secs(5));
    for number in 0..3 {
        say(
            &mut net,
            0,
            intent::Send::new(dm.id, format!("later {number}")),
        );
        say(
            &mut net,
            0,
            intent::Send::new(group.id, format!("later {number}")),
        );
    }
    say(&mut net, 0, intent::Invite::new(group.id, "carol"));
    net.pass(Duration::from_secs(5));
    say(
        &mut net,
        0,
        intent::Send::new(group.id, "in the next epoch"),
    );
    net.pass(Duration::from_secs(5));
    let later = net.clients[alice].trace.take().expect("a trace");
    Story {
        birth,
        trace,
        disk,
        reborn,
        identity_key: account.identity_key,
        server_key: server.signing_key,
        dm: dm.id,
        group: group.id,
        envelopes: pushed(&later),
    }
}

pub fn say(net: &mut Net, client: usize, intent: impl Into<Intent>) -> Outcome {
    net.ask(client, intent).expect("a good end")
}

/// The envelopes in the pushes of a trace.
fn pushed(trace: &[(Time, Input)]) -> Vec<(Bytes, proto::Envelope)> {
    let mut decoders: BTreeMap<(ConnId, StreamId), Decoder<PushHeader>> = BTreeMap::new();
    let mut envelopes = Vec::new();
    for (_, input) in trace {
        let Input::Stream(conn, stream @ StreamId::Peer(..), StreamInput::Data(data)) = input
        else {
            continue;
        };
        let decoder = decoders.entry((*conn, *stream)).or_default();
        let mut data = data.clone();
        while let Some(decoded) = decoder.decode(&mut data).expect("frames") {
            if let Decoded::Payload(payload) = decoded
                && let Ok(push) = proto::PushEvent::decode(payload)
                && let Some(proto::push_event::Event::NewMessage(news)) = push.event
                && let Some(envelope) = news.envelope
            {
                envelopes.push((news.channel_id, envelope));
            }
        }
    }
    assert!(envelopes.len() >= 8, "{}", envelopes.len());
    envelopes
}
