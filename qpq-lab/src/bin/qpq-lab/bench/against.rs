//! `qpq-lab bench --against`: this build and an older one run the same rows in turns. Prints what each costs, and
//! fails where this one costs more than it may.

mod base;
mod build;
mod compare;

use std::path::{Path, PathBuf};

use qpq_server_example::scratch::Scratch;

use super::row::{GROUPS, HELD, MICROS, PREPARE, ROWS, Row};
use super::{Failure, Outcome};
use build::Build;
use compare::{Comparison, Most};

/// The flags of `bench --against`.
#[derive(clap::Args, Clone, Debug)]
pub struct AgainstArgs {
    /// Compare with an older build: a git revision, which is built below the target folder, or the path of a qpq-lab.
    /// Exit code 1 if something costs more than it may
    #[arg(long = "against", value_name = "BASE", conflicts_with = "rows")]
    pub base: Option<String>,

    /// With --against, only this row; may be given more than once
    #[arg(long = "row", value_name = "NAME", requires = "base")]
    only: Vec<String>,

    /// With --against, rounds of each row in which time and memory are taken
    #[arg(long, default_value_t = 9, requires = "base")]
    rounds: usize,

    /// With --against, messages that the client has got in whose stored state is opened
    #[arg(long, default_value_t = 100_000, requires = "base")]
    messages: usize,

    /// With --against, how many per cent more instructions may be used
    #[arg(long, value_name = "PERCENT", default_value_t = 3.0, requires = "base")]
    more_instructions: f64,

    /// With --against, how many per cent more processor time may be used
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 10.0,
        requires = "base"
    )]
    more_time: f64,

    /// With --against, how many per cent more memory may be held
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 10.0,
        requires = "base"
    )]
    more_memory: f64,
}

/// One of the two builds, and the state that it made.
struct Side {
    build: Build,
    state: PathBuf,
}

/// Compares and prints.
pub fn run(base: &str, args: &AgainstArgs, quick: bool) -> Outcome<()> {
    if cfg!(debug_assertions) {
        return Err(Failure::new(
            "this build is not optimised: run it with --release",
        ));
    }
    if let Some(name) = args
        .only
        .iter()
        .find(|name| !ROWS.iter().any(|row| row.name == **name))
    {
        return Err(Failure::new(format!("there is no row {name}")));
    }
    if args.rounds == 0 || args.messages == 0 {
        return Err(Failure::new("--rounds and --messages are at least 1"));
    }
    let mut args = args.clone();
    if quick {
        (args.rounds, args.messages) = (1, args.messages.min(1000));
    }
    let here = Build::of(std::env::current_exe().map_err(Failure::of("this program"))?)?;
    let older = Build::of(base::binary(base, here.path())?)?;
    let scratch = Scratch::try_new("bench").map_err(Failure::of("a directory"))?;
    let side = |build: Build, name: &str| Side {
        build,
        state: scratch.path().join(name),
    };
    let sides = [side(older, "base"), side(here, "here")];
    let chosen = |row: &&Row| args.only.is_empty() || args.only.iter().any(|name| name == row.name);
    let rows: Vec<_> = ROWS.iter().filter(chosen).collect();
    let known = |row: &Row| {
        let [older, _] = &sides;
        older.build.knows(row.name) && (!row.on_state || older.build.knows(PREPARE))
    };
    let (rows, strange): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| known(row));
    for row in strange {
        println!("{}: {base} knows no such row.", row.about);
    }
    if rows.is_empty() {
        return Err(Failure::new(format!(
            "{base} knows none of the rows: there is nothing to compare"
        )));
    }
    if rows.iter().any(|row| row.on_state) {
        println!(
            "Clients that are opened have {GROUPS} groups of two and got {} messages.",
            args.messages
        );
        let messages = args.messages.to_string();
        for side in &sides {
            side.build.row(
                PREPARE,
                &[
                    "--count",
                    &messages,
                    "--state",
                    &side.state.to_string_lossy(),
                ],
            )?;
        }
    }
    let mut comparison = Comparison::default();
    measure(&mut comparison, &sides, &rows, args.rounds, quick)?;
    if build::has_valgrind() {
        count(&mut comparison, &sides, &rows, scratch.path(), quick)?;
    } else {
        println!("Instructions were not counted: valgrind is not installed.");
    }
    let most = Most {
        instructions: args.more_instructions,
        time: args.more_time,
        memory: args.more_memory,
    };
    comparison.print(base, &most);
    let more = comparison.more(&most);
    if more.is_empty() {
        return Ok(());
    }
    Err(Failure::new(more.join("\n")))
}

/// Takes time and memory: a round is both builds, once each; who is first changes.
fn measure(
    comparison: &mut Comparison,
    sides: &[Side; 2],
    rows: &[&Row],
    rounds: usize,
    quick: bool,
) -> Outcome<()> {
    for round in 0..rounds {
        for row in rows {
            let count = if quick {
                row.timed.div_ceil(20)
            } else {
                row.timed
            };
            let mut figures = [Vec::new(), Vec::new()];
            for turn in 0..2 {
                let number = (round + turn) % 2;
                let (Some(side), Some(figures)) = (sides.get(number), figures.get_mut(number))
                else {
                    continue;
                };
                *figures = side.build.row(row.name, &side.arguments(row, count))?;
            }
            let [older, here] = figures;
            for (name, value) in older {
                // What only one of them tells cannot be compared.
                if let Some((_, ours)) = here.iter().find(|(own, _)| *own == name) {
                    comparison.add(row.about, &name, [value, *ours]);
                }
            }
        }
    }
    Ok(())
}

/// Counts instructions: those of a run, without those of one that ends before the measurement begins.
fn count(
    comparison: &mut Comparison,
    sides: &[Side; 2],
    rows: &[&Row],
    dir: &Path,
    quick: bool,
) -> Outcome<()> {
    for row in rows.iter().filter(|row| row.counted > 0) {
        let count = if quick {
            row.counted.div_ceil(20)
        } else {
            row.counted
        };
        let mut each = [0.0; 2];
        for (side, each) in sides.iter().zip(&mut each) {
            let mut arguments = side.arguments(row, count);
            let whole = side.build.instructions(row.name, &arguments, dir)?;
            arguments.push("--dry".to_owned());
            let before = side.build.instructions(row.name, &arguments, dir)?;
            *each = whole.saturating_sub(before) as f64 / count as f64;
        }
        comparison.add(row.about, compare::INSTRUCTIONS, each);
    }
    Ok(())
}

impl Side {
    fn arguments(&self, row: &Row, count: usize) -> Vec<String> {
        let mut arguments = vec!["--count".to_owned(), count.to_string()];
        if row.on_state {
            arguments.extend([
                "--state".to_owned(),
                self.state.to_string_lossy().into_owned(),
            ]);
        }
        arguments
    }
}
