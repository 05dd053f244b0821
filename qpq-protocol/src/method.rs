//! The method table (protocol.md section 3): the one place that knows each method's id, name,
//! messages, caller and longest request.
//!
//! Code that knows its method at compile time names a type of [`rpc`]; code that learns it from a
//! frame has a [`Method`] and gets from there to the type by [`Method::visit`]:
//!
//! ```
//! use qpq_protocol::method::{Method, Rpc, Visitor, rpc};
//! use prost::Message;
//!
//! struct EncodedDefault;
//! impl Visitor for EncodedDefault {
//!     type Output = Vec<u8>;
//!     fn visit<M: Rpc>(self) -> Vec<u8> {
//!         M::Request::default().encode_to_vec()
//!     }
//! }
//!
//! let method = Method::try_from(802)?;
//! assert_eq!(method, rpc::Health::METHOD);
//! assert_eq!(method.visit(EncodedDefault), []);
//! # Ok::<(), qpq_protocol::method::UnknownMethod>(())
//! ```

use bytes::Bytes;
use prost::Message;

use crate::frame::MAX_PAYLOAD;
use crate::proto;
use crate::validate::Validate;

/// Longest request payload in bytes of most methods, and of every method on a connection that has
/// no session.
pub const SMALL: usize = 64 * 1024;
/// Longest request payload in bytes of methods that carry messages: a whole frame.
pub const LARGE: usize = MAX_PAYLOAD;
/// Longest request payload in bytes of `UploadBlob`: a chunk of 256 KiB and its fields.
pub const CHUNK: usize = 257 * 1024;

/// Who may call a method.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Caller {
    /// Anybody.
    Anonymous,
    /// A session.
    Session,
    /// A session that owns the identity key named in the request ([`Rpc::subject`]).
    Owner,
    /// A session of a member of the channel named in the request ([`Rpc::subject`]).
    Member,
    /// A session of an identity key listed in the server's configuration.
    Admin,
    /// A server, on a federation connection.
    Federation,
    /// A session, or anybody who shows the access key or channel key in the request.
    SessionOrSealed,
}

/// The id belongs to no method: answer [`crate::status::Status::UnknownMethod`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no method has the id {id}")]
pub struct UnknownMethod {
    /// The id asked for.
    pub id: u16,
}

/// A method known at compile time; implemented by the types of [`rpc`].
pub trait Rpc: Copy + Default + Send + Sync + 'static {
    /// The same method as a value.
    const METHOD: Method;
    /// What the caller sends.
    type Request: Message + Default + Clone + PartialEq + core::fmt::Debug + Validate + 'static;
    /// What an `Ok` response carries.
    type Response: Message + Default + Clone + PartialEq + core::fmt::Debug + 'static;

    /// The field that the caller rule is about: the identity key for [`Caller::Owner`], the channel
    /// id for [`Caller::Member`], `None` for the others.
    fn subject(request: &Self::Request) -> Option<&Bytes>;
}

/// Something to do for a method whose type is only known at run time.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Does it for the method `M`.
    fn visit<M: Rpc>(self) -> Self::Output;
}

macro_rules! methods {
    (@subject $request:ident) => {
        None
    };
    (@subject $request:ident $field:ident) => {
        Some(&$request.$field)
    };
    (@fresh) => {
        false
    };
    (@fresh fresh) => {
        true
    };
    ($(
        $id:literal $name:ident: $request:ident -> $response:ident,
        $caller:ident $(($subject:ident))? $($fresh:ident)?, $max:ident;
    )*) => {
        /// A method of protocol.md section 3.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Method {
            $(
                #[doc = concat!("Method ", stringify!($id), ", see [`rpc::", stringify!($name), "`].")]
                $name,
            )*
        }

        impl Method {
            /// Every method, in the order of the ids.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its place in [`Self::ALL`].
            #[cfg(feature = "std")]
            pub(crate) const fn index(self) -> usize {
                self as usize
            }

            /// The id on the wire.
            #[must_use]
            pub const fn id(self) -> u16 {
                match self { $(Self::$name => $id,)* }
            }

            /// The name as protocol.md writes it, for logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Who may call it.
            #[must_use]
            pub const fn caller(self) -> Caller {
                match self { $(Self::$name => Caller::$caller,)* }
            }

            /// Whether the session's login must be at most 5 minutes old.
            #[must_use]
            pub const fn needs_fresh_login(self) -> bool {
                match self { $(Self::$name => methods!(@fresh $($fresh)?),)* }
            }

            /// Longest request payload in bytes; without a session it is at most [`SMALL`].
            #[must_use]
            pub const fn max_request(self) -> usize {
                match self { $(Self::$name => $max,)* }
            }

            /// Does something that needs the method's type.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Self::$name => visitor.visit::<rpc::$name>(),)* }
            }
        }

        impl TryFrom<u16> for Method {
            type Error = UnknownMethod;

            fn try_from(id: u16) -> Result<Self, UnknownMethod> {
                match id {
                    $($id => Ok(Self::$name),)*
                    _ => Err(UnknownMethod { id }),
                }
            }
        }

        /// A type without size for each method.
        pub mod rpc {
            use super::{Bytes, Method, Rpc, proto};

            $(
                #[doc = concat!(
                    "Method ", stringify!($id), ": [`", stringify!($request), "`](proto::",
                    stringify!($request), ") to [`", stringify!($response), "`](proto::",
                    stringify!($response), ")."
                )]
                #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
                pub struct $name;

                impl Rpc for $name {
                    const METHOD: Method = Method::$name;
                    type Request = proto::$request;
                    type Response = proto::$response;

                    #[allow(unused_variables)]
                    fn subject(request: &Self::Request) -> Option<&Bytes> {
                        methods!(@subject request $($subject)?)
                    }
                }
            )*
        }
    };
}

// id, name, messages; caller (field it is about) and whether a fresh login; longest request.
// Ids are stable and never reused. 906 to 909 are reserved for federation.
methods! {
    100 OpaqueRegisterStart: OpaqueRegisterStartRequest -> OpaqueRegisterStartResponse, Anonymous, SMALL;
    101 OpaqueRegisterFinish: OpaqueRegisterFinishRequest -> OpaqueRegisterFinishResponse, Anonymous, SMALL;
    102 OpaqueLoginStart: OpaqueLoginStartRequest -> OpaqueLoginStartResponse, Anonymous, SMALL;
    103 OpaqueLoginFinish: OpaqueLoginFinishRequest -> OpaqueLoginFinishResponse, Anonymous, SMALL;
    104 ResumeSession: ResumeSessionRequest -> ResumeSessionResponse, Anonymous, SMALL;
    105 Logout: LogoutRequest -> LogoutResponse, Session, SMALL;

    200 Enqueue: EnqueueRequest -> EnqueueResponse, SessionOrSealed, LARGE;
    201 Fetch: FetchRequest -> FetchResponse, Owner(recipient_key), SMALL;
    202 FetchWait: FetchWaitRequest -> FetchWaitResponse, Owner(recipient_key), SMALL;
    203 Peek: PeekRequest -> PeekResponse, Owner(recipient_key), SMALL;
    204 Ack: AckRequest -> AckResponse, Owner(recipient_key), SMALL;
    205 BatchEnqueue: BatchEnqueueRequest -> BatchEnqueueResponse, SessionOrSealed, LARGE;
    206 SubmitCommit: SubmitCommitRequest -> SubmitCommitResponse, Member(channel_id), LARGE;
    207 ListQueues: ListQueuesRequest -> ListQueuesResponse, Session, SMALL;

    300 UploadKeyPackage: UploadKeyPackageRequest -> UploadKeyPackageResponse, Owner(identity_key), SMALL;
    301 FetchKeyPackage: FetchKeyPackageRequest -> FetchKeyPackageResponse, Session, SMALL;
    302 UploadHybridKey: UploadHybridKeyRequest -> UploadHybridKeyResponse, Owner(identity_key), SMALL;
    303 FetchHybridKey: FetchHybridKeyRequest -> FetchHybridKeyResponse, Session, SMALL;
    304 FetchHybridKeys: FetchHybridKeysRequest -> FetchHybridKeysResponse, Session, SMALL;
    305 FetchKeyPackages: FetchKeyPackagesRequest -> FetchKeyPackagesResponse, Session, SMALL;
    306 CountKeyPackages: CountKeyPackagesRequest -> CountKeyPackagesResponse, Owner(identity_key), SMALL;

    400 CreateChannel: CreateChannelRequest -> CreateChannelResponse, Session, SMALL;
    410 RemoveMember: RemoveMemberRequest -> RemoveMemberResponse, Member(channel_id), SMALL;
    411 UpdateGroupMetadata: UpdateGroupMetadataRequest -> UpdateGroupMetadataResponse, Member(channel_id), SMALL;
    412 ListGroupMembers: ListGroupMembersRequest -> ListGroupMembersResponse, Member(channel_id), SMALL;
    413 RotateKeys: RotateKeysRequest -> RotateKeysResponse, Member(channel_id), SMALL;
    414 AddMember: AddMemberRequest -> AddMemberResponse, Member(channel_id), SMALL;
    415 SendTyping: SendTypingRequest -> SendTypingResponse, Member(channel_id), SMALL;
    416 GetGroupInfo: GetGroupInfoRequest -> GetGroupInfoResponse, Member(channel_id), SMALL;
    420 ReportMessage: ReportMessageRequest -> ReportMessageResponse, Session, SMALL;
    421 BanUser: BanUserRequest -> BanUserResponse, Admin, SMALL;
    422 UnbanUser: UnbanUserRequest -> UnbanUserResponse, Admin, SMALL;
    423 ListReports: ListReportsRequest -> ListReportsResponse, Admin, SMALL;
    424 ListBanned: ListBannedRequest -> ListBannedResponse, Admin, SMALL;

    500 ResolveUser: ResolveUserRequest -> ResolveUserResponse, Session, SMALL;
    501 ResolveIdentity: ResolveIdentityRequest -> ResolveIdentityResponse, Session, SMALL;
    502 SetPresence: SetPresenceRequest -> SetPresenceResponse, Session, SMALL;
    503 SetAccessKey: SetAccessKeyRequest -> SetAccessKeyResponse, Owner(identity_key), SMALL;
    510 RevokeKey: RevokeKeyRequest -> RevokeKeyResponse, Owner(identity_key) fresh, SMALL;
    511 CheckRevocation: CheckRevocationRequest -> CheckRevocationResponse, Anonymous, SMALL;
    520 AuditKeyTransparency: AuditKeyTransparencyRequest -> AuditKeyTransparencyResponse, Anonymous, SMALL;
    521 GetConsistencyProof: GetConsistencyProofRequest -> GetConsistencyProofResponse, Anonymous, SMALL;

    600 UploadBlob: UploadBlobRequest -> UploadBlobResponse, Session, CHUNK;
    601 DownloadBlob: DownloadBlobRequest -> DownloadBlobResponse, Session, SMALL;
    602 DeleteBlob: DeleteBlobRequest -> DeleteBlobResponse, Session, SMALL;

    700 RegisterDevice: RegisterDeviceRequest -> RegisterDeviceResponse, Session, SMALL;
    701 ListDevices: ListDevicesRequest -> ListDevicesResponse, Session, SMALL;
    702 RevokeDevice: RevokeDeviceRequest -> RevokeDeviceResponse, Session, SMALL;
    710 RegisterPushToken: RegisterPushTokenRequest -> RegisterPushTokenResponse, Session, SMALL;
    750 StoreRecoveryBundle: StoreRecoveryBundleRequest -> StoreRecoveryBundleResponse, Session, SMALL;
    751 FetchRecoveryBundle: FetchRecoveryBundleRequest -> FetchRecoveryBundleResponse, Anonymous, SMALL;
    752 DeleteRecoveryBundle: DeleteRecoveryBundleRequest -> DeleteRecoveryBundleResponse, Session, SMALL;

    800 PublishEndpoint: PublishEndpointRequest -> PublishEndpointResponse, Owner(identity_key), SMALL;
    801 ResolveEndpoint: ResolveEndpointRequest -> ResolveEndpointResponse, Session, SMALL;
    802 Health: HealthRequest -> HealthResponse, Anonymous, SMALL;
    803 GetServerInfo: GetServerInfoRequest -> GetServerInfoResponse, Anonymous, SMALL;

    900 RelayEnqueue: RelayEnqueueRequest -> RelayEnqueueResponse, Federation, SMALL;
    901 RelayBatchEnqueue: RelayBatchEnqueueRequest -> RelayBatchEnqueueResponse, Federation, SMALL;
    902 ProxyFetchKeyPackage: ProxyFetchKeyPackageRequest -> ProxyFetchKeyPackageResponse, Federation, SMALL;
    903 ProxyFetchHybridKey: ProxyFetchHybridKeyRequest -> ProxyFetchHybridKeyResponse, Federation, SMALL;
    904 ProxyResolveUser: ProxyResolveUserRequest -> ProxyResolveUserResponse, Federation, SMALL;
    905 FederationHealth: FederationHealthRequest -> FederationHealthResponse, Federation, SMALL;

    950 DeleteAccount: DeleteAccountRequest -> DeleteAccountResponse, Session fresh, SMALL;
}

macro_rules! pushes {
    ($($id:literal $name:ident: $message:ident;)*) => {
        /// An event that the server pushes (protocol.md section 3).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Push {
            $(
                #[doc = concat!(
                    "Event ", stringify!($id), ", see [`", stringify!($message), "`](proto::",
                    stringify!($message), ")."
                )]
                $name,
            )*
        }

        impl Push {
            /// Every event, in the order of the ids.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The `event_type` on the wire.
            #[must_use]
            pub const fn id(self) -> u16 {
                match self { $(Self::$name => $id,)* }
            }

            /// The name as protocol.md writes it, for logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        impl TryFrom<u16> for Push {
            type Error = UnknownMethod;

            fn try_from(id: u16) -> Result<Self, UnknownMethod> {
                match id {
                    $($id => Ok(Self::$name),)*
                    _ => Err(UnknownMethod { id }),
                }
            }
        }

        impl From<&proto::push_event::Event> for Push {
            fn from(event: &proto::push_event::Event) -> Self {
                match event { $(proto::push_event::Event::$name(_) => Self::$name,)* }
            }
        }

        $(
            impl From<proto::$message> for proto::PushEvent {
                fn from(message: proto::$message) -> Self {
                    Self { event: Some(proto::push_event::Event::$name(message)) }
                }
            }
        )*
    };
}

pushes! {
    1000 NewMessage: NewMessagePush;
    1001 Typing: TypingPush;
    1002 Presence: PresencePush;
    1003 Membership: MembershipPush;
}

#[cfg(test)]
mod tests;
