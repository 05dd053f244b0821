//! Accounts on the server of a [`World`]: register and log in as a client does.

use bytes::Bytes;
use qpq_crypto::identity::{Credential, IdentitySecret};
use qpq_crypto::opaque::{self, Suite};
use qpq_crypto::proof;
use qpq_protocol::ids::{ConnId, DeviceId, DeviceKey};
use qpq_protocol::method::rpc;
use qpq_protocol::proto;

use super::{Refused, World};

/// The domain of the default configuration.
pub const DOMAIN: &str = "localhost";

/// A user.
pub struct User {
    pub name: String,
    pub password: Vec<u8>,
    pub secret: IdentitySecret,
}

/// What a login gave.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedIn {
    pub token: Bytes,
    pub expires_at_ms: u64,
    pub sealed_identity: Bytes,
    pub ticket: Bytes,
    /// The opening that the server held.
    pub last: Bytes,
}

/// A login as a device asks for it.
#[derive(Clone)]
pub struct Login {
    pub device: DeviceId,
    /// Another password than the user's.
    pub password: Option<Vec<u8>>,
    pub ticket: Bytes,
    pub chain: Option<proto::Chain>,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            device: DeviceId::DEFAULT,
            password: None,
            ticket: Bytes::new(),
            chain: None,
        }
    }
}

impl User {
    /// A user whose identity follows from the name.
    pub fn new(name: &str) -> Self {
        let mut seed = [0x5a; 32];
        for (to, from) in seed.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self {
            name: name.to_owned(),
            password: format!("password of {name}").into_bytes(),
            secret: IdentitySecret::from_seed(seed),
        }
    }

    /// The identity key as a field of a request.
    pub fn key(&self) -> Bytes {
        Bytes::copy_from_slice(self.secret.public().as_bytes())
    }

    /// The request that finishes a registration, signed for the world's time.
    pub fn registration(
        &self,
        world: &mut World,
        conn: ConnId,
    ) -> Result<proto::OpaqueRegisterFinishRequest, Refused> {
        let (state, request) =
            opaque::client::registration_start(&[3; 32], &self.password).expect("OPAQUE");
        let start = proto::OpaqueRegisterStartRequest {
            username: self.name.clone(),
            request: request.into(),
        };
        let response = world
            .call::<rpc::OpaqueRegisterStart>(conn, &start)?
            .response;
        let done = state
            .finish(
                &[4; 32],
                Suite::TEST,
                DOMAIN,
                &self.name,
                &self.password,
                &response,
            )
            .expect("OPAQUE");
        let sealed = opaque::seal_identity(&done.export_key, self.secret.seed(), &[5; 32]);
        let time_ms = world.unix().as_millis();
        let signature = proof::register(
            &self.secret,
            DOMAIN,
            &self.name,
            &done.upload,
            &sealed,
            time_ms,
        );
        Ok(proto::OpaqueRegisterFinishRequest {
            username: self.name.clone(),
            upload: done.upload.into(),
            identity_key: self.key(),
            signature: Bytes::copy_from_slice(&signature),
            time_ms,
            sealed_identity: sealed.into(),
            ..proto::OpaqueRegisterFinishRequest::default()
        })
    }

    /// The request that registers the device of this number.
    pub fn device(&self, number: u8) -> proto::RegisterDeviceRequest {
        let device_id = DeviceId::new([number; 16]);
        let key = DeviceKey(*IdentitySecret::from_seed([number; 32]).public().as_bytes());
        let credential = Credential::issue(&self.secret, device_id, key, 5);
        let certificate = credential.certificate.expect("a certificate");
        proto::RegisterDeviceRequest {
            device: Some(proto::Device {
                device_id: Bytes::copy_from_slice(device_id.as_bytes()),
                device_key: Bytes::copy_from_slice(key.as_bytes()),
                name: format!("device {number}"),
                certificate: Bytes::copy_from_slice(&certificate),
                created_at_ms: 5,
                last_seen_ms: 0,
            }),
        }
    }

    /// Registers.
    pub fn register(&self, world: &mut World, conn: ConnId) -> Result<(), Refused> {
        let finish = self.registration(world, conn)?;
        let done = world.call::<rpc::OpaqueRegisterFinish>(conn, &finish)?;
        assert!(done.success);
        Ok(())
    }

    /// Logs in with a device, with this password.
    pub fn log_in_with(
        &self,
        world: &mut World,
        conn: ConnId,
        device: DeviceId,
        password: &[u8],
    ) -> Result<LoggedIn, Refused> {
        let login = Login {
            device,
            password: Some(password.to_vec()),
            ..Login::default()
        };
        self.log_in_as(world, conn, login)
    }

    /// Logs in as this says.
    pub fn log_in_as(
        &self,
        world: &mut World,
        conn: ConnId,
        login: Login,
    ) -> Result<LoggedIn, Refused> {
        let password = login.password.as_ref().unwrap_or(&self.password).as_slice();
        let (state, request) = opaque::client::login_start(&[6; 32], password).expect("OPAQUE");
        let start = proto::OpaqueLoginStartRequest {
            username: self.name.clone(),
            request: request.into(),
            ticket: login.ticket,
        };
        let answer = world.call::<rpc::OpaqueLoginStart>(conn, &start)?;
        let suite = Suite::parse_allowing_weak(answer.suite.as_bytes()).expect("a suite");
        let done = state.finish(
            &[7; 32],
            suite,
            DOMAIN,
            &self.name,
            password,
            &answer.response,
        );
        let finalization = match done {
            Ok(done) => done.finalization,
            // A client would stop here; a stubborn one asks all the same.
            Err(_) => vec![0; opaque::FINALIZATION_LENGTH],
        };
        let finish = proto::OpaqueLoginFinishRequest {
            username: self.name.clone(),
            finalization: finalization.into(),
            identity_key: Bytes::new(),
            device_id: Bytes::copy_from_slice(login.device.as_bytes()),
            chain: login.chain,
        };
        let answer = world.call::<rpc::OpaqueLoginFinish>(conn, &finish)?;
        assert_eq!(answer.identity_key, self.key());
        Ok(LoggedIn {
            token: answer.session_token,
            expires_at_ms: answer.expires_at_ms,
            sealed_identity: answer.sealed_identity,
            ticket: answer.ticket,
            last: answer.last,
        })
    }

    /// Logs in with the default device.
    pub fn log_in(&self, world: &mut World, conn: ConnId) -> Result<LoggedIn, Refused> {
        self.log_in_with(world, conn, DeviceId::DEFAULT, &self.password)
    }
}

impl World {
    /// A registered user with a connection on which the default device is logged in.
    pub fn user(&mut self, name: &str) -> (User, ConnId) {
        let user = User::new(name);
        let conn = self.connect();
        user.register(self, conn).expect("registered");
        user.log_in(self, conn).expect("logged in");
        (user, conn)
    }
}
