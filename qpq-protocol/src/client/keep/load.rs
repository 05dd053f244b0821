//! Opening: the schema's version, the fence against other writers, then all rows below `s/` in
//! pages. After a failure of storage the same way again, in the same process.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use qpq_crypto::mls::{Device, StateError};
use zeroize::Zeroizing;

use super::clocks::Clocks;
use super::keys::{self, META_SCHEMA, META_WRITER, Name, SCHEMA, STATE};
use super::openings::Openings;
use super::record::{
    self, ContactRecord, ConversationRecord, HybridRecord, ParkedRecord, QueueRecord, SchemaRecord,
    WriterRecord,
};
use super::state::State;
use crate::client::Client;
use crate::client::error::{DisconnectReason, Fatal, IntentError};
use crate::client::event::Event;
use crate::client::link::chain::Chain;
use crate::client::link::timers::Timer;
use crate::client::me::identity::Me;
use crate::client::people::proofs::Proofs;
use crate::client::talk::channel::Channel;
use crate::defect::seeded;
use crate::ids::Ticket;
use crate::io::{Lane, Output};
use crate::storage::{Command, Commit, Direction, Expect, Failure, Reply, Scan, prefix_end};

/// Rows of one page.
const PAGE_ROWS: usize = 512;
/// Bytes of one page.
const PAGE_BYTES: usize = 1024 * 1024;

/// What the core is doing.
pub(in crate::client) enum Phase {
    /// Storage failed; [`Timer::Reload`] says when to try again.
    Waiting,
    /// Reads the schema's version and the fence.
    Meta(Ticket),
    /// Puts up its own fence, in place of the one that was there.
    Fence(Ticket, Bytes, Option<Bytes>),
    /// Reads the rows.
    Rows(Ticket, Loader),
    /// Works.
    Running,
    /// The fence is another's: reads whose.
    Replaced(Ticket),
    /// Has stopped for good.
    Stopped(Fatal),
}

/// Rows that were read so far: pieces by key.
#[derive(Default)]
pub(in crate::client) struct Loader {
    rows: BTreeMap<Vec<u8>, BTreeMap<u16, Zeroizing<Vec<u8>>>>,
}

impl Client {
    pub(in crate::client) fn start_loading(&mut self) {
        let keys = vec![
            keys::piece(META_SCHEMA, 0).into(),
            keys::piece(META_WRITER, 0).into(),
        ];
        let ticket = self.read(Command::Get(keys));
        self.phase = Phase::Meta(ticket);
    }

    /// An answer of storage.
    pub(in crate::client) fn stored(&mut self, ticket: Ticket, reply: Reply) {
        if self.writer.is_flying(ticket) {
            match reply {
                Reply::Committed => self.writer.committed(),
                Reply::Conflict => self.replaced(),
                Reply::Failed(_) if seeded!(self.config, FailureIgnored) => self.writer.committed(),
                Reply::Failed(failure) => self.storage_failed(failure),
                Reply::Values(_) | Reply::Rows { .. } => self.storage_failed(Failure::Unknown),
            }
            return;
        }
        match core::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Meta(own) if own == ticket => self.meta_read(reply),
            Phase::Fence(own, fence, before) if own == ticket => {
                self.fence_written(fence, before, reply);
            }
            Phase::Rows(own, loader) if own == ticket => self.page_read(loader, reply),
            Phase::Replaced(own) if own == ticket => self.replacer_read(reply),
            phase => {
                self.phase = phase;
                if !self.resend(ticket, &reply) {
                    self.history_read(ticket, reply);
                }
            }
        }
    }

    fn meta_read(&mut self, reply: Reply) {
        let (schema, writer) = match reply {
            Reply::Values(values) => match <[Option<Bytes>; 2]>::try_from(values) {
                Ok([schema, writer]) => (schema, writer),
                Err(_) => return self.loading_failed(Failure::Unknown),
            },
            Reply::Failed(failure) => return self.loading_failed(failure),
            _ => return self.loading_failed(Failure::Unknown),
        };
        if let Some(sealed) = &schema {
            match self.open_record::<SchemaRecord>(META_SCHEMA, sealed) {
                Some(record) if record.version > SCHEMA => {
                    let found = record.version;
                    return self.stop(Fatal::NewerData { found });
                }
                Some(_) => {}
                None => return self.stop(Fatal::WrongKey),
            }
        }
        let own = self.writer.fence().clone();
        if !own.is_empty() {
            // Opened before in this process: the fence must still be ours.
            let never_written = self.writer.fence_may_be(writer.as_ref());
            match &writer {
                Some(found) if *found == own => return self.read_rows(),
                Some(found) if !never_written => return self.stop_for(found),
                // The attempt failed.
                _ => {}
            }
        }
        self.write_fence(schema, writer);
    }

    fn write_fence(&mut self, schema: Option<Bytes>, writer: Option<Bytes>) {
        let record = WriterRecord {
            opening: self.rng.bytes::<16>().to_vec(),
            holder: self.config.holder.clone(),
        };
        let (schema_key, writer_key) = (keys::piece(META_SCHEMA, 0), keys::piece(META_WRITER, 0));
        let fence = self
            .writer
            .sealer()
            .seal(&writer_key, &record.encode_to_vec());
        let mut commit = Commit {
            checks: vec![(
                writer_key.clone().into(),
                writer.clone().map_or(Expect::Absent, Expect::Equals),
            )],
            puts: vec![(writer_key.into(), fence.clone())],
            deletes: Vec::new(),
        };
        if schema.is_none() {
            let record = SchemaRecord { version: SCHEMA };
            let sealed = self
                .writer
                .sealer()
                .seal(&schema_key, &record.encode_to_vec());
            commit
                .checks
                .push((schema_key.clone().into(), Expect::Absent));
            commit.puts.push((schema_key.into(), sealed));
        }
        let ticket = self.read(Command::Commit(commit));
        self.phase = Phase::Fence(ticket, fence, writer);
    }

    fn fence_written(&mut self, fence: Bytes, before: Option<Bytes>, reply: Reply) {
        match reply {
            Reply::Committed => {
                self.writer.set_fence(fence);
                self.read_rows();
            }
            // Someone else opens at the same moment: look again.
            Reply::Conflict => self.start_loading(),
            Reply::Failed(failure) => {
                if failure == Failure::Unknown {
                    self.writer.set_doubtful_fence(fence, before);
                }
                self.loading_failed(failure);
            }
            Reply::Values(_) | Reply::Rows { .. } => self.loading_failed(Failure::Unknown),
        }
    }

    fn read_rows(&mut self) {
        self.read_page(Loader::default(), STATE.to_vec());
    }

    fn read_page(&mut self, loader: Loader, start: Vec<u8>) {
        let scan = Scan {
            start: start.into(),
            end: prefix_end(STATE).unwrap_or_default().into(),
            direction: Direction::Forward,
            items: PAGE_ROWS,
            bytes: PAGE_BYTES,
        };
        let ticket = self.read(Command::Scan(scan));
        self.phase = Phase::Rows(ticket, loader);
    }

    fn page_read(&mut self, mut loader: Loader, reply: Reply) {
        let (rows, more) = match reply {
            Reply::Rows { rows, more } => (rows, more),
            Reply::Failed(failure) => return self.loading_failed(failure),
            _ => return self.loading_failed(Failure::Unknown),
        };
        let next = rows.last().map(|(key, _)| [key.as_ref(), &[0]].concat());
        for (key, sealed) in rows {
            let Some(value) = self.writer.sealer().open(&key, &sealed) else {
                return self.stop(Fatal::WrongKey);
            };
            let Some((name, piece)) = keys::split_piece(&key) else {
                return self.stop(Fatal::Corrupt);
            };
            loader
                .rows
                .entry(name.to_vec())
                .or_default()
                .insert(piece, value);
        }
        match next {
            Some(next) if more => self.read_page(loader, next),
            _ => self.loaded(loader),
        }
    }

    fn loaded(&mut self, loader: Loader) {
        let mut state = State::default();
        let mut mls = Vec::new();
        for (key, pieces) in loader.rows {
            let Some(value) = join_pieces(&pieces) else {
                return self.stop(Fatal::Corrupt);
            };
            let count = u16::try_from(pieces.len()).unwrap_or(u16::MAX);
            self.writer.note_pieces(key.clone(), count);
            match Name::parse(&key) {
                Some(Name::Mls(row)) => mls.push((row, value.to_vec())),
                Some(name) if state.take(name.clone(), &value).is_some() => {}
                _ => return self.stop(Fatal::Corrupt),
            }
        }
        if let Some(me) = &state.me {
            match Device::new(me.device.clone(), me.credential(), mls) {
                Ok(device) => state.device = Some(device),
                Err(StateError::Version { found }) => {
                    let found = found.into();
                    return self.stop(Fatal::NewerData { found });
                }
                Err(StateError::Corrupt) => return self.stop(Fatal::Corrupt),
            }
        }
        let account = state.me.as_ref().map(Me::account);
        self.state = state;
        self.phase = Phase::Running;
        self.remember_nameless();
        self.settle_sent_messages();
        self.read_what_was_lost();
        self.writer.emit(Event::Opened { account });
    }

    /// Everything that is not durable is void: forgets it, and loads the state again after a pause.
    fn storage_failed(&mut self, failure: Failure) {
        let held = self.writer.abandon();
        self.disconnect(DisconnectReason::Storage);
        self.state = State::default();
        self.chain = Chain::default();
        self.keep_promises(held, failure);
        self.fail_open_intents(&IntentError::Storage(failure));
        self.forget_readings();
        self.loading_failed(failure);
    }

    fn loading_failed(&mut self, failure: Failure) {
        self.phase = Phase::Waiting;
        let at = self.clock.now() + self.config.backoff_base + self.backoff(4);
        self.timers.set(Timer::Reload, at);
        self.writer.emit(Event::StorageTrouble(failure));
    }

    /// A commit met another fence.
    fn replaced(&mut self) {
        let key = keys::piece(META_WRITER, 0).into();
        let held = self.writer.abandon();
        self.revive_intents(&held);
        let ticket = self.read(Command::Get(vec![key]));
        self.phase = Phase::Replaced(ticket);
        self.hang_up();
    }

    fn replacer_read(&mut self, reply: Reply) {
        match reply {
            Reply::Values(values) => match values.into_iter().next().flatten() {
                Some(found) => self.stop_for(&found),
                None => self.stop(Fatal::Corrupt),
            },
            _ => self.stop(Fatal::WriterReplaced {
                holder: String::new(),
            }),
        }
    }

    fn stop_for(&mut self, found: &Bytes) {
        let holder = match self.open_record::<WriterRecord>(META_WRITER, found) {
            Some(record) => record.holder,
            None => return self.stop(Fatal::WrongKey),
        };
        self.stop(Fatal::WriterReplaced { holder });
    }

    fn stop(&mut self, fatal: Fatal) {
        self.phase = Phase::Stopped(fatal.clone());
        self.hang_up();
        let held = self.writer.abandon();
        self.revive_intents(&held);
        self.forget_readings();
        self.timers.retain(|timer| timer == Timer::Shutdown);
        self.state = State::default();
        self.fail_all_intents(&IntentError::Fatal(fatal.clone()));
        self.writer.emit(Event::Fatal(fatal));
    }

    /// Issues a command that waits for no commit.
    fn read(&mut self, command: Command) -> Ticket {
        let ticket = self.writer.ticket();
        self.writer.at_once(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command,
        });
        ticket
    }

    fn open_record<R: Message + Default>(&mut self, key: &[u8], sealed: &[u8]) -> Option<R> {
        let row = keys::piece(key, 0);
        let value = self.writer.sealer().open(&row, sealed)?;
        record::read(&value)
    }
}

impl State {
    /// Takes in a row; `None` if its value is not what its key says.
    fn take(&mut self, name: Name, value: &[u8]) -> Option<()> {
        match name {
            Name::Account => self.me = Some(Me::load(record::read(value)?)?),
            Name::Server => self.server = Some(record::read(value)?),
            Name::Openings => self.openings = Openings::load(&record::read(value)?)?,
            Name::Clocks => self.clocks = Clocks::load(&record::read(value)?),
            Name::Moves(id) => {
                self.moves.insert(id, record::read(value)?);
            }
            Name::Known(id, number) => {
                let known = self.known.entry(id).or_default();
                known.load(number, &record::read(value)?)?;
            }
            Name::Sent(id, index) => {
                self.sent.insert((id, index), record::read(value)?);
            }
            Name::Conversation(id) => {
                let record: ConversationRecord = record::read(value)?;
                self.conversations.insert(id, Channel::load(record)?);
            }
            Name::Draft(id) => {
                self.drafts.insert(id, record::read(value)?);
            }
            Name::Proofs(id) => {
                let record = record::read(value)?;
                self.proofs.insert(id, Proofs::load(&record)?);
            }
            Name::Forks(id) => {
                self.forks.insert(id, record::read(value)?);
            }
            Name::Hybrid(key) => {
                let record: HybridRecord = record::read(value)?;
                self.hybrid_dates.insert(key, record.created_at_ms);
            }
            Name::Package(reference) => {
                self.packages.insert(reference, record::read(value)?);
            }
            // Taken in by the device.
            Name::Mls(_) => {}
            Name::Merged(id, place) => {
                self.merged.insert((id, place), record::read(value)?);
            }
            Name::Seen(id, _) => {
                let seen = self.seen.entry(id).or_default();
                seen.load(record::read(value)?);
            }
            Name::Outgoing(id, order) => {
                self.outgoing.insert((id, order), record::read(value)?);
            }
            Name::Parked(id, seq) => {
                let record: ParkedRecord = record::read(value)?;
                self.parked.insert((id, seq), record.message);
            }
            Name::Queue(queue) => {
                let record: QueueRecord = record::read(value)?;
                if let Ok(mark) = record.mark.as_slice().try_into() {
                    self.marks.insert(queue, mark);
                }
                match record.forgotten {
                    true => self.forgotten.insert(queue, record.cursor),
                    false => self.cursors.insert(queue, record.cursor),
                };
            }
            Name::Contact(key) => {
                let record: ContactRecord = record::read(value)?;
                if record.name.is_empty() {
                    self.nameless.push(key);
                    return Some(());
                }
                self.names.insert(record.name.clone(), key);
                self.contacts.insert(key, record.name);
            }
        }
        Some(())
    }
}

/// The value of which these are the pieces, `None` if one is missing.
pub(in crate::client) fn join_pieces(
    pieces: &BTreeMap<u16, Zeroizing<Vec<u8>>>,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::with_capacity(pieces.values().map(|p| p.len()).sum()));
    for (expected, (number, piece)) in (0..).zip(pieces) {
        if *number != expected {
            return None;
        }
        value.extend_from_slice(piece);
    }
    Some(value)
}
