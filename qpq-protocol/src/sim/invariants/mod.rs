//! What must hold after every step, checked where it can be seen: at the disks, on the wire, and in
//! what apps are told.

mod harm;
mod secrets;
mod stored;
mod told;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use self::harm::Said;
pub(super) use self::harm::{Known, Views};
use self::secrets::Single;
use super::host::Who;
use super::villains::kinds::Plan;
use crate::client::ConversationId;
use crate::ids::{ChannelId, IdentityKey, MessageId};
use crate::storage::keys::QueueId;
use crate::time::Time;

/// What can be violated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Invariant {
    /// No core panics.
    NoPanic,
    /// What a server answered, and what an app was told, is on durable storage at that moment and
    /// stays there until it is acknowledged.
    AcknowledgedIsDurable,
    /// In each queue every seq is given once, without holes, and means one message.
    SeqsWithoutHoles,
    /// Each slot has one commit, and each epoch one set of changes.
    OneWinner,
    /// No key and no nonce is used for two things, as far as that can be seen from outside.
    NonceOnce,
    /// Once another opening of a client's data has begun, the earlier one writes no more.
    OneWriter,
    /// A message id stands for one message, however often that was sent.
    OneMeaning,
    /// A single-use key package is given to one.
    PackageOnce,
    /// What a server pushes is on durable storage at that moment.
    PushedIsDurable,
    /// A message reaches an app once.
    OnceInApp,
    /// `footprint` stays below what the limits add up to.
    Footprint,
    /// What a core is told of connections and streams is what it may rely on ([`crate::io`]).
    Carrier,
    /// Our own cores never break the protocol, and nobody's conversation or client breaks.
    NothingBreaks,
    /// Time goes on: no core wants to be called again and again at the same moment.
    Progress,
    /// When the faults stop, everyone is logged in, all that was asked for has ended, members
    /// agree, and every message is where it belongs.
    Settles,
    /// No honest member is ended by what another puts into a slot, onto a list, or into a queue.
    NobodyEnds,
    /// Another account's Health, Fetch and Enqueue are answered within a second, whatever one account and one address
    /// do.
    Served,
    /// Nothing is lost in silence: what a client called sent is delivered, or its sender or its reader was told.
    SaidOrThere,
    /// Nothing that can't be undone follows from one wrong clock.
    OneClock,
    /// Nor from one word of a server that is wrong.
    OneWord,
}

impl Invariant {
    /// Its name, as reports print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPanic => "no panic",
            Self::AcknowledgedIsDurable => "acknowledged is durable",
            Self::SeqsWithoutHoles => "seqs once and without holes",
            Self::OneWinner => "one winner",
            Self::NonceOnce => "nonce once",
            Self::OneWriter => "one writer",
            Self::OneMeaning => "one meaning",
            Self::PackageOnce => "key package once",
            Self::PushedIsDurable => "pushed is durable",
            Self::OnceInApp => "once in the app",
            Self::Footprint => "footprint",
            Self::Carrier => "carrier",
            Self::NothingBreaks => "nothing breaks",
            Self::Progress => "progress",
            Self::Settles => "settles",
            Self::NobodyEnds => "nobody ends another",
            Self::Served => "others are served",
            Self::SaidOrThere => "said or there",
            Self::OneClock => "one clock",
            Self::OneWord => "one word",
        }
    }
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// When, in virtual time.
    pub at: Time,
    /// What was seen.
    pub detail: String,
}

/// The most that a client holds in memory for its peer and its disk, in bytes.
const CLIENT_FOOTPRINT: usize = 32 * 1024 * 1024;

/// A message that a server took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Accepted {
    pub(super) channel: ChannelId,
    /// Who is to get it.
    pub(super) recipients: Vec<IdentityKey>,
    payload: [u8; 32],
}

/// Watches everything; remembers the first violation.
#[derive(Default)]
pub(super) struct Checker {
    pub(super) violation: Option<Violation>,
    /// The seq that each queue gives next.
    queues: BTreeMap<QueueId, u64>,
    /// Up to where each account's queue of a channel was acknowledged.
    acked: BTreeMap<(IdentityKey, Option<ChannelId>), u64>,
    /// What each seq means.
    envelopes: BTreeMap<(Vec<u8>, Vec<u8>, u64), [u8; 32]>,
    slots: BTreeMap<(ChannelId, u64), Vec<u8>>,
    /// Changes of members, by the epoch that they led to.
    epochs: BTreeMap<(ConversationId, u64), String>,
    /// Who let himself into a conversation again, or was in one that began anew: where somebody means ill he may be
    /// in another tree than the others, until they come together.
    returned: BTreeSet<(usize, ConversationId)>,
    /// Conversations that began anew, and count their epochs from 0 again.
    pub(super) anew: BTreeSet<ConversationId>,
    /// Whom each honest client that is in a conversation was ever told of there.
    views: BTreeMap<(ConversationId, usize), BTreeSet<IdentityKey>>,
    /// Whom somebody honest did not find any more in the group that he came back into.
    parted: BTreeSet<(ConversationId, IdentityKey)>,
    /// Whom the server has as members of the conversation that somebody is told to be out of.
    pub(super) listed: BTreeSet<usize>,
    /// Who was in a conversation when an honest client came in.
    met: BTreeMap<(ConversationId, usize), BTreeSet<usize>>,
    /// Nonces of sealed rows, by client, with what they sealed.
    nonces: BTreeMap<(usize, Vec<u8>), [u8; 32]>,
    /// What other keys were used for.
    singles: BTreeMap<(Single, Vec<u8>), [u8; 32]>,
    pub(super) accepted: BTreeMap<MessageId, Accepted>,
    /// The same, whatever the servers' disk has forgotten since.
    pub(super) promised: BTreeMap<MessageId, Accepted>,
    /// Where the queues have each message, by the row that remembers it.
    places: BTreeMap<Bytes, Vec<u64>>,
    /// Single-use key packages that were given out.
    packages: BTreeSet<[u8; 32]>,
    /// Those that may be given out again, by their uploads.
    last_resorts: BTreeSet<[u8; 32]>,
    /// Who means ill, and how many clients before those don't.
    pub(super) plan: Plan,
    honest: usize,
    /// Whom a user asked to take out of what.
    pub(super) removals: BTreeSet<(ConversationId, usize)>,
    /// Whom somebody was told he could not add.
    not_added: BTreeSet<(ConversationId, IdentityKey)>,
    /// Who asked to leave what.
    pub(super) leavers: BTreeSet<(ConversationId, usize)>,
    /// What was said of losses.
    pub(super) said: Said,
}

impl Checker {
    /// One that knows who means ill.
    pub(super) fn new(plan: Plan, honest: usize) -> Self {
        Self {
            plan,
            honest,
            ..Self::default()
        }
    }

    /// Something does not hold. Only the first counts: others often follow from it.
    pub(super) fn fail(&mut self, at: Time, invariant: Invariant, detail: String) {
        self.violation.get_or_insert(Violation {
            invariant,
            at,
            detail,
        });
    }

    fn need(
        &mut self,
        now: Time,
        holds: bool,
        invariant: Invariant,
        detail: impl FnOnce() -> String,
    ) {
        if !holds {
            self.fail(now, invariant, detail());
        }
    }

    /// How much a core holds.
    pub(super) fn holds(&mut self, now: Time, who: Who, bytes: usize, server_most: usize) {
        let most = match who {
            Who::Client(_) => CLIENT_FOOTPRINT,
            Who::Server(_) => server_most,
        };
        self.need(now, bytes <= most, Invariant::Footprint, || {
            format!("{who} holds {bytes} bytes of at most {most}")
        });
    }
}
