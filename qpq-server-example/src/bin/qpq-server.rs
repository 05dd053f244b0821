//! `qpq-server`: a server on one machine, from its flags to its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use qpq_server_example::config::ServerArgs;
use qpq_server_example::hex::hex;
use qpq_server_example::serve::{Options, Running};
use tokio::signal::unix::{SignalKind, signal};

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
            eprintln!("qpq-server: {sentence}");
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
    println!("data in {}", options.data_dir.display());
    println!("certificate sha256 {}", hex(&server.certificate()));
    println!("listening on {}", server.local_addr());
    let broken = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        broken = server.broken() => Some(broken.to_string()),
    };
    eprintln!("qpq-server: stopping");
    server.stop().await;
    broken.map_or(Ok(()), Err)
}
