//! TLS 1.3 for QUIC: key exchange, whom to trust, the wall clock, and keys that outlive a restart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hkdf, hmac};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime as TlsTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::config::{ConfigError, Trust};
use crate::time::UnixTime;

/// AWS-LC with TLS 1.3 suites only; X25519MLKEM768 first, X25519 allowed (protocol.md §1).
pub(super) fn crypto() -> Arc<CryptoProvider> {
    let mut crypto = provider::default_provider();
    crypto.kx_groups = vec![
        provider::kx_group::X25519MLKEM768,
        provider::kx_group::X25519,
    ];
    crypto.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(crypto)
}

/// The wall clock that the embedder tells; shared with the certificate verifier and token checks.
#[derive(Debug, Default)]
pub(super) struct Wall(AtomicU64);

impl Wall {
    /// The date is now `unix`.
    pub(super) fn set(&self, unix: UnixTime) {
        self.0.store(unix.as_millis(), Ordering::Relaxed);
    }

    fn since_1970(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<TlsTime> {
        Some(TlsTime::since_unix_epoch(self.since_1970()))
    }
}

impl quinn_proto::TimeSource for Wall {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            .checked_add(self.since_1970())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// SHA-256 of a certificate in DER.
pub(super) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, certificate);
    out.iter_mut()
        .zip(digest.as_ref())
        .for_each(|(to, from)| *to = *from);
    out
}

/// Verifies a server's certificate by [`Trust`]; set at the first connection when pinning.
#[derive(Debug)]
pub(super) struct Verifier {
    rule: Rule,
    crypto: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    Pin(OnceLock<[u8; 32]>),
    Authority {
        der: Vec<u8>,
        webpki: Arc<WebPkiServerVerifier>,
    },
}

impl Verifier {
    pub(super) fn new(trust: &Trust, crypto: Arc<CryptoProvider>) -> Result<Self, ConfigError> {
        let rule = match trust {
            Trust::PinOnFirstUse { sha256 } => {
                let pin = OnceLock::new();
                if let Some(sha256) = sha256 {
                    pin.get_or_init(|| *sha256);
                }
                Rule::Pin(pin)
            }
            Trust::Authority(der) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from(der.clone()))
                    .map_err(|_| ConfigError::BadAuthority)?;
                let webpki =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto.clone())
                        .build()
                        .map_err(|_| ConfigError::BadAuthority)?;
                Rule::Authority {
                    der: der.clone(),
                    webpki,
                }
            }
        };
        Ok(Self { rule, crypto })
    }

    /// A handshake with this certificate was completed: from now on no other will do.
    pub(super) fn pin(&self, sha256: [u8; 32]) {
        if let Rule::Pin(pin) = &self.rule {
            pin.get_or_init(|| sha256);
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: TlsTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.rule {
            Rule::Pin(pin) => match pin.get() {
                // Becomes the TLS alert `access_denied`, which no rejection by webpki does: that
                // tells the two apart once quinn-proto has made a code of the error.
                Some(pin) if *pin != fingerprint(end_entity) => {
                    Err(CertificateError::ApplicationVerificationFailure.into())
                }
                _ => Ok(ServerCertVerified::assertion()),
            },
            // Anyone who names exactly this certificate as trusted needs no name in it.
            Rule::Authority { der, .. } if der.as_slice() == end_entity.as_ref() => {
                Ok(ServerCertVerified::assertion())
            }
            Rule::Authority { webpki, .. } => webpki.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC is TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.crypto.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Keys of a server that stay the same when it starts again, derived from its TLS key: a new
/// process can then tell the clients of the old one at once that their connections are gone (RFC
/// 9000 §10.3), instead of leaving them to time out.
pub(super) struct LastingKeys {
    /// Authenticates stateless resets.
    pub(super) reset: hmac::Key,
    /// Recognises connection ids of our own making.
    pub(super) cid: u64,
}

impl LastingKeys {
    /// Derived from at least 16 secret bytes.
    pub(super) fn derive(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let cid = hmac::sign(&secret, b"qpq connection id");
        Self {
            reset: hmac::Key::new(
                hmac::HMAC_SHA256,
                hmac::sign(&secret, b"qpq stateless reset").as_ref(),
            ),
            cid: cid
                .as_ref()
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes)),
        }
    }
}

/// The key of Retry tokens, which live for seconds.
pub(super) fn token_key(seed: &[u8; 32]) -> hkdf::Prk {
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"qpq retry token").extract(seed)
}
