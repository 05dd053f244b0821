//! [`Alone`]: a server core on a storage engine, on this thread: frames in, storage commands, answers
//! out. No socket, no encryption.

use std::time::{Duration, Instant};

use bytes::Bytes;
use qpq_protocol::frame::{Header as _, ResponseHeader};
use qpq_protocol::ids::{ConnId, Dir, StreamId};
use qpq_protocol::io::{Alpn, Core as _, Output, PeerInfo, StreamInput};
use qpq_protocol::limits::Limits;
use qpq_protocol::server::{Event, Server, ServerConfig};
use qpq_protocol::status::Status;
use qpq_protocol::storage::{Command, Engine};
use qpq_protocol::time::{Time, UnixTime};
use qpq_protocol::wire::decode_error;

use super::{Failure, Outcome, accounts};

/// See the module.
pub struct Alone<E> {
    server: Server,
    engine: E,
    clock: Clock,
    /// The next stream of each connection, by its number.
    streams: Vec<u64>,
    /// Requests answered Ok.
    answered: u64,
    /// What the first refusal said, if there was one.
    refused: Option<String>,
    /// How long the engine has worked.
    storage: Duration,
    stored: Stored,
}

/// The clock of a core that is alone.
enum Clock {
    /// The machine's, since this moment.
    Real(Instant),
    /// What it shows; each request takes [`A_REQUEST`].
    Virtual(Time),
}

/// How long a request takes in virtual time.
const A_REQUEST: Duration = Duration::from_micros(10);

/// What the storage commands of a core amounted to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Stored {
    /// Commands of every kind.
    pub commands: u64,
    /// Checks of Commits.
    pub checks: u64,
    /// Rows put.
    pub puts: u64,
    /// Rows deleted.
    pub deletes: u64,
    /// Bytes of Commits.
    pub bytes: u64,
}

impl<E: Engine> Alone<E> {
    /// A core that serves what the engine holds.
    pub fn start(engine: E, limits: Limits, unix: UnixTime) -> Outcome<Self> {
        Self::on(Clock::Real(Instant::now()), engine, limits, unix)
    }

    /// The same in virtual time: whenever it runs, it does the same.
    pub fn in_virtual_time(engine: E, limits: Limits, unix: UnixTime) -> Outcome<Self> {
        Self::on(Clock::Virtual(Time::ZERO), engine, limits, unix)
    }

    fn on(clock: Clock, engine: E, limits: Limits, unix: UnixTime) -> Outcome<Self> {
        let config = ServerConfig {
            limits,
            version: accounts::long_version(),
            ..ServerConfig::default()
        };
        let mut alone = Self {
            server: Server::new(config, [7; 32], Time::ZERO, unix),
            engine,
            clock,
            streams: Vec::new(),
            answered: 0,
            refused: None,
            storage: Duration::ZERO,
            stored: Stored::default(),
        };
        alone.drain()?;
        Ok(alone)
    }

    /// A new connection, numbered from 0, with the session of an account if one is named.
    pub fn connect(&mut self, account: Option<u64>) -> Outcome<usize> {
        let number = self.streams.len();
        self.streams.push(0);
        let peer = PeerInfo {
            address: ([127, 0, 0, 1], 4000).into(),
            alpn: Alpn::Qpq,
            certificate: None,
        };
        let conn = ConnId(number as u64);
        self.server.handle_connected(self.now(), conn, peer, None);
        if let Some(account) = account {
            self.request(number, accounts::resume(account));
            self.drain()?;
            // Its answer is paced.
            while self.answered == 0 {
                self.wait(Duration::from_millis(1));
                self.drain()?;
            }
            self.answered = 0;
        }
        Ok(number)
    }

    /// A whole request on a stream of its own.
    pub fn request(&mut self, connection: usize, frame: Bytes) {
        let Some(stream) = self.streams.get_mut(connection) else {
            return;
        };
        let id = StreamId::Peer(Dir::Bi, *stream);
        *stream += 1;
        if let Clock::Virtual(now) = &mut self.clock {
            *now = *now + A_REQUEST;
        }
        let (now, conn) = (self.now(), ConnId(connection as u64));
        for input in [StreamInput::Data(frame), StreamInput::Fin] {
            self.server.handle_stream(now, conn, id, input);
        }
    }

    /// Carries out everything that waits, one batch of storage commands at a time.
    pub fn drain(&mut self) -> Outcome<()> {
        let now = self.now();
        if self.server.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.server.handle_timeout(now);
        }
        loop {
            let (mut tickets, mut batch) = (Vec::new(), Vec::new());
            while let Some(output) = self.server.poll_output() {
                match output {
                    Output::Store {
                        ticket, command, ..
                    } => {
                        self.stored.count(&command);
                        tickets.push(ticket);
                        batch.push(command);
                    }
                    Output::Send {
                        conn, stream, data, ..
                    } => self.sent(now, conn, stream, &data),
                    Output::Event(Event::Refused(why)) => {
                        return Err(Failure::new(why.to_string()));
                    }
                    _ => {}
                }
            }
            if let Some(why) = self.refused.take() {
                return Err(Failure::new(why));
            }
            if batch.is_empty() {
                return Ok(());
            }
            let start = Instant::now();
            let replies = self.engine.run(batch);
            self.storage += start.elapsed();
            for (ticket, reply) in tickets.into_iter().zip(replies) {
                self.server.handle_stored(now, ticket, reply);
            }
        }
    }

    /// Requests answered since the last time this was asked, and how long the engine worked on them.
    pub fn take_counts(&mut self) -> (u64, Duration) {
        (
            core::mem::take(&mut self.answered),
            core::mem::take(&mut self.storage),
        )
    }

    /// What the storage commands since the last time this was asked amounted to.
    pub fn take_stored(&mut self) -> Stored {
        core::mem::take(&mut self.stored)
    }

    /// The engine.
    pub const fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    fn now(&self) -> Time {
        match &self.clock {
            Clock::Real(began) => {
                let micros = began.elapsed().as_micros();
                Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            }
            Clock::Virtual(now) => *now,
        }
    }

    fn wait(&mut self, time: Duration) {
        match &mut self.clock {
            Clock::Real(_) => std::thread::sleep(time),
            Clock::Virtual(now) => *now = *now + time,
        }
    }

    fn sent(&mut self, now: Time, conn: ConnId, stream: StreamId, data: &Bytes) {
        let sent = StreamInput::Sent(data.len());
        if matches!(stream, StreamId::Peer(..)) {
            match ResponseHeader::read(data).map(|header| header.status) {
                Some(Status::Ok) => self.answered += 1,
                status => {
                    let detail = decode_error(data.slice(ResponseHeader::LEN.min(data.len())..));
                    let why = format!("the core answered {status:?}: {}", detail.message);
                    self.refused.get_or_insert(why);
                }
            }
        }
        self.server.handle_stream(now, conn, stream, sent);
    }
}

impl Stored {
    fn count(&mut self, command: &Command) {
        self.commands += 1;
        if let Command::Commit(commit) = command {
            self.checks += commit.checks.len() as u64;
            self.puts += commit.puts.len() as u64;
            self.deletes += commit.deletes.len() as u64;
            self.bytes += commit.bytes() as u64;
        }
    }
}
