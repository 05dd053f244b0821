//! [`Build`]: a binary whose rows are run, alone or under valgrind.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::{Failure, Outcome};

/// See the module.
pub struct Build {
    path: PathBuf,
    rows: BTreeSet<String>,
}

impl Build {
    /// The `qpq-lab` at this path. One that knows nothing of rows has none.
    pub fn of(path: PathBuf) -> Outcome<Self> {
        let mut command = Command::new(&path);
        let output = command.arg("bench-row").stdin(Stdio::null()).output();
        let output = output.map_err(Failure::of(&path.to_string_lossy()))?;
        let names = String::from_utf8_lossy(&output.stdout);
        let rows = match output.status.success() {
            true => names.lines().map(str::to_owned).collect(),
            false => BTreeSet::new(),
        };
        Ok(Self { path, rows })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has a row of this name.
    pub fn knows(&self, name: &str) -> bool {
        self.rows.contains(name)
    }

    /// Runs a row; what it measured.
    pub fn row<A: AsRef<OsStr>>(&self, name: &str, arguments: &[A]) -> Outcome<Vec<(String, f64)>> {
        let mut command = Command::new(&self.path);
        command.args(["bench-row", name]).args(arguments);
        figures(&printed(command)?)
    }

    /// Runs a row under callgrind; how many instructions that took, from the process's first to its last.
    pub fn instructions<A: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: &[A],
        dir: &Path,
    ) -> Outcome<u64> {
        let file = dir.join("callgrind.out");
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--tool=callgrind"]);
        command.arg(format!("--callgrind-out-file={}", file.display()));
        command
            .arg(&self.path)
            .args(["bench-row", name])
            .args(arguments);
        printed(command)?;
        let counts = fs::read_to_string(&file).map_err(Failure::of("what callgrind wrote"))?;
        total(&counts).ok_or_else(|| Failure::new("callgrind wrote no sum of instructions"))
    }
}

/// Whether instructions can be counted.
pub fn has_valgrind() -> bool {
    let mut command = Command::new("valgrind");
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What a command prints; a failure if it fails.
pub fn printed(mut command: Command) -> Outcome<String> {
    let what = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(Failure::of(&what))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::new(format!("{what} has failed, see above"))),
    }
}

/// Lines of a name and a number.
fn figures(printed: &str) -> Outcome<Vec<(String, f64)>> {
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let lines = printed.lines();
    let lines = lines.map(|line| {
        let wrong = || Failure::new(format!("a row printed: {line}"));
        figure(line).ok_or_else(wrong)
    });
    lines.collect()
}

/// The sum in a file of callgrind's, without SHA-256: valgrind has not the instructions that processors have for it,
/// and in their place it would be half of what a request takes.
fn total(counts: &str) -> Option<u64> {
    let mut lines = counts.lines();
    let sum = lines.find_map(|line| line.strip_prefix("totals: "))?;
    let mut sum: u64 = sum.split_whitespace().next()?.parse().ok()?;
    // Functions have numbers; their names stand beside the first mention, which may be that of who is called.
    let (mut hashes, mut is_hash, mut is_call) = (BTreeSet::new(), false, false);
    for line in counts.lines() {
        let (key, rest) = line.split_once('=').unwrap_or(("", line));
        let (number, name) = rest.split_once(' ').unwrap_or((rest, ""));
        match key {
            "fn" | "cfn" => {
                if name.contains("sha256") {
                    hashes.insert(number);
                }
                is_hash = if key == "fn" {
                    hashes.contains(number)
                } else {
                    is_hash
                };
            }
            // The line after it has the cost of the call, which is no cost of the function itself.
            "calls" => is_call = true,
            "" if is_cost(line) => {
                if is_hash && !is_call {
                    sum = sum.checked_sub(name.trim().parse().ok()?)?;
                }
                is_call = false;
            }
            _ => {}
        }
    }
    Some(sum)
}

/// Whether a line is a position and its cost: a number, or a step from the position before.
fn is_cost(line: &str) -> bool {
    line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_prints_is_what_is_read() {
        let read = figures("micros 6.5\nputs 4\n").expect("figures");
        assert_eq!(read, [("micros".to_owned(), 6.5), ("puts".to_owned(), 4.0)]);
        assert!(figures("micros").is_err());
        assert!(figures("micros much").is_err());
    }

    #[test]
    fn instructions_are_those_of_callgrind_without_the_hash() {
        let file = "version: 1\nevents: Ir\nsummary: 12\n\n\
            fn=(1) main\n1 12\ncfn=(2) sha2::sha256::compress\ncalls=3 0\n+1 90\n* 8\n\n\
            fn=(2)\n0 85\ncfn=(3) memcpy\ncalls=1 0\n+2 5\n\nfn=(3)\n0 5\n\ntotals: 110\n";
        assert_eq!(total(file), Some(25), "all but the 85 of the hash itself");
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn a_program_without_rows_knows_none() {
        let build = Build::of(PathBuf::from("/bin/false")).expect("it runs");
        assert!(!build.knows("health"));
        assert!(Build::of(PathBuf::from("/nowhere/qpq-lab")).is_err());
    }
}
