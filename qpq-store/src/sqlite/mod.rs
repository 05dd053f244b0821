//! [`Sqlite`]: the storage engine on one SQLite file, one transaction and one flush a batch.
//!
//! One table with an index holds everything: `rows(key, value)`. It is deliberately not `WITHOUT
//! ROWID`: values of a kilobyte inside the key tree cost two thirds of the throughput, since every
//! insert in the middle moves them about. A rowid table appends values and sorts only the keys.
//! Keeping small values in a clustered table of their own gained nothing measurable.
//!
//! Checkpoints run beside the commits, on a connection and thread of their own.

mod checkpoint;
mod error;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use qpq_protocol::storage::memory::Page;
use qpq_protocol::storage::{Command, Commit, Direction, Engine, Expect, Failure, Reply, Scan};
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OptionalExtension as _, params};

use self::checkpoint::Checkpointer;
pub use self::error::{Broken, SqliteError};
use crate::files;
use crate::lock::Lock;

/// What marks a file as ours: `qpq` and 1, in SQLite's `application_id`.
const APPLICATION_ID: i32 = 0x7170_7101;
/// The layout of the tables, in SQLite's `user_version`. What the rows mean is the core's business.
const LAYOUT: i32 = 1;

/// The statement that reads a row by its key.
pub const SELECT: &str = "SELECT value FROM rows WHERE key = ?1";
/// The statement that writes a row: its key, its value.
pub const PUT: &str = "INSERT INTO rows (key, value) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// The statement that removes a row by its key.
pub const DELETE: &str = "DELETE FROM rows WHERE key = ?1";
const FORWARD: &str = "SELECT key, value FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key";
const BACKWARD: &str = "SELECT key, value FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key DESC";

/// How to open a [`Sqlite`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Bytes of pages kept in memory.
    pub cache_bytes: u32,
    /// The most pages of 4,096 bytes the database may have; `None` for SQLite's own bound.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            max_pages: None,
        }
    }
}

/// A storage engine on one SQLite file. See the module's page for its layout.
///
/// A full disk fails the commands that do not fit, each alone, and the engine goes on. After any
/// other failure to write it answers nothing more but [`Failure::Unavailable`]: what a failed flush
/// has left on the disk cannot be known (the system may have dropped the pages), so the process
/// should end and open the file again. [`Sqlite::on_broken`] tells when.
pub struct Sqlite {
    // Dropped in this order: the thread ends, the connection closes, the lock opens.
    checkpointer: Checkpointer,
    db: Connection,
    on_broken: Option<Box<dyn FnOnce(Broken) + Send>>,
    broken: bool,
    _lock: Lock,
}

impl Sqlite {
    /// Opens the database at `path`, or makes it.
    ///
    /// # Errors
    ///
    /// See [`SqliteError`]: held by another process, of a newer layout, not ours, damaged, or not
    /// writable.
    pub fn open(path: &Path, options: &Options) -> Result<Self, SqliteError> {
        Self::open_locked(Lock::take(path)?, path, options)
    }

    /// As [`Sqlite::open`], for who had to look at other files first and has the lock of `path`.
    ///
    /// # Errors
    ///
    /// As [`Sqlite::open`].
    pub fn open_locked(lock: Lock, path: &Path, options: &Options) -> Result<Self, SqliteError> {
        let failed = |error: rusqlite::Error| SqliteError::new(path, &error);
        let unwritable = |error: std::io::Error| SqliteError::Unwritable {
            path: path.to_owned(),
            why: error.to_string(),
        };
        // SQLite would let everyone read it. Its other files get the permissions of this one.
        files::create_private(path).map_err(unwritable)?;
        let mut db = Connection::open(path).map_err(failed)?;
        prepare(&db, path, options)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            files::sync_dir(dir).map_err(unwritable)?;
        }
        let pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&pages);
        db.wal_hook(Some(move |_: &mut Wal, pages| {
            seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(failed)?;
        let checkpointer = Checkpointer::start(path, pages).map_err(failed)?;
        Ok(Self {
            checkpointer,
            db,
            on_broken: None,
            broken: false,
            _lock: lock,
        })
    }

    /// Whether there is no row.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Damaged`] if it cannot be read.
    pub fn holds_nothing(&self) -> Result<bool, SqliteError> {
        let path = self.db.path().unwrap_or_default();
        self.db
            .query_row("SELECT NOT EXISTS (SELECT 1 FROM rows)", [], |row| {
                row.get(0)
            })
            .map_err(|error| SqliteError::new(Path::new(path), &error))
    }

    /// Reads the whole file and looks whether it is sound.
    ///
    /// # Errors
    ///
    /// [`SqliteError::Damaged`].
    pub fn check(&self) -> Result<(), SqliteError> {
        let path = Path::new(self.db.path().unwrap_or_default());
        let said: String = self
            .db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| SqliteError::new(path, &error))?;
        match said.as_str() {
            "ok" => Ok(()),
            _ => Err(SqliteError::Damaged {
                path: path.to_owned(),
            }),
        }
    }

    /// Calls `tell` once, on the engine's thread, when the engine stops answering for good.
    pub fn on_broken(&mut self, tell: impl FnOnce(Broken) + Send + 'static) {
        self.on_broken = Some(Box::new(tell));
    }

    /// Runs commands as one transaction.
    fn transaction(&mut self, batch: &[Command]) -> Result<Vec<Reply>, Failure> {
        if let Err(error) = self.db.execute_batch("BEGIN") {
            return Err(self.judge(&error, Failure::Unavailable));
        }
        let replies: Result<Vec<Reply>, rusqlite::Error> =
            batch.iter().map(|command| one(&self.db, command)).collect();
        let (error, unless_full) = match replies {
            Ok(replies) => match self.db.execute_batch("COMMIT") {
                Ok(()) => return Ok(replies),
                // A failed flush may have reached the disk all the same.
                Err(error) => (error, Failure::Unknown),
            },
            Err(error) => (error, Failure::Unavailable),
        };
        let failure = self.judge(&error, unless_full);
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            self.judge(&error, failure);
        }
        Err(failure)
    }

    /// What a failure means for the commands, and whether it ends the engine.
    fn judge(&mut self, error: &rusqlite::Error, unless_full: Failure) -> Failure {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory};
        match error.sqlite_error_code() {
            Some(DiskFull) => Failure::Full,
            Some(DatabaseBusy | DatabaseLocked | OutOfMemory) => Failure::Unavailable,
            _ => {
                self.broken = true;
                if let Some(tell) = self.on_broken.take() {
                    tell(Broken(error.to_string()));
                }
                unless_full
            }
        }
    }
}

impl Engine for Sqlite {
    fn run(&mut self, batch: Vec<Command>) -> Vec<Reply> {
        if self.broken {
            return vec![Reply::Failed(Failure::Unavailable); batch.len()];
        }
        self.checkpointer.keep_bound(&self.db);
        let replies = match self.transaction(&batch) {
            Ok(replies) => replies,
            // One big payload must not keep acknowledgements out, which free room: each alone.
            Err(Failure::Full) if batch.len() > 1 => {
                let alone = |command: Command| self.run(vec![command]);
                return batch.into_iter().flat_map(alone).collect();
            }
            Err(failure) => vec![Reply::Failed(failure); batch.len()],
        };
        self.checkpointer.after_commit();
        replies
    }

    fn idle(&mut self) {
        self.checkpointer.idle();
    }
}

/// Settings, marks and tables.
fn prepare(db: &Connection, path: &Path, options: &Options) -> Result<(), SqliteError> {
    let failed = |error: rusqlite::Error| SqliteError::new(path, &error);
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    db.busy_timeout(std::time::Duration::from_secs(5))
        .map_err(failed)?;
    let id = number("application_id").map_err(failed)?;
    let layout = number("user_version").map_err(failed)?;
    let tables: u32 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    if id != APPLICATION_ID && (id != 0 || layout != 0 || tables != 0) {
        return Err(SqliteError::NotOurs {
            path: path.to_owned(),
        });
    }
    if layout > LAYOUT {
        return Err(SqliteError::Newer {
            path: path.to_owned(),
            found: layout,
            known: LAYOUT,
        });
    }
    let kib = i64::from(options.cache_bytes / 1024);
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA temp_store = MEMORY;
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -{kib};"
    ))
    .map_err(failed)?;
    if let Some(pages) = options.max_pages {
        db.execute_batch(&format!("PRAGMA max_page_count = {pages}"))
            .map_err(failed)?;
    }
    if layout == 0 {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE rows (key BLOB NOT NULL UNIQUE, value BLOB NOT NULL) STRICT;
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT};
             COMMIT;"
        ))
        .map_err(failed)?;
    }
    db.set_prepared_statement_cache_capacity(16);
    Ok(())
}

fn one(db: &Connection, command: &Command) -> rusqlite::Result<Reply> {
    match command {
        Command::Get(keys) => {
            let mut select = db.prepare_cached(SELECT)?;
            let mut value = |key: &Bytes| {
                let copy = |row: &rusqlite::Row<'_>| {
                    Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
                };
                select.query_row([&key[..]], copy).optional()
            };
            let values: rusqlite::Result<_> = keys.iter().map(&mut value).collect();
            values.map(Reply::Values)
        }
        Command::Scan(range) => scan(db, range),
        Command::Commit(change) => commit(db, change),
    }
}

fn scan(db: &Connection, scan: &Scan) -> rusqlite::Result<Reply> {
    let mut statement = db.prepare_cached(match scan.direction {
        Direction::Forward => FORWARD,
        Direction::Backward => BACKWARD,
    })?;
    let mut rows = statement.query(params![&scan.start[..], &scan.end[..]])?;
    let mut page = Page::new(scan);
    while let Some(row) = rows.next()? {
        let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
        // Asked before copying: the row that does not fit may be long.
        if !page.has_room(key.len().saturating_add(value.len())) {
            break;
        }
        page.take(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }
    Ok(page.into_reply())
}

fn commit(db: &Connection, commit: &Commit) -> rusqlite::Result<Reply> {
    if !commit.is_well_formed() {
        return Ok(Reply::Failed(Failure::Unavailable));
    }
    // All checks come before the first change, so a conflict has nothing to take back.
    let mut select = db.prepare_cached(SELECT)?;
    for (key, expect) in &commit.checks {
        let mut rows = select.query([&key[..]])?;
        let holds = match (rows.next()?, expect) {
            (Some(row), Expect::Equals(value)) => row.get_ref(0)?.as_blob()? == &value[..],
            (None, Expect::Absent) => true,
            (Some(_), Expect::Absent) | (None, Expect::Equals(_)) => false,
        };
        if !holds {
            return Ok(Reply::Conflict);
        }
    }
    let mut put = db.prepare_cached(PUT)?;
    for (key, value) in &commit.puts {
        put.execute(params![&key[..], &value[..]])?;
    }
    let mut delete = db.prepare_cached(DELETE)?;
    for key in &commit.deletes {
        delete.execute([&key[..]])?;
    }
    Ok(Reply::Committed)
}
