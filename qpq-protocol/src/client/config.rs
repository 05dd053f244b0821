//! How a client behaves.

use core::time::Duration;

use super::{MlsSuite, OpaqueSuite};

/// How a client behaves. The default is for people; tests shorten the times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// `host:port` of the server.
    pub server: String,
    /// What this process calls itself, for the error that a second one on the same data causes.
    pub holder: String,
    /// What the account's devices call this one, at most [`MAX_DEVICE_NAME`](super::MAX_DEVICE_NAME) bytes. Told when the
    /// device is registered.
    pub device_name: String,
    /// The OPAQUE suite of new registrations; that of the server. A weak one is accepted at login
    /// only if this one is weak.
    pub opaque_suite: OpaqueSuite,
    /// The suite of groups and key packages made here.
    pub mls_suite: MlsSuite,
    /// Key packages are replenished when fewer are left at the server.
    pub package_floor: u32,
    /// Up to this many.
    pub package_target: u32,
    /// The first pause before connecting again; doubles with each attempt.
    pub backoff_base: Duration,
    /// The longest pause before connecting again.
    pub backoff_max: Duration,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// How long a request may take; longer than the server's own 30 s.
    pub request_timeout: Duration,
    /// How long an intent may take that needs the server. Messages to send wait for ever.
    pub intent_timeout: Duration,
    /// How often the queues are listed on a connection that stands: between servers the word of
    /// something new may be lost, and this bounds how long that goes unnoticed.
    pub look_interval: Duration,
    /// Channels of conversations that others began, and that this client has not joined yet, whose
    /// queues are looked into on one connection. One's own conversations are not counted.
    pub strange_queues: usize,
    /// How long requests that run at a shutdown are waited for.
    pub shutdown_grace: Duration,
    /// Never connect: only what is stored is asked for.
    pub offline: bool,
    /// What it does wrong, for tests of tests.
    #[cfg(qpq_defects)]
    pub defect: Option<crate::defect::Defect>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            server: "127.0.0.1:5001".to_owned(),
            holder: String::new(),
            device_name: String::new(),
            opaque_suite: OpaqueSuite::DEFAULT,
            mls_suite: MlsSuite::default(),
            package_floor: 5,
            package_target: 10,
            backoff_base: Duration::from_millis(250),
            backoff_max: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(35),
            intent_timeout: Duration::from_secs(60),
            look_interval: Duration::from_secs(300),
            strange_queues: 1000,
            shutdown_grace: Duration::from_secs(2),
            offline: false,
            #[cfg(qpq_defects)]
            defect: None,
        }
    }
}
