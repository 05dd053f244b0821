//! What a peer can take without giving anything: memory for what it announces, answers that it never reads,
//! connections and streams on which nothing is said.

use bytes::Bytes;

use super::mask::{Manner, Where};
use super::{Mask, rubbish};
use crate::frame::{Header as _, RequestHeader, encode_request};
use crate::method::Method;
use crate::proto;
use crate::sim::host::Host as _;
use crate::sim::network::Network;
use crate::sim::world::World;
use crate::sim::{below, pick};

/// Connections that one villain opens at once, and has at most.
const DIALS: usize = 24;
const CONNECTIONS: usize = 96;

impl<N: Network> World<N> {
    /// Announces what never comes, or asks for what it does not read.
    pub(super) fn take_without_end(&mut self) {
        let Some(villain) = self.some_villain() else {
            return;
        };
        let own = self.apps.get(villain).and_then(|app| app.account);
        let other = (self.config.clients..self.people()).find(|one| *one != villain);
        let other = other.and_then(|other| self.apps.get(other)?.account);
        let what = self.ill.below(5);
        let count = below(&mut self.ill, 80);
        let mut sendings = Vec::new();
        for _ in 0..count {
            let (bytes, manner) = match (what, own, other) {
                (0, ..) => (self.announced(Method::BatchEnqueue), Manner::Endless),
                (1, ..) => (
                    self.announced(Method::OpaqueRegisterFinish),
                    Manner::Endless,
                ),
                (4, ..) => (self.resumption(villain), Manner::Whole),
                (2, Some(own), _) => {
                    let request = proto::FetchRequest {
                        recipient_key: Bytes::copy_from_slice(own.as_bytes()),
                        ..Default::default()
                    };
                    let frame = encode_request(Method::Fetch.id(), 1, &request);
                    (frame.unwrap_or_default(), Manner::Unread)
                }
                (3, _, Some(other)) => {
                    let request = proto::EnqueueRequest {
                        recipient_key: Bytes::copy_from_slice(other.as_bytes()),
                        payload: rubbish(&mut self.ill, 40_000).into(),
                        message_id: Bytes::copy_from_slice(&self.ill.uuid_v7(self.date())),
                        ..Default::default()
                    };
                    let frame = encode_request(Method::Enqueue.id(), 1, &request);
                    (frame.unwrap_or_default(), Manner::Whole)
                }
                _ => (self.announced(Method::OpaqueLoginStart), Manner::Endless),
            };
            sendings.push((bytes, manner));
        }
        let is_bare = what == 4 || self.ill.below(3) > 0;
        self.send_all(villain, sendings, is_bare);
    }

    /// Opens connections and streams, and says nothing on them.
    pub(super) fn say_nothing(&mut self) {
        let Some(villain) = self.some_villain() else {
            return;
        };
        let mut sendings = Vec::new();
        if self.ill.below(2) == 0 {
            for _ in 0..below(&mut self.ill, 80) {
                let bytes = self.announced(Method::Health);
                // Less than a header: what it is going to be can't be told.
                let length = 1 + below(&mut self.ill, RequestHeader::LEN - 1);
                sendings.push((bytes.slice(..length), Manner::Endless));
            }
        }
        self.send_all(villain, sendings, true);
    }

    /// The villain's session, for one connection more.
    fn resumption(&mut self, villain: usize) -> Bytes {
        let now = self.now;
        let host = self.hosts.client(villain);
        let token = host.and_then(|host| host.act(now, |mask, _| mask.client().token()));
        let auth = proto::Auth {
            access_token: Bytes::copy_from_slice(&token.unwrap_or_default()),
            ..Default::default()
        };
        let request = proto::ResumeSessionRequest {
            auth: Some(auth),
            ..Default::default()
        };
        encode_request(Method::ResumeSession.id(), 1, &request).unwrap_or_default()
    }

    /// The head of a request that announces much, and perhaps some of what it announces.
    fn announced(&mut self, method: Method) -> Bytes {
        let most = pick(
            &mut self.ill,
            &[100, 4_000, 16_000, 31_000, 60_000, 3 << 20],
        );
        let header = RequestHeader {
            method_id: method.id(),
            request_id: 1,
            payload_len: most,
        };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        bytes.extend(rubbish(&mut self.ill, 2_000));
        bytes.into()
    }

    /// Sends these on the session of a villain, or over connections of their own, of which more are opened.
    fn send_all(&mut self, villain: usize, sendings: Vec<(Bytes, Manner)>, is_bare: bool) {
        let now = self.now;
        let dials = below(&mut self.ill, DIALS);
        let mut places = self.ill.child();
        let Some(host) = self.hosts.client(villain) else {
            return;
        };
        host.act(now, |mask: &mut Mask, _| {
            if is_bare {
                for _ in mask.bare()..CONNECTIONS.min(mask.bare() + dials) {
                    mask.dial("servers.sim:5001");
                }
            }
            for (bytes, manner) in sendings {
                let at = match is_bare {
                    true => Where::Bare(below(&mut places, mask.bare())),
                    false => Where::Session,
                };
                mask.send(at, bytes, manner);
            }
        });
    }
}
