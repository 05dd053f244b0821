//! Brokers that others run as programs of their own: Redis with streams, NATS with JetStream. Each is
//! told to flush to disk before it answers, and spoken to in as little of its protocol as that takes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs, net};

use qpq_server_example::scratch::Scratch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{LOOPBACK, Peer};
use crate::bench::caller::Load;
use crate::bench::drive::{Ask, DriveArgs, PAYLOAD, RECIPIENTS};
use crate::bench::meter::{Measured, Meter};
use crate::bench::{Failure, Outcome, Scope};

/// The longest that a broker may take to listen.
const SET_UP: Duration = Duration::from_secs(10);
/// Room for what is read at once, in bytes.
const READ: usize = 64 * 1024;
/// The first version of nats-server that knows `sync_interval: always`.
const ALWAYS: [u32; 2] = [2, 10];

/// A running broker. It ends, and its directory goes, when this is dropped.
pub struct Broker {
    peer: Peer,
    child: Child,
    scratch: Scratch,
    address: net::SocketAddr,
}

impl Broker {
    /// What it is, with its version, or a sentence that says why it cannot be measured.
    pub fn look(peer: Peer) -> Result<String, String> {
        let name = program(peer);
        let path = env::var_os("PATH").unwrap_or_default();
        if !env::split_paths(&path).any(|dir| dir.join(name).is_file()) {
            return Err(format!("{name} is not installed"));
        }
        let said = Command::new(name).arg("--version").output();
        let said = said.map_err(|error| format!("{name}: {error}"))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = |word: &&str| word.chars().any(|letter| letter.is_ascii_digit());
        let version = said.split_whitespace().find(version).unwrap_or_default();
        let version = version.trim_start_matches("v=").trim_start_matches('v');
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        let known: [u32; 2] = [parts.next().unwrap_or(0), parts.next().unwrap_or(0)];
        if peer == Peer::Nats && known < ALWAYS {
            return Err(format!("{name} {version} knows no `sync_interval: always`"));
        }
        Ok(format!("{name} {version}"))
    }

    /// Starts it on a directory of its own.
    pub fn start(scope: &Scope, peer: Peer) -> Outcome<Self> {
        let scratch = Scratch::try_new_in(&scope.dir, "bench");
        let scratch = scratch.map_err(Failure::of("a directory"))?;
        let name = program(peer);
        let free = net::TcpListener::bind(LOOPBACK).and_then(|socket| socket.local_addr());
        let address = free.map_err(Failure::of("a free port"))?;
        let child = Command::new(name)
            .args(arguments(peer, scratch.path(), address.port())?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Failure::of(name))?;
        let broker = Self {
            peer,
            child,
            scratch,
            address,
        };
        let asked = Instant::now();
        while net::TcpStream::connect(address).is_err() {
            if asked.elapsed() > SET_UP {
                return Err(Failure::new(format!("{name} does not listen")));
            }
            sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    /// So many messages at such a load.
    pub fn measure(&self, load: Load, messages: u64) -> Outcome<Measured> {
        let client = DriveArgs {
            peer: self.peer,
            dir: self.scratch.path().to_owned(),
            address: self.address,
            process: self.child.id(),
            core: None,
            load,
            ask: Ask::Enqueue,
            millis: 0,
            calls: Some(messages),
            latencies: false,
            hold: false,
        };
        client.start()?.line()?.parse()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const fn program(peer: Peer) -> &'static str {
    match peer {
        Peer::Nats => "nats-server",
        _ => "redis-server",
    }
}

fn arguments(peer: Peer, dir: &Path, port: u16) -> Outcome<Vec<String>> {
    let text = |path: PathBuf| path.display().to_string();
    if peer != Peer::Nats {
        let [port, dir] = [port.to_string(), text(dir.to_owned())];
        let said = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--dir",
            &dir,
            "--save",
            "",
        ];
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        return Ok(said.into_iter().chain(durable).map(str::to_owned).collect());
    }
    let store = text(dir.join("store"));
    let config = dir.join("nats.conf");
    let said = format!(
        "listen: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: \"{store}\"\n  sync_interval: always\n}}\n"
    );
    fs::write(&config, said).map_err(Failure::of("a configuration"))?;
    Ok(vec!["--config".to_owned(), text(config)])
}

/// Sends messages until all are answered.
pub async fn call(args: &DriveArgs, meter: Arc<Meter>) -> Outcome<()> {
    let mut lines = Vec::new();
    for number in 0..args.load.connections {
        lines.push(Line::open(args, number).await?);
    }
    meter.begin();
    let mut messages = args.calls.unwrap_or(u64::MAX);
    let share = messages / args.load.connections.max(1) as u64;
    let (last, others) = (lines.pop(), lines);
    for line in others {
        messages -= share;
        let (meter, in_flight) = (Arc::clone(&meter), args.load.in_flight);
        tokio::spawn(async move {
            if let Err(Failure(why)) = line.run(share, in_flight, &meter).await {
                meter.fail(why);
            }
        });
    }
    if let Some(line) = last {
        line.run(messages, args.load.in_flight, &meter).await?;
    }
    // Who measures ends the process.
    std::future::pending().await
}

/// A connection to a broker.
struct Line {
    peer: Peer,
    /// Where NATS answers; every connection has its own.
    inbox: String,
    stream: TcpStream,
    /// Bytes read and not yet understood.
    read: Vec<u8>,
    /// What is sent at the next opportunity.
    write: Vec<u8>,
}

impl Line {
    /// Connects, and makes what messages go into.
    async fn open(args: &DriveArgs, number: usize) -> Outcome<Self> {
        let stream = TcpStream::connect(args.address).await;
        let stream = stream.map_err(Failure::of("a broker"))?;
        stream.set_nodelay(true).map_err(Failure::of("a broker"))?;
        let mut line = Self {
            peer: args.peer,
            inbox: format!("_INBOX.bench{number}"),
            stream,
            read: Vec::new(),
            write: Vec::new(),
        };
        if args.peer == Peer::Nats {
            let stream = br#"{"name":"bench","subjects":["q.*"],"storage":"file"}"#;
            let options = r#"{"verbose":false,"pedantic":false}"#;
            let hello = format!("CONNECT {options}\r\nSUB {} 1\r\n", line.inbox);
            line.write.extend_from_slice(hello.as_bytes());
            line.publish("$JS.API.STREAM.CREATE.bench", stream);
            while line.exchange().await? == 0 {}
        }
        Ok(line)
    }

    /// Sends so many messages, so many at a time, and counts the answers.
    async fn run(mut self, messages: u64, in_flight: usize, meter: &Meter) -> Outcome<()> {
        let payload = [9; PAYLOAD];
        let (mut sent, mut answered) = (0, 0);
        while answered < messages {
            while sent < messages && sent - answered < in_flight as u64 {
                self.enqueue(sent % RECIPIENTS, &payload);
                sent += 1;
            }
            let count = self.exchange().await?;
            answered += count;
            (0..count).for_each(|_| meter.answered(None));
        }
        Ok(())
    }

    fn enqueue(&mut self, recipient: u64, payload: &[u8]) {
        if self.peer == Peer::Nats {
            return self.publish(&format!("q.{recipient}"), payload);
        }
        let key = format!("q{recipient}");
        let head = format!("*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n", key.len());
        let field = format!("$1\r\nd\r\n${}\r\n", payload.len());
        for part in [head.as_bytes(), field.as_bytes(), payload, b"\r\n"] {
            self.write.extend_from_slice(part);
        }
    }

    /// Publishes; the broker answers with one message.
    fn publish(&mut self, subject: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {} {}\r\n", self.inbox, payload.len());
        for part in [head.as_bytes(), payload, b"\r\n"] {
            self.write.extend_from_slice(part);
        }
    }

    /// Sends what waits and reads what comes; how many answers that were.
    async fn exchange(&mut self) -> Outcome<u64> {
        let sent = self.stream.write_all(&self.write).await;
        sent.map_err(Failure::of("a broker"))?;
        self.write.clear();
        self.read.reserve(READ);
        let read = self.stream.read_buf(&mut self.read).await;
        if read.map_err(Failure::of("a broker"))? == 0 {
            return Err(Failure::new("a broker has closed the connection"));
        }
        let mut count = 0;
        let mut taken = 0;
        while let Some(answer) = self
            .read
            .get(taken..)
            .and_then(|rest| answer(self.peer, rest))
        {
            match answer? {
                (length, Answer::Done) => (taken, count) = (taken + length, count + 1),
                (length, Answer::Other) => taken += length,
                (length, Answer::Ping) => {
                    self.write.extend_from_slice(b"PONG\r\n");
                    taken += length;
                }
            }
        }
        self.read.drain(..taken);
        Ok(count)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// A message is stored.
    Done,
    /// The broker wants to know whether we are there.
    Ping,
    /// Something that is not about a message.
    Other,
}

/// The first answer in these bytes and its length, if it is whole.
fn answer(peer: Peer, bytes: &[u8]) -> Option<Outcome<(usize, Answer)>> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = bytes.get(..end)?;
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<usize>().ok();
    // What follows a line that says how long it is.
    let whole = |length: usize| {
        let all = end + 2 + length + 2;
        let body = bytes.get(end + 2..all)?;
        let refused = body.windows(7).any(|part| part == b"\"error\"");
        Some(if refused {
            Err(Failure::new(format!(
                "a broker said {}",
                String::from_utf8_lossy(body)
            )))
        } else {
            Ok((all, Answer::Done))
        })
    };
    match (peer, line) {
        (Peer::Redis, [b'$', length @ ..]) => whole(number(length)?),
        (Peer::Nats, [b'M', b'S', b'G', b' ', rest @ ..]) => {
            whole(number(rest.rsplit(|byte| *byte == b' ').next()?)?)
        }
        (Peer::Nats, b"PING") => Some(Ok((end + 2, Answer::Ping))),
        (Peer::Nats, [b'I', b'N', b'F', b'O', ..] | b"PONG" | b"+OK") => {
            Some(Ok((end + 2, Answer::Other)))
        }
        _ => Some(Err(Failure::new(format!(
            "a broker said {}",
            String::from_utf8_lossy(line)
        )))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_whole_or_not_at_all() {
        let redis = b"$15\r\n1700000000000-0\r\n$1";
        let expected = Ok((22, Answer::Done));
        assert_eq!(answer(Peer::Redis, redis), Some(expected));
        assert_eq!(answer(Peer::Redis, &redis[..21]), None);
        assert!(answer(Peer::Redis, b"-ERR no\r\n").is_some_and(|answer| answer.is_err()));

        let nats = b"MSG _INBOX.bench 1 9\r\n{\"seq\":1}\r\n";
        let expected = Ok((nats.len(), Answer::Done));
        assert_eq!(answer(Peer::Nats, nats), Some(expected));
        assert_eq!(answer(Peer::Nats, &nats[..30]), None);
        assert_eq!(answer(Peer::Nats, b"PING\r\n"), Some(Ok((6, Answer::Ping))));
        let refused = b"MSG _INBOX.bench 1 11\r\n{\"error\":1}\r\n";
        assert!(answer(Peer::Nats, refused).is_some_and(|answer| answer.is_err()));
    }
}
