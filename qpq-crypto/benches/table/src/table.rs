//! Markdown.

use std::time::Duration;

use crate::measure::Bytes;

pub fn head(others: usize) {
    print!("| | `Group` |");
    for name in ["openmls directly", "mls-rs"].iter().take(others) {
        let short = name.split(' ').next().unwrap_or(name);
        print!(" {name} | `Group` / {short} |");
    }
    println!("\n| --- |{}", " --: |".repeat(1 + 2 * others));
}

/// The first figure is ours; each other comes with ours over it.
pub fn row(label: &str, medians: &[Duration]) {
    let ours = medians[0];
    print!("| {label} | {} |", time(ours));
    for other in &medians[1..] {
        let ratio = ours.as_secs_f64() / other.as_secs_f64();
        print!(" {} | {ratio:.2} |", time(*other));
    }
    println!();
}

pub fn bytes(largest: usize, all: &[Bytes]) {
    let line = |label: &str, of: fn(&Bytes) -> usize| {
        print!("| {label} |");
        all.iter().for_each(|bytes| print!(" {} |", of(bytes)));
        println!();
    };
    print!("| bytes of a message of 200, {} members", largest + 1);
    let names = [" | `Group`", " | openmls directly", " | mls-rs"];
    println!("{} |", names[..all.len()].concat());
    println!("| ---{} |", " | --:".repeat(all.len()));
    line("on the wire", |bytes| bytes.wire);
    line("written by its sender", |bytes| bytes.written_by_sender);
    line("written by a receiver", |bytes| bytes.written_by_receiver);
    println!();
}

/// Three digits.
pub fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        0.0..1e3 => (micros, "µs"),
        1e3..1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let decimals = match value {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}
