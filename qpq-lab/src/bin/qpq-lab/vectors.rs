//! `qpq-lab vectors`: replays the golden vectors, or writes them again.

use qpq_lab::vectors;
use qpq_server_example::printer::Printer;
use serde_json::json;

use crate::args::Vectors;
use crate::failed::Failed;

/// Does it, and prints a line for each file.
pub fn run(command: &Vectors, printer: Printer) -> Result<(), Failed> {
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
        let human = format!("{:<32} {:>6} cases  {ended}", row.file, row.cases);
        let machine =
            json!({"type": "vectors", "file": row.file, "cases": row.cases, "problem": problem});
        printer.line(&human, &machine).map_err(Failed::Output)?;
    }
    let failed = rows.iter().filter(|row| row.problem.is_some()).count();
    if failed > 0 {
        let all = rows.len();
        return Err(Failed::Vectors { failed, all });
    }
    let cases = rows.iter().map(|row| row.cases).sum::<usize>();
    let human = format!("ok {cases} cases in {} files", rows.len());
    let machine = json!({"type": "vectors_ok", "cases": cases, "files": rows.len()});
    printer.line(&human, &machine).map_err(Failed::Output)
}
