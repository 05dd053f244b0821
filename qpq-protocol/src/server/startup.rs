//! The first storage commands of a core: is the data of our version, and who are we?

use core::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use qpq_crypto::opaque::ServerSetup;

use super::calendar::{self, Calendar};
use super::server_keys::ServerKeys;
use super::timers::Timer;
use super::{Event, Server};
use crate::ids::Ticket;
use crate::io::{Lane, Output};
use crate::rng::Rng;
use crate::storage::keys;
use crate::storage::records::ServerSecrets;
use crate::storage::{Command, Commit, Expect, Failure, Reply};

/// The layout of the data that this version writes.
const SCHEMA: u32 = 1;

/// How long until storage is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the core serves.
pub(super) enum Phase {
    /// Not yet: it waits for this reply, or for its timer.
    Starting(Option<Ticket>),
    /// It does.
    Running(Box<ServerKeys>),
    /// It never will.
    Refused(StartError),
}

/// Why a core does not serve the data it was given. It answers every request with Unavailable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// Update this program, or give it data of its own.
    #[error(
        "the database is of version {found}, this program knows versions up to {known}: use a newer program"
    )]
    NewerData {
        /// The version of the data.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// Restore the database from a backup.
    #[error("the database is damaged: the server's own keys cannot be read")]
    Damaged,
}

/// 8 random bytes, a big-endian number.
fn new_epoch(rng: &mut Rng) -> Bytes {
    Bytes::copy_from_slice(&rng.seed()).slice(..8)
}

impl Server {
    /// Asks for schema version and keys.
    pub(super) fn start_up(&mut self) {
        let ticket = self.next_ticket();
        self.phase = Phase::Starting(Some(ticket));
        self.outputs.push(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command: Command::Get(vec![
                keys::meta("schema").into(),
                keys::meta("secrets").into(),
                keys::meta("epoch").into(),
                keys::meta("date").into(),
            ]),
        });
    }

    /// The reply to a command of the start; whether this was one.
    pub(super) fn startup_stored(&mut self, ticket: Ticket, reply: &Reply) -> bool {
        if !matches!(&self.phase, Phase::Starting(Some(waits)) if *waits == ticket) {
            return false;
        }
        self.phase = Phase::Starting(None);
        match reply {
            Reply::Values(values) => match values.as_slice() {
                [None, None, None, _] => self.first_start(),
                [Some(schema), secrets, epoch, date] => {
                    let date = date.as_deref().and_then(calendar::decode);
                    let (now, unix) = (self.clock.now(), self.clock.unix());
                    self.calendar = Calendar::new(date, now, unix, self.config.accept_clock);
                    self.next_start(schema, secrets.clone(), epoch.as_deref());
                }
                _ => self.refuse(StartError::Damaged),
            },
            // Another core was first, or we were: read what is there now.
            Reply::Committed | Reply::Conflict => self.start_up(),
            Reply::Failed(failure) => self.start_later(*failure),
            Reply::Rows { .. } => self.start_later(Failure::Unknown),
        }
        true
    }

    /// There is nothing: makes the server's keys.
    fn first_start(&mut self) {
        let mut rng = self.rng.child();
        let secrets = ServerSecrets {
            signing_seed: Bytes::copy_from_slice(&rng.seed()),
            opaque_setup: Bytes::copy_from_slice(
                ServerSetup::generate(&rng.seed()).to_bytes().expose(),
            ),
        };
        let epoch = new_epoch(&mut rng);
        self.make(vec![
            (
                keys::meta("schema").into(),
                Bytes::copy_from_slice(&SCHEMA.to_be_bytes()),
            ),
            (keys::meta("secrets").into(), secrets.encode_to_vec().into()),
            (keys::meta("epoch").into(), epoch),
            (
                keys::meta("date").into(),
                calendar::encode(self.clock.unix()),
            ),
        ]);
    }

    /// Writes rows that are not there yet.
    fn make(&mut self, rows: Vec<(Bytes, Bytes)>) {
        let ticket = self.next_ticket();
        self.phase = Phase::Starting(Some(ticket));
        let absent = |(key, _): &(Bytes, Bytes)| (key.clone(), Expect::Absent);
        self.outputs.push(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command: Command::Commit(Commit {
                checks: rows.iter().map(absent).collect(),
                puts: rows,
                deletes: Vec::new(),
            }),
        });
    }

    /// There is data: is it ours?
    fn next_start(&mut self, schema: &[u8], secrets: Option<Bytes>, epoch: Option<&[u8]>) {
        match schema.try_into().map(u32::from_be_bytes) {
            Ok(SCHEMA) => {}
            Ok(found) if found > SCHEMA => {
                return self.refuse(StartError::NewerData {
                    found,
                    known: SCHEMA,
                });
            }
            _ => return self.refuse(StartError::Damaged),
        }
        let Some(secrets) = secrets else {
            return self.refuse(StartError::Damaged);
        };
        // Anyone who puts a backup back takes its epoch away.
        let Some(epoch) = epoch else {
            let epoch = new_epoch(&mut self.rng.child());
            return self.make(vec![(keys::meta("epoch").into(), epoch)]);
        };
        match ServerKeys::read(secrets, epoch) {
            Some(keys) => {
                let signing_key = keys.public;
                self.phase = Phase::Running(Box::new(keys));
                self.outputs
                    .push(Output::Event(Event::Started { signing_key }));
                self.dates();
                // What a core before this one has not finished.
                self.begin_job();
            }
            None => self.refuse(StartError::Damaged),
        }
    }

    fn start_later(&mut self, failure: Failure) {
        self.storage_failed(failure);
        self.timers.set(self.clock.now() + RETRY, Timer::Startup);
    }

    fn refuse(&mut self, error: StartError) {
        self.phase = Phase::Refused(error);
        self.outputs.push(Output::Event(Event::Refused(error)));
    }
}
