//! Both endpoints in memory, in virtual time: what a core and an embedder may rely on.

#![allow(missing_docs, dead_code)]

mod apart;
mod connections;
mod echo;
mod embedder;
mod network;
mod pair;
mod random;
mod streams;
mod trust;
