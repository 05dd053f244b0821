//! The table of costs in qpq-crypto's README: [`mls::Group`](qpq_crypto::mls::Group), openmls driven
//! directly and mls-rs with its aws-lc provider, in one run and in turns, and what else the crate does.
//!
//! `cargo run --release` here prints it as Markdown in about four minutes (`--quick`: in ten seconds,
//! without the large groups, to see that it runs; `--only encrypt`: rows with that in their name;
//! `--alone`: `Group` without the others, for a profiler). `--features aws-lc-rs` is the other table.

mod account;
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

fn main() {
    let mut effort = Effort {
        row: Duration::from_millis(3_500),
        largest: 1000,
    };
    let mut choice = Choice::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => {
                effort = Effort {
                    row: Duration::from_millis(60),
                    largest: 100,
                }
            }
            "--only" => choice.only = arguments.next().unwrap_or_default(),
            "--alone" => choice.alone = true,
            other => {
                eprintln!("{other}: unknown; there are --quick, --only NAME and --alone");
                std::process::exit(2);
            }
        }
    }
    let provider = if cfg!(feature = "aws-lc-rs") {
        "aws-lc-rs"
    } else {
        "default"
    };
    println!("Provider of qpq-crypto: {provider}.\n");
    groups(Suite::X25519, effort, &choice);
    groups(Suite::MlKem768X25519, effort, &choice);
    if choice.only.is_empty() {
        account::print(effort);
    }
}

/// What is measured.
#[derive(Default)]
struct Choice {
    /// Rows with this in their name.
    only: String,
    /// `Group` alone.
    alone: bool,
}

/// The rows of one suite; mls-rs runs in the classical one only.
fn groups(suite: Suite, effort: Effort, choice: &Choice) {
    let others = match suite {
        _ if choice.alone => 0,
        Suite::X25519 => 2,
        _ => 1,
    };
    println!("### Groups, suite {:#06x}\n", suite.id());
    table::head(others);
    let mut bytes = Vec::new();
    for added in [1, 10, 100, 1000] {
        if added > effort.largest {
            break;
        }
        let mut stacks: Vec<Box<dyn Stack>> = vec![Box::new(Ours::new(suite, added))];
        if others > 0 {
            stacks.push(Box::new(Direct::new(suite, added)));
        }
        if others > 1 {
            stacks.push(Box::new(Peer::new(added)));
        }
        for op in Op::ALL {
            let label = op.label(added);
            if (op == Op::KeyPackage && added > 1) || !label.contains(&choice.only) {
                continue;
            }
            let medians = measure::rounds(&mut stacks, op, effort);
            table::row(&label, &medians);
        }
        bytes = stacks.iter_mut().map(|stack| stack.bytes()).collect();
    }
    println!();
    table::bytes(effort.largest, &bytes);
}
