//! `qpq-server` as its operator sees it: what it prints, how it ends, what it says when it cannot
//! start.

mod support;

use std::path::Path;
use std::process::Command;

use qpq_server_example::scratch::Scratch;
use support::Server;

const ANY_PORT: &str = "127.0.0.1:0";

/// A server that cannot start: one sentence, exit code 1.
fn refused(dir: &Path, more: &[&str]) -> String {
    let (code, said) = Server::spawn(dir, ANY_PORT, more).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("qpq-server: "), "{said}");
    said
}

#[test]
fn it_says_where_it_listens_keeps_its_certificate_and_stops_when_told() {
    let dir = Scratch::try_new("server").unwrap();
    let mut seen = Vec::new();
    for signal in ["TERM", "INT"] {
        let mut server = Server::spawn(dir.path(), ANY_PORT, &[]);
        seen.push(server.line("certificate sha256 "));
        let address = server.line("listening on ");
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        server.signal(signal);
        let (code, said) = server.end();
        assert_eq!(code, Some(0), "{said}");
    }
    assert_eq!(seen[0].len(), 64);
    assert_eq!(seen[0], seen[1]);
    // Closed in order: nothing is left beside the database.
    assert!(dir.path().join("server.db").exists());
    assert!(!dir.path().join("server.db-wal").exists());
}

#[test]
fn a_held_database_and_a_port_in_use_are_said_so() {
    let dir = Scratch::try_new("server-held").unwrap();
    let mut server = Server::spawn(dir.path(), ANY_PORT, &[]);
    let address = server.line("listening on ");

    let said = refused(dir.path(), &[]);
    let holder = format!("in use by process {}", server.pid());
    assert!(said.contains(&holder), "{said}");

    let other = Scratch::try_new("server-port").unwrap();
    let mut child = Server::spawn(other.path(), ANY_PORT, &["--max-database", "1"]);
    child.line("listening on ");
    child.signal("TERM");
    assert_eq!(child.end().0, Some(0));
    let output = Command::new(env!("CARGO_BIN_EXE_qpq-server"))
        .args(["--listen", &address, "--data-dir"])
        .arg(other.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let port = address.rsplit(':').next().unwrap();
    assert!(
        said.contains(&format!("port {port} of 127.0.0.1 is in use")),
        "{said}"
    );

    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_newer_database_is_refused() {
    let dir = Scratch::try_new("server-newer").unwrap();
    let mut server = Server::spawn(dir.path(), ANY_PORT, &[]);
    server.line("listening on ");
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
    rusqlite::Connection::open(dir.path().join("server.db"))
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    let said = refused(dir.path(), &[]);
    assert!(said.contains("use a newer program"), "{said}");
}

#[test]
fn the_data_of_another_domain_are_refused() {
    let dir = Scratch::try_new("server-domain").unwrap();
    let mut server = Server::spawn(dir.path(), ANY_PORT, &["--domain", "one.example"]);
    server.line("listening on ");
    server.stop();
    let said = refused(dir.path(), &["--domain", "two.example"]);
    assert!(said.contains("--domain one.example"), "{said}");
    let (mut server, _) = Server::start(dir.path(), ANY_PORT, &["--domain", "one.example"]);
    server.stop();
}

#[test]
fn a_directory_that_cannot_be_written_is_said_so() {
    let dir = Scratch::try_new("server-unwritable").unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    // A file in the way stops even root, whom permissions do not.
    let said = refused(&file.join("data"), &[]);
    assert!(said.contains("cannot be used"), "{said}");
    let said = refused(&file, &[]);
    assert!(said.contains("cannot be used"), "{said}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let dir = Scratch::try_new("server-usage").unwrap();
    let (code, _) = Server::spawn(dir.path(), ANY_PORT, &["--nonsense"]).end();
    assert_eq!(code, Some(2));
}
