//! Accounts on a server over a real socket, and calls as peers make them who know only the bytes.

// Each test file is a crate of its own and uses what it needs.
#![allow(dead_code)]

use bytes::Bytes;
use prost::Message as _;
use qpq_crypto::identity::IdentitySecret;
use qpq_crypto::opaque::{self, Suite};
use qpq_crypto::proof;
use qpq_protocol::frame::encode_request;
use qpq_protocol::method::{Rpc, rpc};
use qpq_protocol::proto;
use qpq_protocol::status::Status;
use qpq_server_example::time::unix_now;

use crate::raw::{Answer, Peer};

/// The domain of the servers of these tests.
pub const DOMAIN: &str = "bad.input";

/// Calls a method; the refusal's status.
pub async fn call<M: Rpc>(peer: &Peer, request: &M::Request) -> Result<M::Response, Status> {
    let request = encode_request(M::METHOD.id(), 7, request).unwrap();
    respond(peer.send(request, true).await).map(|payload| M::Response::decode(payload).unwrap())
}

/// Takes a response frame apart.
pub fn respond(answer: Answer) -> Result<Bytes, Status> {
    let Answer::Bytes(bytes) = answer else {
        panic!("{answer:?} instead of a response")
    };
    assert_eq!(bytes[1..5], 7_u32.to_be_bytes());
    let length = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
    assert_eq!(bytes.len(), 9 + usize::try_from(length).unwrap());
    match Status::from_wire(bytes[0]) {
        Status::Ok => Ok(Bytes::copy_from_slice(&bytes[9..])),
        status => {
            let detail = proto::ErrorDetail::decode(&bytes[9..]).unwrap();
            assert!(!detail.message.is_empty(), "{status:?} says nothing");
            Err(status)
        }
    }
}

/// A request for Health.
pub fn health() -> Bytes {
    encode_request(802, 7, &proto::HealthRequest {}).unwrap()
}

/// A header and whatever is to follow it.
pub fn framed(method: u16, length: u32, payload: &[u8]) -> Vec<u8> {
    let header = [
        &method.to_be_bytes()[..],
        &7_u32.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    [header.concat(), payload.to_vec()].concat()
}

/// A user.
pub struct User {
    pub name: &'static str,
    secret: IdentitySecret,
}

impl User {
    pub fn new(name: &'static str, seed: u8) -> Self {
        let secret = IdentitySecret::from_seed([seed; 32]);
        Self { name, secret }
    }

    /// The identity key as a field of a request.
    pub fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.secret.public().as_bytes())
    }

    /// Registers with an identity key, signed by its own secret.
    pub async fn register(&self, peer: &Peer, identity_key: Bytes) -> Result<(), Status> {
        let (state, request) = opaque::client::registration_start(&[1; 32], b"password").unwrap();
        let start = proto::OpaqueRegisterStartRequest {
            username: self.name.to_owned(),
            request: request.into(),
        };
        let answer = call::<rpc::OpaqueRegisterStart>(peer, &start).await?;
        let suite = Suite::DEFAULT;
        let done = state
            .finish(
                &[2; 32],
                suite,
                DOMAIN,
                self.name,
                b"password",
                &answer.response,
            )
            .unwrap();
        let time_ms = unix_now().as_millis();
        let signature =
            proof::register(&self.secret, DOMAIN, self.name, &done.upload, b"", time_ms);
        let finish = proto::OpaqueRegisterFinishRequest {
            username: self.name.to_owned(),
            upload: done.upload.into(),
            identity_key,
            signature: Bytes::copy_from_slice(&signature),
            time_ms,
            sealed_identity: Bytes::new(),
            ..proto::OpaqueRegisterFinishRequest::default()
        };
        call::<rpc::OpaqueRegisterFinish>(peer, &finish)
            .await
            .map(drop)
    }

    /// Logs in; the session's token.
    pub async fn log_in(&self, peer: &Peer) -> Result<Bytes, Status> {
        let (state, request) = opaque::client::login_start(&[3; 32], b"password").unwrap();
        let start = proto::OpaqueLoginStartRequest {
            username: self.name.to_owned(),
            request: request.into(),
            ..proto::OpaqueLoginStartRequest::default()
        };
        let answer = call::<rpc::OpaqueLoginStart>(peer, &start).await?;
        let done = state
            .finish(
                &[4; 32],
                Suite::DEFAULT,
                DOMAIN,
                self.name,
                b"password",
                &answer.response,
            )
            .unwrap();
        let finish = proto::OpaqueLoginFinishRequest {
            username: self.name.to_owned(),
            finalization: done.finalization.into(),
            ..proto::OpaqueLoginFinishRequest::default()
        };
        call::<rpc::OpaqueLoginFinish>(peer, &finish)
            .await
            .map(|done| done.session_token)
    }
}
