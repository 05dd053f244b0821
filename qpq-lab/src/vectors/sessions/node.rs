//! A machine whose every step is recorded.

use qpq_protocol::io::Output;
use qpq_protocol::storage::memory::Memory;
use qpq_protocol::time::Time;
use serde_json::{Value, json};

use super::input::Input;
use super::machine::{Machine, Recorded};
use super::storage::Values;
use crate::vectors::VectorError;

type Result<T> = core::result::Result<T, VectorError>;

/// Outputs for the network, and the number of the intent that was stated.
pub type Done<E> = (Vec<Output<E>>, Option<u64>);

/// A machine and its recording.
pub struct Node<C: Recorded> {
    pub name: String,
    pub machine: Machine<C>,
    /// The cores that ran on it, one after the other, and their steps.
    starts: Vec<(Value, Vec<Value>)>,
    /// What the core told, since its last start.
    pub events: Vec<C::Event>,
    /// Storage commands wait while this is set.
    pub hold: bool,
}

impl<C: Recorded> Node<C> {
    pub fn new(name: String, core: C, values: Values, start: Value) -> Self {
        Self {
            name,
            machine: Machine::new(core, values, Memory::new()),
            starts: vec![(start, Vec::new())],
            events: Vec::new(),
            hold: false,
        }
    }

    /// Tells the core something, records it, and gives what is for the network.
    pub fn tell(&mut self, now: Time, input: &Input) -> Result<Done<C::Event>> {
        let told = self.machine.tell(now, input)?;
        if let Some((_, steps)) = self.starts.last_mut() {
            steps.push(told.step);
        }
        let mut outputs = Vec::new();
        for output in told.outputs {
            match output {
                Output::Event(event) => self.events.push(event),
                output => outputs.push(output),
            }
        }
        Ok((outputs, told.intent))
    }

    /// The cores that ran on it, one after the other, and their steps.
    pub fn starts(&self) -> &[(Value, Vec<Value>)] {
        &self.starts
    }

    /// Power is lost: another core goes on with what is durable.
    pub fn restart(&mut self, core: C, values: Values, start: Value) {
        self.machine.restart(core, values);
        self.starts.push((start, Vec::new()));
        self.events.clear();
        self.hold = false;
    }

    pub fn recording(self, core: &str) -> Value {
        let starts = self.starts.into_iter().map(|(mut start, steps)| {
            start["steps"] = steps.into();
            start
        });
        json!({"core": core, "name": self.name, "starts": starts.collect::<Vec<_>>()})
    }
}
