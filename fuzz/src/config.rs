//! What operators write: the flags of `qpq-server`.

use std::ffi::OsString;

use clap::Parser as _;

use crate::choices::Choices;
use crate::hex::{hex, unhex};
use crate::server_config::{ServerArgs, ServerCommand};

/// A command line. Input: arguments, each a byte for a known one or for one that follows as bytes.
///
/// Nothing panics; what parses keeps its rules, and written as flags again it parses to the same.
pub fn config(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut words = vec![OsString::from("qpq-server")];
    while !choices.is_empty() && words.len() < MOST_WORDS {
        words.push(word(&mut choices));
    }
    match ServerArgs::try_parse_from(&words) {
        Ok(args) => check(&args),
        // What the operator is told.
        Err(error) => drop(error.to_string()),
    }
    let digits = String::from_utf8_lossy(input);
    if let Some(key) = unhex::<32>(&digits) {
        assert_eq!(hex(&key), digits.to_ascii_lowercase());
    }
}

const MOST_WORDS: usize = 16;

const KNOWN: [&str; 16] = [
    "--listen",
    "127.0.0.1:0",
    "[::1]:5001",
    "--data-dir",
    "/data",
    "--domain",
    "example.org",
    "--admin",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "--max-database",
    "4194304",
    "--enqueues-per-minute",
    "--requests-per-second",
    "--registrations-per-hour",
    "7",
    "0",
];

fn word(choices: &mut Choices<'_>) -> OsString {
    match KNOWN.get(choices.below(2 * KNOWN.len())) {
        Some(word) => word.into(),
        None => String::from_utf8_lossy(choices.bytes()).into_owned().into(),
    }
}

fn check(args: &ServerArgs) {
    assert!((1..=255).contains(&args.domain.len()));
    assert!(args.domain.bytes().all(|byte| byte.is_ascii_graphic()));
    let limits = args.limits();
    assert_eq!(limits.enqueues.count, args.enqueues_per_minute);
    assert_eq!(limits.address_requests.count, args.requests_per_second);
    assert!(args.max_pages().is_none_or(|pages| pages >= 256));

    let flag = |name: &str, value: OsString| {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        flag
    };
    let text = |value: &dyn ToString| OsString::from(value.to_string());
    let mut again = vec![
        OsString::from("qpq-server"),
        flag("listen", text(&args.listen)),
        flag("data-dir", args.data_dir.clone().into()),
        flag("domain", text(&args.domain)),
        flag("enqueues-per-minute", text(&args.enqueues_per_minute)),
        flag("requests-per-second", text(&args.requests_per_second)),
    ];
    let registrations = args.registrations_per_hour.iter();
    again.extend(registrations.map(|count| flag("registrations-per-hour", text(count))));
    let most = args.max_database.iter();
    again.extend(most.map(|most| flag("max-database", text(most))));
    let admins = args.admins.iter();
    again.extend(admins.map(|key| flag("admin", hex(key.as_bytes()).into())));
    let given = [
        ("--new-certificate", args.new_certificate),
        ("--accept-clock", args.accept_clock),
    ];
    again.extend(
        given
            .iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| name.into()),
    );
    if let Some(ServerCommand::Restore { backup }) = &args.command {
        again.extend(["restore".into(), "--".into(), backup.clone().into()]);
    }
    let again = ServerArgs::try_parse_from(again).expect("its own flags");
    assert_eq!(format!("{again:?}"), format!("{args:?}"));
}
