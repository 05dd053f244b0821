//! Markdown.

use std::time::Duration;

use crate::measure::{Bytes, Figure, Row};

/// For rows of these contenders: each but the first has a column with the first over it. Without any,
/// for rows of what has no name.
pub fn head(names: &[&str]) {
    let [first, others @ ..] = names else {
        println!("| | |\n| --- | --: |");
        return;
    };
    print!("| | {} |", long(first));
    for name in others {
        print!(" {} | {} / {name} |", long(name), long(first));
    }
    println!("\n| --- | --: |{}", " --: | --: |".repeat(others.len()));
}

fn long(name: &str) -> &str {
    match name {
        "group" => "`Group`",
        "openmls" => "openmls directly",
        other => other,
    }
}

pub fn row(label: &str, row: &Row) {
    print!("| {label} | {} |", time(row.times[0]));
    for (other, ratio) in row.times[1..].iter().zip(&row.ratios) {
        let Figure { median, spread } = ratio;
        print!(" {} | **{median:.2}** ± {spread:.2} |", time(*other));
    }
    println!();
}

pub fn figure(label: &str, figure: Figure<Duration>) {
    println!("| {label} | {} |", time(figure));
}

pub fn bytes(largest: usize, names: &[&str], all: &[Bytes]) {
    let line = |label: &str, of: fn(&Bytes) -> usize| {
        print!("| {label} |");
        all.iter().for_each(|bytes| print!(" {} |", of(bytes)));
        println!();
    };
    print!("| bytes of a message of 200, {} members |", largest + 1);
    names.iter().for_each(|name| print!(" {} |", long(name)));
    println!("\n| --- |{}", " --: |".repeat(all.len()));
    line("on the wire", |bytes| bytes.wire);
    line("written by its sender", |bytes| bytes.written_by_sender);
    line("written by a receiver", |bytes| bytes.written_by_receiver);
    println!();
}

/// Three digits, and the spread in percent.
fn time(figure: Figure<Duration>) -> String {
    let micros = figure.median.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        0.0..1.0 => (micros * 1e3, "ns"),
        1.0..1e3 => (micros, "µs"),
        1e3..1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    let decimals = match value {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let percent = 100.0 * figure.spread.div_duration_f64(figure.median);
    format!("{value:.decimals$} {unit} ± {percent:.0} %")
}
