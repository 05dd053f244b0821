//! The same messages to those who keep them for a living: NATS JetStream and Redis streams.

use crate::bench::caller::Load;
use crate::bench::meter::Measured;
use crate::bench::peers::Peer;
use crate::bench::peers::broker::Broker;
use crate::bench::table::{self, Series};
use crate::bench::{Outcome, Scope};

/// Who, how, at which load, and how much faster we are to be.
const ALL: [(Peer, &str, Load, &str); 3] = [
    (
        Peer::Nats,
        "JetStream, `sync_interval: always`, 256 in flight over 8 connections",
        Load::new(8, 32),
        "2.0",
    ),
    (
        Peer::Redis,
        "streams, `appendfsync always`, 64 in flight on 1 connection",
        Load::new(1, 64),
        "none",
    ),
    (
        Peer::Redis,
        "streams, `appendfsync always`, 256 in flight over 8 connections",
        Load::new(8, 32),
        "none",
    ),
];

/// One in so many messages goes to a broker that takes long for each.
const FEWER: u64 = 5;

/// Those that are installed, and their rounds.
pub struct Brokers([(Result<String, String>, Vec<Measured>); 3]);

impl Brokers {
    /// Looks who is installed.
    pub fn look() -> Self {
        Self(ALL.map(|(peer, ..)| (Broker::look(peer), Vec::new())))
    }

    /// One round of each, on an empty disk.
    pub fn measure(&mut self, scope: &Scope, messages: u64) -> Outcome<()> {
        for ((peer, _, load, _), (found, rounds)) in ALL.into_iter().zip(&mut self.0) {
            if found.is_ok() {
                let messages = match peer {
                    Peer::Nats => messages / FEWER,
                    _ => messages,
                };
                rounds.push(Broker::start(scope, peer)?.measure(load, messages)?);
            }
        }
        Ok(())
    }

    /// Prints them beside ours, which are of the same rounds.
    pub fn report(&self, ours: &Series) {
        let rows = ALL
            .iter()
            .zip(&self.0)
            .map(|((_, how, _, goal), (found, rounds))| {
                let name = match found {
                    Ok(name) => format!("{name}, {how}"),
                    Err(why) => return vec![why.clone(), "–".into(), "–".into(), (*goal).into()],
                };
                let rate = Series::new(rounds.iter().map(|measured| measured.rate));
                let ratio = format!("**{}**", ours.over(&rate));
                vec![name, rate.to_string(), ratio, (*goal).into()]
            });
        table::print(
            "The same messages to brokers that flush before they answer, without TLS",
            &["", "messages a second", "qpq ÷ this", "goal"],
            &rows.collect::<Vec<_>>(),
        );
    }
}
