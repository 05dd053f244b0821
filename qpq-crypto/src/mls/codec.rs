//! TLS presentation language (RFC 9420 §2.1) to and from bytes.

use openmls::prelude::tls_codec::{Deserialize, Serialize};

/// Decodes exactly one value; `None` if that is not what the bytes are.
///
/// Through `Read`: the decoder over slices asserts, in debug builds, that no length field
/// promises more bytes than there are.
pub(super) fn decode<T: Deserialize>(bytes: &[u8]) -> Option<T> {
    T::tls_deserialize_exact(bytes).ok()
}

/// Encodes a value; `None` if a field is too long for its length.
pub(super) fn encode(value: &impl Serialize) -> Option<Vec<u8>> {
    value.tls_serialize_detached().ok()
}
