//! Calls a second, their latency and what they cost, against quinn and tonic.

use super::caller::Load;
use super::meter::Measured;
use super::peers::Peer;
use super::table::{self, Series};
use super::target::Target;
use super::{Outcome, Scope};

const PEERS: [Peer; 3] = [Peer::Qpq, Peer::Quinn, Peer::Tonic];
/// Where both processes may run.
const PLACES: [(&str, Option<usize>); 2] = [("any core", None), ("one core", Some(0))];
const LOADS: [(&str, Load); 3] = [
    ("64 in flight on 1 connection", Load::new(1, 64)),
    ("8 in flight on each of 32", Load::new(32, 8)),
    ("1 in flight", ONE),
];
/// Where the time of each call is taken.
const ONE: Load = Load::new(1, 1);

/// A load in a place: the rounds of each of [`PEERS`].
struct Measurement {
    name: String,
    load: Load,
    rounds: [Vec<Measured>; 3],
}

impl Measurement {
    fn series(&self, peer: usize, figure: impl Fn(&Measured) -> f64) -> Series {
        Series::new(self.rounds.get(peer).into_iter().flatten().map(figure))
    }

    /// A figure of each peer, and ours over the others'.
    fn row(&self, figure: impl Fn(&Measured) -> f64 + Copy) -> Vec<String> {
        let [ours, quinn, tonic] = [0, 1, 2].map(|peer| self.series(peer, figure));
        let ratios = [ours.over(&quinn), ours.over(&tonic)];
        let mut row = vec![self.name.clone()];
        row.extend([ours, quinn, tonic].map(|series| series.to_string()));
        row.extend(ratios.map(|series| format!("**{series}**")));
        row
    }
}

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let mut all = Vec::new();
    for (place, core) in PLACES {
        let start = |peer| Target::start(scope, peer, core, |_| Ok(()));
        let targets = [start(PEERS[0])?, start(PEERS[1])?, start(PEERS[2])?];
        for (name, load) in LOADS {
            let mut rounds = [const { Vec::new() }; 3];
            for _ in 0..scope.rounds() {
                for (target, rounds) in targets.iter().zip(&mut rounds) {
                    let mut client = target.client(load);
                    client.latencies = load == ONE;
                    client.millis = if scope.quick { 100 } else { 800 };
                    rounds.push(target.measure(&client)?);
                }
            }
            all.push(Measurement {
                name: format!("{name}, {place}"),
                load,
                rounds,
            });
        }
    }
    report(&all);
    Ok(())
}

fn report(all: &[Measurement]) {
    let head = [
        "load",
        "qpq",
        "quinn",
        "tonic",
        "qpq ÷ quinn",
        "qpq ÷ tonic",
    ];
    let rates = all.iter().map(|each| each.row(|measured| measured.rate));
    table::print(
        "Health, 256 B each way, TLS 1.3: calls a second (goal: 1.0 x quinn, 5 x tonic)",
        &head,
        &rates.collect::<Vec<_>>(),
    );
    let cpu = all.iter().map(|each| each.row(Measured::cpu));
    table::print(
        "Processor time of both sides, µs a call (goal: at most 1.1 x quinn)",
        &head,
        &cpu.collect::<Vec<_>>(),
    );
    let server = all
        .iter()
        .map(|each| each.row(|measured| measured.server_cpu));
    table::print(
        "Processor time of the server alone, µs a call",
        &head,
        &server.collect::<Vec<_>>(),
    );
    let mut latencies = Vec::new();
    for each in all.iter().filter(|each| each.load == ONE) {
        for (name, figure) in [
            ("p50", (|m| m.p50) as fn(&Measured) -> f64),
            ("p99", |m| m.p99),
        ] {
            let mut row = each.row(figure);
            if let Some(first) = row.first_mut() {
                *first = format!("{first}, {name}");
            }
            latencies.push(row);
        }
    }
    table::print(
        "Latency of one call at a time, µs (goal: at most 1.0 x quinn)",
        &head,
        &latencies,
    );
}
