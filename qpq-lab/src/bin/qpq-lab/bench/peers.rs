//! Those whom we are measured against, each server and client as its own documentation shows them.

pub mod broker;
pub mod quinn;
pub mod tonic;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::ValueEnum;

/// Any free port of this machine.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Bytes that an echo carries.
pub const ECHO: usize = 256;

/// Whose server and client.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Peer {
    /// Ours
    Qpq,
    /// quinn, echoing raw streams: no messages, no dispatch
    Quinn,
    /// tonic, unary calls over TLS
    Tonic,
    /// Redis, streams (a program of its own)
    Redis,
    /// NATS, JetStream (a program of its own)
    Nats,
}

impl Peer {
    /// As on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qpq => "qpq",
            Self::Quinn => "quinn",
            Self::Tonic => "tonic",
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }
}
