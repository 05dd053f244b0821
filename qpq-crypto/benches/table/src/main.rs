//! The table of costs in qpq-crypto's README: [`mls::Group`](qpq_crypto::mls::Group), openmls driven
//! directly and mls-rs with its aws-lc provider, in one run and in turns, and what else the crate does.
//!
//! `cargo run --release` here prints it as Markdown in about four minutes, `--features aws-lc-rs` the
//! other one; `--quick` in ten seconds, without the largest groups, to see that it runs; `--only encrypt`
//! the rows with that in their name, `--suite 0x0001` of one suite. For a profiler,
//! `--operations 20 --only 'join 101' --stack group` runs one contender that many times and prints nothing.

mod about;
mod account;
#[path = "../../account/cases.rs"]
mod cases;
mod direct;
mod group;
mod measure;
mod peer;
mod storage;
mod table;

use std::time::Duration;

use qpq_crypto::mls::Suite;

use crate::{
    direct::Direct,
    group::Ours,
    measure::{Effort, Op, Stack},
    peer::Peer,
};

const USAGE: &str = "there are --quick, --only NAME, --suite 0x0001|0x004f, \
    --stack group|openmls|mls-rs, --operations NUMBER";

const SUITES: [Suite; 2] = [Suite::X25519, Suite::MlKem768X25519];

/// What is measured.
#[derive(Default)]
struct Choice {
    /// Rows with this in their name.
    only: String,
    /// One suite.
    suite: Option<Suite>,
    /// One contender.
    stack: Option<String>,
    /// Runs this many operations of each row, without a figure.
    operations: Option<u32>,
}

fn main() {
    let mut effort = Effort {
        row: Duration::from_millis(3_500),
        largest: 1000,
    };
    let mut choice = Choice::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| refuse(&argument));
        match argument.as_str() {
            "--quick" => {
                effort = Effort {
                    row: Duration::from_millis(60),
                    largest: 100,
                }
            }
            "--only" => choice.only = value(),
            "--suite" => {
                let name = value();
                let mut suites = SUITES.into_iter();
                let suite = suites.find(|suite| format!("{:#06x}", suite.id()) == name);
                choice.suite = Some(suite.unwrap_or_else(|| refuse(&name)));
            }
            "--stack" => choice.stack = Some(value()),
            "--operations" => {
                let number = value();
                choice.operations = Some(number.parse().unwrap_or_else(|_| refuse(&number)));
            }
            other => refuse(other),
        }
    }
    if choice.operations.is_none() {
        about::print();
    }
    for suite in SUITES {
        if choice.suite.is_none_or(|chosen| chosen == suite) {
            groups(suite, effort, &choice);
        }
    }
    let is_whole = choice.only.is_empty() && choice.suite.is_none();
    if is_whole && choice.operations.is_none() {
        account::print(effort);
    }
}

fn refuse(argument: &str) -> ! {
    eprintln!("{argument}: {USAGE}");
    std::process::exit(2);
}

/// The rows of one suite; mls-rs runs in the classical one only.
fn groups(suite: Suite, effort: Effort, choice: &Choice) {
    let is_chosen = |name: &str| choice.stack.as_ref().is_none_or(|chosen| chosen == name);
    let mut names = vec!["group", "openmls"];
    if suite == Suite::X25519 {
        names.push("mls-rs");
    }
    names.retain(|name| is_chosen(name));
    if choice.operations.is_none() {
        println!("#### Groups, suite {:#06x}\n", suite.id());
        table::head(&names);
    }
    let mut bytes = Vec::new();
    for added in [1, 10, 100, 1000] {
        if added > effort.largest {
            break;
        }
        let ops = Op::ALL.into_iter().filter(|op| {
            (*op != Op::KeyPackage || added == 1) && op.label(added).contains(&choice.only)
        });
        let ops: Vec<Op> = ops.collect();
        if ops.is_empty() {
            continue;
        }
        let mut stacks: Vec<Box<dyn Stack>> = names
            .iter()
            .map(|name| -> Box<dyn Stack> {
                match *name {
                    "group" => Box::new(Ours::new(suite, added)),
                    "openmls" => Box::new(Direct::new(suite, added)),
                    _ => Box::new(Peer::new(added)),
                }
            })
            .collect();
        for op in ops {
            match choice.operations {
                Some(number) => measure::repeat(&mut stacks, op, number),
                None => table::row(&op.label(added), &measure::rounds(&mut stacks, op, effort)),
            }
        }
        if choice.operations.is_none() {
            bytes = stacks.iter_mut().map(|stack| stack.bytes()).collect();
        }
    }
    if !bytes.is_empty() {
        println!();
        table::bytes(effort.largest, &names, &bytes);
    }
}
