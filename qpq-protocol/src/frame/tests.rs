//! The decoder against splits, wrong lengths and ends in the wrong place.

use alloc::vec;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::proto::{ErrorDetail, HealthRequest, PushEvent};

/// What a stream of these pieces decodes to, its end included.
fn decode_all<H: Header>(
    pieces: impl IntoIterator<Item = Bytes>,
) -> (Vec<Decoded<H>>, Result<(), FrameError>) {
    let mut decoder = Decoder::<H>::new();
    let mut found = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(decoded)) => found.push(decoded),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
        assert!(piece.is_empty(), "all of the input is taken");
        assert!(decoder.buffered() <= MAX_PAYLOAD);
    }
    let end = decoder.finish();
    (found, end)
}

/// Cuts `bytes` at the given places, modulo its length.
fn split(bytes: &Bytes, cuts: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|pair| bytes.slice(pair[0]..pair[1]))
        .collect()
}

fn frame<H: Header>(header: H, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    header.write(&mut out);
    out.extend_from_slice(payload);
    out.freeze()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

fn same_for_every_split<H: Header>(
    stream: &Bytes,
    cuts: &[prop::sample::Index],
) -> Result<(), TestCaseError> {
    let whole = decode_all::<H>([stream.clone()]);
    prop_assert_eq!(decode_all::<H>(split(stream, cuts)), whole.clone());
    let bytewise = stream.iter().map(|byte| Bytes::copy_from_slice(&[*byte]));
    prop_assert_eq!(decode_all::<H>(bytewise), whole);
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_give_the_same_frames(
        // Small numbers where a length lies, so that frames become whole.
        stream in prop::collection::vec(prop_oneof![3 => 0u8..3, 1 => any::<u8>()], 0..200),
        cuts in cuts(),
    ) {
        let stream = Bytes::from(stream);
        same_for_every_split::<RequestHeader>(&stream, &cuts)?;
        same_for_every_split::<ResponseHeader>(&stream, &cuts)?;
        same_for_every_split::<PushHeader>(&stream, &cuts)?;
    }

    #[test]
    fn a_request_in_any_split_is_found(
        method_id: u16,
        request_id: u32,
        payload in prop::collection::vec(any::<u8>(), 0..300),
        cuts in cuts(),
    ) {
        let header = RequestHeader { method_id, request_id, payload_len: payload.len() as u32 };
        let stream = frame(header, &payload);
        let (found, end) = decode_all::<RequestHeader>(split(&stream, &cuts));
        prop_assert_eq!(found, vec![Decoded::Header(header), Decoded::Payload(payload.into())]);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn pushes_follow_each_other(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        cuts in cuts(),
    ) {
        let mut stream = BytesMut::new();
        let mut expected = Vec::new();
        for (event_type, payload) in (1000..).zip(payloads) {
            let header = PushHeader { event_type, payload_len: payload.len() as u32 };
            stream.extend_from_slice(&frame(header, &payload));
            expected.extend([Decoded::Header(header), Decoded::Payload(payload.into())]);
        }
        let (found, end) = decode_all::<PushHeader>(split(&stream.freeze(), &cuts));
        prop_assert_eq!(found, expected);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn an_end_anywhere_inside_is_noticed(
        payload in prop::collection::vec(any::<u8>(), 0..40),
        at: prop::sample::Index,
    ) {
        let header = ResponseHeader {
            status: Status::Ok,
            request_id: 1,
            payload_len: payload.len() as u32,
        };
        let stream = frame(header, &payload);
        let cut = stream.slice(..at.index(stream.len()));
        prop_assert_eq!(decode_all::<ResponseHeader>([cut]).1, Err(FrameError::FinInsideFrame));
    }

    #[test]
    fn a_skipped_payload_leaves_the_next_frame_whole(
        dropped in prop::collection::vec(any::<u8>(), 0..100),
        kept in prop::collection::vec(any::<u8>(), 0..100),
        cuts in cuts(),
    ) {
        let first = PushHeader { event_type: 1, payload_len: dropped.len() as u32 };
        let second = PushHeader { event_type: 2, payload_len: kept.len() as u32 };
        let mut stream = BytesMut::from(&frame(first, &dropped)[..]);
        stream.extend_from_slice(&frame(second, &kept));

        let mut decoder = Decoder::<PushHeader>::new();
        let mut found = Vec::new();
        for mut piece in split(&stream.freeze(), &cuts) {
            while let Some(decoded) = decoder.decode(&mut piece).unwrap() {
                if decoded == Decoded::Header(first) {
                    decoder.skip();
                    prop_assert_eq!(decoder.missing(), dropped.len());
                    prop_assert_eq!(decoder.buffered(), 0);
                }
                found.push(decoded);
            }
        }
        prop_assert_eq!(found, vec![
            Decoded::Header(first),
            Decoded::Skipped,
            Decoded::Header(second),
            Decoded::Payload(kept.into()),
        ]);
    }
}

#[test]
fn a_payload_in_one_piece_is_not_copied() {
    let header = RequestHeader {
        method_id: 1,
        request_id: 2,
        payload_len: 5,
    };
    let stream = frame(header, b"hello");
    let expected = stream.slice(10..).as_ptr();
    // With its header, after it, and after one that came in pieces.
    let (head, payload) = (stream.slice(..10), stream.slice(10..));
    for pieces in [
        vec![stream.clone()],
        vec![head.clone(), Bytes::new(), payload.clone()],
        vec![head.slice(..3), head.slice(3..), payload],
    ] {
        let (found, _) = decode_all::<RequestHeader>(pieces);
        let Some(Decoded::Payload(payload)) = found.last() else {
            panic!("no payload: {found:?}")
        };
        assert_eq!(payload.as_ptr(), expected);
    }
}

#[test]
fn a_payload_over_the_limit_is_refused_from_the_header() {
    fn refused<H: Header>(header: H) {
        let mut decoder = Decoder::<H>::new();
        let error = FrameError::TooLarge {
            payload_len: header.payload_len().into(),
        };
        let mut stream = frame(header, b"");
        assert_eq!(decoder.decode(&mut stream), Err(error), "{header:?}");
        assert_eq!(
            decoder.decode(&mut Bytes::new()),
            Err(error),
            "it stays broken"
        );
        assert_eq!(decoder.finish(), Err(error));
        assert_eq!((decoder.buffered(), decoder.missing()), (0, 0));
        assert_eq!(error.app_code(), AppCode::TooLarge);
    }
    for payload_len in [MAX_PAYLOAD as u32 + 1, u32::MAX] {
        refused(RequestHeader {
            method_id: 200,
            request_id: 0,
            payload_len,
        });
        refused(ResponseHeader {
            status: Status::Ok,
            request_id: 0,
            payload_len,
        });
        refused(PushHeader {
            event_type: 1000,
            payload_len,
        });
    }
}

#[test]
fn the_longest_payload_is_taken_and_its_length_is_not_reserved_at_once() {
    let header = RequestHeader {
        method_id: 200,
        request_id: 0,
        payload_len: MAX_PAYLOAD as u32,
    };
    let mut decoder = Decoder::new();
    let mut stream = frame(header, &[7; 100]);
    assert_eq!(
        decoder.decode(&mut stream),
        Ok(Some(Decoded::Header(header)))
    );
    assert_eq!(decoder.decode(&mut stream), Ok(None));
    assert_eq!(decoder.header(), Some(header));
    assert!(
        (100..1000).contains(&decoder.buffered()),
        "{}",
        decoder.buffered()
    );

    let mut rest = Bytes::from(vec![7; MAX_PAYLOAD - 100]);
    let Ok(Some(Decoded::Payload(payload))) = decoder.decode(&mut rest) else {
        panic!("no payload")
    };
    assert_eq!(payload.len(), MAX_PAYLOAD);
    assert!(payload.iter().all(|byte| *byte == 7));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn many_small_pieces_never_hold_more_than_the_payload() {
    let payload = vec![9; 10_000];
    let header = RequestHeader {
        method_id: 200,
        request_id: 0,
        payload_len: 10_000,
    };
    let mut decoder = Decoder::<RequestHeader>::new();
    let mut found = None;
    for byte in frame(header, &payload) {
        let mut piece = Bytes::copy_from_slice(&[byte]);
        while let Some(decoded) = decoder.decode(&mut piece).unwrap() {
            found = Some(decoded);
        }
        assert!(decoder.buffered() <= 10_000);
    }
    assert_eq!(found, Some(Decoded::Payload(payload.into())));
}

#[test]
fn bytes_after_the_one_frame_of_a_stream_break_it() {
    fn broken<H: Header>(first: Bytes) {
        let mut stream = BytesMut::from(&first[..]);
        stream.extend_from_slice(&first[..1]);
        let (found, end) = decode_all::<H>([stream.freeze()]);
        assert_eq!(found.len(), 2);
        assert_eq!(end, Err(FrameError::TrailingBytes));
    }
    broken::<RequestHeader>(encode_request(802, 1, &HealthRequest {}).unwrap());
    broken::<ResponseHeader>(encode_response(Status::Ok, 1, &HealthRequest {}).unwrap());
    assert_eq!(FrameError::TrailingBytes.app_code(), AppCode::Frame);
}

#[test]
fn a_request_stream_without_a_request_is_broken_and_a_push_stream_without_a_push_is_not() {
    assert_eq!(
        decode_all::<RequestHeader>([]).1,
        Err(FrameError::FinInsideFrame)
    );
    assert_eq!(
        decode_all::<ResponseHeader>([]).1,
        Err(FrameError::FinInsideFrame)
    );
    assert_eq!(decode_all::<PushHeader>([]).1, Ok(()));
    assert_eq!(FrameError::FinInsideFrame.app_code(), AppCode::Frame);
}

#[test]
fn encoders_write_the_header_of_the_page() {
    let detail = ErrorDetail {
        message: "no".into(),
        ..ErrorDetail::default()
    };
    let cases: [(Bytes, &[u8]); 3] = [
        (
            encode_request(0x0102, 0x0304_0506, &detail).unwrap(),
            &[1, 2, 3, 4, 5, 6, 0, 0, 0, 4, 0x0a, 2, b'n', b'o'],
        ),
        (
            encode_response(Status::NotFound, 0x0304_0506, &detail).unwrap(),
            &[4, 3, 4, 5, 6, 0, 0, 0, 4, 0x0a, 2, b'n', b'o'],
        ),
        (
            encode_push(1001, &PushEvent { event: None }).unwrap(),
            &[3, 0xe9, 0, 0, 0, 0],
        ),
    ];
    for (encoded, expected) in cases {
        assert_eq!(&encoded[..], expected);
    }
}

#[test]
fn a_message_over_the_limit_is_not_encoded() {
    let message = |len: usize| ErrorDetail {
        message: core::iter::repeat_n('a', len).collect(),
        ..ErrorDetail::default()
    };
    // Tag and length take 5 bytes.
    let longest = encode_response(Status::Internal, 0, &message(MAX_PAYLOAD - 5)).unwrap();
    assert_eq!(longest.len(), 9 + MAX_PAYLOAD);
    assert_eq!(
        encode_response(Status::Internal, 0, &message(MAX_PAYLOAD - 4)),
        Err(FrameError::TooLarge {
            payload_len: MAX_PAYLOAD as u64 + 1
        })
    );
}

#[test]
fn an_unknown_status_reads_as_internal() {
    let header = ResponseHeader::read(&[200, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(header.map(|header| header.status), Some(Status::Internal));
}
