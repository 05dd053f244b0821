//! What the core wants done, in order, until the embedder takes it.

use std::collections::VecDeque;

use super::Event;
use crate::io::Output;

/// The queue of outputs.
#[derive(Default)]
pub(super) struct Outputs(VecDeque<Output<Event>>);

impl Outputs {
    /// Adds one at the end.
    pub(super) fn push(&mut self, output: Output<Event>) {
        self.0.push_back(output);
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<Output<Event>> {
        self.0.pop_front()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
