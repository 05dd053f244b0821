//! Login with a password that the server never sees: OPAQUE (RFC 9807).
//!
//! ristretto255-SHA512, 3DH, HKDF and HMAC with SHA-512, Argon2id as named by the [`Suite`]; context
//! `"qpq v1"`, server identity = the server's domain, client identity = the user name
//! (protocol.md §5.16).
//!
//! | step | client | bytes | server |
//! | --- | --- | --- | --- |
//! | register | [`client::registration_start`] | 32 → | [`server::registration_start`] |
//! | | [`client::ClientRegistration::finish`] (Argon2id) | ← 64 | |
//! | | upload | 192 → | [`check_upload`], keep as the record |
//! | login | [`client::login_start`] | 96 → | [`server::login_start`] |
//! | | [`client::ClientLogin::finish`] (Argon2id) | ← 320 | |
//! | | finalization | 64 → | [`server::LoginState::finish`] |
//!
//! Both sides end with the same [`SessionKey`]; the client also with an [`ExportKey`] that only the
//! password gives and under which [`seal_identity`] hides the account's seed, so that a new device
//! needs nothing but the password (protocol.md §5.15).
//!
//! For an unknown name the server answers from a fake record: the answer has the same form and
//! length, and the client fails as with a wrong password.
//!
//! Passwords are bytes; an application that wants "é" typed on two keyboards to be the same password
//! normalises it first (RFC 8265, OpaqueString).

pub mod client;
mod sealed_identity;
pub mod server;
mod suite;
#[cfg(test)]
mod vectors;

use opaque_ke::errors::ProtocolError;
use opaque_ke::{CipherSuite, Identifiers, Ristretto255, TripleDh};

use crate::secret::Secret;
use suite::Stretch;
pub(crate) use suite::argon2id;

pub use client::{ClientLogin, ClientRegistration, Login, Registration};
pub use sealed_identity::{
    SEALED_IDENTITY_LENGTH, SealedIdentityError, open_identity, seal_identity,
};
pub use server::{LoginState, ServerSetup, check_upload};
pub use suite::{Argon2idCost, SUITES, Suite, SuiteError};

/// Bytes of a registration request: the blinded password.
pub const REGISTRATION_REQUEST_LENGTH: usize = 32;
/// Bytes of a registration response: the evaluated element and the server's public key.
pub const REGISTRATION_RESPONSE_LENGTH: usize = 32 + 32;
/// Bytes of an upload, which the server keeps as the record: client public key, masking key, envelope.
pub const UPLOAD_LENGTH: usize = 32 + 64 + 96;
/// Bytes of a login request (KE1).
pub const LOGIN_REQUEST_LENGTH: usize = 96;
/// Bytes of a login response (KE2).
pub const LOGIN_RESPONSE_LENGTH: usize = 320;
/// Bytes of a finalization (KE3).
pub const FINALIZATION_LENGTH: usize = 64;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Wiped on drop, not printable.
        pub struct $name(Secret<64>);

        impl $name {
            /// Takes over the 64 bytes.
            pub fn new(bytes: [u8; 64]) -> Self {
                Self(Secret::new(bytes))
            }

            /// The 64 bytes, for deriving from.
            pub fn expose(&self) -> &[u8; 64] {
                self.0.expose()
            }

            /// Whether both are the same, in time that does not depend on where they differ.
            pub fn ct_eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0)
            }
        }
    };
}

key! {
    /// What client and server share after a login, 64 bytes (RFC 9807 §6.4).
    SessionKey
}

key! {
    /// What only the password gives, the same at registration and at each login, 64 bytes (RFC 9807
    /// §4).
    ExportKey
}

/// Why a registration or login step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpaqueError {
    /// Refuse the message: the other side sent bytes that RFC 9807 does not allow here.
    #[error("message is malformed; refuse it")]
    Malformed,
    /// Stop: the server sent the client's own element back, which an honest server never does.
    #[error("server reflected the client's element; do not continue with this server")]
    Reflected,
    /// Ask for the password again. On the server: refuse the login.
    #[error("wrong password, unknown name, or the other side does not hold the record")]
    InvalidLogin,
    /// Ask for a password of at most 65,535 bytes.
    #[error("password is longer than 65535 bytes")]
    PasswordTooLong,
    /// Restore the server setup from a backup: these bytes are not one.
    #[error("server setup is malformed; restore it from a backup")]
    BadSetup,
}

impl From<ProtocolError> for OpaqueError {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::InvalidLoginError => Self::InvalidLogin,
            ProtocolError::ReflectedValueError => Self::Reflected,
            _ => Self::Malformed,
        }
    }
}

/// The algorithms, for opaque-ke.
struct Algorithms;

impl CipherSuite for Algorithms {
    // opaque-ke is a generation of `digest` behind the rest of this crate.
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_010::Sha512>;
    type Ksf = Stretch;
}

/// The context string both sides mix in.
const CONTEXT: &[u8] = b"qpq v1";

/// What both sides must agree on besides the messages.
#[derive(Clone, Copy)]
struct Terms<'a> {
    context: &'a [u8],
    identifiers: Identifiers<'a>,
}

impl<'a> Terms<'a> {
    fn new(domain: &'a str, username: &'a str) -> Self {
        Self {
            context: CONTEXT,
            identifiers: Identifiers {
                client: Some(username.as_bytes()),
                server: Some(domain.as_bytes()),
            },
        }
    }
}

/// `bytes` if they have the length of their message: opaque-ke itself ignores what follows.
fn of_length(bytes: &[u8], length: usize) -> Result<&[u8], OpaqueError> {
    (bytes.len() == length)
        .then_some(bytes)
        .ok_or(OpaqueError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOMAIN: &str = "example.org";
    const SUITE: Suite = Suite::TEST;

    fn setup() -> ServerSetup {
        ServerSetup::generate(&[1; 32])
    }

    fn register(setup: &ServerSetup, name: &str, password: &[u8]) -> Registration {
        let (state, request) = client::registration_start(&[2; 32], password).unwrap();
        let response = server::registration_start(setup, name, &request).unwrap();
        state
            .finish(&[3; 32], SUITE, DOMAIN, name, password, &response)
            .unwrap()
    }

    /// A login with the server's answer passed through `wire`: the client's result and whether the
    /// server accepted.
    fn login(
        setup: &ServerSetup,
        record: Option<&[u8]>,
        name: &str,
        password: &[u8],
        wire: impl Fn(&mut Vec<u8>),
    ) -> Result<(Login, SessionKey), OpaqueError> {
        let (client, request) = client::login_start(&[4; 32], password)?;
        let (server, mut response) =
            server::login_start(setup, &[5; 32], DOMAIN, name, record, &request)?;
        wire(&mut response);
        let login = client.finish(&[6; 32], SUITE, DOMAIN, name, password, &response)?;
        let session_key = server.finish(&login.finalization)?;
        Ok((login, session_key))
    }

    #[test]
    fn both_sides_agree_and_the_export_key_returns() {
        let setup = setup();
        let registration = register(&setup, "alice", b"correct horse");
        assert_eq!(registration.upload.len(), UPLOAD_LENGTH);
        assert_eq!(check_upload(&registration.upload), Ok(()));
        let stored = ServerSetup::from_bytes(setup.to_bytes().expose()).unwrap();
        let record = Some(registration.upload.as_slice());
        let (login, session_key) =
            login(&stored, record, "alice", b"correct horse", |_| ()).unwrap();
        assert!(login.session_key.ct_eq(&session_key));
        assert!(login.export_key.ct_eq(&registration.export_key));
    }

    #[test]
    fn wrong_password_name_domain_suite_or_no_record_end_alike() {
        let setup = setup();
        let upload = register(&setup, "alice", b"correct horse").upload;
        let record = Some(upload.as_slice());
        let end =
            |record, name, password: &[u8]| login(&setup, record, name, password, |_| ()).err();
        let invalid = Some(OpaqueError::InvalidLogin);
        assert_eq!(end(record, "alice", b"correct horse"), None);
        assert_eq!(end(record, "alice", b"correct horsf"), invalid);
        assert_eq!(end(record, "bob", b"correct horse"), invalid);
        assert_eq!(end(None, "alice", b"correct horse"), invalid);
        let other = ServerSetup::generate(&[9; 32]);
        let moved = login(&other, record, "alice", b"correct horse", |_| ()).err();
        assert_eq!(moved, invalid);

        let (client, request) = client::login_start(&[4; 32], b"correct horse").unwrap();
        let (_, response) =
            server::login_start(&setup, &[5; 32], "example.com", "alice", record, &request)
                .unwrap();
        let phished = client.finish(
            &[6; 32],
            SUITE,
            DOMAIN,
            "alice",
            b"correct horse",
            &response,
        );
        assert_eq!(phished.err(), invalid);
    }

    #[test]
    fn a_fake_answer_has_the_form_of_a_real_one() {
        let setup = setup();
        let (_, request) = client::login_start(&[4; 32], b"x").unwrap();
        let start = |seed| server::login_start(&setup, seed, DOMAIN, "nobody", None, &request);
        let (state, first) = start(&[1; 32]).unwrap();
        let (_, second) = start(&[2; 32]).unwrap();
        assert_eq!(first.len(), LOGIN_RESPONSE_LENGTH);
        // As for a known name, the evaluated element is stable and the masked part is not.
        assert_eq!(first[..32], second[..32]);
        assert_ne!(first[32..], second[32..]);
        let refused = state.finish(&[0; FINALIZATION_LENGTH]).err();
        assert_eq!(refused, Some(OpaqueError::InvalidLogin));
    }

    #[test]
    fn every_changed_byte_of_an_answer_is_refused() {
        let setup = setup();
        let upload = register(&setup, "alice", b"pw").upload;
        for position in 0..LOGIN_RESPONSE_LENGTH {
            let wire = |bytes: &mut Vec<u8>| bytes[position] ^= 1;
            let result = login(&setup, Some(&upload), "alice", b"pw", wire);
            assert!(result.is_err(), "byte {position}");
        }
        let (client, request) = client::login_start(&[4; 32], b"pw").unwrap();
        let (_, response) =
            server::login_start(&setup, &[5; 32], DOMAIN, "alice", Some(&upload), &request)
                .unwrap();
        let finalization = client
            .finish(&[6; 32], SUITE, DOMAIN, "alice", b"pw", &response)
            .unwrap()
            .finalization;
        for position in 0..=FINALIZATION_LENGTH {
            let (server, _) =
                server::login_start(&setup, &[5; 32], DOMAIN, "alice", Some(&upload), &request)
                    .unwrap();
            let mut bytes = finalization.clone();
            match bytes.get_mut(position) {
                Some(byte) => *byte ^= 1,
                None => bytes.push(0),
            }
            assert!(server.finish(&bytes).is_err(), "byte {position}");
        }
    }

    #[test]
    fn a_reflecting_server_is_refused() {
        let setup = setup();
        let upload = register(&setup, "alice", b"pw").upload;
        let (client, request) = client::login_start(&[4; 32], b"pw").unwrap();
        let (_, mut response) =
            server::login_start(&setup, &[5; 32], DOMAIN, "alice", Some(&upload), &request)
                .unwrap();
        response[..32].copy_from_slice(&request[..32]);
        let result = client.finish(&[6; 32], SUITE, DOMAIN, "alice", b"pw", &response);
        assert_eq!(result.err(), Some(OpaqueError::Reflected));
    }

    #[test]
    fn lengths_are_exact() {
        let setup = setup();
        let registration = register(&setup, "alice", b"pw");
        let longer = [registration.upload.as_slice(), &[0]].concat();
        assert_eq!(check_upload(&longer), Err(OpaqueError::Malformed));
        assert_eq!(check_upload(&[]), Err(OpaqueError::Malformed));
        let (_, request) = client::registration_start(&[2; 32], b"pw").unwrap();
        let longer = [request.as_slice(), &[0]].concat();
        assert!(server::registration_start(&setup, "alice", &longer).is_err());
        let too_long = client::login_start(&[1; 32], &[0; 65_536]).err();
        assert_eq!(too_long, Some(OpaqueError::PasswordTooLong));
        assert!(client::login_start(&[1; 32], &[0; 65_535]).is_ok());
        let cut = ServerSetup::from_bytes(&setup.to_bytes().expose()[1..]).err();
        assert_eq!(cut, Some(OpaqueError::BadSetup));
    }

    #[test]
    fn states_go_to_worker_threads() {
        fn is_send<T: Send + 'static>() {}
        is_send::<ClientRegistration>();
        is_send::<ClientLogin>();
        is_send::<LoginState>();
        is_send::<Login>();
        is_send::<Registration>();
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let setup = setup();
            let _ = check_upload(&bytes);
            let _ = server::registration_start(&setup, "a", &bytes);
            let _ = server::login_start(&setup, &[1; 32], DOMAIN, "a", Some(&bytes), &bytes);
            let (state, _) = client::login_start(&[1; 32], b"pw").unwrap();
            prop_assert!(state.finish(&[1; 32], SUITE, DOMAIN, "a", b"pw", &bytes).is_err());
            let (state, _) = client::registration_start(&[1; 32], b"pw").unwrap();
            let _ = state.finish(&[1; 32], SUITE, DOMAIN, "a", b"pw", &bytes);
        }
    }
}
