//! Whole runs of cores: recorded from seeds, and replayed input by input.

mod event;
mod faults;
pub(super) mod input;
mod intent;
mod link;
mod machine;
mod node;
mod start;
mod storage;
mod stories;
pub(super) mod world;

use qpq_protocol::storage::memory::Memory;
use qpq_protocol::time::Time;
use serde_json::{Value, json};

use self::input::Input;
use self::machine::{Machine, Recorded};
use self::start::Start;
use self::storage::Values;
use self::stories::STORIES;
use super::VectorError;
use super::json::{Fields, difference, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// The files of this subject, by name.
pub(super) fn make() -> Result<super::Files> {
    let files = STORIES.iter().map(|story| {
        let machines = story.record()?;
        let file = json!({
            "subject": "sessions",
            "wire_version": super::WIRE_VERSION,
            "text": story.text,
            "mls_values": count_mls(&machines),
            "machines": machines,
        });
        Ok((story.name.to_owned(), file))
    });
    files.collect()
}

/// Replays a file; how many steps it has.
pub(super) fn check(file: &Value) -> Result<usize> {
    let machines = file.list("machines")?;
    let mut steps = 0;
    for machine in machines {
        let replayed = match machine.text("core")? {
            "server" => replay(machine, |value| {
                Ok((
                    Start::<qpq_protocol::server::ServerConfig>::from_json(value)?.core(),
                    Values::Plain,
                ))
            }),
            "client" => replay(machine, |value| {
                let start = Start::<start::ClientConfig>::from_json(value)?;
                Ok((start.core(), start.values()))
            }),
            _ => Err(wrong("core", "server or client")),
        };
        let name = machine.text("name")?;
        steps += replayed.map_err(|error| error.inside(name))?;
    }
    match file.number::<usize>("mls_values")? == count_mls(machines) {
        true => Ok(steps),
        false => Err(wrong(
            "mls_values",
            "the number of values that are names only",
        )),
    }
}

fn replay<C: Recorded>(
    recording: &Value,
    begin: impl Fn(&Value) -> Result<(C, Values)>,
) -> Result<usize> {
    let mut machine: Option<Machine<C>> = None;
    let mut count = 0;
    for (start_number, start) in recording.list("starts")?.iter().enumerate() {
        let (core, values) = begin(start)?;
        let machine = match &mut machine {
            Some(machine) => {
                machine.restart(core, values);
                machine
            }
            none => none.insert(Machine::new(core, values, Memory::new())),
        };
        for (number, step) in start.list("steps")?.iter().enumerate() {
            let place = format!("starts[{start_number}].steps[{number}]");
            replay_step(machine, step).map_err(|error| error.inside(&place))?;
            count += 1;
        }
    }
    Ok(count)
}

fn replay_step<C: Recorded>(machine: &mut Machine<C>, step: &Value) -> Result<()> {
    let input = Input::from_json(step.field("in")?)?;
    let now = Time::from_micros(step.number("at")?);
    let told = machine.tell(now, &input)?;
    difference(step, &told.step).map_or(Ok(()), Err)
}

/// How many values stand as names only.
fn count_mls(machines: &[Value]) -> usize {
    fn count(value: &Value) -> usize {
        match value {
            Value::Object(fields) => {
                let own = ["mls", "mls_puts", "mls_deletes"];
                let own = own.iter().filter_map(|name| fields.get(*name)?.as_array());
                own.map(Vec::len).sum::<usize>() + fields.values().map(count).sum::<usize>()
            }
            Value::Array(items) => items.iter().map(count).sum(),
            _ => 0,
        }
    }
    machines.iter().map(count).sum()
}
