//! What people do in a [`Net`] and what is seen of it: the small steps that scenes are made of. People are named
//! by the number of their client.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use qpq_protocol::client::{Body, Conversation, ConversationId, Event, Outcome, Standing, intent};
use qpq_protocol::ids::IdentityKey;
use qpq_protocol::proto;
use qpq_protocol::proto::delivery_payload::Payload;
use qpq_protocol::storage::memory::Memory;

use super::{Lie, Net, password};

pub const MINUTE: Duration = Duration::from_secs(60);

/// The methods that scenes look at or lie about, by their ids.
pub mod method {
    pub const LOGIN_START: u16 = 102;
    pub const LOGIN_FINISH: u16 = 103;
    pub const RESUME_SESSION: u16 = 104;
    pub const ENQUEUE: u16 = 200;
    pub const FETCH: u16 = 201;
    pub const ACK: u16 = 204;
    pub const BATCH_ENQUEUE: u16 = 205;
    pub const SUBMIT_COMMIT: u16 = 206;
    pub const LIST_QUEUES: u16 = 207;
    pub const UPLOAD_KEY_PACKAGE: u16 = 300;
    pub const UPLOAD_HYBRID_KEY: u16 = 302;
    pub const FETCH_HYBRID_KEYS: u16 = 304;
    pub const FETCH_KEY_PACKAGES: u16 = 305;
    pub const CREATE_CHANNEL: u16 = 400;
    pub const REMOVE_MEMBER: u16 = 410;
    pub const LIST_MEMBERS: u16 = 412;
    pub const ROTATE_KEYS: u16 = 413;
    pub const ADD_MEMBER: u16 = 414;
    pub const GET_GROUP_INFO: u16 = 416;
}

/// A server that was put back and says so (`restore` draws a new epoch).
pub const PUT_BACK: Lie = |method, said| match method {
    method::RESUME_SESSION => changed(said, |answer: &mut proto::ResumeSessionResponse| {
        answer.server_epoch ^= 1;
    }),
    _ => said,
};

/// A world in which these have an account each, and all is quiet.
pub fn world(names: &[&str]) -> Net {
    let mut net = Net::new();
    for name in names {
        register(&mut net, name);
    }
    settle(&mut net);
    net
}

/// One more person, with an account of this name.
pub fn register(net: &mut Net, name: &str) -> IdentityKey {
    let client = net.add_client();
    match net.ask(client, intent::Register::new(name, password("secret"))) {
        Ok(Outcome::LoggedIn(account)) => account.identity_key,
        other => panic!("{other:?}"),
    }
}

/// A device more of this account, which every group's members are told of.
pub fn second_device(net: &mut Net, name: &str) -> usize {
    let client = net.add_client();
    let ended = net.ask(client, intent::Login::new(name, password("secret")));
    assert!(matches!(ended, Ok(Outcome::LoggedIn(_))), "{ended:?}");
    client
}

/// Half a minute: what is under way comes to its end, and nobody's patience does.
pub fn settle(net: &mut Net) {
    net.pass(Duration::from_secs(30));
}

/// Opens the DM with this one.
pub fn dm(net: &mut Net, client: usize, peer: &str) -> ConversationId {
    match net.ask(client, intent::Dm(peer.into())) {
        Ok(Outcome::Conversation(conversation)) => conversation.id,
        other => panic!("{other:?}"),
    }
}

/// Makes a group with these, all of whom come in.
pub fn group(net: &mut Net, client: usize, members: &[&str]) -> ConversationId {
    match net.ask(client, intent::CreateGroup::new("friends", members)) {
        Ok(Outcome::Conversation(conversation)) => conversation.id,
        other => panic!("{other:?}"),
    }
}

/// Says something that the server takes.
pub fn send(net: &mut Net, client: usize, id: ConversationId, text: &str) {
    let ended = net.ask(client, intent::Send::new(id, text));
    assert!(matches!(ended, Ok(Outcome::Sent { .. })), "{ended:?}");
}

/// Adds this one to a group.
pub fn invite(net: &mut Net, client: usize, id: ConversationId, user: &str) {
    let ended = net.ask(client, intent::Invite::new(id, user));
    assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
}

/// Takes this one out of a group.
pub fn remove(net: &mut Net, client: usize, id: ConversationId, user: &str) {
    let ended = net.ask(client, intent::Remove::new(id, user));
    assert!(matches!(ended, Ok(Outcome::Changed(_))), "{ended:?}");
}

/// Leaves.
pub fn leave(net: &mut Net, client: usize, id: ConversationId) {
    let ended = net.ask(client, intent::Leave(id));
    assert_eq!(ended, Ok(Outcome::Left(id)));
}

/// Puts its process away: it hears nothing and says nothing until it is [`back`].
pub fn go_away(net: &mut Net, client: usize) {
    net.restart(client);
    net.clients[client].away = true;
}

/// Its process is there again.
pub fn back(net: &mut Net, client: usize) {
    net.clients[client].away = false;
}

/// All conversations that a client knows.
pub fn conversations(net: &mut Net, client: usize) -> Vec<Conversation> {
    match net.ask(client, intent::Conversations) {
        Ok(Outcome::Conversations(all)) => all,
        other => panic!("{other:?}"),
    }
}

/// A conversation as a client sees it, if it knows of it.
pub fn find(net: &mut Net, client: usize, id: ConversationId) -> Option<Conversation> {
    let all = conversations(net, client);
    all.into_iter().find(|one| one.id == id)
}

/// A conversation as a client sees it.
pub fn conversation(net: &mut Net, client: usize, id: ConversationId) -> Conversation {
    find(net, client, id).expect("the conversation")
}

/// The names of the members that a client sees, sorted.
pub fn members(net: &mut Net, client: usize, id: ConversationId) -> Vec<String> {
    names(&conversation(net, client, id))
}

/// The names of the members, sorted.
pub fn names(conversation: &Conversation) -> Vec<String> {
    let names = conversation.members.iter();
    let mut names: Vec<_> = names.filter_map(|one| one.name.clone()).collect();
    names.sort_unstable();
    names
}

/// What a client keeps of what was said, as texts: no index is missing, and none is there twice.
pub fn history(net: &mut Net, client: usize, id: ConversationId) -> Vec<String> {
    let ended = net.ask(
        client,
        intent::History {
            conversation: id,
            before: None,
            limit: 1000,
        },
    );
    let Ok(Outcome::Messages(all)) = ended else {
        panic!("{ended:?}");
    };
    let indices: Vec<_> = all.iter().map(|message| message.index).collect();
    assert!(
        (0..).zip(&indices).all(|(at, index)| at == *index),
        "{indices:?}"
    );
    let bodies = all.into_iter().map(|message| message.body);
    let texts = bodies.map(|body| match body {
        Body::Text(text) => text,
        other => format!("{other:?}"),
    });
    texts.collect()
}

/// How often a client's app was told of such a thing.
pub fn told(net: &Net, client: usize, of: impl Fn(&Event) -> bool) -> usize {
    let events = net.clients[client].events.iter();
    events.filter(|event| of(event)).count()
}

/// How often clients have asked for this method since [`Net::asked`] was cleared.
pub fn asked(net: &Net, method: u16) -> usize {
    net.asked.iter().filter(|own| **own == method).count()
}

/// Half a minute later all of these are in the same epoch with the same members, and [talk](assert_talk).
pub fn assert_agree(net: &mut Net, clients: &[usize], id: ConversationId) {
    settle(net);
    let views: Vec<_> = clients
        .iter()
        .map(|client| conversation(net, *client, id))
        .collect();
    for (client, view) in clients.iter().zip(&views) {
        assert_eq!(view.standing, Standing::Active, "client {client}");
        assert_eq!(view.epoch, views[0].epoch, "client {client}");
        assert_eq!(view.members, views[0].members, "client {client}");
    }
    assert_talk(net, clients, id);
}

/// All of these are in it; what one says all of them keep, and the others are shown.
pub fn assert_talk(net: &mut Net, clients: &[usize], id: ConversationId) {
    for client in clients {
        let standing = conversation(net, *client, id).standing;
        assert_eq!(standing, Standing::Active, "client {client}");
        let text = format!("{client} says {}", net.now.as_micros());
        send(net, *client, id, &text);
        settle(net);
        for other in clients {
            let kept = history(net, *other, id).pop();
            assert_eq!(kept.as_ref(), Some(&text), "client {other} of {clients:?}");
            if other != client {
                let shown = net.texts(*other).pop().map(|(_, text)| text);
                assert_eq!(shown, kept, "client {other} of {clients:?}");
            }
        }
    }
}

/// Changes an answer that went well.
pub fn changed<M: Message + Default>(
    said: Result<Bytes, u8>,
    change: impl FnOnce(&mut M),
) -> Result<Bytes, u8> {
    said.map(|payload| {
        let mut answer = M::decode(payload).expect("an answer");
        change(&mut answer);
        answer.encode_to_vec().into()
    })
}

/// Whether an envelope holds an invitation.
pub fn is_welcome(envelope: &proto::Envelope) -> bool {
    let payload = proto::DeliveryPayload::decode(envelope.data.clone());
    let payload = payload.ok().and_then(|payload| payload.payload);
    matches!(payload, Some(Payload::Welcome(_)))
}

/// What is durable at the server.
pub fn backup(net: &Net) -> Memory {
    net.server.as_ref().expect("a server").disk.clone()
}

/// Puts the server back to this, and leaves it to it whether that is noticed.
pub fn put_back_silently(net: &mut Net, disk: Memory) {
    net.stop_server();
    net.server_disk = disk;
    net.start_server();
}

/// Puts the server back to this; from now on it says so.
pub fn put_back(net: &mut Net, disk: Memory) {
    net.stop_server();
    net.server_disk = disk;
    net.lie = Some(PUT_BACK);
    net.start_server();
}
