//! `qpq-server`: a server on one machine, from its flags to its exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;
use qpq_server_example::config::ServerArgs;
use qpq_server_example::hex::hex;
use qpq_server_example::serve::{Options, Running, Trouble};
use tokio::signal::unix::{SignalKind, signal};

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let options = Options::from(ServerArgs::parse());
    // One thread: what many requests answer then leaves in few datagrams. Storage has its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(serve(&options)),
        Err(error) => Err(format!("the system gives no event loop ({error})")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            complain(&sentence);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options) -> Result<(), String> {
    // Before anything else: a signal during the start must not kill it half way.
    let on = |kind| signal(kind).map_err(|error| format!("signals cannot be awaited ({error})"));
    let (mut terminate, mut interrupt) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut server = Running::start(options)
        .await
        .map_err(|error| error.to_string())?;
    say(&format!("data in {}", options.data_dir.display()));
    say(&format!(
        "certificate sha256 {}",
        hex(&server.certificate())
    ));
    say(&format!("listening on {}", server.local_addr()));
    let mut said: Option<Instant> = None;
    let broken = loop {
        let trouble = tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            trouble = server.trouble() => trouble,
        };
        match trouble {
            Trouble::Final(broken) => break Some(broken.to_string()),
            // A full disk fails every message: once a minute is enough.
            Trouble::Passing(failure) if said.is_none_or(|at| at.elapsed() > MINUTE) => {
                said = Some(Instant::now());
                complain(&failure.to_string());
            }
            Trouble::Passing(_) => {}
        }
    };
    complain("stopping");
    server.stop().await;
    broken.map_or(Ok(()), Err)
}

fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "qpq-server: {sentence}");
}

fn say(line: &str) {
    // A server goes on when nobody reads what it says.
    let _ = writeln!(std::io::stdout(), "{line}");
}
