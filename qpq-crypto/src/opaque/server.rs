//! The server's half: it keeps records from which a password can only be guessed.

use opaque_ke::rand::{CryptoRng, RngCore};
use opaque_ke::{
    CredentialFinalization, CredentialRequest, RegistrationRequest, ServerLoginParameters,
    ServerRegistration,
};

use super::{
    Algorithms, FINALIZATION_LENGTH, LOGIN_REQUEST_LENGTH, OpaqueError,
    REGISTRATION_REQUEST_LENGTH, SessionKey, Terms, UPLOAD_LENGTH, of_length,
};
use crate::random::Rand06;
use crate::secret::Secret;

/// A server's long-term OPAQUE secrets: the OPRF seed, its key pair, and the public key of its fake
/// records. Made once and kept for as long as there are accounts: without it no record is of use.
pub struct ServerSetup(opaque_ke::ServerSetup<Algorithms>);

impl ServerSetup {
    /// Bytes of a stored setup: OPRF seed (64), private key (32), fake public key (32).
    pub const LENGTH: usize = 64 + 32 + 32;

    /// A new server's secrets.
    pub fn generate(seed: &[u8; 32]) -> Self {
        Self(opaque_ke::ServerSetup::new(&mut Rand06::from_seed(seed)))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`OpaqueError::BadSetup`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpaqueError> {
        let bytes = of_length(bytes, Self::LENGTH).map_err(|_| OpaqueError::BadSetup)?;
        opaque_ke::ServerSetup::deserialize(bytes)
            .map(Self)
            .map_err(|_| OpaqueError::BadSetup)
    }

    /// The secrets, for storing. Together with the records they allow guessing passwords offline.
    pub fn to_bytes(&self) -> Secret<{ Self::LENGTH }> {
        Secret::new(self.0.serialize().into())
    }
}

/// Answers a registration request with 64 bytes. The same for known and unknown names, and nothing
/// is kept.
///
/// # Errors
/// [`OpaqueError::Malformed`].
pub fn registration_start(
    setup: &ServerSetup,
    username: &str,
    request: &[u8],
) -> Result<Vec<u8>, OpaqueError> {
    let request = of_length(request, REGISTRATION_REQUEST_LENGTH)?;
    let request = RegistrationRequest::deserialize(request)?;
    let start = ServerRegistration::start(&setup.0, request, username.as_bytes())?;
    Ok(start.message.serialize().to_vec())
}

/// Checks an upload before it is kept as a record.
///
/// # Errors
/// [`OpaqueError::Malformed`] unless it has 192 bytes and begins with a valid public key.
pub fn check_upload(upload: &[u8]) -> Result<(), OpaqueError> {
    read_record(upload).map(|_| ())
}

fn read_record(record: &[u8]) -> Result<ServerRegistration<Algorithms>, OpaqueError> {
    let record = of_length(record, UPLOAD_LENGTH)?;
    Ok(ServerRegistration::deserialize(record)?)
}

/// A login that waits for the client's finalization. Lives in the connection, one at a time, 30 s
/// (protocol.md §5.16). Wiped on drop.
pub struct LoginState(opaque_ke::ServerLogin<Algorithms>);

/// Answers a login request (KE1) with 320 bytes (KE2). `record` is the upload kept for this name, or
/// none: then the answer comes from a fake record and the login fails at its end.
///
/// # Errors
/// [`OpaqueError::Malformed`] for the request or the record.
pub fn login_start(
    setup: &ServerSetup,
    seed: &[u8; 32],
    domain: &str,
    username: &str,
    record: Option<&[u8]>,
    request: &[u8],
) -> Result<(LoginState, Vec<u8>), OpaqueError> {
    login_start_with(
        setup,
        &mut Rand06::from_seed(seed),
        Terms::new(domain, username),
        username.as_bytes(),
        record,
        request,
    )
}

pub(super) fn login_start_with(
    setup: &ServerSetup,
    rng: &mut (impl CryptoRng + RngCore),
    terms: Terms<'_>,
    credential_identifier: &[u8],
    record: Option<&[u8]>,
    request: &[u8],
) -> Result<(LoginState, Vec<u8>), OpaqueError> {
    let request = CredentialRequest::deserialize(of_length(request, LOGIN_REQUEST_LENGTH)?)?;
    let record = record.map(read_record).transpose()?;
    let parameters = ServerLoginParameters {
        context: Some(terms.context),
        identifiers: terms.identifiers,
    };
    let start = opaque_ke::ServerLogin::start(
        rng,
        &setup.0,
        record,
        request,
        credential_identifier,
        parameters,
    )?;
    Ok((LoginState(start.state), start.message.serialize().to_vec()))
}

impl LoginState {
    /// Checks the finalization (KE3): `Ok` means that the client knew the password.
    ///
    /// # Errors
    /// [`OpaqueError::InvalidLogin`] for a wrong password and always after a fake record;
    /// [`OpaqueError::Malformed`] for a wrong length.
    pub fn finish(self, finalization: &[u8]) -> Result<SessionKey, OpaqueError> {
        let finalization = of_length(finalization, FINALIZATION_LENGTH)?;
        let finalization = CredentialFinalization::deserialize(finalization)?;
        // Context and identities went into the transcript at the start; 3DH takes nothing more here.
        let finish = self
            .0
            .finish(finalization, ServerLoginParameters::default())?;
        Ok(SessionKey::new(finish.session_key.into()))
    }
}
