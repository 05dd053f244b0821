//! The way out: changes become commits, and whatever follows from a change is held until it is
//! durable.
//!
//! One step of the core (an intent, a frame, a timer) changes memory at once and leaves rows and
//! effects (outputs) here; [`Writer::finish`] closes it. One commit is on its way at a time; what
//! comes meanwhile gathers behind it and goes as the next one, so a slow disk makes larger commits,
//! not more of them. Effects leave in the order in which they came, each after the rows of its own
//! step and of all steps before it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use prost::Message;
use zeroize::Zeroizing;

use super::keys::{self, META_WRITER, Name};
use super::seal::Sealer;
use crate::client::event::Event;
use crate::ids::{ConnId, Ticket};
use crate::io::{Lane, Output};
use crate::storage::{Command, Commit, Expect};

/// Longest piece of a value, in bytes; sealed it stays below the 64 KiB of a stored value.
const PIECE: usize = 60 * 1024;
/// Steps are gathered into one commit up to this many bytes.
const GATHER_BYTES: usize = 1024 * 1024;
/// Steps are gathered into one commit up to this many rows.
const GATHER_ROWS: usize = 2048;

type Effect = Output<Event>;

/// Rows of one or more steps, and what follows from them.
#[derive(Default)]
struct Batch {
    rows: BTreeMap<Vec<u8>, Option<Zeroizing<Vec<u8>>>>,
    bytes: usize,
    effects: Vec<Effect>,
}

/// See the page of this module.
pub(in crate::client) struct Writer {
    sealer: Sealer,
    next_ticket: u64,
    /// What `meta/writer` holds since this core opened the data.
    fence: Bytes,
    /// What it holds instead if it is not known whether the fence was written.
    fence_before: Option<Option<Bytes>>,
    /// Keys whose stored value has more than one piece.
    pieces: BTreeMap<Vec<u8>, u16>,
    step: Batch,
    flying: Option<(Ticket, Vec<Effect>)>,
    waiting: VecDeque<Batch>,
    outputs: VecDeque<Effect>,
    /// Whether the fence is asked for.
    #[cfg(qpq_defects)]
    pub(in crate::client) is_unfenced: bool,
}

impl Writer {
    pub(in crate::client) fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            next_ticket: 1,
            fence: Bytes::new(),
            fence_before: None,
            pieces: BTreeMap::new(),
            step: Batch::default(),
            flying: None,
            waiting: VecDeque::new(),
            outputs: VecDeque::new(),
            #[cfg(qpq_defects)]
            is_unfenced: false,
        }
    }

    /// Events that wait for the commit that is on its way: when the process dies they are lost, though what they
    /// tell of may be durable.
    #[cfg(feature = "sim")]
    pub(in crate::client) fn untold(&self) -> impl Iterator<Item = &Event> {
        let effects = self.flying.iter().flat_map(|(_, effects)| effects);
        effects.filter_map(|effect| match effect {
            Output::Event(event) => Some(event),
            _ => None,
        })
    }

    pub(in crate::client) fn sealer(&mut self) -> &mut Sealer {
        &mut self.sealer
    }

    /// A ticket that was never used.
    pub(in crate::client) fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.saturating_add(1);
        ticket
    }

    /// From now on commits are made only while `meta/writer` holds this.
    pub(super) fn set_fence(&mut self, fence: Bytes) {
        self.fence = fence;
        self.fence_before = None;
    }

    /// `meta/writer` may hold `fence`, or still what it held before.
    pub(super) fn set_doubtful_fence(&mut self, fence: Bytes, before: Option<Bytes>) {
        self.fence = fence;
        self.fence_before = Some(before);
    }

    /// Whether this is what `meta/writer` held before a write of unknown fate.
    pub(super) fn fence_may_be(&self, found: Option<&Bytes>) -> bool {
        let before = self.fence_before.as_ref();
        before.is_some_and(|before| before.as_ref() == found)
    }

    pub(in crate::client) fn fence(&self) -> &Bytes {
        &self.fence
    }

    /// The stored value of `key` has this many pieces.
    pub(in crate::client) fn note_pieces(&mut self, key: Vec<u8>, pieces: u16) {
        if pieces > 1 {
            self.pieces.insert(key, pieces);
        }
    }

    /// Writes a row in this step.
    pub(in crate::client) fn put(&mut self, name: &Name, record: &impl Message) {
        self.put_bytes(name.key(), record.encode_to_vec());
    }

    /// Writes a row in this step.
    pub(in crate::client) fn put_bytes(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.step.bytes += key.len() + value.len();
        self.step.rows.insert(key, Some(Zeroizing::new(value)));
    }

    /// Deletes a row in this step.
    pub(in crate::client) fn delete(&mut self, name: &Name) {
        self.delete_bytes(name.key());
    }

    /// Deletes a row in this step.
    pub(in crate::client) fn delete_bytes(&mut self, key: Vec<u8>) {
        self.step.rows.insert(key, None);
    }

    /// What follows from this step.
    pub(in crate::client) fn effect(&mut self, effect: Effect) {
        self.step.effects.push(effect);
    }

    /// An event that follows from this step.
    pub(in crate::client) fn emit(&mut self, event: Event) {
        self.effect(Output::Event(event));
    }

    /// Something that waits for nothing: reads and the fence of the opening itself.
    pub(super) fn at_once(&mut self, effect: Effect) {
        self.outputs.push_back(effect);
    }

    /// Lets go of effects of this step before its rows are durable.
    #[cfg(qpq_defects)]
    pub(in crate::client) fn release(&mut self, early: impl Fn(&Effect) -> bool) {
        self.outputs
            .extend(self.step.effects.extract_if(.., |effect| early(effect)));
    }

    /// Lets go of the effects of this step with the commit that is on its way.
    #[cfg(qpq_defects)]
    pub(in crate::client) fn release_with_flying(&mut self) {
        if let Some((_, effects)) = &mut self.flying {
            effects.append(&mut self.step.effects);
        }
    }

    /// Ends the step.
    pub(in crate::client) fn finish(&mut self) {
        let step = core::mem::take(&mut self.step);
        if step.rows.is_empty() {
            let behind = match self.waiting.back_mut() {
                Some(batch) => Some(&mut batch.effects),
                None => self.flying.as_mut().map(|(_, effects)| effects),
            };
            match behind {
                Some(effects) => effects.extend(step.effects),
                None => self.outputs.extend(step.effects),
            }
            return;
        }
        match self.waiting.back_mut() {
            Some(batch)
                if batch.bytes + step.bytes <= GATHER_BYTES
                    && batch.rows.len() + step.rows.len() <= GATHER_ROWS =>
            {
                batch.rows.extend(step.rows);
                batch.bytes += step.bytes;
                batch.effects.extend(step.effects);
            }
            _ => self.waiting.push_back(step),
        }
        self.issue();
    }

    /// Whether `ticket` is that of the commit on its way.
    pub(super) fn is_flying(&self, ticket: Ticket) -> bool {
        self.flying.as_ref().is_some_and(|(own, _)| *own == ticket)
    }

    /// The commit on its way is durable: releases what follows from it.
    pub(in crate::client) fn committed(&mut self) {
        if let Some((_, effects)) = self.flying.take() {
            self.outputs.extend(effects);
        }
        self.issue();
    }

    /// Gives up everything that is not durable, and returns what was held for it.
    pub(super) fn abandon(&mut self) -> Vec<Effect> {
        let mut held = self
            .flying
            .take()
            .map_or_else(Vec::new, |(_, effects)| effects);
        for batch in self.waiting.drain(..) {
            held.extend(batch.effects);
        }
        held.extend(core::mem::take(&mut self.step).effects);
        self.pieces.clear();
        held
    }

    /// Forgets what was held for a connection that is gone.
    pub(in crate::client) fn forget_connection(&mut self, gone: ConnId) {
        let keep = |effect: &Effect| match effect {
            Output::Open { conn, .. }
            | Output::Send { conn, .. }
            | Output::Reset { conn, .. }
            | Output::Admit { conn }
            | Output::Close { conn, .. } => *conn != gone,
            _ => true,
        };
        if let Some((_, effects)) = &mut self.flying {
            effects.retain(keep);
        }
        for batch in &mut self.waiting {
            batch.effects.retain(keep);
        }
        self.step.effects.retain(keep);
        self.outputs.retain(keep);
    }

    pub(in crate::client) fn poll(&mut self) -> Option<Effect> {
        self.outputs.pop_front()
    }

    /// Whether an output can be polled now.
    pub(in crate::client) fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Whether everything is durable and released.
    pub(in crate::client) fn is_settled(&self) -> bool {
        self.flying.is_none() && self.waiting.is_empty()
    }

    /// Bytes that wait to become durable or to be polled.
    pub(in crate::client) fn footprint(&self) -> usize {
        let flying = self.flying.iter().flat_map(|(_, effects)| effects);
        let waiting = self.waiting.iter().flat_map(|batch| &batch.effects);
        let effects = flying.chain(waiting).chain(&self.outputs).map(effect_bytes);
        effects.sum::<usize>() + self.waiting.iter().map(|batch| batch.bytes).sum::<usize>()
    }

    fn issue(&mut self) {
        if self.flying.is_some() {
            return;
        }
        let Some(batch) = self.waiting.pop_front() else {
            return;
        };
        let mut commit = Commit {
            checks: vec![(
                keys::piece(META_WRITER, 0).into(),
                Expect::Equals(self.fence.clone()),
            )],
            ..Commit::default()
        };
        #[cfg(qpq_defects)]
        if self.is_unfenced {
            commit.checks.clear();
        }
        for (key, value) in batch.rows {
            self.put_pieces(&mut commit, key, value);
        }
        let ticket = self.ticket();
        self.flying = Some((ticket, batch.effects));
        self.outputs.push_back(Output::Store {
            ticket,
            lane: Lane::Ordered,
            command: Command::Commit(commit),
        });
    }

    fn put_pieces(&mut self, commit: &mut Commit, key: Vec<u8>, value: Option<Zeroizing<Vec<u8>>>) {
        let before = self.pieces.remove(&key).unwrap_or(1);
        let mut count: u16 = 0;
        if let Some(value) = &value {
            let empty: &[u8] = &[];
            let chunks = value.chunks(PIECE);
            let chunks = chunks.chain(value.is_empty().then_some(empty));
            for (number, chunk) in (0..u16::MAX).zip(chunks) {
                let row = keys::piece(&key, number);
                let sealed = self.sealer.seal(&row, chunk);
                commit.puts.push((row.into(), sealed));
                count = number + 1;
            }
        }
        for number in count..before {
            commit.deletes.push(keys::piece(&key, number).into());
        }
        self.note_pieces(key, count);
    }
}

fn effect_bytes(effect: &Effect) -> usize {
    match effect {
        Output::Send { data, .. } => data.len(),
        Output::Store {
            command: Command::Commit(commit),
            ..
        } => commit.bytes(),
        Output::Event(Event::Message(message)) => match &message.body {
            crate::client::event::Body::Text(text) => text.len(),
            crate::client::event::Body::TakenBack | crate::client::event::Body::Unsupported => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::seal::StorageKey;
    use super::*;
    use crate::rng::Rng;

    fn writer() -> Writer {
        let mut writer = Writer::new(Sealer::new(StorageKey::new([1; 32]), Rng::new([2; 32])));
        writer.set_fence(Bytes::from_static(b"fence"));
        writer
    }

    fn commit(writer: &mut Writer) -> (Ticket, Commit) {
        match writer.poll() {
            Some(Output::Store {
                ticket,
                command: Command::Commit(commit),
                ..
            }) => (ticket, commit),
            other => panic!("a commit was expected, not {other:?}"),
        }
    }

    #[test]
    fn effects_wait_for_their_rows_and_keep_their_order() {
        let mut writer = writer();
        writer.emit(Event::Connected { certificate: None });
        writer.finish();
        assert!(matches!(
            writer.poll(),
            Some(Output::Event(Event::Connected { .. }))
        ));

        writer.put_bytes(b"a".to_vec(), b"1".to_vec());
        writer.emit(Event::Synced);
        writer.finish();
        writer.emit(Event::LoggedOut);
        writer.finish();
        let (ticket, first) = commit(&mut writer);
        assert_eq!(first.puts.len(), 1);
        assert!(writer.poll().is_none());

        // Two steps behind the one on its way become one commit.
        writer.put_bytes(b"a".to_vec(), b"2".to_vec());
        writer.finish();
        writer.put_bytes(b"b".to_vec(), b"3".to_vec());
        writer.emit(Event::Connected { certificate: None });
        writer.finish();
        assert!(writer.poll().is_none());

        assert!(writer.is_flying(ticket));
        writer.committed();
        assert!(matches!(writer.poll(), Some(Output::Event(Event::Synced))));
        assert!(matches!(
            writer.poll(),
            Some(Output::Event(Event::LoggedOut))
        ));
        let (_, second) = commit(&mut writer);
        assert_eq!(second.puts.len(), 2);
        assert!(writer.poll().is_none());
        writer.committed();
        assert!(matches!(
            writer.poll(),
            Some(Output::Event(Event::Connected { .. }))
        ));
        assert!(writer.is_settled());
    }

    #[test]
    fn a_long_value_leaves_in_pieces_and_takes_all_of_them_back() {
        let mut writer = writer();
        writer.put_bytes(b"k".to_vec(), vec![7; PIECE * 2 + 1]);
        writer.finish();
        let (_, first) = commit(&mut writer);
        assert_eq!(first.puts.len(), 3);
        assert!(
            first
                .puts
                .iter()
                .all(|(_, v)| v.len() <= crate::storage::MAX_VALUE)
        );
        writer.committed();
        writer.put_bytes(b"k".to_vec(), vec![7; 1]);
        writer.finish();
        let (_, second) = commit(&mut writer);
        assert_eq!((second.puts.len(), second.deletes.len()), (1, 2));
        writer.committed();
        writer.delete(&Name::Account);
        writer.finish();
        assert_eq!(commit(&mut writer).1.deletes.len(), 1);
    }

    #[test]
    fn what_is_not_durable_can_be_given_up() {
        let mut writer = writer();
        writer.put_bytes(b"a".to_vec(), b"1".to_vec());
        writer.emit(Event::Synced);
        writer.finish();
        writer.put_bytes(b"b".to_vec(), b"1".to_vec());
        writer.emit(Event::LoggedOut);
        writer.finish();
        let (ticket, _) = commit(&mut writer);
        assert_eq!(writer.abandon().len(), 2);
        assert!(!writer.is_flying(ticket));
        assert!(writer.poll().is_none());
    }
}
