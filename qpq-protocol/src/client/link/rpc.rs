//! Calls over the method table, and where their answers go.
//!
//! A call names its method by a type of [`rpc`](crate::method::rpc) and says with a [`Then`] what
//! its answer is for. `Then` is plain data: what the core waits for can be looked at, and is
//! forgotten whole when the connection is lost, since everything worth repeating is in the state.

use bytes::Bytes;
use core::time::Duration;

use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::client::event::ConversationId;
use crate::ids::{ChannelId, DeviceId, IdentityKey, IntentId};
use crate::method::{Rpc, rpc};
use crate::proto;
use crate::status::Status;
use crate::wire;

/// What an answer is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::client) enum Then {
    ServerInfo,
    ServerHealth,
    Resume,
    Chain,
    RegisterStart,
    RegisterFinish,
    LoginStart,
    LoginFinish,
    Logout(IntentId),
    RegisterDevice,
    ListQueues,
    Fetch {
        queue: Option<ChannelId>,
        /// A slot that the channel is known to have reached before the request left.
        slot: Option<u64>,
    },
    Ack(Option<ChannelId>),
    CountPackages,
    UploadPackage(Vec<u8>),
    UploadHybridKey,
    /// The hybrid keys of these, for reports in this conversation.
    HybridKeys(ConversationId, Vec<IdentityKey>),
    /// A fork report to a member.
    Report(ConversationId, IdentityKey),
    ResolveUser(String),
    ResolveIdentity(IdentityKey),
    CreateChannel(ConversationId),
    FetchPackages(ConversationId, IdentityKey),
    SubmitCommit(ConversationId),
    Send(ConversationId, u64),
    /// Whether the server still has the message that it took last; the opening since which it may be lost.
    LastSent(ConversationId, u64),
    RemoveSelf(ConversationId),
    ListMembers(ConversationId, u64),
    /// Asks the members for a fresh GroupInfo.
    RotateKeys(ConversationId),
    GetGroupInfo(ConversationId),
    /// Where the others are, since a message with this seq is of an epoch that nothing leads to.
    Ahead(ConversationId, u64),
    /// How the server has a conversation since it was set back.
    Doubt(ConversationId),
    /// Makes a channel again that the server has lost, for all in the tree or for this account alone.
    CreateAnew {
        id: ConversationId,
        alone: bool,
    },
    /// Gives back the commit of this slot.
    Resubmit(ConversationId, u64),
    /// Asks for the own place on the list back.
    ListSelf(ConversationId),
    /// The same, where it is not known what the server has of the conversation.
    ListInDoubt(ConversationId),
    /// A commit of who means ill, in this slot.
    #[cfg(feature = "sim")]
    Misdeed(ConversationId, u64),
    /// A message of who means ill.
    #[cfg(feature = "sim")]
    Said(u64),
    ListDevices(IntentId),
    /// The devices that a login finds no room beside.
    DevicesInTheWay(IntentId),
    RevokeDevice(IntentId, DeviceId),
}

/// An answer that is not Ok.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::client) struct Fault {
    pub(in crate::client) status: Status,
    pub(in crate::client) message: String,
    pub(in crate::client) retry_after: Duration,
    pub(in crate::client) slot: u64,
    pub(in crate::client) commit_hash: Bytes,
    /// Because of whom a member list could not be changed, as far as the server says.
    pub(in crate::client) members: Vec<IdentityKey>,
}

impl Fault {
    pub(in crate::client) fn new(status: Status, detail: proto::ErrorDetail) -> Self {
        let members = detail.member_keys.iter();
        let members = members.filter_map(|key| IdentityKey::try_from(key.as_ref()).ok());
        Self {
            members: members.collect(),
            status,
            message: detail.message,
            retry_after: Duration::from_millis(detail.retry_after_ms.into()),
            slot: detail.slot,
            commit_hash: detail.commit_hash,
        }
    }

    /// The server gave up the stream without an answer.
    pub(in crate::client) fn reset() -> Self {
        Self::new(Status::Unavailable, proto::ErrorDetail::default())
    }

    /// The request does not fit a frame.
    pub(super) fn too_large() -> Self {
        let message = "the request is longer than a frame may be".to_owned();
        let detail = proto::ErrorDetail {
            message,
            ..proto::ErrorDetail::default()
        };
        Self::new(Status::BadRequest, detail)
    }

    /// Whether the same request may succeed later.
    pub(in crate::client) fn is_passing(&self) -> bool {
        matches!(
            self.status,
            Status::RateLimited | Status::DeadlineExceeded | Status::Unavailable | Status::Internal
        )
    }
}

/// What became of a call.
pub(in crate::client) type Answer<M> = Result<<M as Rpc>::Response, Fault>;

impl Client {
    /// Sends a request of the method `M`; its answer goes where `then` says.
    pub(in crate::client) fn call<M: Rpc>(&mut self, request: &M::Request, then: Then) {
        match self.link.frame::<M>(request) {
            Ok(frame) => self.request(frame, then),
            Err(_) => self.answered(then, Err(Fault::too_large())),
        }
    }

    /// Sends a request of the method `M` that is kept in its encoded form.
    pub(in crate::client) fn call_kept<M: Rpc>(&mut self, request: &[u8], then: Then) {
        match self.link.frame_kept::<M>(request) {
            Ok(frame) => self.request(frame, then),
            Err(_) => self.answered(then, Err(Fault::too_large())),
        }
    }

    /// Hands an answer to whoever waits for it.
    pub(in crate::client) fn answered(&mut self, then: Then, answer: Result<Bytes, Fault>) {
        let lost = answer
            .as_ref()
            .is_err_and(|fault| fault.status == Status::Unauthorized);
        if lost && !is_login(&then) {
            self.session_lost();
            return;
        }
        if self.dispatch(then, answer).is_none() {
            self.disconnect(DisconnectReason::Protocol);
        }
    }

    /// `None` if an Ok answer does not decode.
    fn dispatch(&mut self, then: Then, answer: Result<Bytes, Fault>) -> Option<()> {
        match then {
            Then::ServerInfo => self.on_server_info(typed::<rpc::GetServerInfo>(answer)?),
            Then::ServerHealth => self.on_health(typed::<rpc::Health>(answer)?),
            Then::Resume => self.on_resumed(typed::<rpc::ResumeSession>(answer)?),
            Then::Chain => self.on_chain_moved(typed::<rpc::ResumeSession>(answer)?),
            Then::RegisterStart => {
                self.on_register_started(typed::<rpc::OpaqueRegisterStart>(answer)?);
            }
            Then::RegisterFinish => self.on_registered(typed::<rpc::OpaqueRegisterFinish>(answer)?),
            Then::LoginStart => self.on_login_started(typed::<rpc::OpaqueLoginStart>(answer)?),
            Then::LoginFinish => self.on_logged_in(typed::<rpc::OpaqueLoginFinish>(answer)?),
            Then::Logout(intent) => self.on_logged_out(intent, typed::<rpc::Logout>(answer)?),
            Then::RegisterDevice => {
                self.on_device_registered(typed::<rpc::RegisterDevice>(answer)?);
            }
            Then::ListQueues => self.on_queues(typed::<rpc::ListQueues>(answer)?),
            Then::Fetch { queue, slot } => {
                self.on_fetched(queue, slot, typed::<rpc::Fetch>(answer)?);
            }
            Then::Ack(queue) => self.on_acked(queue, typed::<rpc::Ack>(answer)?),
            Then::CountPackages => self.on_counted(typed::<rpc::CountKeyPackages>(answer)?),
            Then::UploadPackage(reference) => {
                self.on_uploaded(&reference, typed::<rpc::UploadKeyPackage>(answer)?);
            }
            Then::UploadHybridKey => self.on_hybrid_key(typed::<rpc::UploadHybridKey>(answer)?),
            Then::HybridKeys(conversation, of) => {
                self.on_hybrid_keys(conversation, &of, typed::<rpc::FetchHybridKeys>(answer)?);
            }
            Then::Report(conversation, to) => {
                self.on_reported(conversation, to, typed::<rpc::Enqueue>(answer)?);
            }
            Then::ResolveUser(name) => {
                self.on_user_resolved(name, typed::<rpc::ResolveUser>(answer)?);
            }
            Then::ResolveIdentity(key) => {
                self.on_identity_resolved(key, typed::<rpc::ResolveIdentity>(answer)?);
            }
            Then::CreateChannel(conversation) => {
                self.on_channel(conversation, typed::<rpc::CreateChannel>(answer)?);
            }
            Then::FetchPackages(conversation, key) => {
                self.on_packages(conversation, key, typed::<rpc::FetchKeyPackages>(answer)?);
            }
            Then::SubmitCommit(conversation) => {
                self.on_submitted(conversation, typed::<rpc::SubmitCommit>(answer)?);
            }
            Then::Send(conversation, order) => {
                self.on_sent(conversation, order, typed::<rpc::BatchEnqueue>(answer)?);
            }
            Then::LastSent(conversation, since) => {
                self.on_last_sent(conversation, since, typed::<rpc::BatchEnqueue>(answer)?);
            }
            Then::RemoveSelf(conversation) => {
                self.on_removed_self(conversation, typed::<rpc::RemoveMember>(answer)?);
            }
            Then::ListMembers(conversation, version) => {
                self.on_members(
                    conversation,
                    version,
                    typed::<rpc::ListGroupMembers>(answer)?,
                );
            }
            Then::RotateKeys(conversation) => {
                self.on_rotation_asked(conversation, typed::<rpc::RotateKeys>(answer)?);
            }
            Then::GetGroupInfo(conversation) => {
                self.on_group_info(conversation, typed::<rpc::GetGroupInfo>(answer)?);
            }
            Then::Ahead(conversation, seq) => {
                self.on_ahead(conversation, seq, typed::<rpc::GetGroupInfo>(answer)?);
            }
            Then::Doubt(conversation) => {
                self.on_doubt(conversation, typed::<rpc::GetGroupInfo>(answer)?);
            }
            Then::CreateAnew { id, alone } => {
                self.on_created_anew(id, alone, typed::<rpc::CreateChannel>(answer)?);
            }
            #[cfg(feature = "sim")]
            Then::Said(_) => _ = typed::<rpc::BatchEnqueue>(answer)?,
            #[cfg(feature = "sim")]
            Then::Misdeed(conversation, slot) => {
                self.on_misdeed(conversation, slot, typed::<rpc::SubmitCommit>(answer)?);
            }
            Then::Resubmit(conversation, slot) => {
                self.on_resubmitted(conversation, slot, typed::<rpc::SubmitCommit>(answer)?);
            }
            Then::ListInDoubt(conversation) => {
                self.on_listed_in_doubt(conversation, typed::<rpc::AddMember>(answer)?);
            }
            Then::ListSelf(conversation) => {
                self.on_listed_self(conversation, typed::<rpc::AddMember>(answer)?);
            }
            Then::ListDevices(intent) => {
                self.on_devices(intent, typed::<rpc::ListDevices>(answer)?);
            }
            Then::DevicesInTheWay(intent) => {
                self.on_devices_in_the_way(intent, typed::<rpc::ListDevices>(answer)?);
            }
            Then::RevokeDevice(intent, device) => {
                self.on_device_revoked(intent, device, typed::<rpc::RevokeDevice>(answer)?);
            }
        }
        Some(())
    }
}

/// Whether Unauthorized is an answer to this request itself, not about the session.
fn is_login(then: &Then) -> bool {
    matches!(
        then,
        Then::ServerInfo
            | Then::ServerHealth
            | Then::Resume
            | Then::RegisterStart
            | Then::RegisterFinish
            | Then::LoginStart
            | Then::LoginFinish
    )
}

fn typed<M: Rpc>(answer: Result<Bytes, Fault>) -> Option<Answer<M>> {
    match answer {
        Ok(payload) => wire::decode_response::<M>(payload).ok().map(Ok),
        Err(fault) => Some(Err(fault)),
    }
}
