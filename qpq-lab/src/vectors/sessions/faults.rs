//! What goes wrong in a world: power, storage, the network.

use qpq_protocol::ids::ConnId;
use qpq_protocol::storage::Failure;

use super::input::Input;
use super::start::Start;
use super::storage::Values;
use super::world::{World, date};
use crate::vectors::VectorError;

type Result<T> = core::result::Result<T, VectorError>;

impl World {
    /// The power of a client fails: it starts again on what is durable.
    pub fn restart_client(&mut self, client: usize) -> Result<()> {
        for conn in self.links_of(client) {
            self.forget(conn);
            self.tell_server(&Input::Disconnected(conn))?;
        }
        let start = self.client_start(client);
        let node = self.client(client)?;
        node.restart(start.core(), start.values(), start.to_json());
        self.tell_client(client, &Input::Start)
    }

    /// The power of the server fails: it starts again on what is durable.
    pub fn restart_server(&mut self) -> Result<()> {
        self.starts = self.starts.saturating_add(1);
        let start = Start {
            config: self.config.clone(),
            seed: [self.starts; 32],
            now: self.now,
            unix: date(self.now),
        };
        self.server
            .restart(start.core(), Values::Plain, start.to_json());
        let links = core::mem::take(&mut self.links);
        self.wires.clear();
        self.tell_server(&Input::Start)?;
        for (conn, link) in links {
            self.tell_client(link.client, &Input::Disconnected(conn))?;
        }
        Ok(())
    }

    /// The disk of a client carries out the command that waits, and nobody learns of it.
    pub fn unseen_by_client(&mut self, client: usize) -> Result<()> {
        let ticket = self.client(client)?.machine.first_command();
        self.tell_client(client, &Input::Unseen(ticket.ok_or(VectorError::Story)?))
    }

    /// The disk of the server carries out the command that waits, and nobody learns of it.
    pub fn unseen_by_server(&mut self) -> Result<()> {
        let ticket = self.server.machine.first_command();
        self.tell_server(&Input::Unseen(ticket.ok_or(VectorError::Story)?))
    }

    /// From now on a client's storage commands wait.
    pub fn hold_client(&mut self, client: usize) -> Result<()> {
        self.client(client)?.hold = true;
        Ok(())
    }

    /// The disk of the server carries out the command that waits.
    pub fn step_server(&mut self) -> Result<()> {
        let ticket = self.server.machine.first_command();
        self.tell_server(&Input::Stored(ticket.ok_or(VectorError::Story)?))
    }

    /// The disk of a client carries out the command that waits.
    pub fn step_client(&mut self, client: usize) -> Result<()> {
        let ticket = self.client(client)?.machine.first_command();
        self.tell_client(client, &Input::Stored(ticket.ok_or(VectorError::Story)?))
    }

    /// The network between a client and the server breaks.
    pub fn cut_client(&mut self, client: usize) -> Result<()> {
        for conn in self.links_of(client) {
            self.forget(conn);
            self.tell_client(client, &Input::Disconnected(conn))?;
            self.tell_server(&Input::Disconnected(conn))?;
        }
        Ok(())
    }

    /// From now on nobody answers at the server's address, or somebody does again.
    pub const fn set_down(&mut self, is_down: bool) {
        self.is_down = is_down;
    }

    /// The server's disk refuses the command that waits.
    pub fn fail_server(&mut self, failure: Failure) -> Result<()> {
        let ticket = self.server.machine.first_command();
        self.tell_server(&Input::Failed(ticket.ok_or(VectorError::Story)?, failure))
    }

    /// The disk of a client refuses the command that waits.
    pub fn fail_client(&mut self, client: usize, failure: Failure) -> Result<()> {
        let ticket = self.client(client)?.machine.first_command();
        self.tell_client(
            client,
            &Input::Failed(ticket.ok_or(VectorError::Story)?, failure),
        )
    }

    fn links_of(&self, client: usize) -> Vec<ConnId> {
        let links = self.links.iter().filter(|(_, link)| link.client == client);
        links.map(|(conn, _)| *conn).collect()
    }

    fn forget(&mut self, conn: ConnId) {
        self.links.remove(&conn);
        self.wires.retain(|(of, ..), _| *of != conn);
    }
}
