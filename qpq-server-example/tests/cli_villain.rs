//! A member who means ill, acted out with the binaries: what the others see, and that they go on.

mod support;

#[path = "support/raw.rs"]
mod raw;

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message as _;
use qpq_crypto::opaque::{self, Suite};
use qpq_protocol::frame::encode_request;
use qpq_protocol::io::Alpn;
use qpq_protocol::method::{Rpc, rpc};
use qpq_protocol::proto;
use qpq_server_example::hex::unhex;
use raw::{Answer, Peer};
use support::PASSWORD;
use support::world::{World, texts};

/// What the server calls itself.
const DOMAIN: &str = "localhost";

/// Mallory's own program, on a session of her device.
struct Villain {
    peer: Peer,
}

impl Villain {
    async fn log_in(server: SocketAddr, name: &str, device_id: &[u8]) -> Self {
        let villain = Self {
            peer: Peer::connect(server, Alpn::Qpq).await.unwrap(),
        };
        let password = PASSWORD.as_bytes();
        let (state, request) = opaque::client::login_start(&[3; 32], password).unwrap();
        let start = proto::OpaqueLoginStartRequest {
            username: name.to_owned(),
            request: request.into(),
            ..Default::default()
        };
        let answer = villain.call::<rpc::OpaqueLoginStart>(&start).await;
        let suite = Suite::DEFAULT;
        let done = state
            .finish(&[4; 32], suite, DOMAIN, name, password, &answer.response)
            .unwrap();
        let finish = proto::OpaqueLoginFinishRequest {
            username: name.to_owned(),
            finalization: done.finalization.into(),
            device_id: Bytes::copy_from_slice(device_id),
            ..Default::default()
        };
        villain.call::<rpc::OpaqueLoginFinish>(&finish).await;
        villain
    }

    async fn call<M: Rpc>(&self, request: &M::Request) -> M::Response {
        let frame = encode_request(M::METHOD.id(), 7, request).unwrap();
        match self.peer.send(frame, true).await {
            Answer::Bytes(bytes) if bytes[0] == 0 => M::Response::decode(&bytes[9..]).unwrap(),
            other => panic!("{:?}: {other:?}", M::METHOD),
        }
    }

    /// Puts these bytes into a slot.
    async fn commit(&self, channel: [u8; 16], slot: u64, commit: Vec<u8>, remove: &[[u8; 32]]) {
        let mut message_id = [9; 16];
        message_id[6] = 0x79;
        message_id[8] = 0x80;
        message_id[15] = u8::try_from(slot).unwrap();
        let request = proto::SubmitCommitRequest {
            channel_id: Bytes::copy_from_slice(&channel),
            slot,
            commit: commit.into(),
            message_id: Bytes::copy_from_slice(&message_id),
            remove_members: remove
                .iter()
                .map(|key| Bytes::copy_from_slice(key))
                .collect(),
            ..Default::default()
        };
        self.call::<rpc::SubmitCommit>(&request).await;
    }
}

/// A PrivateMessage that calls itself a commit of this epoch (RFC 9420 section 6.3).
fn commit_of_epoch(channel: [u8; 16], epoch: u64) -> Vec<u8> {
    let mut commit = vec![0, 1, 0, 2, 20];
    commit.extend(channel);
    commit.extend([0; 4]);
    commit.extend(epoch.to_be_bytes());
    // Commit; no authenticated data; sender data and ciphertext that nobody can open.
    commit.extend([3, 0, 28]);
    commit.extend([5; 28]);
    commit.push(32);
    commit.extend([6; 32]);
    commit
}

fn key_of(said: &[serde_json::Value]) -> [u8; 32] {
    unhex(said[0]["identity_key"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_spoils_slots_and_the_list_ends_the_group_for_nobody() {
    let world = World::new("villain");
    let (alice, bob, mallory) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("mallory"),
    );
    let made = alice.ok(&["group", "create", "club", "bob", "mallory"]);
    let channel: [u8; 16] = unhex(made[0]["id"].as_str().unwrap()).unwrap();
    for user in [&bob, &mallory] {
        user.ok(&["recv"]);
    }
    let me = mallory.ok(&["whoami"]);
    let device = unhex::<16>(me[0]["device_id"].as_str().unwrap()).unwrap();
    let bobs_key = key_of(&bob.ok(&["whoami"]));
    let server: SocketAddr = world.address.parse().unwrap();
    let villain = Villain::log_in(server, "mallory", &device).await;
    let request = proto::GetGroupInfoRequest {
        channel_id: Bytes::copy_from_slice(&channel),
    };
    let slot = villain.call::<rpc::GetGroupInfo>(&request).await.slot;
    villain
        .commit(channel, slot, b"rubbish".to_vec(), &[])
        .await;
    let far = commit_of_epoch(channel, 1 << 40);
    villain.commit(channel, slot + 1, far, &[]).await;
    // Bob is taken off the list by a commit that changes nothing else.
    let void = commit_of_epoch(channel, 0);
    villain.commit(channel, slot + 2, void, &[bobs_key]).await;

    // They are told that something was wrong, and by what, and go on without doing anything.
    let said = alice.ok(&["recv"]);
    let told = said
        .iter()
        .filter(|line| line["type"] == "void_commit")
        .count();
    assert!(told >= 2, "{said:?}");
    bob.ok(&["recv"]);
    alice.ok(&["send", "#club", "still here?"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "still here?")]);
    bob.ok(&["send", "#club", "I am"]);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "I am")]);
    alice.ok(&["group", "remove", "#club", "mallory"]);
    for user in [&alice, &bob] {
        user.ok(&["recv"]);
        let all = user.ok(&["conversations"]);
        assert_eq!(all[0]["standing"], "active", "{all:?}");
        assert_eq!(all[0]["members"].as_array().unwrap().len(), 2, "{all:?}");
    }
}
