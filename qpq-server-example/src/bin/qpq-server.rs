//! `qpq-server`: a server on one machine, from its flags to its exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;
use qpq_protocol::time::UnixTime;
use qpq_server_example::config::{ServerArgs, ServerCommand};
use qpq_server_example::hex::hex;
use qpq_server_example::restore::restore;
use qpq_server_example::serve::{Options, Running, Trouble};
use qpq_server_example::time::date;
use tokio::signal::unix::{SignalKind, signal};

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args = ServerArgs::parse();
    if let Some(ServerCommand::Restore { backup }) = &args.command {
        return restored(backup, &args.data_dir);
    }
    let options = Options::from(args);
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

/// Puts a backup back.
fn restored(backup: &Path, data_dir: &Path) -> ExitCode {
    match restore(backup, data_dir) {
        Ok(former) => {
            say(&format!("restored {}", backup.display()));
            if let Some(former) = former {
                say(&format!("the former database is {}", former.display()));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
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
            Trouble::Clock { says, believed } => complain(&format!(
                "the clock says {}, {} after the last date that was stored: until the server has run for a day nothing expires; if the clock is right, start with --accept-clock",
                date(says),
                days(says, believed),
            )),
        }
    };
    complain("stopping");
    server.stop().await;
    broken.map_or(Ok(()), Err)
}

fn days(says: UnixTime, believed: UnixTime) -> String {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let days = says.as_millis().saturating_sub(believed.as_millis()) / DAY;
    match days {
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    }
}

fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "qpq-server: {sentence}");
}

fn say(line: &str) {
    // A server goes on when nobody reads what it says.
    let _ = writeln!(std::io::stdout(), "{line}");
}
