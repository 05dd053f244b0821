//! Where and of what the figures are.

use std::{fs, process::Command, thread};

/// What this was built from.
const LOCK: &str = include_str!("../Cargo.lock");

/// A heading, and a paragraph that says how the figures came about.
pub fn print() {
    let (title, features) = if cfg!(feature = "aws-lc-rs") {
        ("With the feature `aws-lc-rs`", " --features aws-lc-rs")
    } else {
        ("The default build", "")
    };
    let mut arguments = String::new();
    for (at, argument) in std::env::args().skip(1).enumerate() {
        arguments += if at == 0 { " -- " } else { " " };
        match argument.contains(' ') {
            true => arguments += &format!("'{argument}'"),
            false => arguments += &argument,
        }
    }
    let versions = ["openmls", "mls-rs", "mls-rs-crypto-awslc", "aws-lc-rs"]
        .map(|name| format!("{name} {}", version(name)));
    println!("### {title}\n");
    println!(
        "`cargo run --release{features}{arguments}` on {} ({} hardware threads, load {} before), {}; {}. A time is \
         the median of all samples ± half the distance between the quartiles; a ratio is that of the \
         rounds, in each of which the contenders took turns.\n",
        processor(),
        thread::available_parallelism().map_or(0, usize::from),
        load(),
        compiler(),
        versions.join(", "),
    );
}

fn version(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let after = LOCK.split_once(&entry).map(|(_, after)| after);
    after
        .and_then(|after| after.split('"').next())
        .unwrap_or("?")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let name = model.and_then(|line| line.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name)
        .to_owned()
}

/// What else ran in the minute before.
fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
}

fn compiler() -> String {
    let said = Command::new("rustc").arg("--version").output();
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    let version = said.unwrap_or_default();
    version.split(" (").next().unwrap_or("rustc").to_owned()
}
