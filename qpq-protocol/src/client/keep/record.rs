//! The values of the client's rows, as protobuf: unknown fields are ignored, new ones are added.
//!
//! `Debug` shows the name of a record and nothing of what is in it.

use bytes::Bytes;
use prost::Message;

/// The record in a row of ours. It was sealed here, so nothing in it is anybody else's word: what
/// comes from others is decoded by [`wire`](crate::wire) alone.
pub(in crate::client) fn read<R: Message + Default>(value: &[u8]) -> Option<R> {
    R::decode(value).ok()
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $field_name:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, prost::Message)]
        #[prost(skip_debug)]
        pub(in crate::client) struct $name {
            $($(#[$field])* pub(in crate::client) $field_name: $type,)*
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

records! {
    /// The account and this device.
    AccountRecord {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        domain: String,
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "3")]
        identity_seed: Vec<u8>,
        /// 16 bytes.
        #[prost(bytes = "vec", tag = "4")]
        device_id: Vec<u8>,
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "5")]
        device_seed: Vec<u8>,
        #[prost(uint64, tag = "6")]
        device_created_at_ms: u64,
        /// 32 bytes; empty: logged out.
        #[prost(bytes = "vec", tag = "7")]
        session_token: Vec<u8>,
        /// The server has confirmed the device.
        #[prost(bool, tag = "8")]
        registered: bool,
        /// Of the last login, 32 bytes; empty: none.
        #[prost(bytes = "vec", tag = "9")]
        ticket: Vec<u8>,
        /// The server has the account's hybrid key.
        #[prost(bool, tag = "10")]
        hybrid_published: bool,
    }

    /// The newest hybrid key that was seen of an account.
    HybridRecord {
        /// When it was made, by its signature.
        #[prost(uint64, tag = "1")]
        created_at_ms: u64,
    }

    /// The openings of this data, by which it and the server notice that the other was set back.
    OpeningsRecord {
        /// The number of the first of `names`.
        #[prost(uint64, tag = "1")]
        first: u64,
        /// 16 bytes each, the oldest first.
        #[prost(bytes = "vec", repeated, tag = "2")]
        names: Vec<Vec<u8>>,
        /// The number of the one that the server confirmed last.
        #[prost(uint64, optional, tag = "3")]
        confirmed: Option<u64>,
        /// The server's epoch, as it was heard last; 0: never.
        #[prost(uint64, tag = "4")]
        server_epoch: u64,
        /// When this device last found itself set back; 0: never.
        #[prost(uint64, tag = "5")]
        set_back_at_ms: u64,
        /// The number of the one under which the queues were last found as they were left.
        #[prost(uint64, tag = "6")]
        sound: u64,
    }

    /// What this device's clock and the server's have shown, in milliseconds since 1970.
    ClocksRecord {
        /// Both were beyond it at two openings a day apart.
        #[prost(uint64, tag = "1")]
        past_ms: u64,
        /// Both were beyond it at one.
        #[prost(uint64, tag = "2")]
        seen_ms: u64,
    }

    /// An own message that the server has confirmed.
    SentRecord {
        /// 16 bytes.
        #[prost(bytes = "vec", tag = "1")]
        message_id: Vec<u8>,
        /// The number of the opening at which it was confirmed.
        #[prost(uint64, tag = "2")]
        opening: u64,
        /// The server has lost it: it is to be sent again.
        #[prost(bool, tag = "3")]
        again: bool,
        /// It was sent again before, which is done once.
        #[prost(bool, tag = "4")]
        repeated: bool,
        /// The server's time when it was confirmed; 0: it told none.
        #[prost(uint64, tag = "5")]
        server_ms: u64,
    }

    /// Messages that were taken in before.
    KnownRecord {
        /// 24 bytes each: of SHA-256(sender || message_id) the first 16, of SHA-256(AppMessage) the first 8.
        #[prost(bytes = "vec", tag = "1")]
        messages: Vec<u8>,
    }

    /// When somebody last came into a conversation, and when somebody last went: the messages in the history at that
    /// time.
    MovesRecord {
        #[prost(uint64, tag = "1")]
        came: u64,
        #[prost(uint64, tag = "2")]
        went: u64,
    }

    /// What is known of the server.
    ServerRecord {
        #[prost(string, tag = "1")]
        domain: String,
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "2")]
        signing_key: Vec<u8>,
    }

    /// A person whose name and key the server has told.
    ContactRecord {
        /// Empty: still to be asked for.
        #[prost(string, tag = "1")]
        name: String,
    }

    /// A conversation, but for its MLS state.
    ConversationRecord {
        /// `conversation::Phase`.
        #[prost(uint32, tag = "1")]
        phase: u32,
        /// The peer of a DM, 32 bytes; empty: a group.
        #[prost(bytes = "vec", tag = "2")]
        peer: Vec<u8>,
        #[prost(string, tag = "3")]
        name: String,
        /// The slot that the next commit takes, as far as this device has seen.
        #[prost(uint64, tag = "4")]
        slot: u64,
        /// `slot` was seen; otherwise it is at least that.
        #[prost(bool, tag = "5")]
        slot_seen: bool,
        #[prost(uint32, tag = "6")]
        generation: u32,
        /// Messages in the history.
        #[prost(uint64, tag = "7")]
        messages: u64,
        /// Messages read.
        #[prost(uint64, tag = "8")]
        read: u64,
        /// Changes of members that are still to be committed.
        #[prost(message, repeated, tag = "9")]
        wanted: Vec<ChangeRecord>,
        /// `members_version` of the last member list that was compared with the tree.
        #[prost(uint64, tag = "10")]
        members_version: u64,
        /// `event::RejoinReason`; 0: follows the group.
        #[prost(uint32, tag = "11")]
        rejoin: u32,
        /// Accounts that went, 32 bytes each.
        #[prost(bytes = "vec", repeated, tag = "12")]
        gone: Vec<Vec<u8>>,
        /// Accounts that were seen in the tree and on the server's list, 32 bytes each.
        #[prost(bytes = "vec", repeated, tag = "13")]
        listed: Vec<Vec<u8>>,
        /// Whether the server has it as it is here is to be asked.
        #[prost(bool, tag = "14")]
        doubted: bool,
        /// When the user left it; 0: not.
        #[prost(uint64, tag = "15")]
        left_ms: u64,
        /// When this device last let itself into the group, in Unix milliseconds; 0: never.
        #[prost(uint64, tag = "16")]
        returned_ms: u64,
        /// A member is to find a fresh GroupInfo.
        #[prost(bool, tag = "17")]
        owes_rotation: bool,
        /// This account has put itself back on the list since it came in.
        #[prost(bool, tag = "18")]
        relisted: bool,
        /// Members one of whom has to agree before anything is sent, 32 bytes each.
        #[prost(bytes = "vec", repeated, tag = "19")]
        witnesses: Vec<Vec<u8>>,
    }

    /// A change of members.
    ChangeRecord {
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "1")]
        identity_key: Vec<u8>,
        /// Remove rather than add.
        #[prost(bool, tag = "2")]
        remove: bool,
        /// Of the server's list alone.
        #[prost(bool, tag = "3")]
        of_list: bool,
    }

    /// A commit that waits for the server's answer, with what it was made for.
    DraftRecord {
        /// The encoded `SubmitCommitRequest`, sent byte for byte until there is an answer.
        #[prost(bytes = "bytes", tag = "1")]
        request: Bytes,
        #[prost(uint64, tag = "2")]
        slot: u64,
        /// SHA-256 of the commit.
        #[prost(bytes = "vec", tag = "3")]
        commit_hash: Vec<u8>,
        #[prost(message, repeated, tag = "4")]
        changes: Vec<ChangeRecord>,
        /// The commit lets this device in again, and is made once more when it has the slot.
        #[prost(message, optional, tag = "5")]
        rejoin: Option<RejoinRecord>,
        /// The commit is the first of a new group of this generation; 0: of the group there is.
        #[prost(uint32, tag = "6")]
        reset: u32,
    }

    /// What an external commit is made of.
    RejoinRecord {
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "1")]
        seed: Vec<u8>,
        /// The GroupInfo, an MLSMessage.
        #[prost(bytes = "bytes", tag = "2")]
        group_info: Bytes,
    }

    /// A commit that has its slot, for a server that loses it.
    MergedRecord {
        #[prost(uint64, tag = "1")]
        slot: u64,
        /// The MLSMessage.
        #[prost(bytes = "bytes", tag = "2")]
        commit: Bytes,
        /// Whose it was, 32 bytes.
        #[prost(bytes = "vec", tag = "3")]
        sender: Vec<u8>,
        /// The server's word on that, 72 bytes.
        #[prost(bytes = "vec", tag = "4")]
        proof: Vec<u8>,
        /// Accounts that came, 32 bytes each.
        #[prost(bytes = "vec", repeated, tag = "5")]
        added: Vec<Vec<u8>>,
        /// Accounts that went, 32 bytes each.
        #[prost(bytes = "vec", repeated, tag = "6")]
        removed: Vec<Vec<u8>>,
    }

    /// The commits of a conversation that the server has signed for.
    ProofsRecord {
        #[prost(message, repeated, tag = "1")]
        proofs: Vec<ProofRecord>,
    }

    /// The server's word that a commit has a slot.
    ProofRecord {
        #[prost(uint64, tag = "1")]
        slot: u64,
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "2")]
        commit_hash: Vec<u8>,
        /// 72 bytes.
        #[prost(bytes = "vec", tag = "3")]
        proof: Vec<u8>,
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "4")]
        sender: Vec<u8>,
    }

    /// Fork reports of a conversation.
    ForksRecord {
        /// To be sent.
        #[prost(message, repeated, tag = "1")]
        owed: Vec<OwedRecord>,
        /// That the server took, the last ones.
        #[prost(message, repeated, tag = "2")]
        said: Vec<SaidRecord>,
        /// That came, the last ones: of SHA-256(sender || ForkReport) the first 16 bytes.
        #[prost(bytes = "vec", repeated, tag = "3")]
        heard: Vec<Vec<u8>>,
        /// That came and can't be compared yet.
        #[prost(message, repeated, tag = "4")]
        waiting: Vec<WaitingRecord>,
    }

    /// A fork report to be sent.
    OwedRecord {
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "1")]
        recipient: Vec<u8>,
        /// It answers one.
        #[prost(bool, tag = "2")]
        answer: bool,
        /// The encoded `EnqueueRequest`, sent byte for byte until there is an answer; empty: not sealed yet.
        #[prost(bytes = "bytes", tag = "3")]
        request: Bytes,
        /// The slot that it was sealed for.
        #[prost(uint64, tag = "4")]
        slot: u64,
        /// The server has named another slot so often.
        #[prost(uint32, tag = "5")]
        misses: u32,
    }

    /// A fork report that was sent.
    SaidRecord {
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "1")]
        recipient: Vec<u8>,
        #[prost(bool, tag = "2")]
        answer: bool,
        #[prost(uint64, tag = "3")]
        slot: u64,
        /// By this device's clock, in milliseconds since 1970.
        #[prost(uint64, tag = "4")]
        said_at_ms: u64,
    }

    /// A fork report that came early.
    WaitingRecord {
        /// Whose it is, 32 bytes.
        #[prost(bytes = "vec", tag = "1")]
        by: Vec<u8>,
        /// The slot that it is about.
        #[prost(uint64, tag = "2")]
        slot: u64,
        /// The encoded `ForkReport`.
        #[prost(bytes = "bytes", tag = "3")]
        report: Bytes,
    }

    /// A message on its way out.
    OutgoingRecord {
        /// 16 bytes.
        #[prost(bytes = "vec", tag = "1")]
        message_id: Vec<u8>,
        /// The encoded `AppMessage`; empty: the proposal to leave.
        #[prost(bytes = "bytes", tag = "2")]
        app: Bytes,
        /// The encoded `BatchEnqueueRequest`, sent byte for byte until there is an answer; empty:
        /// not encrypted yet.
        #[prost(bytes = "bytes", tag = "3")]
        request: Bytes,
        /// Position in the history; none: not a message of the user.
        #[prost(uint64, optional, tag = "4")]
        index: Option<u64>,
        /// The server may have it already, encrypted otherwise.
        #[prost(bool, tag = "5")]
        again: bool,
    }

    /// A key package that was made here.
    PackageRecord {
        /// The package, until the server has confirmed it.
        #[prost(bytes = "bytes", tag = "1")]
        unpublished: Bytes,
        #[prost(bool, tag = "2")]
        last_resort: bool,
        #[prost(uint64, tag = "3")]
        created_at_ms: u64,
        /// Published in place of all that the server has of this device.
        #[prost(bool, tag = "4")]
        replaces: bool,
    }

    /// How far a queue was taken in.
    QueueRecord {
        /// The last seq taken in.
        #[prost(uint64, tag = "1")]
        cursor: u64,
        /// That was before the queue began anew: it is read from its beginning.
        #[prost(bool, tag = "2")]
        forgotten: bool,
        /// The first 8 bytes of the SHA-256 of what had the seq of the cursor; empty: not known.
        #[prost(bytes = "vec", tag = "3")]
        mark: Vec<u8>,
    }

    /// A message of a future epoch.
    ParkedRecord {
        /// The MLSMessage.
        #[prost(bytes = "bytes", tag = "1")]
        message: Bytes,
    }

    /// An encrypted message that was processed.
    SeenRecord {
        /// Messages processed in the conversation before it.
        #[prost(uint64, tag = "1")]
        number: u64,
        /// SHA-256 of the MLSMessage.
        #[prost(bytes = "vec", tag = "2")]
        message: Vec<u8>,
    }

    /// A message of the history.
    HistoryRecord {
        /// 32 bytes.
        #[prost(bytes = "vec", tag = "1")]
        sender: Vec<u8>,
        /// The encoded `AppMessage`.
        #[prost(bytes = "bytes", tag = "2")]
        app: Bytes,
        /// This device's clock when it was taken in, in milliseconds since 1970.
        #[prost(uint64, tag = "3")]
        stored_at_ms: u64,
    }

    /// Who may write.
    WriterRecord {
        /// 16 random bytes of this opening.
        #[prost(bytes = "vec", tag = "1")]
        opening: Vec<u8>,
        /// What the process calls itself.
        #[prost(string, tag = "2")]
        holder: String,
    }

    /// Version of the layout.
    SchemaRecord {
        #[prost(uint64, tag = "1")]
        version: u64,
    }
}
