//! The values that the server core stores: the messages of `proto/qpq/store/v1`, generated. None
//! has a `Debug`: many hold secrets or what users wrote.

#[allow(missing_docs, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/qpq.store.v1.rs"));
}

pub use generated::*;
