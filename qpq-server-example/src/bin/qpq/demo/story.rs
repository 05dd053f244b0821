//! How the demo tells what happens: when, who, what, how long, how many bytes.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use qpq_adapter_tokio::Traffic;
use serde_json::json;

use crate::failed::Failed;
use crate::output::Output;

/// Where the columns with times and bytes begin.
const WIDTH: usize = 58;

/// The teller.
pub struct Story<'a> {
    output: &'a Output,
    begun: Instant,
    color: bool,
}

impl<'a> Story<'a> {
    pub fn new(output: &'a Output) -> Self {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            output,
            begun: Instant::now(),
            color,
        }
    }

    /// A heading.
    pub fn chapter(&self, title: &str) -> Result<(), Failed> {
        let human = match self.color {
            true => format!("\n\u{1b}[1m{title}\u{1b}[0m"),
            false => format!("\n{title}"),
        };
        self.output
            .line(&human, &json!({ "type": "chapter", "title": title }))
    }

    /// Something that belongs to the line before.
    pub fn detail(&self, text: &str) -> Result<(), Failed> {
        let human = format!("{:9}{:8}{text}", "", "");
        self.output
            .line(&human, &json!({ "type": "detail", "text": text }))
    }

    /// `who` did `what`, which took `took` and, where it is given, these bytes over the
    /// network.
    pub fn did(
        &self,
        who: &str,
        what: &str,
        took: Duration,
        traffic: Option<Traffic>,
    ) -> Result<(), Failed> {
        let at = self.begun.elapsed();
        let padded = format!("{what:WIDTH$}");
        let bytes = match traffic {
            None | Some(Traffic::NONE) => String::new(),
            Some(Traffic { sent, received }) => {
                format!("  {:>8} out {:>8} in", size(sent), size(received))
            }
        };
        let human = format!(
            "{:6.2} s {} {padded} {:4} ms{bytes}",
            at.as_secs_f64(),
            self.name(who),
            took.as_millis(),
        );
        let machine = json!({
            "type": "step",
            "at_ms": millis(at),
            "who": who,
            "what": what,
            "took_ms": millis(took),
            "bytes_sent": traffic.map(|bytes| bytes.sent),
            "bytes_received": traffic.map(|bytes| bytes.received),
        });
        self.output.line(&human, &machine)
    }

    /// Waits for `act` and tells it.
    pub async fn timed<T>(
        &self,
        who: &str,
        what: &str,
        act: impl Future<Output = T>,
    ) -> Result<T, Failed> {
        let begun = Instant::now();
        let result = act.await;
        self.did(who, what, begun.elapsed(), None)?;
        Ok(result)
    }

    /// The last line.
    pub fn end(&self, messages: usize, database: &Path) -> Result<(), Failed> {
        let human = format!("\nok {messages} messages, database {}", database.display());
        let machine = json!({ "type": "ok", "messages": messages, "database": database });
        self.output.line(&human, &machine)
    }

    fn name(&self, who: &str) -> String {
        let color = match who {
            "alice" => 35,
            "bob" => 36,
            "carol" => 33,
            _ => 32,
        };
        match self.color {
            true => format!("\u{1b}[{color}m{who:7}\u{1b}[0m"),
            false => format!("{who:7}"),
        }
    }
}

/// Counts from its making on.
pub struct Meter {
    begun: Instant,
    before: Traffic,
}

impl Meter {
    pub fn new(before: Traffic) -> Self {
        Self {
            begun: Instant::now(),
            before,
        }
    }

    pub fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    pub const fn since(&self, now: Traffic) -> Traffic {
        Traffic {
            sent: now.sent.saturating_sub(self.before.sent),
            received: now.received.saturating_sub(self.before.received),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number of bytes, for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        _ => format!("{} kB", bytes / 1000),
    }
}
