//! What a core was started with, as data: in memory and in a file.

use core::time::Duration;

use qpq_protocol::client::{self, Client, MlsSuite, OpaqueSuite, StorageKey};
use qpq_protocol::rng::Seed;
use qpq_protocol::server::{self, Server};
use qpq_protocol::time::{Time, UnixTime};
use serde_json::{Value, json};

use super::storage::Values;
use crate::vectors::VectorError;
use crate::vectors::json::{Fields, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// The arguments of a core's `new`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start<Config> {
    pub config: Config,
    pub seed: [u8; 32],
    pub now: Time,
    pub unix: UnixTime,
}

/// What a client is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    pub storage_key: [u8; 32],
    pub rest: client::ClientConfig,
}

impl Start<server::ServerConfig> {
    pub fn core(&self) -> Server {
        Server::new(self.config.clone(), self.seed, self.now, self.unix)
    }

    pub fn to_json(&self) -> Value {
        let config = &self.config;
        self.with_config(json!({
            "domain": config.domain,
            "version": config.version,
            "ciphersuites": config.ciphersuites,
            "opaque_suite": String::from_utf8_lossy(config.opaque_suite.as_bytes()),
        }))
    }

    pub fn from_json(value: &Value) -> Result<Self> {
        let config = value.field("config")?;
        let ciphersuites = config.list("ciphersuites")?.iter();
        let ciphersuites = ciphersuites.filter_map(|id| id.as_u64()?.try_into().ok());
        let config = server::ServerConfig {
            domain: config.text("domain")?.to_owned(),
            version: config.text("version")?.to_owned(),
            ciphersuites: ciphersuites.collect(),
            opaque_suite: opaque_suite(config)?,
            ..server::ServerConfig::default()
        };
        Self::of(config, value)
    }
}

impl Start<ClientConfig> {
    pub fn core(&self) -> Client {
        let ClientConfig { storage_key, rest } = self.config.clone();
        let (key, seed) = (StorageKey::new(storage_key), Seed::new(self.seed));
        Client::new(rest, key, seed, self.now, self.unix)
    }

    pub fn values(&self) -> Values {
        Values::Sealed(self.config.storage_key)
    }

    pub fn to_json(&self) -> Value {
        let config = &self.config.rest;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.with_config(json!({
            "storage_key": digits(self.config.storage_key),
            "server": config.server,
            "holder": config.holder,
            "device_name": config.device_name,
            "opaque_suite": String::from_utf8_lossy(config.opaque_suite.as_bytes()),
            "mls_suite": config.mls_suite.id(),
            "package_floor": config.package_floor,
            "package_target": config.package_target,
            "backoff_base_micros": micros(config.backoff_base),
            "backoff_max_micros": micros(config.backoff_max),
            "connect_timeout_micros": micros(config.connect_timeout),
            "request_timeout_micros": micros(config.request_timeout),
            "intent_timeout_micros": micros(config.intent_timeout),
            "look_interval_micros": micros(config.look_interval),
            "strange_queues": config.strange_queues,
            "shutdown_grace_micros": micros(config.shutdown_grace),
        }))
    }

    pub fn from_json(value: &Value) -> Result<Self> {
        let config = value.field("config")?;
        let time = |name| config.number(name).map(Duration::from_micros);
        let mls_suite = MlsSuite::from_id(config.number("mls_suite")?);
        let rest = client::ClientConfig {
            server: config.text("server")?.to_owned(),
            holder: config.text("holder")?.to_owned(),
            device_name: config.text("device_name")?.to_owned(),
            opaque_suite: opaque_suite(config)?,
            mls_suite: mls_suite.ok_or_else(|| wrong("mls_suite", "a known suite"))?,
            package_floor: config.number("package_floor")?,
            package_target: config.number("package_target")?,
            backoff_base: time("backoff_base_micros")?,
            backoff_max: time("backoff_max_micros")?,
            connect_timeout: time("connect_timeout_micros")?,
            request_timeout: time("request_timeout_micros")?,
            intent_timeout: time("intent_timeout_micros")?,
            look_interval: time("look_interval_micros")?,
            strange_queues: config.number("strange_queues")?,
            shutdown_grace: time("shutdown_grace_micros")?,
            offline: false,
            #[cfg(qpq_defects)]
            defect: None,
        };
        let storage_key = config.array("storage_key")?;
        Self::of(ClientConfig { storage_key, rest }, value)
    }
}

impl<Config> Start<Config> {
    fn with_config(&self, config: Value) -> Value {
        json!({
            "config": config,
            "seed": digits(self.seed),
            "now": self.now.as_micros(),
            "unix_ms": self.unix.as_millis(),
        })
    }

    fn of(config: Config, value: &Value) -> Result<Self> {
        Ok(Self {
            config,
            seed: value.array("seed")?,
            now: Time::from_micros(value.number("now")?),
            unix: UnixTime::from_millis(value.number("unix_ms")?),
        })
    }
}

fn opaque_suite(config: &Value) -> Result<OpaqueSuite> {
    let id = config.text("opaque_suite")?.as_bytes();
    OpaqueSuite::parse_allowing_weak(id).map_err(|_| wrong("opaque_suite", "a known suite"))
}
