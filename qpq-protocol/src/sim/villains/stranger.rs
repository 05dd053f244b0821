//! What throw-away accounts can ask for: channels with everyone, key packages of everyone, logins of everyone's
//! name, and whatever else costs a server something.

use bytes::Bytes;

use super::mask::{Manner, Where};
use super::{Mask, rubbish};
use crate::frame::encode_request;
use crate::ids::IdentityKey;
use crate::method::{Rpc, rpc};
use crate::proto;
use crate::sim::host::Host as _;
use crate::sim::network::Network;
use crate::sim::pick;
use crate::sim::world::World;

/// Requests that are made at once.
const BURST: u64 = 60;

impl<N: Network> World<N> {
    /// A stranger asks for the same again and again.
    pub(super) fn ask_without_end(&mut self) {
        let Some(stranger) = self.some_villain() else {
            return;
        };
        let victim = self.some_victim();
        let key = victim.and_then(|victim| self.apps.get(victim)?.account);
        let Some(key) = key else { return };
        let name = victim.map_or_else(String::new, |victim| format!("user{victim}"));
        let what = self.ill.below(7);
        for _ in 0..self.ill.below(BURST) {
            match what {
                0 => self.begin_dm(stranger, key),
                1 => self.begin_group(stranger, key),
                2 => {
                    let identity_key = Bytes::copy_from_slice(key.as_bytes());
                    let request = proto::FetchKeyPackagesRequest { identity_key };
                    self.errand::<rpc::FetchKeyPackages>(stranger, &request);
                }
                3 => {
                    let request = proto::HealthRequest::default();
                    self.errand::<rpc::Health>(stranger, &request);
                }
                4 => {
                    let request = proto::ResolveUserRequest {
                        username: name.clone(),
                    };
                    self.errand::<rpc::ResolveUser>(stranger, &request);
                }
                5 => self.guess(stranger, &name),
                _ => self.write_to(stranger, key),
            }
        }
    }

    /// An account that means well.
    pub(super) fn some_victim(&mut self) -> Option<usize> {
        let known = (0..self.config.clients).filter(|client| self.apps[*client].account.is_some());
        let known: Vec<usize> = known.collect();
        (!known.is_empty()).then(|| pick(&mut self.ill, &known))
    }

    /// A villain asks on its session.
    pub(super) fn errand<M: Rpc>(&mut self, villain: usize, request: &M::Request) {
        let frame = encode_request(M::METHOD.id(), 1, request);
        let now = self.now;
        if let (Ok(frame), Some(host)) = (frame, self.hosts.client(villain)) {
            host.act(now, |mask: &mut Mask, _| {
                mask.send(Where::Session, frame, Manner::Whole);
            });
        }
    }

    fn begin_dm(&mut self, stranger: usize, peer: IdentityKey) {
        let request = proto::CreateChannelRequest {
            peer_key: Bytes::copy_from_slice(peer.as_bytes()),
            ..Default::default()
        };
        self.errand::<rpc::CreateChannel>(stranger, &request);
    }

    /// A group that the victim is put into at once, by a commit that is none and a Welcome that is none.
    fn begin_group(&mut self, stranger: usize, victim: IdentityKey) {
        let Some(own) = self.apps.get(stranger).and_then(|app| app.account) else {
            return;
        };
        let date = self.date();
        let channel_id = Bytes::copy_from_slice(&self.ill.uuid_v7(date));
        let victim = Bytes::copy_from_slice(victim.as_bytes());
        let request = proto::CreateChannelRequest {
            channel_id: channel_id.clone(),
            member_keys: vec![Bytes::copy_from_slice(own.as_bytes())],
            ..Default::default()
        };
        self.errand::<rpc::CreateChannel>(stranger, &request);
        let welcome = proto::CommitWelcome {
            recipient_key: victim.clone(),
            device_id: Bytes::new(),
            payload: rubbish(&mut self.ill, 400).into(),
        };
        let request = proto::SubmitCommitRequest {
            channel_id,
            slot: 0,
            commit: rubbish(&mut self.ill, 400).into(),
            welcomes: vec![welcome],
            message_id: Bytes::copy_from_slice(&self.ill.uuid_v7(date)),
            add_members: vec![victim],
            ..Default::default()
        };
        self.errand::<rpc::SubmitCommit>(stranger, &request);
    }

    /// A login with a name of somebody else, which can't succeed.
    fn guess(&mut self, stranger: usize, name: &str) {
        let request = proto::OpaqueLoginStartRequest {
            username: name.to_owned(),
            request: Bytes::copy_from_slice(&self.ill.bytes::<96>()),
            ..Default::default()
        };
        self.errand::<rpc::OpaqueLoginStart>(stranger, &request);
    }

    /// Something for the victim's default queue.
    fn write_to(&mut self, stranger: usize, victim: IdentityKey) {
        let request = proto::EnqueueRequest {
            recipient_key: Bytes::copy_from_slice(victim.as_bytes()),
            payload: rubbish(&mut self.ill, 4000).into(),
            message_id: Bytes::copy_from_slice(&self.ill.uuid_v7(self.date())),
            ..Default::default()
        };
        self.errand::<rpc::Enqueue>(stranger, &request);
    }
}
