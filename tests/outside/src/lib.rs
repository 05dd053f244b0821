//! Two bots, a server with a policy and a storage engine, each a file that the README counts the lines of.

pub mod bot_smol;
pub mod bot_tokio;
pub mod engine;
pub mod invited;
