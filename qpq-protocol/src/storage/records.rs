//! The values that the server core stores: the messages of `proto/qpq/store/v1`, generated. None
//! has a `Debug`: many hold secrets or what users wrote.

#[allow(missing_docs, clippy::all)]
mod generated {
    include!("../generated/qpq.store.v1.rs");
}

use bytes::Bytes;
use prost::Message as _;

pub use generated::*;

/// What a row can be.
pub trait Record: Sized + Send + 'static {
    /// Reads a stored value; `None` if it is no such row.
    fn decode_row(row: Bytes) -> Option<Self>;

    /// The value to be stored.
    fn encode_row(&self) -> Bytes;
}

macro_rules! records {
    ($($record:ident)*) => {
        $(
            impl Record for $record {
                fn decode_row(row: Bytes) -> Option<Self> {
                    Self::decode(row).ok()
                }

                fn encode_row(&self) -> Bytes {
                    self.encode_to_vec().into()
                }
            }
        )*
    };
}

records! {
    Account Allowance Channel Dedupe DeviceSet DeviceUse Entry Former Given HybridKey Job Member Metadata Name PackagePool
    PackageSeen QueueHead Session Slot
}

/// Bare bytes: a piece of something longer.
impl Record for Bytes {
    fn decode_row(row: Bytes) -> Option<Self> {
        Some(row)
    }

    fn encode_row(&self) -> Bytes {
        self.clone()
    }
}

/// Nothing: the key says it all.
impl Record for () {
    fn decode_row(_: Bytes) -> Option<Self> {
        Some(())
    }

    fn encode_row(&self) -> Bytes {
        Bytes::new()
    }
}
