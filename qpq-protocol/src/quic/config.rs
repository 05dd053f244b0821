//! What an endpoint is, whom it trusts, and every limit of the transport.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, EndpointConfig, HashedConnectionIdGenerator, IdleTimeout, NoneTokenStore,
    ServerConfig, TransportConfig, VarInt,
};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::tls::{self, LastingKeys, Verifier, Wall};
use crate::io::Alpn;
use crate::limits::{ANONYMOUS_STREAMS, STREAMS};

/// Whether an endpoint accepts connections, opens them, or both; and its limits.
#[derive(Clone)]
pub struct QuicConfig {
    server: Option<Identity>,
    trust: Option<Trust>,
    /// Every limit; the defaults suit a public server and a device.
    pub limits: Limits,
    /// Whether path MTU discovery is used.
    pub(super) discover_mtu: bool,
    /// Whether IPv4 addresses are given to the socket as IPv6 ones (RFC 4291 §2.5.5.2).
    pub(super) dual_stack: bool,
}

/// The certificate a server presents, its key and the protocols it speaks.
#[derive(Clone)]
struct Identity {
    certificate: CertificateDer<'static>,
    key: Arc<PrivateKeyDer<'static>>,
    alpns: Vec<Alpn>,
}

/// Which certificate of a server is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Exactly the one with this SHA-256. `None`: whichever the first server presents, and no other
    /// for as long as the endpoint lives; the embedder keeps
    /// [`PeerInfo::certificate`](crate::io::PeerInfo::certificate) for the next time. Name and
    /// dates in the certificate don't matter.
    PinOnFirstUse {
        /// SHA-256 of the certificate in DER.
        sha256: Option<[u8; 32]>,
    },
    /// This certificate itself, or those that it signed for the name connected to (DER).
    Authority(Vec<u8>),
}

/// Why a [`QuicConfig`] cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The certificate or the private key does not parse, or they don't belong together.
    #[error("the server's certificate and private key cannot be used: make new ones")]
    BadIdentity,
    /// The authority's certificate does not parse.
    #[error("the authority's certificate cannot be used: pass a certificate in DER")]
    BadAuthority,
    /// The idle timeout is longer than QUIC can say.
    #[error("the idle timeout is out of range: choose at most a year")]
    BadLimit,
}

/// Every number of the transport. quinn's own defaults let one peer pin 250 MB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Silence after which a connection is lost (protocol.md §1).
    pub idle: Duration,
    /// How often an idle connection says that it is there; keeps NATs open. `None`: never.
    pub keep_alive: Option<Duration>,
    /// A handshake that takes longer is given up.
    pub handshake: Duration,
    /// After a core asked to close, its last bytes may take this long to be acknowledged.
    pub linger: Duration,
    /// A shutdown that takes longer is cut short. Cores bound theirs themselves, at 30 s or less: this
    /// is for one that does not.
    pub shutdown: Duration,
    /// How often the core is told the date.
    pub clock: Duration,
    /// Bidirectional streams that a peer may have open: as many as the core serves
    /// ([`streams`](crate::limits::Limits)).
    pub peer_bi: u32,
    /// The same for anyone who connected to us, until the core admits it
    /// ([`anonymous_streams`](crate::limits::Limits)).
    pub stranger_bi: u32,
    /// Unidirectional streams that a peer may have open.
    pub peer_uni: u32,
    /// Streams of one connection that the core opened and the peer does not yet allow.
    pub waiting_streams: usize,
    /// Unread bytes that a peer may have sent on one stream.
    pub stream_window: u32,
    /// Unread bytes that a peer may have sent on one connection.
    pub connection_window: u32,
    /// The same for anyone who connected to us, until the core admits it; one stream may have them all.
    pub stranger_window: u32,
    /// Unacknowledged bytes of ours that quinn holds for one connection.
    pub send_window: u32,
    /// Bytes of the core that wait behind the send window; a connection over it is closed.
    pub unsent: usize,
    /// Streams that a peer may abandon within a second; it costs the peer next to nothing. A
    /// connection over it is closed.
    pub resets: u32,
    /// Connections at a time, both ways together.
    pub connections: usize,
    /// Incoming handshakes at a time; more are refused.
    pub handshakes: usize,
    /// Incoming handshakes of one address at a time: for more the peer must prove its address, and is
    /// refused when it has.
    pub address_handshakes: usize,
    /// Incoming handshakes from which on a peer must prove its address first (Retry).
    pub unproven_handshakes: usize,
    /// Storage commands without an answer from which on nothing more is read from peers.
    pub stores: usize,
    /// Events not yet taken from which on nothing more is read (`lossy_events` unset), or further
    /// events are dropped (set).
    pub events: usize,
    /// Whether events may be lost: they only inform an operator (a server), or they carry what
    /// users sent (a client).
    pub lossy_events: bool,
    /// Packets that one `poll_transmit` may put into one buffer. Few, so that the other side works on some
    /// while the next are made; many, so that the system is called less often.
    pub segments: usize,
}

impl Limits {
    /// For a server that faces the internet.
    #[must_use]
    pub const fn server() -> Self {
        Self {
            idle: Duration::from_secs(300),
            keep_alive: None,
            handshake: Duration::from_secs(5),
            linger: Duration::from_secs(3),
            shutdown: Duration::from_secs(45),
            clock: Duration::from_secs(60),
            peer_bi: STREAMS,
            stranger_bi: ANONYMOUS_STREAMS,
            peer_uni: 3,
            waiting_streams: 1024,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            stranger_window: 64 * 1024,
            send_window: 1024 * 1024,
            unsent: 32 * 1024 * 1024,
            resets: 1000,
            connections: 16_384,
            handshakes: 4096,
            address_handshakes: 64,
            unproven_handshakes: 512,
            stores: 8192,
            events: 1024,
            lossy_events: true,
            segments: 6,
        }
    }

    /// For a device.
    #[must_use]
    pub const fn client() -> Self {
        Self {
            keep_alive: Some(Duration::from_secs(25)),
            lossy_events: false,
            ..Self::server()
        }
    }
}

impl QuicConfig {
    /// Accepts connections: the certificate in DER, its private key in DER (PKCS #8, SEC 1 or PKCS
    /// #1), and the protocols it speaks.
    ///
    /// # Errors
    /// [`ConfigError::BadIdentity`] if the key does not parse; the certificate is checked by
    /// [`Endpoint::new`](super::Endpoint::new).
    pub fn server(
        certificate: Vec<u8>,
        private_key: Vec<u8>,
        alpns: &[Alpn],
    ) -> Result<Self, ConfigError> {
        let key = PrivateKeyDer::try_from(private_key).map_err(|_| ConfigError::BadIdentity)?;
        Ok(Self {
            server: Some(Identity {
                certificate: CertificateDer::from(certificate),
                key: Arc::new(key),
                alpns: alpns.to_vec(),
            }),
            trust: None,
            limits: Limits::server(),
            discover_mtu: false,
            dual_stack: false,
        })
    }

    /// Only opens connections.
    #[must_use]
    pub const fn client(trust: Trust) -> Self {
        Self {
            server: None,
            trust: Some(trust),
            limits: Limits::client(),
            discover_mtu: false,
            dual_stack: false,
        }
    }

    /// Suits the socket: `local` is its address, and `may_fragment` whether datagrams on it may be
    /// fragmented, which rules path MTU discovery out. Without it: an IPv4 socket of which nothing is
    /// known.
    #[must_use]
    pub const fn on_socket(mut self, local: SocketAddr, may_fragment: bool) -> Self {
        self.dual_stack = local.is_ipv6();
        self.discover_mtu = !may_fragment;
        self
    }

    /// Opens connections too, to servers that `trust` accepts.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Whether it accepts connections.
    #[must_use]
    pub const fn is_server(&self) -> bool {
        self.server.is_some()
    }
}

impl core::fmt::Debug for QuicConfig {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("QuicConfig")
            .field("server", &self.is_server())
            .field("trust", &self.trust)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What quinn-proto needs, made from a [`QuicConfig`].
pub(super) struct Built {
    pub(super) endpoint: Arc<EndpointConfig>,
    pub(super) server: Option<Arc<ServerConfig>>,
    pub(super) clients: BTreeMap<&'static [u8], ClientConfig>,
    pub(super) verifier: Option<Arc<Verifier>>,
}

impl Built {
    pub(super) fn new(
        config: &QuicConfig,
        wall: &Arc<Wall>,
        seed: &[u8; 32],
    ) -> Result<Self, ConfigError> {
        let limits = &config.limits;
        let known = Arc::new(transport(limits, limits.connection_window, limits.peer_bi)?);
        let keys = match &config.server {
            Some(identity) => LastingKeys::derive(identity.key.secret_der()),
            None => LastingKeys::derive(seed),
        };
        let mut endpoint = EndpointConfig::new(Arc::new(keys.reset));
        endpoint
            .rng_seed(Some(*seed))
            .supported_versions(vec![1])
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(keys.cid)));
        let server = match &config.server {
            Some(identity) => Some(Arc::new(server(identity, limits, wall, seed)?)),
            None => None,
        };
        let mut clients = BTreeMap::new();
        let mut verifier = None;
        if let Some(trust) = &config.trust {
            let trusted = Arc::new(Verifier::new(trust, tls::crypto())?);
            for alpn in [Alpn::Qpq, Alpn::Federation] {
                let config = client(alpn, trusted.clone(), known.clone(), wall)?;
                clients.insert(alpn.token(), config);
            }
            verifier = Some(trusted);
        }
        Ok(Self {
            endpoint: Arc::new(endpoint),
            server,
            clients,
            verifier,
        })
    }
}

fn server(
    identity: &Identity,
    limits: &Limits,
    wall: &Arc<Wall>,
    seed: &[u8; 32],
) -> Result<ServerConfig, ConfigError> {
    let window = limits.stranger_window.min(limits.connection_window);
    let transport = transport(limits, window, limits.stranger_bi.min(limits.peer_bi))?;
    let mut tls = rustls::ServerConfig::builder_with_details(tls::crypto(), wall.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| ConfigError::BadIdentity)?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key())
        .map_err(|_| ConfigError::BadIdentity)?;
    tls.alpn_protocols = identity.alpns.iter().map(|a| a.token().to_vec()).collect();
    // No tickets: nothing to resume, and 0-RTT is refused for want of them.
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| ConfigError::BadIdentity)?;
    let mut server = ServerConfig::new(Arc::new(crypto), Arc::new(tls::token_key(seed)));
    server
        .transport_config(Arc::new(transport))
        // Ours is checked first, and is answered with a refusal.
        .max_incoming(limits.handshakes.saturating_add(1))
        .incoming_buffer_size(64 * 1024)
        .incoming_buffer_size_total(16 * 1024 * 1024)
        .time_source(wall.clone());
    Ok(server)
}

fn client(
    alpn: Alpn,
    verifier: Arc<Verifier>,
    transport: Arc<TransportConfig>,
    wall: &Arc<Wall>,
) -> Result<ClientConfig, ConfigError> {
    let mut tls = rustls::ClientConfig::builder_with_details(tls::crypto(), wall.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| ConfigError::BadAuthority)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.token().to_vec()];
    // Every connection looks at the certificate.
    tls.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| ConfigError::BadAuthority)?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client
        .transport_config(transport)
        // Anyone who gave a token to one connection would know the next by it.
        .token_store(Arc::new(NoneTokenStore));
    Ok(client)
}

fn transport(limits: &Limits, window: u32, bi: u32) -> Result<TransportConfig, ConfigError> {
    let idle = IdleTimeout::try_from(limits.idle).map_err(|_| ConfigError::BadLimit)?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(limits.keep_alive)
        .max_concurrent_bidi_streams(VarInt::from_u32(bi))
        .max_concurrent_uni_streams(VarInt::from_u32(limits.peer_uni))
        .stream_receive_window(VarInt::from_u32(limits.stream_window))
        .receive_window(VarInt::from_u32(window))
        .send_window(u64::from(limits.send_window))
        .crypto_buffer_size(16 * 1024)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}
