//! [`Checkpointer`]: moves the write-ahead log into the database beside the commits.
//!
//! A checkpoint inside a commit makes one message in a thousand wait for megabytes to be written.
//! So a thread with a connection of its own does it, and commits go on meanwhile. SQLite can reuse
//! the log only once all of it has been moved, which under unbroken load the thread never quite
//! reaches; past [`BOUND`] the engine moves the small rest itself, between two batches.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

/// New pages of 4,096 bytes after which the thread is called: 16 MiB.
const STEP: u32 = 4096;
/// The same while nothing waits: 1 MiB.
const IDLE_STEP: u32 = 256;
/// Pages of the log after which the engine itself moves the rest: 128 MiB.
const BOUND: u32 = 32 * 1024;

pub(super) struct Checkpointer {
    state: Arc<State>,
    /// `None` only while being dropped.
    call: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    /// How many of them have been moved. Stale, and larger than `pages`, once the log was reused.
    moved: AtomicU32,
    /// Held while a checkpoint runs: of two at once SQLite turns one away.
    turn: Mutex<()>,
}

impl Checkpointer {
    /// `pages` is kept up to date by the connection that writes.
    pub(super) fn start(path: &Path, pages: Arc<AtomicU32>) -> rusqlite::Result<Self> {
        let db = Connection::open(path)?;
        db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;",
        )?;
        let state = Arc::new(State {
            pages,
            moved: AtomicU32::new(0),
            turn: Mutex::new(()),
        });
        let (call, calls) = sync_channel(1);
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("qpq-checkpoint".to_owned())
            .spawn(move || shared.serve(&db, &calls))
            .ok();
        Ok(Self {
            state,
            call: Some(call),
            thread,
        })
    }

    pub(super) fn after_commit(&self) {
        self.call_after(STEP);
    }

    pub(super) fn idle(&self) {
        self.call_after(IDLE_STEP);
    }

    /// Before a batch: moves the rest of a log that has grown past the bound.
    pub(super) fn keep_bound(&self, db: &Connection) {
        if self.state.pages.load(Ordering::Relaxed) > BOUND {
            self.state.checkpoint(db);
        }
    }

    fn call_after(&self, step: u32) {
        if self.state.unmoved() >= step
            && let Some(call) = &self.call
        {
            // Full: it has been called already.
            let _ = call.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.call.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to do either.
            let _ = thread.join();
        }
    }
}

impl State {
    fn serve(&self, db: &Connection, calls: &Receiver<()>) {
        while calls.recv().is_ok() {
            self.checkpoint(db);
        }
    }

    fn unmoved(&self) -> u32 {
        let (pages, moved) = (
            self.pages.load(Ordering::Relaxed),
            self.moved.load(Ordering::Relaxed),
        );
        if pages < moved { pages } else { pages - moved }
    }

    /// Moves what can be moved without waiting for anyone. A failure costs nothing but time: the
    /// log keeps everything, and a disk that fails will fail the next commit.
    fn checkpoint(&self, db: &Connection) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            row.get::<_, u32>(2)
        });
        if let Ok(moved) = moved {
            self.moved.store(moved, Ordering::Relaxed);
        }
    }
}
