//! `qpq`: a client for the terminal, from its command line to its exit code.

mod act;
mod address;
mod args;
mod commands;
mod demo;
mod devices;
mod events;
mod failed;
mod journal;
mod lines;
mod output;
mod password;
mod receive;
mod send;
mod stop;

use std::process::ExitCode;

use clap::Parser as _;
use qpq_server_example::printer::usage;

use args::{Command, Qpq};
use failed::Failed;
use output::Output;

fn main() -> ExitCode {
    let args = args::with_text_apart(std::env::args_os().collect());
    let args = match Qpq::try_parse_from(args) {
        Ok(args) => args,
        Err(wrong) => return usage(&wrong),
    };
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

async fn run(args: Qpq, output: &mut Output) -> Result<(), Failed> {
    match args.command {
        Command::Demo => demo::run(args.common.data_dir, output).await,
        command => commands::run(command, &args.common, output).await,
    }
}
