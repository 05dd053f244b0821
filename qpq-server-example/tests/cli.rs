//! `qpq` as its user sees it, against a real `qpq-server`: what works, and the one sentence for what
//! does not.

mod support;

use std::path::Path;

use qpq_server_example::scratch::Scratch;
use serde_json::Value;
use support::{Server, User, sentence};

const ANY_PORT: &str = "127.0.0.1:0";
/// Tests do not pause between what they do.
const BUSY: &[&str] = &["--requests-per-second", "1000"];

struct World {
    dir: Scratch,
    server: Server,
    address: String,
}

impl World {
    fn new(name: &str) -> Self {
        let dir = Scratch::try_new(name).unwrap();
        let (server, address) = Server::start(&dir.path().join("server"), ANY_PORT, BUSY);
        Self {
            dir,
            server,
            address,
        }
    }

    fn user(&self, name: &str) -> User {
        User::new(&self.address, &self.path(name))
    }

    fn registered(&self, name: &str) -> User {
        let user = self.user(name);
        user.ok(&["register", name]);
        user
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

fn texts(said: &[Value]) -> Vec<(&str, &str)> {
    let messages = said.iter().filter(|line| line["type"] == "message");
    messages
        .map(|line| {
            let sender = line["sender"]["name"].as_str().unwrap();
            (sender, line["text"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn two_people_talk_and_a_group_comes_and_goes() {
    let world = World::new("cli-talk");
    let (alice, bob, carol) = (
        world.registered("alice"),
        world.registered("bob"),
        world.registered("carol"),
    );
    let me = alice.ok(&["whoami"]);
    assert_eq!(me[0]["name"], "alice");
    assert_eq!(me[0]["identity_key"].as_str().unwrap().len(), 64);
    let server = alice.ok(&["server-info"]);
    assert_eq!(server[0]["certificate_sha256"].as_str().unwrap().len(), 64);

    alice.ok(&["dm", "bob"]);
    alice.ok(&["send", "bob", "one\nand a half"]);
    alice.ok(&["send", "bob", "two"]);
    let heard = [("alice", "one\nand a half"), ("alice", "two")];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
    assert!(bob.ok(&["recv"]).is_empty(), "printed twice");
    bob.ok(&["send", "alice", "three"]);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "three")]);
    let all = [heard[0], heard[1], ("bob", "three")];
    for (user, peer) in [(&alice, "bob"), (&bob, "alice")] {
        assert_eq!(texts(&user.ok(&["history", peer])), all);
        assert_eq!(
            texts(&user.ok(&["history", peer, "--limit", "1"])),
            all[2..]
        );
    }

    let made = alice.ok(&["group", "create", "club", "bob"]);
    assert_eq!(made[0]["members"].as_array().unwrap().len(), 2);
    let changed = alice.ok(&["group", "invite", "club", "carol"]);
    assert_eq!(changed[0]["members"].as_array().unwrap().len(), 3);
    alice.ok(&["send", "club", "welcome"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "welcome")]);
    assert_eq!(texts(&carol.ok(&["recv"])), [("alice", "welcome")]);
    // By the end of its id, as `conversations` shows it.
    let id = made[0]["id"].as_str().unwrap();
    assert_eq!(carol.ok(&["group", "members", &id[20..]]).len(), 3);
    carol.ok(&["group", "leave", "club"]);
    alice.ok(&["recv"]);
    assert_eq!(alice.ok(&["group", "members", "club"]).len(), 2);
    let said = carol.fails(&["send", "club", "still here?"]);
    assert!(said.contains("not in this conversation any more"), "{said}");

    // Another device needs the name and the password only.
    let second = world.user("alice-2");
    second.ok(&["login", "alice"]);
    assert_eq!(
        second.ok(&["whoami"])[0]["identity_key"],
        me[0]["identity_key"]
    );
}

#[test]
fn each_line_of_standard_input_is_a_message() {
    let world = World::new("cli-lines");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let follower = bob.spawn(&["recv", "--follow"]);
    let mut sender = alice.spawn(&["send", "bob", "-"]);
    for line in ["a", "", "b", "c"] {
        assert!(sender.tell(line));
    }
    let confirmed = sender.finish();
    let numbers: Vec<_> = confirmed.iter().map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let line = follower.next().unwrap();
        if line["type"] == "message" {
            heard.push(line["text"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, ["a", "b", "c"]);
    follower.interrupt();
}

#[test]
fn who_logs_out_comes_back_as_the_same_device() {
    let world = World::new("cli-logout");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let me = alice.ok(&["whoami"]);
    assert_eq!(alice.ok(&["logout"])[0]["type"], "logged_out");
    assert_eq!(alice.ok(&["whoami"])[0]["logged_in"], false);
    for command in [&["logout"][..], &["recv"], &["dm", "bob"]] {
        let said = alice.fails(command);
        assert!(said.contains("not logged in"), "{said}");
    }
    bob.ok(&["send", "alice", "while you were out"]);
    alice.ok(&["login", "alice"]);
    assert_eq!(alice.ok(&["whoami"]), me);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "while you were out")]);
}

#[test]
fn a_file_holds_each_message_once_whatever_was_read_elsewhere() {
    let world = World::new("cli-output");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    let path = world.path("messages");
    let file = path.to_str().unwrap();
    let held = || -> Vec<String> {
        let text = std::fs::read_to_string(&path).unwrap();
        let parse = |line| serde_json::from_str::<Value>(line).unwrap();
        let own = |line: Value| line["text"].as_str().unwrap().to_owned();
        text.lines().map(parse).map(own).collect()
    };
    alice.ok(&["send", "bob", "before"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "before")]);
    // A new file begins with what is unread; own messages are not received.
    alice.ok(&["send", "bob", "one"]);
    bob.ok(&["recv", "--output", file]);
    bob.ok(&["send", "alice", "own"]);
    assert_eq!(held(), ["one"]);
    // From then on it is complete.
    alice.ok(&["send", "bob", "two"]);
    assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "two")]);
    alice.ok(&["send", "bob", "three"]);
    bob.ok(&["recv", "--output", file]);
    assert_eq!(held(), ["one", "two", "three"]);
    assert!(bob.ok(&["recv"]).is_empty());
    // Lines that are taken off its end come back, and are what `--json` prints.
    let whole = std::fs::read_to_string(&path).unwrap();
    let first = whole.find('\n').unwrap() + 1;
    std::fs::write(&path, &whole[..first]).unwrap();
    bob.ok(&["recv", "--output", file]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    let last: Value = serde_json::from_str(whole.lines().last().unwrap()).unwrap();
    assert_eq!(Some(&last), bob.ok(&["history", "alice"]).last());

    // Another client's file is refused and stays as it is, and so does any other.
    alice.ok(&["recv"]);
    bob.ok(&["send", "alice", "for alice"]);
    let said = alice.fails(&["recv", "--output", file]);
    assert!(said.contains("choose another file"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(texts(&alice.ok(&["recv"])), [("bob", "for alice")]);
    let follower = bob.spawn(&["recv", "--follow", "--output", file]);
    let cert = world.path("server").join("server-cert.der");
    let said = alice.fails(&["recv", "--output", cert.to_str().unwrap()]);
    assert!(said.contains("was not written by"), "{said}");

    // One that was moved away while it was written to is left behind, and the next begins anew.
    alice.ok(&["send", "bob", "four"]);
    while held().len() < 4 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(
        follower
            .interrupt()
            .iter()
            .all(|line| line["type"] != "message")
    );
    std::fs::rename(&path, world.path("messages.1")).unwrap();
    alice.ok(&["send", "bob", "five"]);
    bob.ok(&["recv", "--output", file]);
    assert_eq!(held(), ["five"]);
}

#[test]
#[cfg(target_os = "linux")]
fn what_could_not_be_printed_is_printed_later() {
    let world = World::new("cli-closed");
    let (alice, bob) = (world.registered("alice"), world.registered("bob"));
    alice.ok(&["dm", "bob"]);
    alice.ok(&["send", "bob", "one"]);
    alice.ok(&["send", "bob", "two"]);
    let mut command = bob.command(&["recv"]);
    // Always full.
    command.stdout(std::fs::File::create("/dev/full").unwrap());
    let ended = command.output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("standard output cannot be written"), "{said}");
    let heard = [("alice", "one"), ("alice", "two")];
    assert_eq!(texts(&bob.ok(&["recv"])), heard);
}

mod bad_input {
    use super::*;

    fn has(said: &str, part: &str) {
        assert!(said.contains(part), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }

    #[test]
    fn wrong_password_unknown_name_and_taken_name() {
        let world = World::new("cli-password");
        let alice = world.registered("alice");
        let other = world.user("other");
        let wrong = other.run_with("wrong", &["login", "alice"]);
        has(&sentence(&wrong), "wrong password or unknown name");
        // Nobody learns from the answer which of the two it was.
        has(
            &other.fails(&["login", "nobody"]),
            "wrong password or unknown name",
        );
        has(&other.fails(&["register", "alice"]), "name is taken");
        has(&other.fails(&["register", "Al ice"]), "a-z, 0-9");
        has(&other.fails(&["whoami"]), "not logged in");
        has(&other.fails(&["recv"]), "not logged in");
        has(&alice.fails(&["dm", "nobody"]), "no user nobody");
        has(&alice.fails(&["dm", "alice"]), "that is you");
        has(
            &alice.fails(&["send", "nobody", "x"]),
            "no conversation nobody",
        );
        has(&alice.fails(&["register", "bob"]), "belongs to alice");
        assert_eq!(other.run(&["send"]).code, Some(2));
        assert_eq!(other.run_with("", &["login", "alice"]).code, Some(1));
    }

    #[test]
    fn a_dm_from_a_device_that_it_began_without() {
        let world = World::new("cli-second");
        let (alice, bob) = (world.registered("alice"), world.registered("bob"));
        alice.ok(&["dm", "bob"]);
        let second = world.user("alice-2");
        second.ok(&["login", "alice"]);
        has(&second.fails(&["dm", "bob"]), "create a group");
        has(&second.fails(&["send", "bob", "x"]), "no conversation bob");
        second.ok(&["group", "create", "both", "bob"]);
        second.ok(&["send", "both", "from the second"]);
        assert_eq!(texts(&bob.ok(&["recv"])), [("alice", "from the second")]);
    }

    #[test]
    fn scripts_tell_failures_apart_by_their_code() {
        let mut world = World::new("cli-codes");
        let alice = world.registered("alice");
        let code = |user: &User, args: &[&str], exit: i32| {
            let ended = user.run(args);
            assert_eq!(ended.code, Some(exit), "{ended:?}");
            let error: Value = serde_json::from_str(&ended.error).unwrap();
            assert_eq!(error["type"], "error");
            assert!(!error["message"].as_str().unwrap().contains('\n'));
            error["code"].as_str().unwrap().to_owned()
        };
        let nobody = world.user("nobody");
        assert_eq!(code(&nobody, &["recv"], 1), "not_logged_in");
        assert_eq!(code(&nobody, &["login", "zoe"], 1), "password");
        assert_eq!(code(&nobody, &["register", "alice"], 1), "name_taken");
        assert_eq!(code(&alice, &["dm", "zoe"], 1), "unknown_user");
        assert_eq!(
            code(&alice, &["send", "zoe", "x"], 1),
            "unknown_conversation"
        );
        assert_eq!(code(&alice, &["send"], 2), "usage");
        assert_eq!(code(&alice, &["no-such-command"], 2), "usage");
        let dir = world.dir.path().to_str().unwrap();
        assert_eq!(code(&alice, &["recv", "--output", dir], 1), "output_file");
        world.server.stop();
        assert_eq!(code(&alice, &["recv"], 1), "no_connection");
    }

    #[test]
    fn a_stopped_server_is_said_so_and_nothing_is_lost() {
        let mut world = World::new("cli-stopped");
        let (alice, bob) = (world.registered("alice"), world.registered("bob"));
        alice.ok(&["dm", "bob"]);
        world.server.stop();
        has(&alice.fails(&["send", "bob", "later"]), "does not answer");
        has(&bob.fails(&["recv"]), "does not answer");
        has(&bob.fails(&["server-info"]), "does not answer");

        let dir = world.dir.path().join("server");
        let (_server, _) = Server::start(&dir, &world.address, BUSY);
        // What was stored goes out with the next thing that is sent.
        alice.ok(&["send", "bob", "now"]);
        let heard = bob.ok(&["recv"]);
        assert_eq!(texts(&heard), [("alice", "later"), ("alice", "now")]);
    }

    #[test]
    fn a_changed_certificate_is_refused_until_its_pin_is_removed() {
        let mut world = World::new("cli-certificate");
        let alice = world.registered("alice");
        let server = world.path("server");
        world.server.stop();
        std::fs::remove_file(server.join("server-cert.der")).unwrap();
        let (_server, _) = Server::start(&server, &world.address, BUSY);
        has(&alice.fails(&["recv"]), "certificate has changed");
        has(&alice.fails(&["server-info"]), "certificate has changed");
        std::fs::remove_file(world.path("alice").join("known-servers")).unwrap();
        alice.ok(&["recv"]);
    }

    #[test]
    fn an_authority_is_checked() {
        let world = World::new("cli-authority");
        let alice = world.user("alice");
        let own = world.path("server").join("server-cert.der");
        alice.ok(&["--ca-cert", own.to_str().unwrap(), "register", "alice"]);
        // Nothing is pinned where an authority decides.
        assert!(!world.path("alice").join("known-servers").exists());

        let other = Scratch::try_new("cli-other").unwrap();
        let (mut server, _) = Server::start(other.path(), ANY_PORT, &[]);
        server.stop();
        let foreign = other.path().join("server-cert.der");
        let foreign = foreign.to_str().unwrap();
        has(&alice.fails(&["--ca-cert", foreign, "recv"]), "not trusted");
        let missing = alice.fails(&["--ca-cert", "/nowhere/ca.der", "recv"]);
        has(&missing, "/nowhere/ca.der");
        std::fs::write(other.path().join("text"), "no certificate").unwrap();
        let text = other.path().join("text");
        has(
            &alice.fails(&["--ca-cert", text.to_str().unwrap(), "recv"]),
            "authority",
        );
    }

    #[test]
    fn a_second_process_learns_who_has_the_data() {
        let world = World::new("cli-held");
        let alice = world.registered("alice");
        let follower = alice.spawn(&["recv", "--follow"]);
        // The lock is taken before anything is said, so wait until it is.
        let lock = world.path("alice").join("client.db.lock");
        let pid = follower.pid().to_string();
        while std::fs::read_to_string(&lock).unwrap().trim() != pid {
            std::thread::yield_now();
        }
        has(
            &alice.fails(&["whoami"]),
            &format!("in use by process {pid}"),
        );
        follower.interrupt();
        alice.ok(&["whoami"]);
    }

    #[test]
    fn a_newer_a_damaged_and_a_keyless_database() {
        let world = World::new("cli-database");
        let alice = world.registered("alice");
        let database = world.path("alice").join("client.db");
        let edit = |sql: &str| {
            let db = rusqlite::Connection::open(&database).unwrap();
            db.execute_batch(sql).unwrap();
        };
        edit("PRAGMA user_version = 99");
        has(&alice.fails(&["whoami"]), "use a newer program");
        edit("PRAGMA user_version = 1");
        let key = world.path("alice").join("storage.key");
        let right = std::fs::read(&key).unwrap();
        std::fs::write(&key, [0; 32]).unwrap();
        let said = alice.fails(&["whoami"]);
        assert!(!said.is_empty() && !said.contains("panic"), "{said}");
        std::fs::remove_file(&key).unwrap();
        has(&alice.fails(&["whoami"]), "storage.key is missing");
        assert!(!key.exists(), "a new key was made for old data");
        std::fs::write(&key, right).unwrap();
        alice.ok(&["whoami"]);
        std::fs::write(&database, [7; 10_000]).unwrap();
        has(&alice.fails(&["whoami"]), "damaged");
    }

    #[test]
    fn a_directory_that_cannot_be_written() {
        let world = World::new("cli-unwritable");
        std::fs::write(world.path("file"), b"").unwrap();
        let user = User::new(&world.address, &world.path("file").join("data"));
        has(&user.fails(&["whoami"]), "choose another data directory");
        let nobody = User::new("nowhere.invalid:1", Path::new(&world.path("x")));
        let said = nobody.fails(&["server-info"]);
        assert!(said.contains("nowhere.invalid:1"), "{said}");
    }

    #[test]
    fn a_full_disk_refuses_and_loses_nothing() {
        let dir = Scratch::try_new("cli-full").unwrap();
        let flags = [
            BUSY,
            &["--enqueues-per-minute", "100000", "--max-database", "1"],
        ]
        .concat();
        let (mut server, address) = Server::start(&dir.path().join("server"), ANY_PORT, &flags);
        let user = |name: &str| User::new(&address, &dir.path().join(name));
        let (alice, bob) = (user("alice"), user("bob"));
        alice.ok(&["register", "alice"]);
        bob.ok(&["register", "bob"]);
        alice.ok(&["dm", "bob"]);
        // A megabyte does not hold all of these.
        let mut sender = alice.spawn(&["send", "bob", "-"]);
        let text = |n: u32| format!("{n} {}", "x".repeat(50_000));
        for n in 0..40 {
            assert!(sender.tell(&text(n)));
        }
        let first = sender.next().unwrap();
        assert_eq!(first["line"], 1);
        // Reading makes room, so in the end everything arrives, in order.
        let mut heard = Vec::new();
        while heard.len() < 40 {
            let said = bob.ok(&["recv"]);
            heard.extend(texts(&said).iter().map(|(_, text)| (*text).to_owned()));
        }
        assert!(
            heard.iter().cloned().eq((0..40).map(text)),
            "{}",
            heard.len()
        );
        assert_eq!(sender.finish().len(), 39);
        server.stop();
    }

    #[test]
    fn a_disk_that_fails_ends_the_server_and_takes_nothing_that_was_confirmed() {
        let dir = Scratch::try_new("cli-broken").unwrap();
        let data = dir.path().join("server");
        let flags = [BUSY, &["--enqueues-per-minute", "100000"]].concat();
        let mut server = Server::spawn_limited(&data, ANY_PORT, &flags, 2048);
        let address = server.line("listening on ");
        let user = |name: &str| User::new(&address, &dir.path().join(name));
        let (alice, bob) = (user("alice"), user("bob"));
        alice.ok(&["register", "alice"]);
        bob.ok(&["register", "bob"]);
        alice.ok(&["dm", "bob"]);
        let mut sender = alice.spawn(&["send", "bob", "-"]);
        let text = |n: u32| format!("{n} {}", "x".repeat(50_000));
        for n in 0..60 {
            assert!(sender.tell(&text(n)));
        }
        let (code, said) = server.end();
        assert_eq!(code, Some(1), "{said}");
        has(&said, "the storage failed");

        // On a disk that works everything confirmed before is there, and the rest goes on.
        let (mut server, _) = Server::start(&data, &address, &flags);
        let confirmed = sender.finish();
        assert_eq!(confirmed.len(), 60);
        let heard = bob.ok(&["recv"]);
        let heard = texts(&heard);
        assert!(
            heard
                .iter()
                .map(|(_, text)| (*text).to_owned())
                .eq((0..60).map(text))
        );
        server.stop();
    }
}
