//! `opaque`: registrations and logins, right and wrong, and the identity that a password opens.

use qpq_crypto::opaque::{self, ServerSetup, Suite, client, server};
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{ALICE, flipped, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

const BROKEN: VectorError = VectorError::Broken("a login");

pub(super) fn inputs() -> Result<Vec<Value>> {
    let mut cases = Vec::new();
    for suite in [Suite::DEFAULT, Suite::TEST] {
        let suite = String::from_utf8_lossy(suite.as_bytes());
        let register = json!({
            "name": format!("registration, {suite}"), "kind": "registration", "suite": suite,
            "domain": "example.org", "username": "alice", "password": "correct horse",
            "setup_seed": seed(1), "request_seed": seed(2), "upload_seed": seed(3),
            "identity_seed": seed(ALICE), "sealing_seed": seed(4),
        });
        let registered = replay(&register)?;
        let (upload, sealed) = (
            registered.text("upload")?,
            registered.text("sealed_identity")?,
        );
        let login = |name: &str, domain: &str, password: &str, record: &str, sealed: Value| {
            json!({
                "name": format!("{name}, {suite}"), "kind": "login", "suite": suite,
                "server_domain": "example.org", "client_domain": domain, "username": "alice",
                "password": password, "setup_seed": seed(1), "record": record,
                "request_seed": seed(5), "response_seed": seed(6), "finalization_seed": seed(7),
                "sealed_identity": sealed,
            })
        };
        cases.push(register);
        let right = "correct horse";
        cases.push(login("login", "example.org", right, upload, sealed.into()));
        if suite == String::from_utf8_lossy(Suite::TEST.as_bytes()) {
            let changed = flipped(sealed, sealed.len() / 2 - 1);
            cases.extend([
                login(
                    "a wrong password",
                    "example.org",
                    "wrong horse",
                    upload,
                    sealed.into(),
                ),
                login("an unknown name", "example.org", right, "", sealed.into()),
                login(
                    "another server",
                    "example.com",
                    right,
                    upload,
                    sealed.into(),
                ),
                login(
                    "a changed sealed identity",
                    "example.org",
                    right,
                    upload,
                    changed,
                ),
            ]);
        }
    }
    Ok(cases)
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    let suite = Suite::parse_allowing_weak(case.text("suite")?.as_bytes());
    let suite = suite.map_err(|_| wrong("suite", "a known suite"))?;
    match case.text("kind")? {
        "registration" => register(case, suite),
        "login" => login(case, suite),
        _ => Err(wrong("kind", "registration or login")),
    }
}

fn register(case: &Value, suite: Suite) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "suite",
        "domain",
        "username",
        "password",
        "setup_seed",
        "request_seed",
        "upload_seed",
        "identity_seed",
        "sealing_seed",
    ];
    let mut out = keep(case, &names)?;
    let (domain, name) = (case.text("domain")?, case.text("username")?);
    let password = case.text("password")?.as_bytes();
    let setup = ServerSetup::generate(&case.array("setup_seed")?);
    let started = client::registration_start(&case.array("request_seed")?, password);
    let (state, request) = started.map_err(|_| BROKEN)?;
    let response = server::registration_start(&setup, name, &request).map_err(|_| BROKEN)?;
    let seed = case.array("upload_seed")?;
    let registration = state.finish(&seed, suite, domain, name, password, &response);
    let registration = registration.map_err(|_| BROKEN)?;
    let (identity, sealing) = (case.array("identity_seed")?, case.array("sealing_seed")?);
    let sealed = opaque::seal_identity(&registration.export_key, &identity, &sealing);
    out["server_setup"] = digits(setup.to_bytes().expose());
    out["registration_request"] = digits(request);
    out["registration_response"] = digits(response);
    out["upload"] = digits(&registration.upload);
    out["export_key"] = digits(registration.export_key.expose());
    out["sealed_identity"] = digits(sealed);
    Ok(out)
}

fn login(case: &Value, suite: Suite) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "suite",
        "server_domain",
        "client_domain",
        "username",
        "password",
        "setup_seed",
        "record",
        "request_seed",
        "response_seed",
        "finalization_seed",
        "sealed_identity",
    ];
    let mut out = keep(case, &names)?;
    let (ours, theirs) = (case.text("client_domain")?, case.text("server_domain")?);
    let (name, password) = (case.text("username")?, case.text("password")?.as_bytes());
    let setup = ServerSetup::generate(&case.array("setup_seed")?);
    let record = case.bytes("record")?;
    // Without a record the server answers from a fake one.
    let record = Some(record.as_slice()).filter(|record| !record.is_empty());
    let started = client::login_start(&case.array("request_seed")?, password);
    let (ours_state, request) = started.map_err(|_| BROKEN)?;
    let seed = case.array("response_seed")?;
    let answered = server::login_start(&setup, &seed, theirs, name, record, &request);
    let (their_state, response) = answered.map_err(|_| BROKEN)?;
    let seed = case.array("finalization_seed")?;
    let ended = ours_state.finish(&seed, suite, ours, name, password, &response);
    out["login_request"] = digits(request);
    out["login_response"] = digits(response);
    let (mut session_key, mut identity, mut finalization) = (Value::Null, Value::Null, Value::Null);
    let mut export_key = Value::Null;
    if let Ok(login) = ended {
        let theirs = their_state
            .finish(&login.finalization)
            .map_err(|_| BROKEN)?;
        if !theirs.ct_eq(&login.session_key) {
            return Err(BROKEN);
        }
        session_key = digits(theirs.expose());
        export_key = digits(login.export_key.expose());
        finalization = digits(&login.finalization);
        let opened = opaque::open_identity(&login.export_key, &case.bytes("sealed_identity")?);
        identity = opened.map_or(Value::Null, |identity| digits(identity.seed()));
    }
    out["finalization"] = finalization;
    out["session_key"] = session_key;
    out["export_key"] = export_key;
    out["identity_seed"] = identity;
    Ok(out)
}
