//! What an idle connection holds in the server: ours with a session, quinn's with a connection.

use std::thread::sleep;
use std::time::Duration;

use super::caller::Load;
use super::drive::Ask;
use super::durable;
use super::peers::Peer;
use super::process::resident;
use super::table::{self, Series};
use super::target::Target;
use super::{Outcome, Scope};

/// What happened while connecting may be given back until then.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let connections = if scope.quick { 200 } else { 5000 };
    let (mut ours, mut quinn) = (Vec::new(), Vec::new());
    for _ in 0..scope.rounds().min(3) {
        ours.push(a_connection(scope, Peer::Qpq, connections)?);
        quinn.push(a_connection(scope, Peer::Quinn, connections)?);
    }
    let (ours, quinn) = (Series::new(ours), Series::new(quinn));
    let ratio = ours.over(&quinn).to_string();
    let row = |name: &str, figure: String| vec![name.to_owned(), figure];
    table::print(
        &format!("Resident memory of the server for each of {connections} idle connections, KiB"),
        &["", "median (least–most)"],
        &[
            row("qpq, each with a session of its own", ours.to_string()),
            row("quinn, each after one echo", quinn.to_string()),
            row("**qpq ÷ quinn** (goal: at most 1.0)", ratio),
        ],
    );
    Ok(())
}

/// KiB that the server grows by, a connection.
fn a_connection(scope: &Scope, peer: Peer, connections: usize) -> Outcome<f64> {
    let accounts = |dir: &std::path::Path| match peer {
        Peer::Qpq => durable::fill(dir, connections as u64),
        _ => Ok(()),
    };
    let target = Target::start(scope, peer, None, accounts)?;
    sleep(SETTLE);
    let before = resident(target.id())?;
    let mut client = target.client(Load::new(connections, 0));
    client.ask = Ask::Enqueue;
    let held = client.hold()?;
    sleep(SETTLE);
    let after = resident(target.id())?;
    drop(held);
    Ok(after.saturating_sub(before) as f64 / 1024.0 / connections as f64)
}
