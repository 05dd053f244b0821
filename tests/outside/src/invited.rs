use std::net::SocketAddr;
use std::time::SystemTime;

use qpq_adapter_tokio::{Events, Server};
use qpq_protocol::io::Alpn;
use qpq_protocol::quic::QuicConfig;
use qpq_protocol::server::{self, Policy, Question, Refusal, ServerConfig, Verdict};
use qpq_protocol::storage::Engine;
use qpq_protocol::time::Time;

/// Lets nobody register who does not know this word.
struct ByInvitation(&'static str);

impl Policy for ByInvitation {
    fn decide(&self, question: &Question) -> Verdict {
        match question {
            Question::Registration { invitation, .. } if *invitation.as_bytes() != *self.0.as_bytes() => {
                Verdict::Refuse(Refusal::forbidden("this server is for who was invited"))
            }
            _ => Verdict::Allow,
        }
    }
}

/// Starts the server on this engine. It has a new certificate each time: a real one keeps it, for clients pin it.
pub fn start(
    address: SocketAddr,
    engine: impl Engine + 'static,
) -> Result<(Server<server::Server>, Events<server::Server>), Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    let config = QuicConfig::server(certificate, key, &[Alpn::Qpq])?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?; // fresh at every start
    let core = server::Server::new(ServerConfig::default(), seed, Time::ZERO, SystemTime::now().into());
    Ok(Server::bind(address, &config, core.with_policy(ByInvitation("open sesame")), engine)?)
}
