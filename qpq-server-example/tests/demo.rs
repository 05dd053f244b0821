//! `qpq demo` as the README promises it.

use std::process::Command;

use qpq_server_example::scratch::Scratch;

fn demo(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_qpq"))
        .arg("demo")
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_demo_ends_with_ok_and_leaves_its_database() {
    let scratch = Scratch::try_new("demo").unwrap();
    let dir = scratch.path().join("new");
    let args = ["--data-dir", dir.to_str().unwrap()];
    let (code, said, error) = demo(&args);
    assert_eq!(code, Some(0), "{error}");
    let database = dir.join("server").join("server.db");
    let last = format!("ok 9 messages, database {}", database.display());
    assert_eq!(said.lines().last(), Some(last.as_str()));
    assert!(database.exists());

    // What is there is not touched.
    let (code, _, error) = demo(&args);
    assert_eq!(code, Some(1));
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(error.lines().count(), 1);
}
