//! Calls over the method table, and where their answers go.
//!
//! A call names its method by a type of [`rpc`](crate::method::rpc) and says with a [`Then`] what
//! its answer is for. `Then` is plain data: what the core waits for can be looked at, and is
//! forgotten whole when the connection is lost, since everything worth repeating is in the state.
//!
//! A new call is one line in the table below, and its handler:
//!
//! ```text
//! Fetch(queue: Queue) => Fetch,  on_fetched, Session,          again at Timer::Queue(queue);
//! what for               method  handler     of what an        where the core goes on after a pause if the server could
//!                                            Unauthorized      not serve it now; without it the handler hears that, too
//!                                            speaks
//! ```
//!
//! Every call may take [`request_timeout`](crate::client::ClientConfig::request_timeout); beyond that the connection is as
//! good as lost, and what was asked is asked again over the next. At most one call runs for a `Then`: who asks looks
//! whether it is asked already.

use bytes::Bytes;

use super::fault::Fault;
use super::timers::{Pause, Timer};
use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::client::event::ConversationId;
use crate::ids::{ChannelId, DeviceId, IdentityKey, IntentId};
use crate::method::{Method, Rpc, rpc};
use crate::status::Status;
use crate::wire;

/// Declares what is asked, as the page of this module says.
macro_rules! calls {
    ($(
        $(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])?
        $name:ident $(($($arg:ident: $type:ty),+))? => $method:ident, $handler:ident, $whose:ident $(, again at $timer:expr)?;
    )*) => {
        /// What an answer is for.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(in crate::client) enum Then {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $name $(($($type),+))?,)*
        }

        impl Then {
            /// The method that is called for it.
            fn method(&self) -> Method {
                match self {
                    $($(#[cfg($cfg)])? Self::$name { .. } => rpc::$method::METHOD,)*
                }
            }

            /// Of what Unauthorized speaks.
            fn unauthorized(&self) -> Unauthorized {
                match self {
                    $($(#[cfg($cfg)])? Self::$name { .. } => Unauthorized::$whose,)*
                }
            }
        }

        impl Client {
            /// `None` if an Ok answer does not decode.
            fn dispatch(&mut self, then: Then, answer: Result<Bytes, Fault>) -> Option<()> {
                match then {
                    $($(#[cfg($cfg)])? Then::$name $(($($arg),+))? => {
                        let answer = typed::<rpc::$method>(answer)?;
                        $(if let Some(fault) = passing(&answer) {
                            self.try_again($timer, fault);
                            return Some(());
                        })?
                        self.$handler($($($arg,)+)? answer);
                    })*
                }
                Some(())
            }
        }
    };
}

calls! {
    ServerInfo => GetServerInfo, on_server_info, Itself;
    ServerHealth => Health, on_health, Itself;
    Resume => ResumeSession, on_resumed, Itself;
    Chain => ResumeSession, on_chain_moved, Session, again at Timer::Chain;
    RegisterStart => OpaqueRegisterStart, on_register_started, Itself;
    RegisterFinish => OpaqueRegisterFinish, on_registered, Itself;
    LoginStart => OpaqueLoginStart, on_login_started, Itself;
    LoginFinish => OpaqueLoginFinish, on_logged_in, Itself;
    Logout(intent: IntentId) => Logout, on_logged_out, Session;
    RegisterDevice => RegisterDevice, on_device_registered, Session, again at Timer::Device;
    ListDevices(intent: IntentId) => ListDevices, on_devices, Session;
    /// The devices that a login finds no room beside.
    DevicesInTheWay(intent: IntentId) => ListDevices, on_devices_in_the_way, Session;
    RevokeDevice(intent: IntentId, device: DeviceId) => RevokeDevice, on_device_revoked, Session;
    CountPackages => CountKeyPackages, on_counted, Session;
    UploadPackage(reference: Vec<u8>) => UploadKeyPackage, on_uploaded, Session;
    ListQueues => ListQueues, on_queues, Session;
    /// With a slot that the channel is known to have reached before the request left.
    Fetch(queue: Option<ChannelId>, slot: Option<u64>) => Fetch, on_fetched, Session, again at Timer::Queue(queue);
    Ack(queue: Option<ChannelId>) => Ack, on_acked, Session;
    ResolveUser(name: String) => ResolveUser, on_user_resolved, Session, again at Timer::Names;
    ResolveIdentity(key: IdentityKey) => ResolveIdentity, on_identity_resolved, Session;
    UploadHybridKey => UploadHybridKey, on_hybrid_key, Session;
    /// The hybrid keys of these, for reports in this conversation.
    HybridKeys(id: ConversationId, of: Vec<IdentityKey>) => FetchHybridKeys, on_hybrid_keys, Session;
    /// A fork report to a member.
    Report(id: ConversationId, to: IdentityKey) => Enqueue, on_reported, Session;
    CreateChannel(id: ConversationId) => CreateChannel, on_channel, Session;
    FetchPackages(id: ConversationId, key: IdentityKey) => FetchKeyPackages, on_packages, Session,
        again at Timer::Conversation(id, Pause::Server);
    SubmitCommit(id: ConversationId) => SubmitCommit, on_submitted, Session;
    Send(id: ConversationId, order: u64) => BatchEnqueue, on_sent, Session;
    ListMembers(id: ConversationId, version: u64) => ListGroupMembers, on_members, Session;
    RemoveSelf(id: ConversationId) => RemoveMember, on_removed_self, Session;
    /// Asks for the own place on the list back.
    ListSelf(id: ConversationId) => AddMember, on_listed_self, Session;
    /// The same, where it is not known what the server has of the conversation.
    ListInDoubt(id: ConversationId) => AddMember, on_listed_in_doubt, Session;
    /// Asks the members for a fresh GroupInfo.
    RotateKeys(id: ConversationId) => RotateKeys, on_rotation_asked, Session;
    GetGroupInfo(id: ConversationId) => GetGroupInfo, on_group_info, Session;
    /// Where the others are, since a message with this seq is of an epoch that nothing leads to.
    Ahead(id: ConversationId, seq: u64) => GetGroupInfo, on_ahead, Session, again at Timer::Conversation(id, Pause::Ahead);
    /// How the server has a conversation since it was set back.
    Doubt(id: ConversationId) => GetGroupInfo, on_doubt, Session;
    /// Makes a channel again that the server has lost, for all in the tree or for this account alone.
    CreateAnew(id: ConversationId, alone: bool) => CreateChannel, on_created_anew, Session;
    /// Gives back the commit of this slot.
    Resubmit(id: ConversationId, slot: u64) => SubmitCommit, on_resubmitted, Session;
    /// Whether the server still has the message that it took last; the opening since which it may be lost.
    LastSent(id: ConversationId, since: u64) => BatchEnqueue, on_last_sent, Session, again at Timer::LastSent;
    /// A commit of who means ill, in this slot.
    #[cfg(feature = "sim")]
    Misdeed(id: ConversationId, slot: u64) => SubmitCommit, on_misdeed, Session;
    /// A message of who means ill.
    #[cfg(feature = "sim")]
    Said(number: u64) => BatchEnqueue, on_said, Session;
}

/// Of what an answer speaks that is Unauthorized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unauthorized {
    /// The session is over.
    Session,
    /// The request itself is refused: it needs no session, or asks for one.
    Itself,
}

/// What became of a call.
pub(in crate::client) type Answer<M> = Result<<M as Rpc>::Response, Fault>;

impl Client {
    /// Sends a request of the method `M`; its answer goes where `then` says.
    pub(in crate::client) fn call<M: Rpc>(&mut self, request: &M::Request, then: Then) {
        debug_assert_eq!(then.method(), M::METHOD, "{then:?}");
        match self.link.frame::<M>(request) {
            Ok(frame) => self.request(frame, then),
            Err(_) => self.answered(then, Err(Fault::too_large())),
        }
    }

    /// Sends a request of the method `M` that is kept in its encoded form.
    pub(in crate::client) fn call_kept<M: Rpc>(&mut self, request: &[u8], then: Then) {
        debug_assert_eq!(then.method(), M::METHOD, "{then:?}");
        match self.link.frame_kept::<M>(request) {
            Ok(frame) => self.request(frame, then),
            Err(_) => self.answered(then, Err(Fault::too_large())),
        }
    }

    /// Hands an answer to anyone who waits for it.
    pub(in crate::client) fn answered(&mut self, then: Then, answer: Result<Bytes, Fault>) {
        let lost = answer
            .as_ref()
            .is_err_and(|fault| fault.status == Status::Unauthorized);
        if lost && then.unauthorized() == Unauthorized::Session {
            self.session_lost();
            return;
        }
        if self.dispatch(then, answer).is_none() {
            self.disconnect(DisconnectReason::Protocol);
        }
    }

    /// Goes on at this timer, after the pause that the server asked for.
    pub(in crate::client) fn try_again(&mut self, timer: Timer, fault: &Fault) {
        let at = self.clock.now() + self.pause(fault);
        match timer {
            // Something else may have it wait longer.
            Timer::Conversation(..) => self.timers.hold(timer, at),
            _ => self.timers.set(timer, at),
        }
    }
}

/// Why the same request may succeed later, if that is so.
fn passing<T>(answer: &Result<T, Fault>) -> Option<&Fault> {
    answer.as_ref().err().filter(|fault| fault.is_passing())
}

fn typed<M: Rpc>(answer: Result<Bytes, Fault>) -> Option<Answer<M>> {
    match answer {
        Ok(payload) => wire::decode_response::<M>(payload).ok().map(Ok),
        Err(fault) => Some(Err(fault)),
    }
}
