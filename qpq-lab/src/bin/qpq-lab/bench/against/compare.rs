//! [`Comparison`]: figures of two builds side by side, and what is more than it may be.

use super::{HELD, MICROS};
use crate::bench::table::{self, Series};

/// The figure that valgrind counts.
pub const INSTRUCTIONS: &str = "instructions";

/// How many per cent more this build may use.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub instructions: f64,
    pub time: f64,
    pub memory: f64,
}

/// See the module. Figures stand in the order in which they were first taken.
#[derive(Default, Debug)]
pub struct Comparison {
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    /// The row, for people.
    row: String,
    name: String,
    /// Of each round: the older build's, this one's.
    rounds: Vec<[f64; 2]>,
}

impl Comparison {
    /// A figure of a round: the older build's, this one's.
    pub fn add(&mut self, row: &str, name: &str, round: [f64; 2]) {
        let mut known = self.figures.iter_mut();
        match known.find(|figure| figure.row == row && figure.name == name) {
            Some(figure) => figure.rounds.push(round),
            None => self.figures.push(Figure {
                row: row.to_owned(),
                name: name.to_owned(),
                rounds: vec![round],
            }),
        }
    }

    /// Prints tables: instructions, time, memory, and what else rows tell.
    pub fn print(&self, base: &str, most: &Most) {
        self.print_of(
            INSTRUCTIONS,
            &format!(
                "Instructions (at most {} % more than {base})",
                most.instructions
            ),
            base,
        );
        self.print_of(
            MICROS,
            &format!(
                "Processor time, µs (at most {} % more than {base})",
                most.time
            ),
            base,
        );
        self.print_of(
            HELD,
            &format!(
                "Memory held, bytes (at most {} % more than {base})",
                most.memory
            ),
            base,
        );
        let rest = self
            .figures
            .iter()
            .filter(|figure| most.of(&figure.name).is_none() && figure.is_any());
        let rest: Vec<_> = rest.map(Figure::row_with_name).collect();
        print("What else rows tell (no bound)", base, &rest);
    }

    fn print_of(&self, name: &str, title: &str, base: &str) {
        let figures = self.figures.iter().filter(|figure| figure.name == name);
        let rows: Vec<_> = figures.map(Figure::row).collect();
        print(title, base, &rows);
    }

    /// What is more than it may be, a sentence each.
    pub fn more(&self, most: &Most) -> Vec<String> {
        let more = self.figures.iter().filter_map(|figure| {
            let most = most.of(&figure.name)?;
            let more = (figure.ratio().median() - 1.0) * 100.0;
            // A ratio that is no number is not within any bound.
            let within = more <= most;
            (!within).then(|| {
                format!(
                    "{}: {more:.1} % more {} (at most {most} %)",
                    figure.row, figure.name
                )
            })
        });
        more.collect()
    }
}

impl Most {
    fn of(&self, name: &str) -> Option<f64> {
        match name {
            INSTRUCTIONS => Some(self.instructions),
            MICROS => Some(self.time),
            HELD => Some(self.memory),
            _ => None,
        }
    }
}

impl Figure {
    /// Whether either build has any of it.
    fn is_any(&self) -> bool {
        self.rounds.iter().flatten().any(|value| *value != 0.0)
    }

    fn series(&self) -> [Series; 2] {
        let [older, here] = [0, 1].map(|at| {
            self.rounds
                .iter()
                .filter_map(move |round| round.get(at).copied())
        });
        [Series::new(older), Series::new(here)]
    }

    /// This build's divided by the older one's, round by round.
    fn ratio(&self) -> Series {
        let [older, here] = self.series();
        here.over(&older)
    }

    fn row(&self) -> Vec<String> {
        let [older, here] = self.series();
        let text = |series: &Series| match self.rounds.len() {
            1 => table::number(series.median()),
            _ => series.to_string(),
        };
        let ratio = match self.rounds.len() {
            1 => format!("{:.3}", self.ratio().median()),
            _ => format!("{:.3} ({})", self.ratio().median(), self.ratio().spread()),
        };
        vec![
            self.row.clone(),
            text(&older),
            text(&here),
            format!("**{ratio}**"),
        ]
    }

    fn row_with_name(&self) -> Vec<String> {
        let mut row = self.row();
        if let Some(first) = row.first_mut() {
            *first = format!("{}: {}", self.row, self.name);
        }
        row
    }
}

fn print(title: &str, base: &str, rows: &[Vec<String>]) {
    if !rows.is_empty() {
        table::print(title, &["", base, "this build", "ratio"], rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Most = Most {
        instructions: 3.0,
        time: 10.0,
        memory: 10.0,
    };

    #[test]
    fn what_is_more_than_it_may_be_is_named_and_nothing_else() {
        let mut comparison = Comparison::default();
        comparison.add("Health", INSTRUCTIONS, [1000.0, 1031.0]);
        comparison.add("Health", MICROS, [1.0, 1.09]);
        comparison.add("Enqueue", INSTRUCTIONS, [1000.0, 1029.0]);
        comparison.add("Enqueue", MICROS, [1.0, 1.11]);
        comparison.add("Opening", HELD, [1000.0, 1110.0]);
        comparison.add("Enqueue", "puts", [4.0, 8.0]);
        assert_eq!(
            comparison.more(&MOST),
            [
                "Health: 3.1 % more instructions (at most 3 %)",
                "Enqueue: 11.0 % more micros (at most 10 %)",
                "Opening: 11.0 % more held (at most 10 %)",
            ]
        );
    }

    #[test]
    fn rounds_are_judged_by_the_median_of_their_ratios() {
        let mut comparison = Comparison::default();
        for here in [1.0, 1.05, 5.0] {
            comparison.add("Health", MICROS, [1.0, here]);
        }
        assert!(comparison.more(&MOST).is_empty());
        let narrower = Most { time: 4.0, ..MOST };
        assert_eq!(comparison.more(&narrower).len(), 1);
    }

    #[test]
    fn nothing_to_divide_by_is_not_within_a_bound() {
        let mut comparison = Comparison::default();
        comparison.add("Health", MICROS, [0.0, 0.0]);
        assert_eq!(comparison.more(&MOST).len(), 1);
    }
}
