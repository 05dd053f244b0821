//! The golden vectors hold, and this code writes them as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use qpq_lab::vectors;
use qpq_server_example::scratch::Scratch;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

/// What the command says of this folder: exit code, objects, and what is on standard error.
fn check(dir: &Path) -> (Option<i32>, Vec<Value>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qpq-lab"));
    let output = command
        .args(["vectors", "check", "--json"])
        .arg(dir)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let parse = |line| serde_json::from_str(line).expect("an object");
    let objects = text(output.stdout).lines().map(parse).collect();
    (output.status.code(), objects, text(output.stderr))
}

#[test]
fn every_vector_holds() {
    let (code, mut rows, said) = check(&folder());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{rows:#?}");
    let last = rows.pop().expect("a last line");
    for row in &rows {
        assert_eq!(row["problem"], Value::Null, "{row}");
        assert!(row["cases"].as_u64() > Some(0), "{row} is empty");
    }
    assert_eq!(last["type"], "vectors_ok");
    assert_eq!(last["files"], rows.len());
}

#[test]
fn what_is_missing_or_changed_is_a_failure() {
    let scratch = Scratch::try_new("vectors").expect("a directory");
    std::fs::create_dir(scratch.path().join("padding")).expect("a directory");
    let path = scratch.path().join("padding/padding.json");
    let file = std::fs::read_to_string(folder().join("padding/padding.json")).expect("a file");
    let problems = |file: &str| {
        std::fs::write(&path, file).expect("a file");
        let (code, rows, said) = check(scratch.path());
        assert_eq!(code, Some(1), "{rows:#?}");
        let error: Value = serde_json::from_str(&said).expect("an object");
        let broken = rows.iter().filter(|row| row["problem"] != Value::Null);
        let expected = format!("{} of {} files", broken.count(), rows.len());
        assert!(
            error["message"]
                .as_str()
                .expect("text")
                .starts_with(&expected),
            "{said}"
        );
        let row = rows
            .iter()
            .find(|row| row["file"] == "padding/padding.json");
        (rows.len(), row.expect("a line")["problem"].clone())
    };
    // Folders that are not there do not hold.
    let (all, problem) = problems(&file);
    assert!(all > 1);
    assert_eq!(problem, Value::Null);
    let changed = file.replacen(r#""padded":"80"#, r#""padded":"81"#, 1);
    assert_ne!(changed, file);
    let (_, problem) = problems(&changed);
    assert!(problem.is_string(), "{problem}");
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
