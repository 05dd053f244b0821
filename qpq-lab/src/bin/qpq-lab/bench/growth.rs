//! What an operation costs as there are more connections, longer queues, a longer log.

mod log;
mod queue;

use super::caller::Load;
use super::meter::Measured;
use super::peers::Peer;
use super::table::{self, Series};
use super::target::Target;
use super::{Outcome, Scope};

/// Idle connections, and those that are added to get there from the size before.
const CONNECTIONS: [usize; 5] = [0, 10, 100, 1000, 10_000];

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    connections(scope)?;
    queue::run(scope)?;
    log::run(scope)
}

/// Health on one connection beside ever more idle ones.
fn connections(scope: &Scope) -> Outcome<()> {
    let target = Target::start(scope, Peer::Qpq, None, |_| Ok(()))?;
    let mut client = target.client(Load::new(1, 64));
    client.millis = if scope.quick { 100 } else { 500 };
    let (mut held, mut rows) = (Vec::new(), Vec::new());
    let mut before = 0;
    for size in CONNECTIONS {
        if scope.quick && size > 100 {
            break;
        }
        if size > before {
            held.push(target.client(Load::new(size - before, 0)).hold()?);
            before = size;
        }
        let rounds = (0..scope.rounds()).map(|_| target.measure(&client));
        let rounds = rounds.collect::<Outcome<Vec<Measured>>>()?;
        let figure = |figure: fn(&Measured) -> f64| Series::new(rounds.iter().map(figure));
        rows.push(vec![
            size.to_string(),
            figure(|measured| measured.server_cpu).to_string(),
            figure(|measured| measured.rate).to_string(),
        ]);
    }
    let head = [
        "idle connections",
        "µs of the server's processor a call",
        "calls a second",
    ];
    table::print(
        "Growth: Health, 64 in flight on one connection, beside idle ones",
        &head,
        &rows,
    );
    Ok(())
}
