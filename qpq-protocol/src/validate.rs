//! How long the fields of each request are (protocol.md sections 4 and 5): one table, checked
//! before any work is done.

use alloc::string::String;

use bytes::Bytes;

use crate::proto::*;

/// A field breaks its rule: answer [`crate::status::Status::BadRequest`] with this sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the field `{field}` has a wrong length or form")]
pub struct FieldError {
    /// Name of the field in the schema.
    pub field: &'static str,
}

/// How many fields besides items of lists an encoding may have, fields of a later version included.
pub const SPARE_FIELDS: usize = 64;

/// A request whose fields have rules.
pub trait Validate {
    /// How many fields an encoding may have, each item of a list counted: what the lists may hold,
    /// and [`SPARE_FIELDS`] for all the others.
    const MAX_FIELDS: usize;

    /// The first field that breaks its rule.
    fn validate(&self) -> Result<(), FieldError>;
}

/// What a field must be. Lengths are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    /// Exactly this many bytes.
    Exactly(usize),
    /// Exactly this many bytes, or empty.
    EmptyOr(usize),
    /// At most this many bytes.
    AtMost(usize),
    /// Not empty, at most this many bytes.
    NonEmpty(usize),
    /// A user name, `[a-z0-9._-]{1,32}`.
    Name,
    /// A user name, which `@` and a domain may follow.
    Address,
    /// One of these.
    OneOf(&'static [&'static str]),
}

use Rule::{Address, AtMost, EmptyOr, Exactly, Name, NonEmpty, OneOf};

/// Ed25519 public key.
const KEY: Rule = Exactly(32);
/// Ed25519 public key, or none.
const MAYBE_KEY: Rule = EmptyOr(32);
/// Token, access key or hash.
const HASH: Rule = Exactly(32);
/// Token, access key or hash, or none.
const MAYBE_HASH: Rule = EmptyOr(32);
/// Ed25519 signature.
const SIGNATURE: Rule = Exactly(64);
/// The server's epoch and its signature.
const COMMIT_PROOF: Rule = Exactly(72);
/// Channel id, message id, device id, opening, request id.
const ID: Rule = Exactly(16);
/// The default channel or device is empty.
const MAYBE_ID: Rule = EmptyOr(16);
/// X-Wing public key.
const HYBRID_KEY: Rule = Exactly(1216);

const KIB: usize = 1024;
/// An OPAQUE message; its exact length depends on the suite.
const OPAQUE: Rule = NonEmpty(KIB);
/// A payload, commit or welcome (protocol.md section 5.4).
const PAYLOAD: Rule = NonEmpty(3 * KIB * KIB);
/// A payload that repeats the one before when empty, or a GroupInfo.
const MAYBE_PAYLOAD: Rule = AtMost(3 * KIB * KIB);
/// Longest chunk of a blob.
const CHUNK: Rule = AtMost(256 * KIB);
/// A domain name (RFC 1035 section 2.3.4).
const DOMAIN: Rule = NonEmpty(253);

/// Most recipients of a batch, members of a channel and welcomes of a commit (protocol.md section
/// 5.4).
const MANY: usize = 1000;
/// Most openings that a device names at once (protocol.md section 5.31).
const OPENINGS: usize = 8;
/// Most identities that one commit adds.
const ADDS: usize = 100;

/// Declares which rule each field has. `field: RULE` is for bytes and text, `field: [RULE; MAX]`
/// for a list of them, `field: {}` for a message that must be there, `field: {?}` for one that may
/// be, `field: [{}; MAX]` for a list of messages.
macro_rules! rules {
    ($($message:ident { $($field:ident: $rule:tt),* $(,)? })*) => {$(
        impl Validate for $message {
            const MAX_FIELDS: usize = SPARE_FIELDS $(+ rules!(@items $rule))*;

            fn validate(&self) -> Result<(), FieldError> {
                $(rules!(@check self, $field, $rule);)*
                Ok(())
            }
        }
    )*};
    (@check $self:ident, $field:ident, [{}; $max:expr]) => {
        keep($self.$field.len() <= $max, stringify!($field))?;
        $self.$field.iter().try_for_each(Validate::validate)?
    };
    (@check $self:ident, $field:ident, [$rule:expr; $max:expr]) => {
        keep($self.$field.len() <= $max, stringify!($field))?;
        keep($self.$field.iter().all(|item| item.fits($rule)), stringify!($field))?
    };
    (@check $self:ident, $field:ident, {}) => {
        $self.$field.as_ref().ok_or(FieldError { field: stringify!($field) })?.validate()?
    };
    (@check $self:ident, $field:ident, {?}) => {
        $self.$field.as_ref().map_or(Ok(()), Validate::validate)?
    };
    (@check $self:ident, $field:ident, $rule:tt) => {
        keep($self.$field.fits(rules!(@rule $rule)), stringify!($field))?
    };
    (@items [{}; $max:expr]) => { $max };
    (@items [$rule:expr; $max:expr]) => { $max };
    (@items $rule:tt) => { 0 };
    (@rule ($rule:expr)) => { $rule };
    (@rule $rule:ident) => { $rule };
}

rules! {
    Auth { access_token: HASH, device_id: MAYBE_ID }
    OpaqueRegisterStartRequest { username: Name, request: OPAQUE }
    OpaqueRegisterFinishRequest {
        username: Name, upload: OPAQUE, identity_key: KEY, signature: SIGNATURE,
        sealed_identity: (AtMost(KIB)), invitation: (AtMost(64)),
    }
    Chain { known: [ID; OPENINGS], next: ID }
    OpaqueLoginStartRequest { username: Name, request: OPAQUE, ticket: MAYBE_HASH }
    OpaqueLoginFinishRequest {
        username: Name, finalization: OPAQUE, identity_key: MAYBE_KEY, device_id: MAYBE_ID,
        chain: {?},
    }
    ResumeSessionRequest { auth: {}, chain: {?} }
    LogoutRequest {}
    DeleteAccountRequest {}

    EnqueueRequest {
        recipient_key: KEY, payload: PAYLOAD, channel_id: MAYBE_ID, message_id: ID,
        access_key: MAYBE_HASH, channel_key: MAYBE_HASH,
    }
    FetchRequest { recipient_key: KEY, channel_id: MAYBE_ID, device_id: MAYBE_ID }
    FetchWaitRequest { recipient_key: KEY, channel_id: MAYBE_ID, device_id: MAYBE_ID }
    PeekRequest { recipient_key: KEY, channel_id: MAYBE_ID, device_id: MAYBE_ID }
    AckRequest { recipient_key: KEY, channel_id: MAYBE_ID, device_id: MAYBE_ID }
    BatchEnqueueRequest {
        recipient_keys: [KEY; MANY], payload: PAYLOAD, channel_id: MAYBE_ID, message_id: ID,
        access_keys: [HASH; MANY], channel_key: MAYBE_HASH,
    }
    CommitWelcome { recipient_key: KEY, device_id: MAYBE_ID, payload: MAYBE_PAYLOAD }
    SubmitCommitRequest {
        channel_id: ID, commit: PAYLOAD, welcomes: [{}; MANY], group_info: MAYBE_PAYLOAD,
        message_id: ID, add_members: [KEY; ADDS], remove_members: [KEY; MANY],
        channel_key_hash: MAYBE_HASH, original: {?},
    }
    OriginalCommit { sender_key: KEY, commit_proof: COMMIT_PROOF }
    ListQueuesRequest { after: MAYBE_ID }

    UploadKeyPackageRequest { identity_key: KEY, package: (NonEmpty(60 * KIB)), device_id: MAYBE_ID }
    FetchKeyPackageRequest { identity_key: KEY, device_id: MAYBE_ID }
    FetchKeyPackagesRequest { identity_key: KEY }
    CountKeyPackagesRequest { identity_key: KEY, device_id: MAYBE_ID }
    UploadHybridKeyRequest { identity_key: KEY, hybrid_public_key: HYBRID_KEY, signature: SIGNATURE }
    FetchHybridKeyRequest { identity_key: KEY }
    FetchHybridKeysRequest { identity_keys: [KEY; MANY] }
    RevokeKeyRequest {
        identity_key: KEY, reason: (OneOf(&["compromised", "superseded", "user_revoked"])),
        signature: SIGNATURE,
    }
    CheckRevocationRequest { identity_key: KEY }
    AuditKeyTransparencyRequest {}
    GetConsistencyProofRequest {}

    CreateChannelRequest {
        peer_key: MAYBE_KEY, channel_id: MAYBE_ID, member_keys: [KEY; MANY],
        metadata: (AtMost(16 * KIB)),
    }
    RemoveMemberRequest { channel_id: ID, member_key: KEY }
    AddMemberRequest { channel_id: ID, member_key: KEY }
    UpdateGroupMetadataRequest { channel_id: ID, sealed: (AtMost(16 * KIB)) }
    ListGroupMembersRequest { channel_id: ID }
    RotateKeysRequest { channel_id: ID }
    SendTypingRequest { channel_id: ID }
    GetGroupInfoRequest { channel_id: ID }
    ReportMessageRequest {
        channel_id: MAYBE_ID, reported_key: KEY, encrypted_report: (NonEmpty(32 * KIB)),
    }
    BanUserRequest { identity_key: KEY, reason: (AtMost(256)) }
    UnbanUserRequest { identity_key: KEY }
    ListReportsRequest {}
    ListBannedRequest { after: MAYBE_KEY }

    ResolveUserRequest { username: Address }
    ResolveIdentityRequest { identity_key: KEY }
    SetPresenceRequest {}
    SetAccessKeyRequest { identity_key: KEY, access_key_hash: HASH }

    UploadBlobRequest { blob_id: HASH, chunk: CHUNK }
    DownloadBlobRequest { blob_id: HASH }
    DeleteBlobRequest { blob_id: HASH }

    Device { device_id: ID, device_key: KEY, name: (AtMost(64)), certificate: SIGNATURE }
    RegisterDeviceRequest { device: {} }
    ListDevicesRequest { identity_key: KEY }
    RevokeDeviceRequest { device_id: MAYBE_ID }
    RegisterPushTokenRequest {
        device_id: MAYBE_ID, platform: (NonEmpty(16)), token: (AtMost(4 * KIB)),
    }
    StoreRecoveryBundleRequest { token_hash: HASH, bundle: (NonEmpty(60 * KIB)) }
    FetchRecoveryBundleRequest { token: HASH }
    DeleteRecoveryBundleRequest { token: HASH }

    PublishEndpointRequest { identity_key: KEY, endpoint: (AtMost(KIB)) }
    ResolveEndpointRequest { identity_key: KEY, access_key: HASH }
    HealthRequest {}
    GetServerInfoRequest {}

    FederationAuth { origin: DOMAIN, request_id: ID }
    RelayEnqueueRequest { auth: {}, enqueue: {} }
    RelayBatchEnqueueRequest { auth: {}, enqueues: [{}; MANY] }
    ProxyFetchKeyPackageRequest { auth: {}, request: {} }
    ProxyFetchHybridKeyRequest { auth: {}, request: {} }
    ProxyResolveUserRequest { auth: {}, request: {} }
    FederationHealthRequest {}
}

/// A field that rules are about.
trait Field {
    fn fits(&self, rule: Rule) -> bool;
}

impl Field for [u8] {
    fn fits(&self, rule: Rule) -> bool {
        match rule {
            Exactly(len) => self.len() == len,
            EmptyOr(len) => self.is_empty() || self.len() == len,
            AtMost(len) => self.len() <= len,
            NonEmpty(len) => !self.is_empty() && self.len() <= len,
            Name => is_name(self),
            Address => match self.iter().position(|byte| *byte == b'@') {
                None => is_name(self),
                Some(at) => {
                    let (name, domain) = self.split_at(at);
                    // The `@` is the first byte of `domain`.
                    is_name(name) && (2..=254).contains(&domain.len())
                }
            },
            OneOf(values) => values.iter().any(|value| value.as_bytes() == self),
        }
    }
}

impl Field for Bytes {
    fn fits(&self, rule: Rule) -> bool {
        self.as_ref().fits(rule)
    }
}

impl Field for String {
    fn fits(&self, rule: Rule) -> bool {
        self.as_bytes().fits(rule)
    }
}

fn is_name(name: &[u8]) -> bool {
    (1..=32).contains(&name.len())
        && name
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

const fn keep(fits: bool, field: &'static str) -> Result<(), FieldError> {
    if fits {
        Ok(())
    } else {
        Err(FieldError { field })
    }
}

#[cfg(test)]
mod tests;
