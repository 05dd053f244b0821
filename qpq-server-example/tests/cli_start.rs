//! Starts that were cut off, and data that were lost: what is mended, and what is said.

mod support;

use support::world::{ANY_PORT, World};
use support::{Server, User};

#[test]
fn a_first_start_on_a_full_disk_is_gone_through_again() {
    let world = World::new("start-full");
    // No file may grow: the database can't be made.
    let dir = world.path("alice");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_qpq"),
            "--server",
            &world.address,
        ])
        .arg("--data-dir")
        .arg(&dir)
        .arg("server-info");
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    world.registered("alice");
}

#[test]
fn an_empty_file_is_not_a_new_client() {
    let world = World::new("start-empty");
    let alice = world.registered("alice");
    for name in ["client.db", "storage.key", "known-servers"] {
        let path = world.path("alice").join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"").unwrap();
        for command in [&["whoami"][..], &["recv"], &["register", "alice"]] {
            let said = alice.fails(command);
            assert!(said.contains(&format!("{name} is empty")), "{said}");
            assert!(said.contains("restore it from a backup"), "{said}");
        }
        std::fs::write(&path, whole).unwrap();
        alice.ok(&["recv"]);
    }
}

#[test]
fn an_empty_file_is_not_a_new_server() {
    let mut world = World::new("start-server");
    world.registered("alice");
    world.server.stop();
    let dir = world.path("server");
    for name in ["server.db", "domain", "server-cert.der", "server-key.der"] {
        let path = dir.join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"").unwrap();
        let (code, said) = Server::spawn(&dir, ANY_PORT, &[]).end();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{name} is empty")), "{said}");
        std::fs::write(&path, whole).unwrap();
    }
    Server::start(&dir, ANY_PORT, &[]).0.stop();
}

#[test]
fn each_binary_has_its_own_setting_for_its_data() {
    let world = World::new("start-settings");
    let there = world.path("elsewhere");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qpq-server"));
    command
        .env("QPQ_DATA_DIR", &there)
        .env("QPQ_SERVER_DATA_DIR", world.path("own"));
    command.args(["--listen", ANY_PORT, "restore", "/nowhere/backup"]);
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(!there.exists());
    assert!(world.path("own").exists());
}

#[test]
fn many_people_register_on_one_machine() {
    let world = World::new("start-many");
    for n in 0..8 {
        world.registered(&format!("user{n}"));
    }
}

#[test]
fn a_simulation_without_clients_is_wrong_usage() {
    let nobody = User::new("127.0.0.1:1", std::path::Path::new("/nowhere"));
    let (code, _, said) = nobody.screen(&["sim", "--clients", "0"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(!said.contains("please report"), "{said}");
}
