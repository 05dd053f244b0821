//! Messages that were taken in before, known by who wrote them and under which id (protocol.md §5.31).
//!
//! Who was set back, or whose server was, sends again under the first id what may be lost. The same
//! content under a known id is dropped; other content is told, since one of the two is not what its
//! writer meant to say under that id.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::client::event::ConversationId;
use crate::client::keep::keys::Name;
use crate::client::keep::record::KnownRecord;
use crate::ids::IdentityKey;

/// Messages in one row: it is written anew for each.
const IN_ROW: usize = 64;
/// Rows of a conversation that are kept, the newest ones.
const ROWS: usize = 64;
/// Bytes of a message's hash, and of its content's.
const ID: usize = 16;
const CONTENT: usize = 8;

type Id = [u8; ID];
type Content = [u8; CONTENT];

/// The last messages of a conversation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::client) struct Known {
    rows: BTreeMap<u64, Vec<Id>>,
    contents: BTreeMap<Id, Content>,
}

/// What is known of a message that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Seen {
    /// Nothing.
    New,
    /// It came before.
    Before,
    /// Its writer has said something else under this id.
    Otherwise,
}

/// Rows that have changed.
struct Changed {
    written: u64,
    gone: Option<u64>,
}

impl Known {
    fn look(&self, id: &Id, content: &Content) -> Seen {
        match self.contents.get(id) {
            None => Seen::New,
            Some(known) if known == content => Seen::Before,
            Some(_) => Seen::Otherwise,
        }
    }

    fn add(&mut self, id: Id, content: Content) -> Changed {
        let last = self.rows.last_key_value();
        let written = match last {
            Some((number, row)) if row.len() < IN_ROW => *number,
            Some((number, _)) => number.saturating_add(1),
            None => 0,
        };
        self.rows.entry(written).or_default().push(id);
        self.contents.insert(id, content);
        let mut gone = None;
        if self.rows.len() > ROWS
            && let Some((number, row)) = self.rows.pop_first()
        {
            gone = Some(number);
            row.iter().for_each(|id| {
                self.contents.remove(id);
            });
        }
        Changed { written, gone }
    }

    fn record(&self, number: u64) -> KnownRecord {
        let row = self.rows.get(&number).into_iter().flatten();
        let both = row.filter_map(|id| Some([&id[..], self.contents.get(id)?].concat()));
        KnownRecord {
            messages: both.flatten().collect(),
        }
    }

    /// Takes in a stored row; `None` if it is none.
    pub(in crate::client) fn load(&mut self, number: u64, record: &KnownRecord) -> Option<()> {
        let (entries, rest) = record.messages.as_chunks::<{ ID + CONTENT }>();
        rest.is_empty().then_some(())?;
        for entry in entries {
            let (id, content) = entry.split_first_chunk::<ID>()?;
            self.rows.entry(number).or_default().push(*id);
            self.contents.insert(*id, content.try_into().ok()?);
        }
        Some(())
    }
}

impl Client {
    /// Whether a message came before; from now on it has. One without an id is always new.
    pub(super) fn know_message(
        &mut self,
        conversation: ConversationId,
        sender: IdentityKey,
        message_id: &[u8],
        app: &[u8],
    ) -> Seen {
        if message_id.len() != 16 {
            return Seen::New;
        }
        let id = Sha256::new()
            .chain_update(sender.as_bytes())
            .chain_update(message_id);
        let (id, content): (Id, Content) =
            (beginning(id), beginning(Sha256::new().chain_update(app)));
        let known = self.state.known.entry(conversation).or_default();
        let seen = known.look(&id, &content);
        if seen == Seen::New {
            let Changed { written, gone } = known.add(id, content);
            self.writer
                .put(&Name::Known(conversation, written), &known.record(written));
            if let Some(gone) = gone {
                self.writer.delete(&Name::Known(conversation, gone));
            }
        }
        seen
    }
}

/// The first bytes of a hash.
fn beginning<const N: usize>(hash: Sha256) -> [u8; N] {
    let hash: [u8; 32] = hash.finalize().into();
    *hash.first_chunk().unwrap_or(&[0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        let mut id = [0; ID];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn the_last_messages_are_known_and_come_back_from_their_rows() {
        let mut known = Known::default();
        let mut stored: BTreeMap<u64, KnownRecord> = BTreeMap::new();
        let all = u64::try_from(IN_ROW * (ROWS + 2)).unwrap();
        for number in 0..all {
            assert_eq!(known.look(&id(number), &[1; 8]), Seen::New);
            let Changed { written, gone } = known.add(id(number), [1; 8]);
            stored.insert(written, known.record(written));
            if let Some(gone) = gone {
                stored.remove(&gone);
            }
        }
        assert_eq!(known.look(&id(all - 1), &[1; 8]), Seen::Before);
        assert_eq!(known.look(&id(all - 1), &[2; 8]), Seen::Otherwise);
        assert_eq!(known.look(&id(0), &[1; 8]), Seen::New, "long ago");
        assert_eq!(stored.len(), ROWS);
        let mut loaded = Known::default();
        for (number, record) in &stored {
            loaded.load(*number, record).unwrap();
        }
        assert_eq!(loaded, known);
        let broken = KnownRecord {
            messages: vec![0; 25],
        };
        assert_eq!(loaded.load(0, &broken), None);
    }
}
