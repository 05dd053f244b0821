//! `qpq-lab sim`: seeds of the simulated world on all processors, and the first one that fails.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};
#[cfg(qpq_defects)]
use qpq_protocol::defect::Defect;
use qpq_protocol::sim::{Carrier, Config, Cost, Entry, Report, Villain, run};
use qpq_server_example::hex::hex;
use qpq_server_example::printer::Printer;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::failed::Failed;

/// Which worlds to run.
#[derive(Args, Clone, Debug)]
pub struct Seeds {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    start: u64,
    /// Clients in each world
    #[arg(long, value_name = "N", default_value_t = Config::default().clients, value_parser = at_least_one())]
    clients: usize,
    /// Server cores in each world, on one store
    #[arg(long, value_name = "N", default_value_t = Config::default().servers, value_parser = at_least_one())]
    servers: usize,
    /// Random actions in each world
    #[arg(long, value_name = "N", default_value_t = Config::default().steps)]
    steps: usize,
    /// Carry the bytes in simulated datagrams, between real QUIC endpoints
    #[arg(long)]
    datagrams: bool,
    /// Put a villain into each world, of any kind
    #[arg(long)]
    villains: bool,
    /// Put a villain of this kind into each world
    #[arg(long, value_name = "NAME", value_parser = a_villain)]
    villain: Vec<Villain>,
    /// Leave out this kind of villains
    #[arg(long, value_name = "NAME", value_parser = a_villain)]
    without: Vec<Villain>,
    /// Per cent of the pieces of streams, or datagrams, that are lost until the faults stop. Without this a seed
    /// draws it, as it does the next two; worlds where only villains do harm have none of them
    #[arg(long, value_name = "PERCENT", value_parser = percent())]
    loss: Option<u8>,
    /// The least milliseconds that each piece of a stream, or datagram, takes; a spread that the seed draws
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=10_000))]
    delay: Option<u64>,
    /// Per cent of the batches that fail, on every disk
    #[arg(long, value_name = "PERCENT", value_parser = percent())]
    disk_faults: Option<u8>,
    /// Print the log of each world; with --json, an object for each line: at_us (virtual time), who, what
    #[arg(long)]
    log: bool,
    /// Threads; as many as there are processors if not given. What comes out does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// What the cores do wrong, to hunt for a seed that shows it
    #[cfg(qpq_defects)]
    #[arg(long, value_name = "NAME", value_parser = named)]
    defect: Option<Defect>,
}

fn a_villain(name: &str) -> Result<Villain, String> {
    let found = Villain::ALL.iter().find(|villain| villain.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Villain::ALL.iter().map(|villain| villain.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

impl Seeds {
    /// The villains that a seed chooses from.
    fn kinds(&self) -> Vec<Villain> {
        let all = Villain::ALL.iter().copied();
        let named = |villain: &Villain| self.villains || self.villain.contains(villain);
        all.filter(named)
            .filter(|villain| !self.without.contains(villain))
            .collect()
    }
}

#[cfg(qpq_defects)]
fn named(name: &str) -> Result<Defect, String> {
    let found = Defect::ALL.iter().find(|defect| defect.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Defect::ALL.iter().map(|defect| defect.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

fn percent() -> RangedI64ValueParser<u8> {
    RangedI64ValueParser::new().range(0..=100)
}

/// A world without anyone in it shows nothing.
fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Runs the seeds; the last line says `ok`, how many there were, and the hash of all their logs.
pub fn run_seeds(seeds: &Seeds, printer: Printer) -> Result<(), Failed> {
    let began = Instant::now();
    let config = Config {
        clients: seeds.clients,
        servers: seeds.servers,
        steps: seeds.steps,
        carrier: match seeds.datagrams {
            true => Carrier::Datagrams { epoch: began },
            false => Carrier::Streams,
        },
        villains: seeds.kinds(),
        loss: seeds.loss,
        delay: seeds.delay.map(Duration::from_millis),
        disk_faults: seeds.disk_faults,
        log: seeds.log,
        #[cfg(qpq_defects)]
        defect: seeds.defect,
    };
    let reports = all(seeds, &config);
    let mut hash = Sha256::new();
    let mut messages = 0;
    for (seed, report) in &reports {
        for entry in &report.log {
            tell(printer, *seed, entry)?;
        }
        if let Some(violation) = &report.violation {
            let name = violation.invariant.name();
            say(
                printer,
                &format!("seed {seed} violates \"{name}\": {}", violation.detail),
            )?;
            say(
                printer,
                &format!("again, with its log: {}", replay(seeds, *seed)),
            )?;
            return Err(Failed::Simulation(*seed));
        }
        hash.update(report.hash);
        messages += report.messages;
    }
    for line in costs(reports.values()) {
        say(printer, &line)?;
    }
    let secs = began.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(reports.len()).unwrap_or(u32::MAX)) / secs;
    say(
        printer,
        &format!("{rate:.1} runs/s, {messages} messages confirmed, {secs:.1} s"),
    )?;
    let hash: [u8; 32] = hash.finalize().into();
    let hash = hex(&hash);
    say(printer, &format!("ok seeds={} hash={hash}", seeds.seeds))
}

fn say(printer: Printer, line: &str) -> Result<(), Failed> {
    let machine = json!({ "type": "sim", "line": line });
    printer.line(line, &machine).map_err(Failed::Output)
}

/// A line of the log of one world.
fn tell(printer: Printer, seed: u64, entry: &Entry) -> Result<(), Failed> {
    let machine = json!({
        "type": "log",
        "seed": seed,
        "at_us": entry.at.as_micros(),
        "who": entry.who,
        "what": entry.what,
    });
    printer
        .line(&entry.to_string(), &machine)
        .map_err(Failed::Output)
}

/// What each kind of villains cost the others, over all worlds in which it was alone.
fn costs<'a>(reports: impl Iterator<Item = &'a Report>) -> Vec<String> {
    let mut kinds: BTreeMap<&str, (usize, Cost)> = BTreeMap::new();
    for report in reports {
        let [villain] = report.cost.villains[..] else {
            continue;
        };
        let (worlds, sum) = kinds.entry(villain.name()).or_default();
        *worlds += 1;
        sum.add(&report.cost);
    }
    let line = |(name, (worlds, cost)): (&str, (usize, Cost))| {
        let told: Vec<String> = cost
            .told
            .iter()
            .map(|(what, count)| format!("{what} {count}"))
            .collect();
        let answers: Vec<String> = cost
            .answers
            .iter()
            .map(|(status, count)| format!("{} {count}", status.name()))
            .collect();
        format!(
            "{name}: {worlds} worlds, slowest answer {:.3} s, most memory {} KiB, the villain was answered {}; the \
             others were told {}",
            cost.slowest.as_secs_f64(),
            cost.memory / 1024,
            or_nothing(&answers),
            or_nothing(&told),
        )
    };
    kinds.into_iter().map(line).collect()
}

fn or_nothing(list: &[String]) -> String {
    match list {
        [] => "nothing".to_owned(),
        list => list.join(", "),
    }
}

/// The reports in order of their seeds, up to the first that fails.
fn all(seeds: &Seeds, config: &Config) -> BTreeMap<u64, Report> {
    let end = seeds.start.saturating_add(seeds.seeds);
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let reports = Mutex::new(BTreeMap::new());
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let report = run(config, seed);
            failed.fetch_or(report.violation.is_some(), Ordering::Relaxed);
            let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
            reports.insert(seed, report);
        }
    };
    let threads = seeds.threads.or(std::thread::available_parallelism().ok());
    std::thread::scope(|scope| {
        for _ in 1..threads.map_or(1, NonZeroUsize::get) {
            scope.spawn(work);
        }
        work();
    });
    reports.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The command that runs one seed again, with its log.
fn replay(seeds: &Seeds, seed: u64) -> String {
    let Seeds {
        clients,
        servers,
        steps,
        ..
    } = seeds;
    let mut command = format!("qpq-lab sim --start {seed} --seeds 1 --log");
    if seeds.datagrams {
        command.push_str(" --datagrams");
    }
    // The same kinds to choose from: a seed's villain depends on them.
    for villain in seeds.kinds() {
        command.push_str(&format!(" --villain {}", villain.name()));
    }
    let usual = Config::default();
    for (flag, value, usual) in [
        ("clients", *clients, usual.clients),
        ("servers", *servers, usual.servers),
        ("steps", *steps, usual.steps),
    ] {
        if value != usual {
            command.push_str(&format!(" --{flag} {value}"));
        }
    }
    let said = [
        ("loss", seeds.loss.map(u64::from)),
        ("delay", seeds.delay),
        ("disk-faults", seeds.disk_faults.map(u64::from)),
    ];
    for (flag, value) in said {
        if let Some(value) = value {
            command.push_str(&format!(" --{flag} {value}"));
        }
    }
    #[cfg(qpq_defects)]
    if let Some(defect) = seeds.defect {
        command.push_str(&format!(" --defect {}", defect.name()));
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Command, Lab};

    #[test]
    fn a_seed_runs_again_with_all_that_was_said() {
        let said = "--datagrams --villain greedy --clients 5 --loss 7 --delay 30 --disk-faults 2";
        let line = format!("qpq-lab sim --seeds 50 {said}");
        let lab = Lab::try_parse_from(line.split(' ')).unwrap();
        let Command::Sim(seeds) = lab.command else {
            panic!("{lab:?}");
        };
        let again = replay(&seeds, 42);
        assert_eq!(
            again,
            format!("qpq-lab sim --start 42 --seeds 1 --log {said}")
        );
    }
}
