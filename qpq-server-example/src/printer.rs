//! [`Printer`]: what a program of the terminal prints: lines for people, or one JSON object a line for scripts.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::printable::printable;

/// Standard output and standard error, in one of two forms.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    program: &'static str,
    json: bool,
}

impl Printer {
    /// For the program of this name: JSON, or lines for people.
    #[must_use]
    pub const fn new(program: &'static str, json: bool) -> Self {
        Self { program, json }
    }

    /// Whether it prints for scripts.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one line, whole and at once.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn line(&self, human: &str, machine: &Value) -> Result<(), ErrorKind> {
        let line = match self.json {
            true => format!("{machine}\n"),
            false => format!("{human}\n"),
        };
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| error.kind())
    }

    /// Says on standard error why it came to nothing; `code` is for scripts.
    pub fn error(&self, code: &str, why: &str) {
        match self.json {
            true => json_error(code, why),
            false => {
                // There is nobody left to tell if this fails.
                let _ = writeln!(io::stderr(), "{}: {}", self.program, printable(why));
            }
        }
    }

    /// Tells people, not scripts, what goes on, on standard error.
    pub fn note(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", printable(text));
        }
    }
}

/// The command line asks for help, or is wrong: ends with what there is to say, in the form that it asks for.
#[must_use]
pub fn usage(wrong: &clap::Error) -> ExitCode {
    if !wrong.use_stderr() || !std::env::args_os().any(|arg| arg == "--json") {
        wrong.exit();
    }
    let text = wrong.to_string();
    let first = text.lines().next().unwrap_or_default();
    json_error("usage", first.strip_prefix("error: ").unwrap_or(first));
    ExitCode::from(2)
}

/// Says on standard error, to a script, why it came to nothing.
fn json_error(code: &str, message: &str) {
    let line = json!({ "type": "error", "code": code, "message": message });
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "{line}");
}
