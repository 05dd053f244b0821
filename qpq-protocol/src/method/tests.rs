//! The table against the page, and against itself.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::*;
use crate::wire::{decode_request, decode_response};

/// Section 3 of protocol.md: ids and caller letters.
const PAGE: &[(u16, &str)] = &[
    (100, "A"),
    (101, "A"),
    (102, "A"),
    (103, "A"),
    (104, "A"),
    (105, "S"),
    (200, "S|A"),
    (201, "O"),
    (202, "O"),
    (203, "O"),
    (204, "O"),
    (205, "S|A"),
    (206, "M"),
    (207, "S"),
    (300, "O"),
    (301, "S"),
    (302, "O"),
    (303, "S"),
    (304, "S"),
    (305, "S"),
    (306, "O"),
    (400, "S"),
    (410, "M"),
    (411, "M"),
    (412, "M"),
    (413, "M"),
    (414, "M"),
    (415, "M"),
    (416, "M"),
    (420, "S"),
    (421, "Ad"),
    (422, "Ad"),
    (423, "Ad"),
    (424, "Ad"),
    (500, "S"),
    (501, "S"),
    (502, "S"),
    (503, "O"),
    (510, "OL"),
    (511, "A"),
    (520, "A"),
    (521, "A"),
    (600, "S"),
    (601, "S"),
    (602, "S"),
    (700, "S"),
    (701, "S"),
    (702, "S"),
    (710, "S"),
    (750, "S"),
    (751, "A"),
    (752, "S"),
    (800, "O"),
    (801, "S"),
    (802, "A"),
    (803, "A"),
    (900, "F"),
    (901, "F"),
    (902, "F"),
    (903, "F"),
    (904, "F"),
    (905, "F"),
    (950, "SL"),
];

fn letters(method: Method) -> &'static str {
    match (method.caller(), method.needs_fresh_login()) {
        (Caller::Anonymous, false) => "A",
        (Caller::Session, false) => "S",
        (Caller::Session, true) => "SL",
        (Caller::Owner, false) => "O",
        (Caller::Owner, true) => "OL",
        (Caller::Member, false) => "M",
        (Caller::Admin, false) => "Ad",
        (Caller::Federation, false) => "F",
        (Caller::SessionOrSealed, false) => "S|A",
        (_, true) => "not on the page",
    }
}

#[test]
fn the_table_is_that_of_the_page() {
    let table: Vec<_> = Method::ALL
        .iter()
        .map(|method| (method.id(), letters(*method)))
        .collect();
    assert_eq!(table, PAGE);
}

#[test]
fn every_id_leads_to_its_method_and_no_other_does() {
    let ids: BTreeSet<u16> = Method::ALL.iter().map(|method| method.id()).collect();
    assert_eq!(ids.len(), Method::ALL.len());
    for id in 0..=u16::MAX {
        match Method::try_from(id) {
            Ok(method) => assert_eq!(method.id(), id),
            Err(error) => {
                assert_eq!(error, UnknownMethod { id });
                assert!(!ids.contains(&id));
            }
        }
    }
    assert!((906..=909).all(|id| Method::try_from(id).is_err()));
    let names: BTreeSet<&str> = Method::ALL.iter().map(|method| method.name()).collect();
    assert_eq!(names.len(), Method::ALL.len());
}

#[test]
fn only_methods_that_carry_messages_or_chunks_may_be_long() {
    for method in Method::ALL {
        let expected = match method {
            Method::Enqueue | Method::BatchEnqueue | Method::SubmitCommit => 4_194_304,
            Method::UploadBlob => 263_168,
            _ => 65_536,
        };
        assert_eq!(method.max_request(), expected, "{method:?}");
    }
}

#[test]
fn a_visit_arrives_at_the_type_of_its_method() {
    struct Id;
    impl Visitor for Id {
        type Output = (Method, bool);
        fn visit<M: Rpc>(self) -> (Method, bool) {
            (M::METHOD, M::subject(&M::Request::default()).is_some())
        }
    }
    for method in Method::ALL {
        let named = matches!(method.caller(), Caller::Owner | Caller::Member);
        assert_eq!(method.visit(Id), (*method, named));
    }
}

#[test]
fn subjects_are_the_fields_that_the_page_names() {
    let fetch = proto::FetchRequest {
        recipient_key: Bytes::from_static(b"key"),
        channel_id: Bytes::from_static(b"channel"),
        ..proto::FetchRequest::default()
    };
    assert_eq!(
        rpc::Fetch::subject(&fetch).map(|bytes| &bytes[..]),
        Some(&b"key"[..])
    );
    let remove = proto::RemoveMemberRequest {
        channel_id: Bytes::from_static(b"channel"),
        member_key: Bytes::from_static(b"key"),
    };
    assert_eq!(
        rpc::RemoveMember::subject(&remove).map(|bytes| &bytes[..]),
        Some(&b"channel"[..])
    );
}

#[test]
fn every_default_message_comes_back() {
    struct RoundTrip;
    impl Visitor for RoundTrip {
        type Output = ();
        fn visit<M: Rpc>(self) {
            let request = M::Request::default();
            let encoded = request.encode_to_vec();
            assert_eq!(encoded, [0u8; 0]);
            match request.validate() {
                Ok(()) => assert_eq!(decode_request::<M>(encoded.into()), Ok(request)),
                Err(error) => assert_eq!(decode_request::<M>(encoded.into()), Err(error.into())),
            }
            let response = M::Response::default();
            assert_eq!(
                decode_response::<M>(response.encode_to_vec().into()),
                Ok(response)
            );
        }
    }
    for method in Method::ALL {
        method.visit(RoundTrip);
    }
}

#[test]
fn pushes_are_those_of_the_page() {
    let table: Vec<_> = Push::ALL
        .iter()
        .map(|push| (push.id(), push.name()))
        .collect();
    let page = [
        (1000, "NewMessage"),
        (1001, "Typing"),
        (1002, "Presence"),
        (1003, "Membership"),
    ];
    assert_eq!(table, page);
    for push in Push::ALL {
        assert_eq!(Push::try_from(push.id()), Ok(*push));
    }
    assert_eq!(Push::try_from(1004), Err(UnknownMethod { id: 1004 }));
    let event = proto::PushEvent::from(proto::TypingPush::default());
    assert_eq!(event.event.as_ref().map(Push::from), Some(Push::Typing));
}
