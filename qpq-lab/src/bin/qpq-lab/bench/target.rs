//! [`Target`]: a server's process, and the clients that measure it.

use std::net::SocketAddr;
use std::path::Path;

use qpq_server_example::scratch::Scratch;

use super::caller::Load;
use super::drive::{Ask, DriveArgs};
use super::identity::Identity;
use super::meter::Measured;
use super::peers::Peer;
use super::process::Process;
use super::{Failure, Outcome, Scope};

/// A running server with a directory of its own. Both go when this is dropped.
pub struct Target {
    peer: Peer,
    core: Option<usize>,
    // Dropped in this order.
    process: Process,
    scratch: Scratch,
    address: SocketAddr,
}

impl Target {
    /// Starts the server of a peer, on one core if that is said, after `prepare` had its directory.
    pub fn start(
        scope: &Scope,
        peer: Peer,
        core: Option<usize>,
        prepare: impl FnOnce(&Path) -> Outcome<()>,
    ) -> Outcome<Self> {
        let scratch = Scratch::try_new_in(&scope.dir, "bench");
        let scratch = scratch.map_err(Failure::of("a directory"))?;
        Identity::make(scratch.path())?;
        prepare(scratch.path())?;
        let mut arguments = vec![
            "bench-serve".to_owned(),
            format!("--peer={}", peer.name()),
            format!("--dir={}", scratch.path().display()),
        ];
        arguments.extend(core.map(|core| format!("--core={core}")));
        let mut process = Process::start(arguments)?;
        let address = process.line()?.parse().map_err(Failure::of("a server"))?;
        Ok(Self {
            peer,
            core,
            process,
            scratch,
            address,
        })
    }

    /// The number of the server's process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A client of this server, on the same core, that calls Health or echoes.
    pub fn client(&self, load: Load) -> DriveArgs {
        DriveArgs {
            peer: self.peer,
            dir: self.scratch.path().to_owned(),
            address: self.address,
            process: self.process.id(),
            core: self.core,
            load,
            ask: Ask::Health,
            millis: 1000,
            calls: None,
            latencies: false,
            hold: false,
        }
    }

    /// What a client measures.
    pub fn measure(&self, client: &DriveArgs) -> Outcome<Measured> {
        client.start()?.line()?.parse()
    }
}
