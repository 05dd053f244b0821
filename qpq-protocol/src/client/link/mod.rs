//! The way to the server: one connection, its streams, calls over them, deadlines, and the session.
//!
//! Here is decided when to connect, how long an answer may take and who gets it, and that the server is the one that
//! is meant. What an answer means for people, groups and messages is not: each goes to the room that asked.
//!
//! | file | what is decided there |
//! | --- | --- |
//! | `connection`, `streams` | the connection, its streams, how long it pauses before it comes back |
//! | `rpc`, `fault` | the table of what is asked, where the answers go, and what they are if they are not Ok |
//! | `timers` | deadlines by name |
//! | `network` | what the device's network does, and a client that is to be quiet |
//! | `login`, `domain` | registration and login; the server that is meant |
//! | `chain` | the opening that is shown with each session, and when it moves on |

pub(super) mod chain;
pub(super) mod connection;
pub(super) mod domain;
pub(super) mod fault;
pub(super) mod login;
pub(super) mod network;
pub(super) mod rpc;
pub(super) mod streams;
pub(super) mod timers;
