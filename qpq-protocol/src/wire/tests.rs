//! The counter against protobuf's own decoder, and against floods of empty fields.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::method::rpc;
use crate::proto::{
    BatchEnqueueRequest, Envelope, FetchResponse, ReadReceipt, SubmitCommitRequest,
};

/// A field without content, `n` times.
fn flood(key: u8, n: usize) -> Bytes {
    [key, 0].repeat(n).into()
}

#[test]
fn a_flood_of_empty_items_is_refused_before_it_is_decoded() {
    const BATCH: usize = 2 * 1000 + SPARE_FIELDS;
    const COMMIT: usize = 1000 + 100 + 1000 + SPARE_FIELDS;
    assert_eq!(BatchEnqueueRequest::MAX_FIELDS, BATCH);
    assert_eq!(SubmitCommitRequest::MAX_FIELDS, COMMIT);
    assert_eq!(
        decode_request::<rpc::BatchEnqueue>(flood(0x0a, 2 * 1024 * 1024)),
        Err(DecodeError::TooManyFields { max: BATCH })
    );
    assert_eq!(
        decode_request::<rpc::SubmitCommit>(flood(0x2a, 2 * 1024 * 1024)),
        Err(DecodeError::TooManyFields { max: COMMIT })
    );
    assert_eq!(
        decode_response::<rpc::Fetch>(flood(0x0a, MAX_RESPONSE_FIELDS + 1)),
        Err(DecodeError::TooManyFields {
            max: MAX_RESPONSE_FIELDS
        })
    );
    assert_eq!(
        decode_request::<rpc::Health>(flood(0x0a, SPARE_FIELDS + 1)),
        Err(DecodeError::TooManyFields { max: SPARE_FIELDS })
    );
}

/// Anybody may send these two.
#[test]
fn a_flood_of_openings_is_refused_before_it_is_decoded() {
    // 65,534 bytes: as a varint fe ff 03.
    let openings = [&[0xfe, 0xff, 0x03][..], &flood(0x0a, 32_767)].concat();
    let login = Bytes::from([&[0x2a][..], &openings].concat());
    let resume = Bytes::from([&[0x12][..], &openings].concat());
    let refused = DecodeError::TooManyFields {
        max: Chain::MAX_FIELDS,
    };
    assert_eq!(
        decode_request::<rpc::OpaqueLoginFinish>(login),
        Err(refused)
    );
    assert_eq!(decode_request::<rpc::ResumeSession>(resume), Err(refused));
}

#[test]
fn as_many_as_allowed_pass() {
    let response = FetchResponse {
        payloads: vec![Envelope::default(); MAX_RESPONSE_FIELDS],
        ..FetchResponse::default()
    };
    let encoded = Bytes::from(response.encode_to_vec());
    assert_eq!(decode_response::<rpc::Fetch>(encoded), Ok(response));

    let request = BatchEnqueueRequest {
        recipient_keys: vec![Bytes::from_static(&[1; 32]); 1000],
        payload: Bytes::from_static(b"x"),
        message_id: Bytes::from_static(&[2; 16]),
        access_keys: vec![Bytes::from_static(&[3; 32]); 1000],
        ..BatchEnqueueRequest::default()
    };
    let encoded = Bytes::from(request.encode_to_vec());
    assert_eq!(decode_request::<rpc::BatchEnqueue>(encoded), Ok(request));
}

#[test]
fn read_receipts_are_counted_where_they_lie() {
    let message = |n| AppMessage {
        body: Some(app_message::Body::ReadReceipt(ReadReceipt {
            message_ids: vec![Bytes::new(); n],
        })),
        ..AppMessage::default()
    };
    let most = message(MAX_READ);
    assert_eq!(decode_app(most.encode_to_vec().into()), Ok(most));
    for n in [MAX_READ + 1, MAX_READ + SPARE_FIELDS + 1, 1_000_000] {
        let refused = decode_app(message(n).encode_to_vec().into());
        assert!(
            matches!(refused, Err(DecodeError::TooManyFields { .. })),
            "{n}"
        );
    }
    // In two pieces that protobuf joins.
    let mut twice = message(MAX_READ).encode_to_vec();
    twice.extend(message(1).encode_to_vec());
    assert_eq!(
        decode_app(twice.into()),
        Err(DecodeError::TooManyFields { max: MAX_READ })
    );
}

#[test]
fn unknown_fields_are_ignored_and_broken_ones_are_not() {
    // Fields 100 (varint), 101 (8 bytes), 102 (content) and 103 (4 bytes) of a later version.
    let later: &[&[u8]] = &[
        &[0xa0, 0x06, 0x96, 0x01],
        &[0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xb2, 0x06, 2, 0xff, 0xff],
        &[0xbd, 0x06, 1, 2, 3, 4],
    ];
    for field in later {
        let payload = Bytes::copy_from_slice(field);
        assert!(decode_request::<rpc::Health>(payload).is_ok(), "{field:?}");
        for cut in 1..field.len() {
            let payload = Bytes::copy_from_slice(&field[..cut]);
            assert_eq!(
                decode_request::<rpc::Health>(payload),
                Err(DecodeError::Malformed)
            );
        }
    }
    let broken: &[&[u8]] = &[
        &[0x02, 0x00],                         // field number 0
        &[0x0b, 0x0c],                         // a group
        &[0x0e],                               // wire type 6
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], // a length beyond the end
        &[
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
        ], // 65 bits
        &[0x88, 0x80, 0x80, 0x80, 0x10, 0x00], // a key of 33 bits
        &[0x0a, 0x02, 0xff, 0xff],             // text that is not UTF-8
    ];
    for payload in broken {
        let payload = Bytes::copy_from_slice(payload);
        let refused = decode_request::<rpc::OpaqueRegisterStart>(payload.clone());
        assert_eq!(refused, Err(DecodeError::Malformed), "{payload:?}");
    }
}

#[test]
fn a_broken_error_reads_as_empty() {
    assert_eq!(
        decode_error(Bytes::from_static(&[0xff])),
        ErrorDetail::default()
    );
    let detail = ErrorDetail {
        message: "taken".into(),
        slot: 7,
        ..ErrorDetail::default()
    };
    assert_eq!(decode_error(detail.encode_to_vec().into()), detail);
}

#[test]
fn an_unknown_arm_is_kept_apart_from_nonsense() {
    let later = Bytes::from_static(&[0xfa, 0x01, 0x00]);
    assert_eq!(decode_push(later.clone()), Ok(PushEvent { event: None }));
    assert_eq!(
        decode_delivery(later),
        Ok(DeliveryPayload { payload: None })
    );
    assert_eq!(
        decode_push(Bytes::from_static(&[0x0a, 9])),
        Err(DecodeError::Malformed)
    );
}

#[test]
fn payloads_share_the_buffer_they_came_in() {
    let request = crate::proto::EnqueueRequest {
        recipient_key: Bytes::from_static(&[1; 32]),
        payload: vec![5; 1000].into(),
        message_id: Bytes::from_static(&[2; 16]),
        ..Default::default()
    };
    let encoded = Bytes::from(request.encode_to_vec());
    let range = encoded.as_ptr_range();
    let decoded = decode_request::<rpc::Enqueue>(encoded).unwrap();
    assert!(range.contains(&decoded.payload.as_ptr()));
}

proptest! {
    #[test]
    fn what_protobuf_decodes_the_counter_walks(
        payload in prop::collection::vec(prop_oneof![2 => 0u8..40, 1 => any::<u8>()], 0..60),
    ) {
        let payload = Bytes::from(payload);
        let walked = count(&payload, usize::MAX);
        let decoded = FetchResponse::decode(payload.clone());
        // Groups are the one thing that protobuf skips and we refuse.
        let groups = payload.iter().any(|byte| matches!(byte & 7, 3));
        if decoded.is_ok() && !groups {
            prop_assert_eq!(walked, Ok(()));
        }
    }

    #[test]
    fn varints_are_read_as_protobuf_writes_them(value: u64, more: Vec<u8>) {
        let mut encoded = Vec::new();
        prost::encoding::encode_varint(value, &mut encoded);
        encoded.extend(&more);
        let mut rest = &encoded[..];
        prop_assert_eq!(varint(&mut rest), Some(value));
        prop_assert_eq!(rest, &more[..]);
    }
}

#[test]
fn packed_numbers_are_counted_too() {
    let info = |n: usize| {
        let length = u32::try_from(n).unwrap();
        let mut payload = vec![0x1a];
        prost::encoding::encode_varint(length.into(), &mut payload);
        payload.resize(payload.len() + n, 1);
        Bytes::from(payload)
    };
    assert!(decode_response::<rpc::GetServerInfo>(info(MAX_RESPONSE_FIELDS)).is_ok());
    let twice = [info(MAX_RESPONSE_FIELDS), info(1)].concat();
    for flood in [info(MAX_RESPONSE_FIELDS + 1), twice.into()] {
        assert_eq!(
            decode_response::<rpc::GetServerInfo>(flood),
            Err(DecodeError::TooManyFields {
                max: MAX_RESPONSE_FIELDS
            })
        );
    }
}

/// The schema is read, so that a new list of numbers is not forgotten.
#[test]
fn every_list_of_numbers_in_a_response_is_known() {
    let files = [
        include_str!("../../../proto/qpq/v1/auth.proto"),
        include_str!("../../../proto/qpq/v1/blob.proto"),
        include_str!("../../../proto/qpq/v1/channel.proto"),
        include_str!("../../../proto/qpq/v1/delivery.proto"),
        include_str!("../../../proto/qpq/v1/device.proto"),
        include_str!("../../../proto/qpq/v1/group.proto"),
        include_str!("../../../proto/qpq/v1/keys.proto"),
        include_str!("../../../proto/qpq/v1/moderation.proto"),
        include_str!("../../../proto/qpq/v1/p2p.proto"),
        include_str!("../../../proto/qpq/v1/recovery.proto"),
        include_str!("../../../proto/qpq/v1/user.proto"),
    ];
    let mut message = "";
    let mut found = vec![];
    for line in files.iter().flat_map(|file| file.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["message", name, ..] => message = name,
            ["repeated", "uint64" | "uint32" | "bool", _, "=", number, ..] => {
                let number: u32 = number.trim_end_matches(';').parse().unwrap();
                if let Some(method) = message.strip_suffix("Response") {
                    found.push((method, number));
                }
            }
            _ => {}
        }
    }
    found.sort_unstable();
    let mut known: Vec<_> = Method::ALL
        .iter()
        .flat_map(|method| {
            packed_fields(*method)
                .iter()
                .map(|number| (method.name(), *number))
        })
        .collect();
    known.sort_unstable();
    assert_eq!(found, known);
}
