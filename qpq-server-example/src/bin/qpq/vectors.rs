//! `qpq vectors`: replays the golden vectors, or writes them again.

use qpq_server_example::vectors;
use serde_json::json;

use crate::args::Vectors;
use crate::commands::Failed;
use crate::output::Output;

/// Does it, and prints a line for each file.
pub fn run(command: &Vectors, output: &Output) -> Result<(), Failed> {
    let rows = match command {
        Vectors::Check { dir } => vectors::check(dir),
        Vectors::Make { dir } => vectors::make(dir),
    };
    for row in &rows {
        let ended = match &row.problem {
            None => "ok".to_owned(),
            Some(problem) => format!("FAILED: {problem}"),
        };
        let problem = row.problem.as_ref().map(ToString::to_string);
        output.line(
            &format!("{:<32} {:>6} cases  {ended}", row.file, row.cases),
            &json!({"type": "vectors", "file": row.file, "cases": row.cases, "problem": problem}),
        )?;
    }
    let failed = rows.iter().filter(|row| row.problem.is_some()).count();
    let cases = rows.iter().map(|row| row.cases).sum::<usize>();
    match failed {
        0 => output.line(
            &format!("ok {cases} cases in {} files", rows.len()),
            &json!({"type": "vectors_ok", "cases": cases, "files": rows.len()}),
        ),
        _ => Err(Failed::Vectors {
            failed,
            all: rows.len(),
        }),
    }
}
