//! Durable messages a second: over QUIC into SQLite, against the same statements without us.

mod brokers;
mod limit;

use qpq_protocol::storage::{Command, Engine as _};
use qpq_server_example::scratch::Scratch;
use qpq_server_example::time::unix_now;
use qpq_store::sqlite::{Options, Sqlite};
use std::path::Path;

use super::caller::Load;
use super::drive::{Ask, PAYLOAD, RECIPIENTS};
use super::meter::Measured;
use super::peers::Peer;
use super::serve::DATABASE;
use super::table::{self, Series};
use super::target::Target;
use super::{Failure, Outcome, Scope, accounts};
use brokers::Brokers;
use limit::{A_COMMIT, Statements};

/// Who sends, and how much at a time: 256 altogether.
const LOAD: Load = Load::new(8, 32);
const SENDERS: u64 = 8;

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let messages = if scope.quick { 3000 } else { 40_000 };
    let statements = Statements::record(messages)?;
    let (mut ours, mut straight) = (Vec::new(), Vec::new());
    let mut brokers = Brokers::look();
    for _ in 0..scope.rounds() {
        ours.push(served(scope, messages)?);
        let scratch = Scratch::try_new_in(&scope.dir, "bench");
        let scratch = scratch.map_err(Failure::of("a directory"))?;
        fill(scratch.path(), SENDERS)?;
        straight.push(statements.run(&scratch.path().join(DATABASE))?);
        brokers.measure(scope, messages)?;
    }
    report(messages, &ours, &Series::new(straight));
    brokers.report(&Series::new(ours.iter().map(|measured| measured.rate)));
    Ok(())
}

/// Messages over QUIC, to a server that begins with accounts only.
fn served(scope: &Scope, messages: u64) -> Outcome<Measured> {
    let target = Target::start(scope, Peer::Qpq, None, |dir| fill(dir, SENDERS))?;
    let mut client = target.client(LOAD);
    client.ask = Ask::Enqueue;
    client.calls = Some(messages);
    target.measure(&client)
}

/// Writes the accounts of all recipients and so many senders into a new database.
pub fn fill(dir: &Path, senders: u64) -> Outcome<()> {
    let path = dir.join(DATABASE);
    let mut engine = Sqlite::open(&path, &Options::default()).map_err(Failure::of("database"))?;
    let accounts = accounts::accounts(RECIPIENTS + senders, unix_now());
    engine.run(accounts.into_iter().map(Command::Commit).collect());
    Ok(())
}

fn report(messages: u64, ours: &[Measured], straight: &Series) {
    let figure = |figure: fn(&Measured) -> f64| Series::new(ours.iter().map(figure));
    let rate = figure(|measured| measured.rate);
    let row = |name: &str, series: &Series| vec![name.to_owned(), series.to_string()];
    let title = format!(
        "Durable Enqueue, {PAYLOAD} B, 256 in flight over 8 connections, SQLite synchronous=FULL, \
         {messages} messages to {RECIPIENTS} accounts"
    );
    table::print(
        &title,
        &["", "median (least–most)"],
        &[
            row("qpq over QUIC, messages a second", &rate),
            row(
                &format!("the same statements straight into SQLite, {A_COMMIT} messages a commit"),
                straight,
            ),
            row("**qpq ÷ limit** (goal: 0.5)", &rate.over(straight)),
            row(
                "server, µs of processor time a message",
                &figure(|m| m.server_cpu),
            ),
            row(
                "client, µs of processor time a message",
                &figure(|m| m.client_cpu),
            ),
        ],
    );
}
