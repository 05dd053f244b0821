//! A frame is read and written without allocating. A binary of its own, since it counts what the
//! whole process allocates.

use allocation_counter::measure;
use bytes::{BufMut as _, Bytes};
use qpq_protocol::frame::{Decoded, Decoder, Header as _, RequestHeader};

const PAYLOAD: usize = 1024;

#[test]
fn a_frame_in_one_piece_is_read_and_written_without_allocating() {
    let header = RequestHeader {
        method_id: 200,
        request_id: 7,
        payload_len: PAYLOAD as u32,
    };
    let mut frame = Vec::with_capacity(RequestHeader::LEN + PAYLOAD);
    header.write(&mut frame);
    frame.put_slice(&[9; PAYLOAD]);
    let mut out = Vec::with_capacity(frame.len());
    // A slice of a datagram: memory that has more than one owner.
    let frame = Bytes::from(frame);
    let _datagram = frame.clone();

    let counted = measure(|| {
        let mut input = frame.clone();
        let mut decoder = Decoder::<RequestHeader>::new();
        while let Some(part) = decoder.decode(&mut input).expect("sound") {
            match part {
                Decoded::Header(header) => header.write(&mut out),
                Decoded::Payload(payload) => out.put_slice(&payload),
                Decoded::Skipped => {}
            }
        }
        decoder.finish().expect("whole");
    });
    assert_eq!(out, frame, "what was read is what was written");
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(counted.count_total, 1);
}
