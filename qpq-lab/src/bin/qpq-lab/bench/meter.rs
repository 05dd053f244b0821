//! [`Meter`]: counts calls as they are answered, and says how fast that went and what it cost.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::process::{cpu_time, own_id};
use super::{Failure, Outcome};

/// The longest that connecting and logging in may take.
const SET_UP: Duration = Duration::from_secs(120);
/// How often it is looked whether all calls have been answered.
const LOOK: Duration = Duration::from_micros(500);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// Calls within a time, after a quarter of it to warm up.
    Time(Duration),
    /// The time that so many calls take from the first one.
    Calls(u64),
}

/// Counts the calls of a client. Shared between who calls and who measures.
pub struct Meter {
    begun: OnceLock<Instant>,
    answered: AtomicU64,
    /// Nanoseconds, where asked for.
    latencies: Option<Mutex<Vec<u64>>>,
    failure: OnceLock<String>,
}

/// What a client measured.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Measured {
    /// Calls a second.
    pub rate: f64,
    /// Processor time of the client, in microseconds a call.
    pub client_cpu: f64,
    /// Processor time of the server, in microseconds a call.
    pub server_cpu: f64,
    /// Median latency in microseconds; 0 where it was not asked for.
    pub p50: f64,
    /// 99th percentile of latency in microseconds.
    pub p99: f64,
}

impl Meter {
    /// A meter; with `latencies`, it takes the time of each call.
    pub fn new(latencies: bool) -> Self {
        Self {
            begun: OnceLock::new(),
            answered: AtomicU64::new(0),
            latencies: latencies.then(Mutex::default),
            failure: OnceLock::new(),
        }
    }

    /// All connections stand: calls begin.
    pub fn begin(&self) {
        // A second time says nothing new.
        let _ = self.begun.set(Instant::now());
    }

    /// The time for [`Meter::answered`], if it is wanted.
    pub fn start(&self) -> Option<Instant> {
        self.latencies.is_some().then(Instant::now)
    }

    /// A call was answered.
    pub fn answered(&self, started: Option<Instant>) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if let (Some(latencies), Some(started)) = (&self.latencies, started) {
            let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.push(nanos);
        }
    }

    /// Something went wrong: the measurement is worth nothing.
    pub fn fail(&self, why: impl Into<String>) {
        // The first failure says most.
        let _ = self.failure.set(why.into());
    }

    /// Blocks until [`Meter::begin`].
    pub fn wait(&self) -> Outcome<Instant> {
        let asked = Instant::now();
        loop {
            self.check()?;
            match self.begun.get() {
                Some(begun) => return Ok(*begun),
                None if asked.elapsed() > SET_UP => {
                    return Err(Failure::new("the connections do not come to stand"));
                }
                None => sleep(LOOK),
            }
        }
    }

    /// Blocks for as long as `length` says, with the server in the process `server`.
    pub fn measure(&self, length: Length, server: u32) -> Outcome<Measured> {
        let begun = self.wait()?;
        let (mut start, mut before) = (begun, 0);
        if let Length::Time(time) = length {
            sleep(time / 4);
            if let Some(latencies) = &self.latencies {
                let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
                latencies.clear();
            }
            start = Instant::now();
            before = self.answered.load(Ordering::Relaxed);
        }
        let (client, served) = (cpu_time(own_id())?, cpu_time(server)?);
        match length {
            Length::Time(time) => sleep(time),
            Length::Calls(calls) => {
                while self.answered.load(Ordering::Relaxed) < calls {
                    self.check()?;
                    sleep(LOOK);
                }
            }
        }
        let calls = self.answered.load(Ordering::Relaxed) - before;
        let seconds = start.elapsed().as_secs_f64();
        let client = cpu_time(own_id())?.saturating_sub(client);
        let served = cpu_time(server)?.saturating_sub(served);
        self.check()?;
        if calls == 0 {
            return Err(Failure::new("no call was answered"));
        }
        let a_call = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
        let [p50, p99] = self.percentiles();
        Ok(Measured {
            rate: calls as f64 / seconds,
            client_cpu: a_call(client),
            server_cpu: a_call(served),
            p50,
            p99,
        })
    }

    fn percentiles(&self) -> [f64; 2] {
        let Some(latencies) = &self.latencies else {
            return [0.0; 2];
        };
        let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.sort_unstable();
        [50, 99].map(|percent| {
            let at = latencies.len() * percent / 100;
            latencies
                .get(at)
                .map_or(0.0, |nanos| *nanos as f64 / 1000.0)
        })
    }

    fn check(&self) -> Outcome<()> {
        match self.failure.get() {
            Some(why) => Err(Failure::new(why)),
            None => Ok(()),
        }
    }
}

impl Measured {
    /// Processor time of both sides, in microseconds a call.
    pub fn cpu(&self) -> f64 {
        self.client_cpu + self.server_cpu
    }
}

/// One line of numbers, which [`Measured::from_str`] reads.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            client_cpu,
            server_cpu,
            p50,
            p99,
        } = self;
        write!(f, "{rate} {client_cpu} {server_cpu} {p50} {p99}")
    }
}

impl FromStr for Measured {
    type Err = Failure;

    fn from_str(line: &str) -> Outcome<Self> {
        let numbers: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[rate, client_cpu, server_cpu, p50, p99]) => Ok(Self {
                rate,
                client_cpu,
                server_cpu,
                p50,
                p99,
            }),
            _ => Err(Failure::new(format!("a client printed: {line}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_prints_is_what_is_read() {
        let measured = Measured {
            rate: 1234.5,
            client_cpu: 0.25,
            server_cpu: 3.0,
            p50: 20.0,
            p99: 21.5,
        };
        assert_eq!(measured.to_string().parse::<Measured>(), Ok(measured));
        assert!("1 2 3".parse::<Measured>().is_err());
    }

    #[test]
    fn calls_are_counted_from_the_first_and_a_failure_ends_it() {
        let meter = Meter::new(true);
        meter.begin();
        for _ in 0..100 {
            meter.answered(meter.start());
        }
        let measured = meter.measure(Length::Calls(100), own_id());
        assert!(measured.expect("all were answered").rate > 0.0);
        meter.fail("lost");
        let failed = meter.measure(Length::Calls(1000), own_id());
        assert_eq!(failed, Err(Failure::new("lost")));
    }
}
