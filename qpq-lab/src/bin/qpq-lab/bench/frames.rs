//! What a frame costs beside copying its bytes once: read from a stream, written into a buffer.

use std::hint::black_box;
use std::time::Instant;

use bytes::{BufMut as _, Bytes};
use qpq_protocol::frame::{Decoded, Decoder, Header as _, RequestHeader};

use super::table::{self, Series};
use super::{Failure, Outcome, Scope};

const PAYLOAD: usize = 1024;
/// Frames in a burst: short enough that most are not interrupted. A round's figure is the median.
const BURST: u32 = 1000;
const FRAME: usize = RequestHeader::LEN + PAYLOAD;

/// Measures and prints.
pub fn run(scope: &Scope) -> Outcome<()> {
    let bursts = if scope.quick { 100 } else { 2000 };
    let frame = frame();
    let mut buffer = Vec::with_capacity(FRAME);
    pass(frame.clone(), &mut buffer)?;
    if buffer != frame {
        return Err(Failure::new("a frame is not what was read"));
    }
    let (mut ours, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..scope.rounds() {
        let (mut passing, mut copying) = (Vec::new(), Vec::new());
        for _ in 0..bursts {
            // Who reads a stream is given the bytes.
            let frames = vec![frame.clone(); BURST as usize];
            let start = Instant::now();
            for frame in frames {
                pass(black_box(frame), black_box(&mut buffer))?;
            }
            passing.push(nanos(start));
            let start = Instant::now();
            for _ in 0..BURST {
                copy(black_box(&frame), black_box(&mut buffer));
            }
            copying.push(nanos(start));
        }
        ours.push(Series::new(passing).median());
        copies.push(Series::new(copying).median());
    }
    let over = ours.iter().zip(&copies).map(|(ours, copy)| ours - copy);
    let over = Series::new(over).to_string();
    let row = |name: &str, figure: String| vec![name.to_owned(), figure];
    table::print(
        "A frame of 1 KiB, ns",
        &["", "median (least–most)"],
        &[
            row(
                "decode, encode into a reused buffer",
                Series::new(ours).to_string(),
            ),
            row(
                "copy of the same bytes into the same buffer",
                Series::new(copies).to_string(),
            ),
            row("**more than the copy** (goal: at most 20)", over),
        ],
    );
    Ok(())
}

/// A frame as it comes off a datagram: a slice of memory that others hold too.
fn frame() -> Bytes {
    let mut frame = Vec::new();
    let header = RequestHeader {
        method_id: 200,
        request_id: 7,
        payload_len: PAYLOAD as u32,
    };
    header.write(&mut frame);
    frame.extend_from_slice(&[9; PAYLOAD]);
    let frame = Bytes::from(frame);
    // The second owner makes it shared memory.
    drop(frame.clone());
    frame
}

/// Reads the frame and writes it again.
#[inline(never)]
fn pass(mut input: Bytes, buffer: &mut Vec<u8>) -> Outcome<()> {
    let wrong = |_| Failure::new("the frame cannot be read");
    let mut decoder = Decoder::<RequestHeader>::new();
    buffer.clear();
    while let Some(part) = decoder.decode(&mut input).map_err(wrong)? {
        match part {
            Decoded::Header(header) => header.write(buffer),
            Decoded::Payload(payload) => buffer.put_slice(&payload),
            // Only where it was asked for.
            Decoded::Skipped => {}
        }
    }
    decoder.finish().map_err(wrong)
}

#[inline(never)]
fn copy(frame: &Bytes, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.extend_from_slice(frame);
}

fn nanos(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(BURST)
}
