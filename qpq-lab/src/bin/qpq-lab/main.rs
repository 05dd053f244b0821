//! `qpq-lab`: what researchers and CI run, from its command line to its exit code.

mod args;
#[cfg(feature = "bench")]
mod bench;
mod failed;
mod feed;
mod sim;
mod vectors;

use std::process::ExitCode;

use clap::Parser as _;
use qpq_server_example::printer::{Printer, usage};

use args::{Command, Lab};

fn main() -> ExitCode {
    let args = match Lab::try_parse() {
        Ok(args) => args,
        Err(wrong) => return usage(&wrong),
    };
    let printer = Printer::new("qpq-lab", args.json);
    let ended = match &args.command {
        Command::Vectors(command) => vectors::run(command, printer),
        Command::Sim(seeds) => sim::run_seeds(seeds, printer),
        Command::Feed(feed) => feed::run(feed, printer),
        #[cfg(feature = "bench")]
        Command::Bench(bench) => return bench.run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            printer.error(why.code(), &why.to_string());
            ExitCode::FAILURE
        }
    }
}
