//! Medians, spreads, and tables in Markdown.

use std::fmt;

/// The same figure from several rounds.
#[derive(Clone, PartialEq, Debug)]
pub struct Series(Vec<f64>);

impl Series {
    /// Of these rounds, in their order.
    pub fn new(rounds: impl IntoIterator<Item = f64>) -> Self {
        Self(rounds.into_iter().collect())
    }

    /// The middle one; of an even number, the upper of the two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// This divided by another, round by round.
    pub fn over(&self, other: &Self) -> Self {
        Self::new(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(ours, theirs)| ours / theirs),
        )
    }

    /// `least–most`.
    pub fn spread(&self) -> String {
        let [least, most] = self.ends().map(number);
        format!("{least}–{most}")
    }

    fn ends(&self) -> [f64; 2] {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [least, most]
    }
}

/// `median (least–most)`.
impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", number(self.median()), self.spread())
    }
}

/// Three digits that count, thousands set apart.
pub fn number(value: f64) -> String {
    let digits = if value.abs() < 10.0 {
        2
    } else if value.abs() < 100.0 {
        1
    } else {
        0
    };
    let text = format!("{value:.digits$}");
    let Some((whole, rest)) = (digits == 0).then_some((text.as_str(), "")) else {
        return text;
    };
    let mut out = String::new();
    for (place, digit) in whole.char_indices() {
        let after = whole.len() - place;
        if place > 0 && after % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// Prints a table in Markdown, with a line before it.
pub fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("\n### {title}\n");
    println!("| {} |", head.join(" | "));
    println!("|{}", " --- |".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_says_its_middle_and_its_ends() {
        let ours = Series::new([3.0, 1.0, 2.0]);
        assert_eq!(ours.to_string(), "2.00 (1.00–3.00)");
        let theirs = Series::new([1.0, 2.0, 2.0]);
        assert_eq!(ours.over(&theirs), Series::new([3.0, 0.5, 1.0]));
    }

    #[test]
    fn numbers_are_short_and_readable() {
        let all = [0.5, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        assert_eq!(all, ["0.50", "12.3", "123", "1,234", "1,234,567"]);
    }
}
