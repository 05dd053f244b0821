//! `qpq-lab sim`: its last line, and that it does not depend on process or threads.

use std::process::Command;

use serde_json::Value;

fn sim(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_qpq-lab"))
        .arg("sim")
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn equal_seeds_give_equal_hashes_in_two_processes_and_with_any_threads() {
    let [one, two, other] = [
        ["--seeds", "6", "--threads", "1"],
        ["--seeds", "6", "--threads", "3"],
        ["--seeds", "5", "--threads", "1"],
    ]
    .map(|arguments| sim(&arguments).pop().expect("a last line"));
    assert_eq!(one, two);
    assert_ne!(one, other);
    let hash = one.strip_prefix("ok seeds=6 hash=").expect("the last line");
    assert_eq!(hash.len(), 64);
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn equal_seeds_give_equal_hashes_over_datagrams_too() {
    let [one, two, streams] = [
        ["--seeds", "2", "--threads", "1", "--datagrams"],
        ["--seeds", "2", "--threads", "2", "--datagrams"],
        ["--seeds", "2", "--threads", "1", "--start=0"],
    ]
    .map(|arguments| sim(&arguments).pop().expect("a last line"));
    assert_eq!(one, two);
    assert_ne!(one, streams);
    assert!(one.starts_with("ok seeds=2 hash="), "{one}");
}

#[test]
fn a_log_tells_what_happened() {
    let lines = sim(&["--seeds", "1", "--start", "3", "--log"]);
    assert!(lines.iter().any(|line| line.ends_with("s0 starts")));
    assert!(lines.iter().any(|line| line.contains("asks BatchEnqueue")));
    assert!(lines.iter().any(|line| line.ends_with("* the faults stop")));
}

/// What scripts read is what people read.
#[test]
fn a_log_for_scripts_names_time_who_and_what() {
    let lines = sim(&["--seeds", "1", "--start", "3", "--log"]);
    let objects = sim(&["--seeds", "1", "--start", "3", "--log", "--json"]);
    let objects: Vec<Value> = objects
        .iter()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let logged: Vec<&Value> = objects
        .iter()
        .filter(|object| object["type"] == "log")
        .collect();
    assert!(logged.len() > 100, "{} lines", logged.len());
    for (line, object) in lines.iter().zip(&logged) {
        assert_eq!(object["seed"], 3);
        let micros = object["at_us"].as_u64().expect("a time");
        let text = |name: &str| object[name].as_str().expect("text");
        let (who, what) = (text("who"), text("what"));
        let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        assert_eq!(line.trim_start(), format!("{seconds} {who} {what}"));
    }
    let last = objects.last().expect("a last line");
    assert_eq!(last["type"], "sim");
    assert_eq!(last["line"], *lines.last().expect("a last line"));
}

#[test]
fn weather_can_be_said() {
    let last = |flags: &[&str]| sim(&[&["--seeds", "3"], flags].concat()).pop();
    let usual = last(&[]);
    for flags in [
        ["--loss", "30"],
        ["--delay", "700"],
        ["--disk-faults", "20"],
    ] {
        assert_ne!(last(&flags), usual, "{flags:?}");
        assert_eq!(last(&flags), last(&flags), "{flags:?}");
    }
}
