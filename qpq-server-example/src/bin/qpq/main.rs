//! `qpq`: a client for the terminal, from its command line to its exit code.

mod act;
mod address;
mod args;
#[cfg(feature = "bench")]
mod bench;
mod commands;
mod demo;
mod devices;
mod events;
mod failed;
mod journal;
mod lines;
mod output;
mod password;
mod printable;
mod receive;
mod send;
mod sim;
mod stop;
mod vectors;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Command, Qpq};
use failed::Failed;
use output::Output;

fn main() -> ExitCode {
    let args = args::with_text_apart(std::env::args_os().collect());
    let args = match Qpq::try_parse_from(args) {
        Ok(args) => args,
        Err(wrong) => return usage(&wrong),
    };
    #[cfg(feature = "bench")]
    if let Command::Bench(bench) = &args.command {
        return bench.run();
    }
    let mut output = Output::new(args.common.json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(args, &mut output));
            // A read of standard input that still waits must not keep the process.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failed::Runtime(error.kind())),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            output.error(&why);
            why.exit_code()
        }
    }
}

/// The command line asks for help, or is wrong.
fn usage(wrong: &clap::Error) -> ExitCode {
    if !wrong.use_stderr() || !std::env::args_os().any(|arg| arg == "--json") {
        wrong.exit();
    }
    let text = wrong.to_string();
    let first = text.lines().next().unwrap_or_default();
    output::json_error("usage", first.strip_prefix("error: ").unwrap_or(first));
    ExitCode::from(2)
}

async fn run(args: Qpq, output: &mut Output) -> Result<(), Failed> {
    match args.command {
        Command::Sim(seeds) => sim::run_seeds(&seeds, output),
        Command::Demo => demo::run(args.common.data_dir, output).await,
        Command::Vectors(command) => vectors::run(&command, output),
        command => commands::run(command, &args.common, output).await,
    }
}
