//! A server and the people who use it, each with a data directory.

use std::path::PathBuf;

use qpq_server_example::scratch::Scratch;
use serde_json::Value;

use super::{Server, User};

pub const ANY_PORT: &str = "127.0.0.1:0";
/// Tests do not pause between what they do.
pub const BUSY: &[&str] = &["--requests-per-second", "1000"];

pub struct World {
    pub dir: Scratch,
    pub server: Server,
    pub address: String,
}

impl World {
    pub fn new(name: &str) -> Self {
        Self::with(name, BUSY)
    }

    /// One whose server has these flags.
    pub fn with(name: &str, flags: &[&str]) -> Self {
        let dir = Scratch::try_new(name).unwrap();
        let (server, address) = Server::start(&dir.path().join("server"), ANY_PORT, flags);
        Self {
            dir,
            server,
            address,
        }
    }

    pub fn user(&self, name: &str) -> User {
        User::new(&self.address, &self.path(name))
    }

    pub fn registered(&self, name: &str) -> User {
        let user = self.user(name);
        user.ok(&["register", name]);
        user
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The messages among what was said: their writers and texts.
pub fn texts(said: &[Value]) -> Vec<(&str, &str)> {
    let messages = said.iter().filter(|line| line["type"] == "message");
    messages
        .map(|line| {
            let sender = line["sender"]["name"].as_str().unwrap();
            (sender, line["text"].as_str().unwrap())
        })
        .collect()
}
