//! The limit: the statements that messages lead to, straight into SQLite.

use std::path::Path;
use std::time::Instant;

use qpq_protocol::storage::{Command, Engine, Expect, Memory, Reply};
use qpq_server_example::time::unix_now;
use qpq_store::sqlite::{DELETE, PUT, SELECT};
use rusqlite::{Connection, params};

use super::SENDERS;
use crate::bench::accounts::{self, Messages};
use crate::bench::alone::Alone;
use crate::bench::drive::{PAYLOAD, RECIPIENTS};
use crate::bench::{Failure, Outcome};

/// Messages a commit.
pub const A_COMMIT: u64 = 256;

/// What a core asks its engine for so many messages.
pub struct Statements {
    commands: Vec<Command>,
    messages: u64,
}

/// Notes what it is asked.
struct Recorder {
    memory: Memory,
    commands: Vec<Command>,
}

impl Engine for Recorder {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        self.commands.extend_from_slice(&batch);
        self.memory.run(batch)
    }
}

impl Statements {
    /// Lets a core take so many messages and notes its commands.
    pub fn record(messages: u64) -> Outcome<Self> {
        let now = unix_now();
        let mut memory = Memory::new();
        let accounts = accounts::accounts(RECIPIENTS + SENDERS, now);
        memory.run(accounts.into_iter().map(Command::Commit).collect());
        let recorder = Recorder {
            memory,
            commands: Vec::new(),
        };
        let mut alone = Alone::start(recorder, accounts::limits(), now)?;
        for sender in 0..SENDERS {
            alone.connect(Some(RECIPIENTS + sender))?;
        }
        alone.engine().commands.clear();
        let mut requests = Messages {
            recipients: RECIPIENTS,
            payload: PAYLOAD,
            want_proof: false,
            now,
            next: 0,
        };
        for number in 0..messages {
            let sender = (number % SENDERS) as usize;
            alone.request(sender, requests.enqueue());
            if number % A_COMMIT == A_COMMIT - 1 {
                alone.drain()?;
            }
        }
        alone.drain()?;
        let commands = core::mem::take(&mut alone.engine().commands);
        Ok(Self { commands, messages })
    }

    /// Runs them on a database that holds what the core's engine held; messages a second.
    pub fn run(&self, path: &Path) -> Outcome<f64> {
        let seconds = self.time(path).map_err(Failure::of("SQLite"))?;
        Ok(self.messages as f64 / seconds)
    }

    fn time(&self, path: &Path) -> rusqlite::Result<f64> {
        let db = Connection::open(path)?;
        // As our engine has them; SQLite's own checkpoints.
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             PRAGMA temp_store = MEMORY;",
        )?;
        let start = Instant::now();
        let mut select = db.prepare(SELECT)?;
        let mut put = db.prepare(PUT)?;
        let mut delete = db.prepare(DELETE)?;
        let mut commits = 0;
        db.execute_batch("BEGIN")?;
        for command in &self.commands {
            match command {
                Command::Get(keys) => {
                    for key in keys {
                        select.exists([&key[..]])?;
                    }
                }
                Command::Commit(change) => {
                    for (key, expect) in &change.checks {
                        let mut rows = select.query([&key[..]])?;
                        let value = match rows.next()? {
                            Some(row) => Some(row.get_ref(0)?.as_blob()?),
                            None => None,
                        };
                        let holds = match expect {
                            Expect::Equals(expected) => value == Some(&expected[..]),
                            Expect::Absent => value.is_none(),
                        };
                        assert!(holds, "the database is not what the core's engine was");
                    }
                    for (key, value) in &change.puts {
                        put.execute(params![&key[..], &value[..]])?;
                    }
                    for key in &change.deletes {
                        delete.execute([&key[..]])?;
                    }
                    commits += 1;
                    if commits % A_COMMIT == 0 {
                        db.execute_batch("COMMIT; BEGIN")?;
                    }
                }
                // No message leads to one.
                Command::Scan(_) => {}
            }
        }
        db.execute_batch("COMMIT")?;
        Ok(start.elapsed().as_secs_f64())
    }
}
