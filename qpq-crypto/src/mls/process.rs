//! What others send: decrypted, verified, applied, or refused with what that means.

use openmls::{
    group::ProcessMessageError,
    prelude::{
        ContentType, LeafNodeIndex, MlsMessageIn, ProcessedMessage, ProcessedMessageContent,
        ProtocolMessage, QueuedProposal, Sender, StagedCommit,
    },
};

use super::{
    Author, Device, Group, Member, Policy, ProcessError, ProcessErrorKind as Kind,
    change::{Change, Unacceptable, check_commit, check_standalone},
    codec, member,
    storage::StoreError,
    verdict,
};
use crate::{identity::IdentityKey, padding};

/// A message that was processed.
#[derive(Clone, PartialEq, Eq)]
pub enum Processed {
    /// An application message.
    Application {
        /// Who wrote it; may be out since.
        sender: Author,
        /// Its content, without the padding.
        plaintext: Vec<u8>,
    },
    /// A commit, already merged.
    Commit {
        /// Who made it, as the leaf was in the epoch before; one who let himself in again, as it
        /// is now.
        sender: Member,
        /// Devices that are in since.
        added: Vec<Member>,
        /// Devices that are out since.
        removed: Vec<Member>,
        /// Whether this device is among those: the group is inactive now.
        self_removed: bool,
        /// The epoch it led to.
        epoch: u64,
    },
    /// A proposal, now queued for the next commit: in a group with our profile, always that the
    /// sender leaves.
    Proposal {
        /// Who made it.
        sender: Member,
    },
}

/// Shows everything but what was said.
impl std::fmt::Debug for Processed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Processed::Application { sender, plaintext } => f
                .debug_struct("Application")
                .field("sender", sender)
                .field("bytes", &plaintext.len())
                .finish(),
            Processed::Commit {
                sender,
                added,
                removed,
                self_removed,
                epoch,
            } => f
                .debug_struct("Commit")
                .field("sender", sender)
                .field("added", added)
                .field("removed", removed)
                .field("self_removed", self_removed)
                .field("epoch", epoch)
                .finish(),
            Processed::Proposal { sender } => {
                f.debug_struct("Proposal").field("sender", sender).finish()
            }
        }
    }
}

impl Group {
    /// Processes an `MLSMessage` that another member sent: decrypts an application message,
    /// queues a proposal, merges a commit (and drops a pending one of ours with it).
    ///
    /// Store the batch together with the plaintext and the read cursor, then acknowledge.
    ///
    /// # Errors
    /// [`ProcessError`]; its kind says what to do. Group and rows are as before.
    pub fn process(
        &mut self,
        device: &mut Device,
        message: &[u8],
    ) -> Result<Processed, ProcessError> {
        let (message, context) = self.read(message)?;
        self.check_frame(&message).map_err(|e| context.error(e))?;
        self.attempt(device, |group, device| {
            group.apply(device, message, None, verdict::of_message)
        })
        .map_err(|failure| context.error(failure))
    }

    /// Processes the commit that has a slot, which `committer` got for it by the delivery service's
    /// signed word, and merges it (dropping a pending one of ours with it).
    ///
    /// Of the kinds of error only two come from what somebody sent: [`ProcessErrorKind::Void`] is a test
    /// that all members share, and the group goes on as if there had been nothing;
    /// [`ProcessErrorKind::PathOrTag`] needs what only this member has, so that others may have merged
    /// it: rejoin. In doubt it is the latter, which harms nobody else.
    ///
    /// A proposal counts only inside a commit, since others may not have been sent it: what is queued
    /// is dropped.
    ///
    /// [`ProcessErrorKind::Void`]: super::ProcessErrorKind::Void
    /// [`ProcessErrorKind::PathOrTag`]: super::ProcessErrorKind::PathOrTag
    ///
    /// # Errors
    /// [`ProcessError`]; group and rows are as before.
    pub fn process_commit(
        &mut self,
        device: &mut Device,
        committer: &IdentityKey,
        commit: &[u8],
    ) -> Result<Processed, ProcessError> {
        let (message, context) = self.read(commit)?;
        self.check_commit_frame(&message)
            .map_err(|e| context.error(e))?;
        let is_own = device.credential().identity_key == *committer;
        let of_commit = match self.policy {
            Policy::Qpq => verdict::of_commit,
            Policy::Interop => verdict::of_foreign_commit,
        };
        self.attempt(device, |group, device| {
            group.forget_proposals(device)?;
            group.apply(device, message, Some(committer), of_commit)
        })
        .map_err(|failure| match failure.kind {
            // Another in the place of this device's state took the slot, or somebody claims so.
            Kind::OwnMessage if is_own => Failure::new(Kind::PathOrTag, failure.reason),
            Kind::OwnMessage => Failure::new(Kind::Void, failure.reason),
            _ => failure,
        })
        .map_err(|failure| context.error(failure))
    }

    /// Drops queued proposals: anyone who wants what they propose commits it by itself.
    ///
    /// # Errors
    /// [`ProcessError`] of the kind State if rows cannot be written.
    pub fn drop_proposals(&mut self, device: &mut Device) -> Result<(), ProcessError> {
        self.forget_proposals(device)
            .map_err(|failure| plain(failure.kind, &failure.reason))
    }

    fn forget_proposals(&mut self, device: &Device) -> Result<(), Failure> {
        Ok(self.mls.clear_pending_proposals(device.rows())?)
    }

    fn read(&self, message: &[u8]) -> Result<(ProtocolMessage, Context), ProcessError> {
        let message = codec::decode::<MlsMessageIn>(message)
            .and_then(|message| message.try_into_protocol_message().ok())
            .ok_or_else(|| plain(Kind::Void, "not a group message"))?;
        let context = Context {
            sender: self.claimed_sender(&message),
            epoch: message.epoch().as_u64(),
        };
        Ok((message, context))
    }

    /// The sender that a message names in the clear.
    fn claimed_sender(&self, message: &ProtocolMessage) -> Option<Member> {
        match message {
            ProtocolMessage::PublicMessage(public) => match public.sender() {
                Sender::Member(leaf) => self.member(leaf.u32()),
                _ => None,
            },
            ProtocolMessage::PrivateMessage(_) => None,
        }
    }

    fn check_frame(&self, message: &ProtocolMessage) -> Result<(), Failure> {
        if !self.is_active() {
            return Err(Failure::new(Kind::State, "this device was removed"));
        }
        if message.group_id() != self.mls.group_id() {
            return Err(Failure::new(Kind::Void, "message of another group"));
        }
        let epoch = message.epoch().as_u64();
        if epoch > self.epoch() {
            return Err(Failure::new(Kind::FutureEpoch, "not there yet"));
        }
        if epoch < self.epoch() && message.is_handshake_message() {
            return Err(Failure::new(Kind::PastEpoch, "handshake of a past epoch"));
        }
        Ok(())
    }

    /// What all members know of a commit before they decrypt it.
    fn check_commit_frame(&self, message: &ProtocolMessage) -> Result<(), Failure> {
        if !self.is_active() {
            return Err(Failure::new(Kind::State, "this device was removed"));
        }
        let void = |reason: &str| Err(Failure::new(Kind::Void, reason));
        if message.group_id() != self.mls.group_id() {
            return void("commit of another group");
        }
        if message.content_type() != ContentType::Commit {
            return void("not a commit");
        }
        if message.epoch().as_u64() != self.epoch() {
            return void("commit of another epoch");
        }
        Ok(())
    }

    /// `committer` is who a commit has to come from, if it has a slot.
    fn apply(
        &mut self,
        device: &Device,
        message: ProtocolMessage,
        committer: Option<&IdentityKey>,
        verdict: fn(ProcessMessageError<StoreError>) -> Failure,
    ) -> Result<Processed, Failure> {
        let processed = self
            .mls
            .process_message(&device.unseeded(), message)
            .map_err(verdict)?;
        let sender = processed.sender().clone();
        let known = match &sender {
            Sender::Member(leaf) => Some(self.find(&processed, *leaf)),
            Sender::NewMemberCommit => None,
            _ => return Err(Unacceptable::Kind.into()),
        };
        let author = match (&sender, &known) {
            (_, Some(Ok(member))) => Some(Author::from(*member)),
            // Removed since: openmls holds the leaves of that epoch, and has checked the signature.
            (Sender::Member(leaf), _) => member::departed(leaf.u32(), processed.credential()),
            _ => None,
        };
        match (processed.into_content(), known) {
            (ProcessedMessageContent::ApplicationMessage(message), Some(known)) => {
                Ok(Processed::Application {
                    sender: match author {
                        Some(author) => author,
                        None => known?.into(),
                    },
                    plaintext: self.unpad(message.into_bytes())?,
                })
            }
            (ProcessedMessageContent::ProposalMessage(proposal), Some(sender)) => {
                self.queue(device, sender?, *proposal)
            }
            (ProcessedMessageContent::StagedCommitMessage(staged), known) => {
                self.merge(device, known.transpose()?, &sender, *staged, committer)
            }
            (
                ProcessedMessageContent::OwnPendingCommit
                | ProcessedMessageContent::OwnPrivateMessage,
                _,
            ) => Err(Failure::new(Kind::OwnMessage, "sent by this device")),
            _ => Err(Unacceptable::Kind.into()),
        }
    }

    /// The member that a verified message comes from. In a message of the epoch before, the leaf
    /// may since have gone to someone else.
    fn find(&self, processed: &ProcessedMessage, leaf: LeafNodeIndex) -> Result<Member, Failure> {
        let wrote = |m: &openmls::prelude::Member| m.credential == *processed.credential();
        self.mls
            .member_at(leaf)
            .filter(wrote)
            .or_else(|| self.mls.members().find(wrote))
            .and_then(|m| member::known(&m))
            .ok_or_else(|| Failure::new(Kind::PastEpoch, "the sender is gone"))
    }

    fn unpad(&self, content: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match self.policy {
            Policy::Qpq => padding::unpad(&content)
                .map(<[u8]>::to_vec)
                .map_err(|error| Failure::new(Kind::Void, error)),
            Policy::Interop => Ok(content),
        }
    }

    fn queue(
        &mut self,
        device: &Device,
        sender: Member,
        proposal: QueuedProposal,
    ) -> Result<Processed, Failure> {
        check_standalone(self, proposal.sender(), proposal.proposal())?;
        self.mls.store_pending_proposal(device.rows(), proposal)?;
        Ok(Processed::Proposal { sender })
    }

    fn merge(
        &mut self,
        device: &Device,
        known: Option<Member>,
        sender: &Sender,
        staged: StagedCommit,
        committer: Option<&IdentityKey>,
    ) -> Result<Processed, Failure> {
        let author = check_commit(self, sender, &staged)?;
        if committer.is_some_and(|committer| author != Some(*committer)) {
            return Err(Failure::new(Kind::Void, "committed by somebody else"));
        }
        let (change, joined_leaf) = match known {
            Some(_) => (Change::of(&staged), None),
            None => (
                Change::of_external(&staged),
                self.mls.ext_commit_sender_index(&staged).ok(),
            ),
        };
        let self_removed = staged.self_removed();
        let removed = change.removed_from(self);
        self.mls
            .merge_staged_commit(&device.unseeded(), staged)
            .map_err(|error| Failure::new(Kind::State, error))?;
        if self_removed {
            device.rows().delete_node_keys(self.mls.group_id())?;
        }
        let added = change.added_to(self);
        let sender = known
            .or_else(|| self.member(joined_leaf?.u32()))
            .ok_or_else(|| Failure::new(Kind::State, "the committer has no leaf"))?;
        Ok(Processed::Commit {
            sender,
            added,
            removed,
            self_removed,
            epoch: self.epoch(),
        })
    }
}

/// What the outside of a message says.
struct Context {
    sender: Option<Member>,
    epoch: u64,
}

impl Context {
    fn error(&self, failure: Failure) -> ProcessError {
        ProcessError {
            kind: failure.kind,
            sender: self.sender.map(Box::new),
            epoch: Some(self.epoch),
            reason: failure.reason,
        }
    }
}

fn plain(kind: Kind, reason: &str) -> ProcessError {
    ProcessError {
        kind,
        sender: None,
        epoch: None,
        reason: reason.to_owned(),
    }
}

/// Why a message was not processed, before it is said whose it was.
pub(super) struct Failure {
    kind: Kind,
    reason: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, reason: impl ToString) -> Self {
        Failure {
            kind,
            reason: reason.to_string(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::new(Kind::State, error)
    }
}

impl From<Unacceptable> for Failure {
    fn from(error: Unacceptable) -> Self {
        Failure::new(Kind::Void, error)
    }
}
