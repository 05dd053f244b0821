//! The two binaries as tests start, ask, kill and end them.

// Each test file is a crate of its own and uses what it needs.
#![allow(dead_code)]

pub mod copies;
pub mod world;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

const SERVER: &str = env!("CARGO_BIN_EXE_qpq-server");

/// Everybody's.
pub const PASSWORD: &str = "correct horse battery staple";

/// Far longer than anything takes, so that a test that hangs ends.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running `qpq-server`.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    /// Starts one on `listen`; it may fail to.
    pub fn spawn(dir: &Path, listen: &str, flags: &[&str]) -> Self {
        Self::run(Command::new(SERVER), dir, listen, flags)
    }

    /// As [`Server::spawn`], but no file of it can grow over `kib`: then the system refuses to write,
    /// and not as a full disk does.
    pub fn spawn_limited(dir: &Path, listen: &str, flags: &[&str], kib: u32) -> Self {
        // Blocks of 512 bytes; the signal, were it not ignored, would kill the server.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
        let mut command = Command::new("sh");
        command.args(["-c", &script, SERVER]);
        Self::run(command, dir, listen, flags)
    }

    fn run(mut command: Command, dir: &Path, listen: &str, flags: &[&str]) -> Self {
        let mut child = command
            .args(["--listen", listen, "--data-dir"])
            .arg(dir)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Starts one and waits until it serves; returns its address too.
    pub fn start(dir: &Path, listen: &str, flags: &[&str]) -> (Self, String) {
        Self::serving(listen, || Self::spawn(dir, listen, flags))
    }

    /// As [`Server::start`] at an address that is known, with the command changed before it runs.
    pub fn start_with(
        dir: &Path,
        listen: &str,
        flags: &[&str],
        change: impl Fn(&mut Command),
    ) -> Self {
        let spawn = || {
            let mut command = Command::new(SERVER);
            change(&mut command);
            Self::run(command, dir, listen, flags)
        };
        Self::serving(listen, spawn).0
    }

    fn serving(listen: &str, spawn: impl Fn() -> Self) -> (Self, String) {
        for _ in 0..100 {
            let mut server = spawn();
            let address = server.line("listening on ");
            if !address.is_empty() {
                return (server, address);
            }
            // While it was down, some client of another test may have been given its port.
            let (_, said) = server.end();
            assert!(said.contains("is in use: stop the program"), "{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{listen} stays in use")
    }

    /// What the line that starts with `start` says after it; empty if it ends before that.
    pub fn line(&mut self, start: &str) -> String {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
        String::new()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end well.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let (code, said) = self.end();
        assert_eq!(code, Some(0), "{said}");
    }

    /// Waits for its end: exit code, and what it said last on standard error.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, said.lines().last().unwrap_or_default().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A user with a data directory.
pub struct User {
    server: String,
    dir: PathBuf,
}

/// What a command of `qpq` came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// The JSON objects on standard output.
    pub said: Vec<Value>,
    /// Standard error.
    pub error: String,
}

impl User {
    pub fn new(server: &str, dir: &Path) -> Self {
        Self {
            server: server.to_owned(),
            dir: dir.to_owned(),
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qpq"));
        command
            .args(["--json", "--server", &self.server, "--data-dir"])
            .arg(&self.dir)
            .args(args)
            .env("QPQ_PASSWORD", PASSWORD)
            .env_remove("QPQ_CA_CERT");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(args))
    }

    /// As [`User::run`], with a password of one's own.
    pub fn run_with(&self, password: impl AsRef<OsStr>, args: &[&str]) -> Ended {
        let mut command = self.command(args);
        command.env("QPQ_PASSWORD", password);
        ended(command)
    }

    /// Runs a command that must succeed; what it said.
    pub fn ok(&self, args: &[&str]) -> Vec<Value> {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.said
    }

    /// Runs a command that must fail with one sentence; the sentence.
    pub fn fails(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        sentence(&ended)
    }

    /// Runs a command that must end with this exit code.
    pub fn ends(&self, args: &[&str], code: i32) -> Ended {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        ended
    }

    /// Runs a command as a person does; its exit code, what is on the screen, what is on standard
    /// error.
    pub fn screen(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_qpq"))
            .args(["--server", &self.server, "--data-dir"])
            .arg(&self.dir)
            .args(args)
            .env("QPQ_PASSWORD", PASSWORD)
            .env_remove("QPQ_CA_CERT")
            .env("TZ", "XST-5:30")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Runs a command on this standard input.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // It may end before it has read all of it.
        let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        Ended {
            code: output.status.code(),
            said: said.lines().map(parse).collect(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts a command that goes on.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Running {
            stdin: child.stdin.take(),
            said: lines(child.stdout.take().unwrap()),
            child,
        }
    }
}

/// The one sentence of a command that failed.
pub fn sentence(ended: &Ended) -> String {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error: Value = serde_json::from_str(&ended.error).unwrap();
    error["message"].as_str().unwrap().to_owned()
}

fn ended(mut command: Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    Ended {
        code: output.status.code(),
        said: said.lines().map(parse).collect(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

/// A command of `qpq` that goes on.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Running {
    /// Gives it a line; whether it still takes one.
    pub fn tell(&mut self, line: &str) -> bool {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).is_ok()
    }

    /// The next thing it says; `None` at its end.
    pub fn next(&self) -> Option<Value> {
        self.said
            .recv_timeout(PATIENCE)
            .ok()
            .map(|line| parse(&line))
    }

    /// What it has said and nobody read yet.
    pub fn rest(&self) -> Vec<Value> {
        self.said.try_iter().map(|line| parse(&line)).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; all it had said.
    pub fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // A last line may have been cut.
        let whole = |line: String| serde_json::from_str(&line).ok();
        self.said.iter().filter_map(whole).collect()
    }

    /// Ends its input and waits for its end; what it said meanwhile. It must end well.
    pub fn finish(mut self) -> Vec<Value> {
        drop(self.stdin.take());
        let said = self.said.iter().map(|line| parse(&line)).collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        said
    }

    /// SIGINT, then as [`Running::finish`].
    pub fn interrupt(self) -> Vec<Value> {
        signal(&self.child, "INT");
        self.finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(status.unwrap().success());
}

/// The lines of a stream, read by a thread of their own so that nobody waits on a full pipe.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
