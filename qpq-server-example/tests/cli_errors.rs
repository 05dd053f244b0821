//! The one sentence that `qpq` says of what does not work, and its code for scripts.

mod support;

mod bad_input {
    use std::path::Path;

    use qpq_server_example::scratch::Scratch;
    use serde_json::Value;

    use super::support::world::{ANY_PORT, BUSY, World, texts};
    use super::support::{Server, User, sentence};

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
        second.ok(&["send", "#both", "from the second"]);
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
        let kept = alice.run(&["send", "bob", "later"]);
        assert_eq!(kept.code, Some(3), "{kept:?}");
        has(kept.error.trim_end(), "does not answer");
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
        let flags = [BUSY, &["--new-certificate"]].concat();
        let (_server, _) = Server::start(&server, &world.address, &flags);
        // The file to edit is named.
        let pins = world.path("alice").join("known-servers");
        for command in ["recv", "server-info"] {
            let said = alice.fails(&[command]);
            has(&said, "has changed");
            has(&said, pins.to_str().unwrap());
        }
        std::fs::remove_file(pins).unwrap();
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
