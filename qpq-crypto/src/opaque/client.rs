//! The client's half: it knows the password and tells it to nobody.

use opaque_ke::rand::{CryptoRng, RngCore};
use opaque_ke::{
    ClientLoginFinishParameters, ClientRegistrationFinishParameters, CredentialResponse,
    RegistrationResponse,
};

use super::{
    Algorithms, ExportKey, LOGIN_RESPONSE_LENGTH, OpaqueError, REGISTRATION_RESPONSE_LENGTH,
    SessionKey, Stretch, Suite, Terms, of_length,
};
use crate::random::Rand06;

/// The longest password, in bytes (RFC 9497 §4).
const MAX_PASSWORD_LENGTH: usize = 65_535;

/// A registration that waits for the server's response. Wiped on drop.
pub struct ClientRegistration(opaque_ke::ClientRegistration<Algorithms>);

/// A login that waits for the server's response. Wiped on drop.
pub struct ClientLogin(opaque_ke::ClientLogin<Algorithms>);

/// What a finished registration gives.
pub struct Registration {
    /// The record for the server, [`UPLOAD_LENGTH`](super::UPLOAD_LENGTH) bytes.
    pub upload: Vec<u8>,
    /// The key for [`seal_identity`](super::seal_identity).
    pub export_key: ExportKey,
}

/// What a finished login gives. The server has proved that it holds the record; the client proves
/// that it knew the password by sending `finalization`.
pub struct Login {
    /// The last message, [`FINALIZATION_LENGTH`](super::FINALIZATION_LENGTH) bytes.
    pub finalization: Vec<u8>,
    /// What both sides now share.
    pub session_key: SessionKey,
    /// The key for [`open_identity`](super::open_identity).
    pub export_key: ExportKey,
}

/// Starts a registration or change of password: the state to keep and the 32-byte request.
///
/// # Errors
/// [`OpaqueError::PasswordTooLong`].
pub fn registration_start(
    seed: &[u8; 32],
    password: &[u8],
) -> Result<(ClientRegistration, Vec<u8>), OpaqueError> {
    registration_start_with(&mut Rand06::from_seed(seed), password)
}

pub(super) fn registration_start_with(
    rng: &mut (impl CryptoRng + RngCore),
    password: &[u8],
) -> Result<(ClientRegistration, Vec<u8>), OpaqueError> {
    check_password(password)?;
    let start = opaque_ke::ClientRegistration::start(rng, password)?;
    let request = start.message.serialize().to_vec();
    Ok((ClientRegistration(start.state), request))
}

impl ClientRegistration {
    /// Answers the server's 64-byte response with the upload. Runs Argon2id: call it on a worker
    /// thread.
    ///
    /// # Errors
    /// [`OpaqueError::Malformed`] and [`OpaqueError::Reflected`] for what an honest server does not
    /// send.
    pub fn finish(
        self,
        seed: &[u8; 32],
        suite: Suite,
        domain: &str,
        username: &str,
        password: &[u8],
        response: &[u8],
    ) -> Result<Registration, OpaqueError> {
        self.finish_with(
            &mut Rand06::from_seed(seed),
            &suite.into(),
            Terms::new(domain, username),
            password,
            response,
        )
    }

    pub(super) fn finish_with(
        self,
        rng: &mut (impl CryptoRng + RngCore),
        stretch: &Stretch,
        terms: Terms<'_>,
        password: &[u8],
        response: &[u8],
    ) -> Result<Registration, OpaqueError> {
        check_password(password)?;
        let response = of_length(response, REGISTRATION_RESPONSE_LENGTH)?;
        let response = RegistrationResponse::deserialize(response)?;
        let parameters = ClientRegistrationFinishParameters::new(terms.identifiers, Some(stretch));
        let finish = self.0.finish(rng, password, response, parameters)?;
        Ok(Registration {
            upload: finish.message.serialize().to_vec(),
            export_key: ExportKey::new(finish.export_key.into()),
        })
    }
}

/// Starts a login: the state to keep and the 96-byte request (KE1).
///
/// # Errors
/// [`OpaqueError::PasswordTooLong`].
pub fn login_start(
    seed: &[u8; 32],
    password: &[u8],
) -> Result<(ClientLogin, Vec<u8>), OpaqueError> {
    login_start_with(&mut Rand06::from_seed(seed), password)
}

pub(super) fn login_start_with(
    rng: &mut (impl CryptoRng + RngCore),
    password: &[u8],
) -> Result<(ClientLogin, Vec<u8>), OpaqueError> {
    check_password(password)?;
    let start = opaque_ke::ClientLogin::start(rng, password)?;
    let request = start.message.serialize().to_vec();
    Ok((ClientLogin(start.state), request))
}

impl ClientLogin {
    /// Answers the server's 320-byte response (KE2) with the finalization (KE3). Runs Argon2id: call
    /// it on a worker thread. `suite` is the one that came with the response, read with
    /// [`Suite::parse`].
    ///
    /// # Errors
    /// [`OpaqueError::InvalidLogin`] for a wrong password, an unknown name, or a server that does not
    /// hold the record or has another domain; [`OpaqueError::Malformed`] and
    /// [`OpaqueError::Reflected`] for what an honest server does not send.
    pub fn finish(
        self,
        seed: &[u8; 32],
        suite: Suite,
        domain: &str,
        username: &str,
        password: &[u8],
        response: &[u8],
    ) -> Result<Login, OpaqueError> {
        self.finish_with(
            &mut Rand06::from_seed(seed),
            &suite.into(),
            Terms::new(domain, username),
            password,
            response,
        )
    }

    pub(super) fn finish_with(
        self,
        rng: &mut (impl CryptoRng + RngCore),
        stretch: &Stretch,
        terms: Terms<'_>,
        password: &[u8],
        response: &[u8],
    ) -> Result<Login, OpaqueError> {
        check_password(password)?;
        let response = of_length(response, LOGIN_RESPONSE_LENGTH)?;
        let response = CredentialResponse::deserialize(response)?;
        let parameters =
            ClientLoginFinishParameters::new(Some(terms.context), terms.identifiers, Some(stretch));
        let finish = self.0.finish(rng, password, response, parameters)?;
        Ok(Login {
            finalization: finish.message.serialize().to_vec(),
            session_key: SessionKey::new(finish.session_key.into()),
            export_key: ExportKey::new(finish.export_key.into()),
        })
    }
}

fn check_password(password: &[u8]) -> Result<(), OpaqueError> {
    if password.len() > MAX_PASSWORD_LENGTH {
        return Err(OpaqueError::PasswordTooLong);
    }
    Ok(())
}
