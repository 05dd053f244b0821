//! The golden vectors hold, and this code writes them as they are.

use std::path::{Path, PathBuf};

use qpq_lab::vectors;
use qpq_server_example::scratch::Scratch;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

#[test]
fn every_vector_holds() {
    for row in vectors::check(&folder()) {
        assert_eq!(row.problem, None, "{}", row.file);
        assert!(row.cases > 0, "{} is empty", row.file);
    }
}

/// The files were written by another process, so this also shows that nothing in them depends on
/// one.
#[test]
fn vectors_made_again_are_the_same_bytes() {
    let scratch = Scratch::try_new("vectors").expect("a directory");
    // Scripts are written on what is there.
    let scripts = scratch.path().join("scripts");
    std::fs::create_dir(&scripts).expect("a directory");
    for entry in std::fs::read_dir(folder().join("scripts")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, scripts.join(name)).expect("a file");
    }
    for row in vectors::make(scratch.path()) {
        assert_eq!(row.problem, None, "{}", row.file);
        let made = std::fs::read_to_string(scratch.path().join(&row.file)).expect("a file");
        let file = std::fs::read_to_string(folder().join(&row.file)).expect("a file");
        let first = made.lines().zip(file.lines()).position(|(a, b)| a != b);
        let line = first.map(|line| line + 1);
        assert!(made == file, "{}: line {line:?} differs", row.file);
    }
}

#[test]
fn a_changed_byte_is_found_and_named() {
    let scratch = Scratch::try_new("vectors").expect("a directory");
    let dir = scratch.path().join("sessions");
    std::fs::create_dir(&dir).expect("a directory");
    let dm = std::fs::read_to_string(folder().join("sessions/dm.json")).expect("a file");
    let changed = |from: &str, to: &str| {
        assert!(dm.contains(from), "{from}");
        std::fs::write(dir.join("dm.json"), dm.replacen(from, to, 1)).expect("a file");
        let rows = vectors::check(scratch.path());
        let row = rows.iter().find(|row| row.file == "sessions/dm.json");
        let problem = row.and_then(|row| row.problem.clone());
        problem.map_or_else(String::new, |problem| problem.to_string())
    };
    assert_eq!(
        changed("00000001", "00000101"),
        "server.starts[0].steps[1].out[0].command.commit.puts[0][1]: \
         byte 2 is 01 in the file, 00 here"
    );
    assert_eq!(
        changed("\"committed\"", "\"conflict\""),
        "server.starts[0].steps[2].in.reply: \"conflict\" in the file, \"committed\" here"
    );
    assert!(changed("\"timeout\"", "\"no such\"").contains("kind is not a known input"));
    assert!(changed("\"mls_values\": ", "\"mls_values\": 1").contains("mls_values"));
}
