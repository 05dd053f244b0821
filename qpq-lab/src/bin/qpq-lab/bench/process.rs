//! Servers and clients as processes of their own, and what Linux says of them in `/proc`.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::{Failure, Outcome};

/// A process of this program, started with other arguments. It ends when this is dropped: its
/// standard input is closed then.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program with these arguments.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Outcome<Self> {
        let program = std::env::current_exe().map_err(Failure::of("this program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::of("a child process"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("a child process has no pipes"));
        };
        Ok(Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(Failure::new("a child process has failed, see above")),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(Failure::of("a child process")(error)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself; if waiting for it fails there is nobody to wait for.
        let _ = self.child.wait();
    }
}

/// Blocks until the one who started this process closes its standard input.
pub fn until_dropped() {
    let mut rest = Vec::new();
    // A failure ends it as well.
    let _ = std::io::stdin().lock().read_to_end(&mut rest);
}

/// Keeps this thread, and all that it will start, on one core.
pub fn pin(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(Failure::of("a processor core"))
}

/// The number of this process.
pub fn own_id() -> u32 {
    std::process::id()
}

/// Processor time that the threads of a process have used, those that ended left out.
pub fn cpu_time(process: u32) -> Outcome<Duration> {
    let tasks = format!("/proc/{process}/task");
    let mut nanos = 0u64;
    for task in fs::read_dir(&tasks).map_err(Failure::of(&tasks))? {
        let path = task.map_err(Failure::of(&tasks))?.path().join("schedstat");
        // A thread may have ended since.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let running = text.split_whitespace().next();
        nanos += running.and_then(|text| text.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Memory that a process holds, in bytes.
pub fn resident(process: u32) -> Outcome<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).map_err(Failure::of(&path))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Failure::new(format!("{path} does not say how much memory there is")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_this_process() {
        let before = cpu_time(own_id()).expect("readable");
        let mut sum = 0u64;
        while cpu_time(own_id()).expect("readable") < before + Duration::from_millis(20) {
            sum = (0..100_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(resident(own_id()).expect("readable") > 100_000);
    }
}
