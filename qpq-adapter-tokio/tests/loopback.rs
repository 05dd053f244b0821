//! Two tokio nodes over real UDP.

#![allow(missing_docs, dead_code)]

#[macro_use]
mod suite;

suite!(qpq_adapter_tokio, qpq_adapter_tokio);
asks!(qpq_adapter_tokio, qpq_adapter_tokio);
