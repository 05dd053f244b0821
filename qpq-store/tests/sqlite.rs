//! The SQLite engine against the reference engine, full disks, damage, and second openers.

use std::path::Path;

use bytes::Bytes;
use qpq_protocol::storage::{Command, Commit, Engine as _, Failure, Reply};
use qpq_store::conformance::{self, Subject, everything};
use qpq_store::sqlite::{Options, Sqlite, SqliteError};
use tempfile::TempDir;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn small() -> Options {
    Options {
        cache_bytes: 64 * 1024,
        max_pages: None,
    }
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, &small()).unwrap()
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Command {
    Command::Commit(Commit {
        puts: vec![(key.into(), value.into())],
        ..Commit::default()
    })
}

fn delete(key: impl Into<Bytes>) -> Command {
    Command::Commit(Commit {
        deletes: vec![key.into()],
        ..Commit::default()
    })
}

/// A database in a directory of its own.
struct Database(TempDir);

impl Subject for Database {
    type Engine = Sqlite;

    fn open(&mut self) -> Sqlite {
        open(&self.0.path().join("rows.db"))
    }
}

#[test]
fn it_answers_as_the_reference_engine_also_after_reopening() {
    conformance::check(64, || Database(dir()));
}

#[test]
fn what_was_committed_is_there_after_a_kill() {
    let dir = dir();
    let path = dir.path().join("rows.db");
    let copy = dir.path().join("copy.db");
    let mut engine = open(&path);
    let puts = (0..200u16).map(|n| put(n.to_be_bytes().to_vec(), vec![1; 2_000]));
    for chunk in puts.collect::<Vec<_>>().chunks(20) {
        let replies = engine.run(chunk.to_vec());
        assert!(replies.iter().all(|reply| *reply == Reply::Committed));
    }
    // The files as a killed process leaves them: the log was never moved, nothing was closed.
    for end in ["", "-wal"] {
        let name = |path: &Path| format!("{}{end}", path.display());
        std::fs::copy(name(&path), name(&copy)).unwrap();
    }
    let contents = engine.run(vec![everything()]);
    assert_eq!(open(&copy).run(vec![everything()]), contents);
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let dir = dir();
    let path = dir.path().join("rows.db");
    let options = Options {
        max_pages: Some(64),
        ..small()
    };
    let mut engine = Sqlite::open(&path, &options).unwrap();
    let keys = (0..u16::MAX).map(|n| n.to_be_bytes().to_vec());
    let full = keys
        .clone()
        .position(|key| {
            engine.run(vec![put(key, vec![1; 8_000])]) == vec![Reply::Failed(Failure::Full)]
        })
        .unwrap();
    assert!(full > 10, "{full}");

    let batch = vec![
        put("big", vec![2; 60_000]),
        Command::Get(vec!["big".into()]),
        delete(0u16.to_be_bytes().to_vec()),
        put("small", "x"),
    ];
    assert_eq!(
        engine.run(batch),
        vec![
            Reply::Failed(Failure::Full),
            Reply::Values(vec![None]),
            Reply::Committed,
            Reply::Committed
        ]
    );
    drop(engine);
    // With room again everything is as it was answered, and it goes on.
    let mut engine = open(&path);
    assert_eq!(
        engine.run(vec![
            put("big", vec![2; 60_000]),
            Command::Get(vec!["small".into(), 0u16.to_be_bytes().to_vec().into()])
        ]),
        vec![
            Reply::Committed,
            Reply::Values(vec![Some("x".into()), None])
        ]
    );
}

#[test]
fn a_second_opener_learns_who_holds_the_database() {
    let dir = dir();
    let path = dir.path().join("rows.db");
    let engine = open(&path);
    let error = Sqlite::open(&path, &small()).err().unwrap().to_string();
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(engine);
    open(&path);
}

#[test]
fn a_newer_a_foreign_and_a_damaged_file_are_refused_and_left_alone() {
    let dir = dir();
    let path = dir.path().join("rows.db");
    let edit = |sql: &str| {
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    };
    drop(open(&path));
    edit("PRAGMA user_version = 2");
    let error = Sqlite::open(&path, &small()).err().unwrap();
    assert!(
        matches!(error, SqliteError::Newer { found: 2, .. }),
        "{error}"
    );
    edit("PRAGMA user_version = 1; PRAGMA application_id = 7");
    let error = Sqlite::open(&path, &small()).err().unwrap();
    assert!(matches!(error, SqliteError::NotOurs { .. }), "{error}");

    let text = b"no database, but a text that is longer than the header of one, by some hundred bytes and more, as it should be";
    std::fs::write(&path, text).unwrap();
    let error = Sqlite::open(&path, &small()).err().unwrap();
    assert!(matches!(error, SqliteError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), text);

    let missing = dir.path().join("none").join("rows.db");
    let error = Sqlite::open(&missing, &small()).err().unwrap();
    assert!(matches!(error, SqliteError::Lock(_)), "{error}");
}

#[test]
fn after_damage_nothing_succeeds_any_more_and_the_owner_is_told_once() {
    let dir = dir();
    let path = dir.path().join("rows.db");
    let mut engine = open(&path);
    engine.run(
        (0..500u16)
            .map(|n| put(n.to_be_bytes().to_vec(), vec![1; 900]))
            .collect(),
    );
    drop(engine);
    // Every page but the first, which is read at opening.
    let mut file = std::fs::read(&path).unwrap();
    file[4096..].fill(0xa5);
    std::fs::write(&path, file).unwrap();

    let mut engine = open(&path);
    let (tell, told) = std::sync::mpsc::channel();
    engine.on_broken(move |broken| tell.send(broken.to_string()).unwrap());
    for _ in 0..2 {
        let replies = engine.run(vec![everything(), put("a", "b")]);
        assert_eq!(replies, vec![Reply::Failed(Failure::Unavailable); 2]);
    }
    assert_eq!(told.try_iter().count(), 1);
}

#[test]
fn the_log_is_moved_beside_the_commits_and_stays_bounded() {
    let dir = dir();
    let path = dir.path().join("rows.db");
    let log = dir.path().join("rows.db-wal");
    let mut engine = open(&path);
    // Half as much again as the bound, were it never moved.
    let mut longest = 0;
    for round in 0..48u8 {
        let batch = (0..64u8)
            .map(|n| put(vec![n], vec![round; 64 * 1024]))
            .collect();
        let replies = engine.run(batch);
        assert!(replies.iter().all(|reply| *reply == Reply::Committed));
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
    }
    assert!(longest < 150 * 1024 * 1024, "{longest}");
    // Closing moves what is left.
    drop(engine);
    assert!(!log.exists());
    assert!(std::fs::metadata(&path).unwrap().len() > 4 * 1024 * 1024);
}
