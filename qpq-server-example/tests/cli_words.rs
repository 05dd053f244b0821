//! Every command that a message of `qpq` or `qpq-server` tells to run exists, with its options.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const BINARIES: [(&str, &str); 2] = [
    ("qpq", env!("CARGO_BIN_EXE_qpq")),
    ("qpq-server", env!("CARGO_BIN_EXE_qpq-server")),
];

/// What stands between backticks in the strings of these sources, if it begins with a binary's name.
fn named(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for quoted in line.split('`').skip(1).step_by(2) {
                let first = quoted.split(' ').next().unwrap_or_default();
                if BINARIES.iter().any(|(name, _)| *name == first) {
                    found.insert(quoted.to_owned());
                }
            }
        }
    }
}

#[test]
fn what_a_message_tells_to_run_can_be_run() {
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    named(&root.join("src"), &mut found);
    named(&root.join("../qpq-protocol/src/client"), &mut found);
    assert!(found.len() >= 8, "{found:?}");
    for line in &found {
        let mut words = line.split(' ');
        let first = words.next().unwrap();
        let (_, binary) = BINARIES.iter().find(|(name, _)| *name == first).unwrap();
        let is_command = |word: &&str| {
            word.chars()
                .all(|char| char.is_ascii_lowercase() || char == '-')
        };
        let is_option = |word: &&str| word.starts_with("--");
        let (options, words): (Vec<&str>, Vec<&str>) = words.partition(is_option);
        let commands: Vec<&str> = words.into_iter().take_while(is_command).collect();
        let help = Command::new(binary)
            .args(&commands)
            .arg("--help")
            .output()
            .unwrap();
        assert!(help.status.success(), "there is no {line}");
        let help = String::from_utf8(help.stdout).unwrap();
        for option in options {
            assert!(help.contains(option), "{line}: {help}");
        }
        // Clap answers for the command above where it knows no such one.
        let usage = format!("{first} {}", commands.join(" "));
        assert!(help.contains(usage.trim_end()), "{line}: {help}");
    }
}
