//! `qpq-lab feed`: what each core does with bytes that were made for it, that were torn, and that are rubbish.

use std::path::Path;
use std::process::{Command, Output};

use bytes::Bytes;
use qpq_lab::feed::{Side, feed};
use qpq_protocol::frame::{encode_push, encode_request, encode_response};
use qpq_protocol::method::Method;
use qpq_protocol::proto::{
    GetServerInfoResponse, HealthRequest, OpaqueLoginStartRequest, PushEvent,
};
use qpq_protocol::status::Status;
use qpq_server_example::scratch::Scratch;
use serde_json::{Value, json};

fn run(dir: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qpq-lab"));
    command.arg("feed").arg(dir).args(flags);
    command.output().expect("it runs")
}

/// What it prints about these streams, for scripts.
fn fed(streams: &[(&str, &[u8])], flags: &[&str]) -> Vec<Value> {
    let scratch = Scratch::try_new("feed").expect("a directory");
    // Directories are not looked into.
    std::fs::create_dir(scratch.path().join("a directory")).expect("a directory");
    for (name, bytes) in streams {
        std::fs::write(scratch.path().join(name), bytes).expect("a file");
    }
    let output = run(scratch.path(), &[flags, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let parse = |line| serde_json::from_str(line).expect("an object");
    text.lines().map(parse).collect()
}

fn health() -> Bytes {
    encode_request(Method::Health.id(), 7, &HealthRequest {}).expect("a frame")
}

#[test]
fn a_server_answers_what_is_whole_and_resets_what_is_not() {
    let whole = health();
    let garbage = [0xff; 100];
    let streams: [(&str, &[u8]); 4] = [
        ("c-garbage", &garbage),
        ("a-health", &whole),
        ("b-torn", &whole[..9]),
        ("d-nothing", &[]),
    ];
    let lines = fed(&streams, &[]);
    let [health, torn, garbage, nothing, last] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    // By name, whatever order the system gives them in.
    let names = [health, torn, garbage, nothing].map(|line| line["file"].as_str());
    assert_eq!(
        names,
        ["a-health", "b-torn", "c-garbage", "d-nothing"].map(Some)
    );

    let request = &health["request"];
    assert_eq!(health["bytes"], 10);
    assert_eq!(request["taken"], 10);
    assert_eq!(request["sent"][0]["status"], "Ok");
    assert_eq!(request["sent"][0]["request_id"], 7);
    assert_eq!(request["sent"].as_array().map(Vec::len), Some(1));
    assert_eq!(request["reset"], Value::Null);
    assert_eq!(request["events"], json!([]));

    for (line, code) in [(torn, "Frame"), (garbage, "TooLarge"), (nothing, "Frame")] {
        let request = &line["request"];
        assert_eq!(request["reset"], code, "{line}");
        assert_eq!(request["sent"], json!([]), "{line}");
        assert_eq!(request["closed"], Value::Null, "{line}");
        let told = request["events"][0].as_str().expect("an event");
        assert!(
            told.starts_with("PeerFault") && told.contains(code),
            "{line}"
        );
    }
    let expected = json!({
        "type": "feed_ok", "files": 4, "bytes": 119, "answered": 1, "reset": 3, "closed": 0,
    });
    assert_eq!(*last, expected);
}

#[test]
fn a_server_says_why_it_refuses() {
    let unknown = encode_request(9999, 3, &HealthRequest {}).expect("a frame");
    let long = OpaqueLoginStartRequest {
        request: vec![0; 70_000].into(),
        ..OpaqueLoginStartRequest::default()
    };
    let long = encode_request(Method::OpaqueLoginStart.id(), 4, &long).expect("a frame");
    let lines = fed(&[("1", &unknown), ("2", &long)], &[]);
    let answer = |line: usize| {
        let sent = &lines[line]["request"]["sent"][0];
        let detail = sent["detail"].as_str().expect("a reason");
        (
            sent["status"].clone(),
            sent["request_id"].clone(),
            detail.to_owned(),
        )
    };
    let (status, request_id, why) = answer(0);
    assert_eq!((status, request_id), ("UnknownMethod".into(), 3.into()));
    assert!(why.contains("9999"), "{why}");
    let (status, request_id, why) = answer(1);
    assert_eq!((status, request_id), ("BadRequest".into(), 4.into()));
    assert!(why.contains("too long"), "{why}");
    // What it does not want it reads to its end all the same.
    assert_eq!(lines[1]["request"]["taken"], long.len());
}

#[test]
fn a_client_takes_bytes_as_an_answer_and_as_pushes() {
    let answer = GetServerInfoResponse {
        domain: "example.org".to_owned(),
        signing_key: vec![9; 32].into(),
        wire_version: 1,
        ..GetServerInfoResponse::default()
    };
    let answer = encode_response(Status::Ok, 1, &answer).expect("a frame");
    let refusal = encode_response(Status::Unavailable, 1, &HealthRequest {}).expect("a frame");
    // An event that no version knows yet is nothing bad.
    let push = encode_push(60_000, &PushEvent::default()).expect("a frame");
    let lines = fed(
        &[
            ("1", &answer),
            ("2", &refusal),
            ("3", &answer[..20]),
            ("4", &push),
        ],
        &["--core", "client"],
    );
    let told = |line: usize, role: &str| lines[line][role]["events"].to_string();
    for line in &lines[..4] {
        let asked = json!({"method": "GetServerInfo", "request_id": 1});
        assert_eq!(line["answer"]["sent"][0], asked);
        assert_eq!(line["push"]["sent"], json!([asked]));
    }
    // What was answered well lets it go on to what it was asked for.
    assert_eq!(lines[0]["answer"]["sent"][1]["method"], "Health");
    assert_eq!(lines[0]["answer"]["closed"], Value::Null);
    assert_eq!(told(0, "answer"), "[]");
    assert_eq!(lines[1]["answer"]["closed"], "None");
    assert!(told(1, "answer").contains("Lost"), "{}", told(1, "answer"));
    assert_eq!(lines[2]["answer"]["closed"], "Frame");
    assert!(
        told(2, "answer").contains("Protocol"),
        "{}",
        told(2, "answer")
    );
    assert_eq!(lines[3]["push"]["closed"], Value::Null);
    assert_eq!(told(3, "push"), "[]");
    assert_eq!(lines[3]["answer"]["closed"], "Frame");
    assert_eq!(lines.len(), 5);
}

#[test]
fn what_comes_out_depends_on_bytes_and_seed_alone() {
    let torn = health().slice(..5);
    let of = |seed| feed(Side::Client, &torn, seed).expect("no panic");
    assert_eq!(of(1), of(1));
    // The pause before the client tries again is drawn.
    assert_ne!(of(1), of(2));
    let streams: [(&str, &[u8]); 1] = [("torn", &torn)];
    let flags = ["--core", "client", "--seed", "5"];
    assert_eq!(fed(&streams, &flags), fed(&streams, &flags));
}

#[test]
fn a_directory_without_streams_is_said_so() {
    let scratch = Scratch::try_new("feed").expect("a directory");
    let missing = scratch.path().join("nowhere");
    let said = |dir: &Path, flags: &[&str]| {
        let output = run(dir, flags);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).expect("text")
    };
    let empty = said(scratch.path(), &[]);
    assert!(empty.contains("has no files: put one there"), "{empty}");
    let nowhere = said(&missing, &[]);
    assert!(
        nowhere.contains("nowhere: entity not found: name a directory"),
        "{nowhere}"
    );
    let error: Value = serde_json::from_str(&said(&missing, &["--json"])).expect("an object");
    assert_eq!(error["type"], "error");
    assert_eq!(error["code"], "failed");
}
