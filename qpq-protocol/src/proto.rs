//! The messages of `proto/qpq/v1`, generated; and what they need that a generator cannot know:
//! a `Debug` that shows no secret.
//!
//! Every method has an `XxxRequest` and an `XxxResponse` (protocol.md section 4). `bytes` fields
//! are [`bytes::Bytes`] and share the buffer that they were decoded from.

#[allow(missing_docs, clippy::all)]
mod generated {
    include!("generated/qpq.v1.rs");
}

pub use generated::*;

/// `Debug` for messages that hold a token, a key, a login record or the text of users: the name and
/// nothing else.
macro_rules! redacted {
    ($($message:ident),* $(,)?) => {$(
        impl core::fmt::Debug for $message {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )*};
}

// The same list as in `tests/generated.rs`: one that is missing here or there does not compile.
redacted! {
    Auth,
    OpaqueRegisterFinishRequest,
    OpaqueLoginFinishResponse,
    EnqueueRequest,
    BatchEnqueueRequest,
    RegisterPushTokenRequest,
    FetchRecoveryBundleRequest,
    DeleteRecoveryBundleRequest,
    ResolveEndpointRequest,
    Chat,
    Reply,
    Reaction,
    Edit,
    File,
    Profile,
    GroupName,
    GroupWelcome,
}

/// The three ways to read a queue answer with the same fields (protocol.md section 4).
macro_rules! as_fetch {
    ($($response:ident),*) => {$(
        impl From<FetchResponse> for $response {
            fn from(fetched: FetchResponse) -> Self {
                let FetchResponse { payloads, first_seq, next_seq, overrun } = fetched;
                Self { payloads, first_seq, next_seq, overrun }
            }
        }
    )*};
}

as_fetch!(FetchWaitResponse, PeekResponse);
