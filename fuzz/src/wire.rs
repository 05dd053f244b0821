//! The frame codec and the messages of the wire.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use qpq_protocol::frame::{
    Decoded, Decoder, FrameError, Header, MAX_PAYLOAD, PushHeader, RequestHeader, ResponseHeader,
};
use qpq_protocol::method::{Method, Push, Rpc, Visitor};
use qpq_protocol::validate::Validate;
use qpq_protocol::wire;

/// What a stream decodes to, and how it ends.
type Found<H> = (Vec<Decoded<H>>, Result<(), FrameError>);

/// One stream in one piece. Input: one byte for the kind of stream, then the stream.
///
/// Frames that were found, written again, are the start of the stream (but for a status that nobody
/// knows).
pub fn frames(input: &[u8]) {
    let Some((kind, stream)) = input.split_first() else {
        return;
    };
    match kind % 3 {
        0 => written_again::<RequestHeader>(stream, |_, _| ()),
        1 => written_again::<ResponseHeader>(stream, |header, at| {
            if let Some(status) = at.first_mut() {
                *status = header.status.code();
            }
        }),
        _ => written_again::<PushHeader>(stream, |_, _| ()),
    }
}

/// `replace` puts what the decoder read in place of what the stream says, for one header.
fn written_again<H: Header>(stream: &[u8], replace: impl Fn(&H, &mut [u8])) {
    let (found, end) = decode::<H>([Bytes::copy_from_slice(stream)], |_| false);
    let mut expected = stream.to_vec();
    let mut written = BytesMut::new();
    for item in &found {
        match item {
            Decoded::Header(header) => {
                replace(header, &mut expected[written.len()..]);
                header.write(&mut written);
                assert!(header.payload_len() as usize <= MAX_PAYLOAD);
            }
            Decoded::Payload(payload) => written.put_slice(payload),
            Decoded::Skipped => panic!("nothing was to be skipped"),
        }
    }
    assert!(expected.starts_with(&written));
    if end.is_ok() {
        assert_eq!(expected, written, "all of a good stream is in its frames");
    }
}

/// One stream in pieces, of which some payloads are skipped. Input: one byte for the kind of stream,
/// one whose bits say which frames are skipped, one for the number of pieces, their lengths a byte
/// each, then the stream; what the pieces leave over is the last piece.
///
/// The pieces decode to what the whole does.
pub fn split_streams(input: &[u8]) {
    let [kind, skipped, pieces, rest @ ..] = input else {
        return;
    };
    let Some((lengths, stream)) = rest.split_at_checked(usize::from(*pieces)) else {
        return;
    };
    match kind % 3 {
        0 => same_in_pieces::<RequestHeader>(stream, lengths, *skipped),
        1 => same_in_pieces::<ResponseHeader>(stream, lengths, *skipped),
        _ => same_in_pieces::<PushHeader>(stream, lengths, *skipped),
    }
}

fn same_in_pieces<H: Header>(stream: &[u8], lengths: &[u8], skipped: u8) {
    let skip = |index: usize| skipped >> (index % 8) & 1 == 1;
    let whole = Bytes::copy_from_slice(stream);
    let mut rest = whole.clone();
    let mut pieces: Vec<Bytes> = lengths
        .iter()
        .map(|len| rest.split_to(rest.len().min(usize::from(*len))))
        .collect();
    pieces.push(rest);
    assert_eq!(decode::<H>(pieces, skip), decode::<H>([whole], skip));
}

/// Decodes a stream; `skip` says which frames, by number, are not wanted.
fn decode<H: Header>(
    pieces: impl IntoIterator<Item = Bytes>,
    skip: impl Fn(usize) -> bool,
) -> Found<H> {
    let mut decoder = Decoder::<H>::new();
    let mut found = Vec::new();
    let mut headers = 0;
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(item)) => {
                    if matches!(item, Decoded::Header(_)) {
                        assert_eq!(
                            decoder.buffered(),
                            0,
                            "nothing is held before it is asked for"
                        );
                        if skip(headers) {
                            decoder.skip();
                        }
                        headers += 1;
                    }
                    found.push(item);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.finish(), Err(error));
                    assert_eq!(decoder.decode(&mut Bytes::from_static(b"more")), Err(error));
                    return (found, Err(error));
                }
            }
        }
        assert!(piece.is_empty(), "what is not wanted yet is held");
        let longest = decoder
            .header()
            .map_or(0, |header| header.payload_len() as usize);
        assert!(decoder.buffered() <= longest);
        assert_eq!(decoder.missing() > 0, decoder.finish().is_err() || H::MANY);
    }
    let end = decoder.finish();
    (found, end)
}

/// A request of any method. Input: the method id, big-endian, then the payload.
///
/// What decodes keeps the rules of its fields, and survives being written and read again.
pub fn requests(input: &[u8]) {
    struct Request(Bytes);
    impl Visitor for Request {
        type Output = ();
        fn visit<M: Rpc>(self) {
            if let Ok(request) = wire::decode_request::<M>(self.0) {
                assert_eq!(request.validate(), Ok(()));
                let encoded = request.encode_to_vec();
                assert_eq!(wire::decode_request::<M>(encoded.into()), Ok(request));
            }
        }
    }
    if let Some((method, payload)) = of_method(input) {
        method.visit(Request(payload));
    }
}

/// A response of any method. Input as for [`requests`].
pub fn responses(input: &[u8]) {
    struct Response(Bytes);
    impl Visitor for Response {
        type Output = ();
        fn visit<M: Rpc>(self) {
            if let Ok(response) = wire::decode_response::<M>(self.0) {
                let encoded = response.encode_to_vec();
                assert_eq!(wire::decode_response::<M>(encoded.into()), Ok(response));
            }
        }
    }
    if let Some((method, payload)) = of_method(input) {
        method.visit(Response(payload));
    }
}

fn of_method(input: &[u8]) -> Option<(Method, Bytes)> {
    let (id, payload) = input.split_first_chunk()?;
    Some((
        Method::try_from(u16::from_be_bytes(*id)).ok()?,
        Bytes::copy_from_slice(payload),
    ))
}

/// What no method carries: pushes, errors, envelopes' content and what devices say to each other.
/// Input: one byte for the kind, then the payload.
pub fn messages(input: &[u8]) {
    let Some((kind, payload)) = input.split_first() else {
        return;
    };
    let payload = Bytes::copy_from_slice(payload);
    match kind % 5 {
        0 => {
            if let Ok(push) = wire::decode_push(payload) {
                assert!(
                    push.event
                        .iter()
                        .all(|event| Push::ALL.contains(&Push::from(event)))
                );
                assert_eq!(wire::decode_push(push.encode_to_vec().into()), Ok(push));
            }
        }
        1 => {
            let detail = wire::decode_error(payload);
            assert_eq!(wire::decode_error(detail.encode_to_vec().into()), detail);
        }
        2 => {
            if let Ok(delivery) = wire::decode_delivery(payload) {
                assert_eq!(
                    wire::decode_delivery(delivery.encode_to_vec().into()),
                    Ok(delivery)
                );
            }
        }
        3 => {
            if let Ok(message) = wire::decode_app(payload) {
                assert_eq!(
                    wire::decode_app(message.encode_to_vec().into()),
                    Ok(message)
                );
            }
        }
        _ => {
            if let Ok(report) = wire::decode_fork_report(payload) {
                assert_eq!(
                    wire::decode_fork_report(report.encode_to_vec().into()),
                    Ok(report)
                );
            }
        }
    }
}
