//! Each kind of rule at its edges, and that the error names the field.

use alloc::vec;

use super::*;

const FOR_KEY: Bytes = Bytes::from_static(&[1; 32]);
const FOR_ID: Bytes = Bytes::from_static(&[2; 16]);

fn bytes(len: usize) -> Bytes {
    vec![7; len].into()
}

fn enqueue() -> EnqueueRequest {
    EnqueueRequest {
        recipient_key: FOR_KEY,
        payload: bytes(1),
        message_id: FOR_ID,
        ..EnqueueRequest::default()
    }
}

#[test]
fn a_wrong_length_names_its_field() {
    assert_eq!(enqueue().validate(), Ok(()));
    let wrong: [(EnqueueRequest, &str); 8] = [
        (
            EnqueueRequest {
                recipient_key: bytes(31),
                ..enqueue()
            },
            "recipient_key",
        ),
        (
            EnqueueRequest {
                recipient_key: Bytes::new(),
                ..enqueue()
            },
            "recipient_key",
        ),
        (
            EnqueueRequest {
                payload: Bytes::new(),
                ..enqueue()
            },
            "payload",
        ),
        (
            EnqueueRequest {
                payload: bytes(3 * 1024 * 1024 + 1),
                ..enqueue()
            },
            "payload",
        ),
        (
            EnqueueRequest {
                channel_id: bytes(15),
                ..enqueue()
            },
            "channel_id",
        ),
        (
            EnqueueRequest {
                message_id: bytes(17),
                ..enqueue()
            },
            "message_id",
        ),
        (
            EnqueueRequest {
                access_key: bytes(33),
                ..enqueue()
            },
            "access_key",
        ),
        (
            EnqueueRequest {
                channel_key: bytes(1),
                ..enqueue()
            },
            "channel_key",
        ),
    ];
    for (request, field) in wrong {
        assert_eq!(request.validate(), Err(FieldError { field }));
    }
    let longest = EnqueueRequest {
        payload: bytes(3 * 1024 * 1024),
        channel_id: FOR_ID,
        access_key: FOR_KEY,
        ..enqueue()
    };
    assert_eq!(longest.validate(), Ok(()));
}

#[test]
fn lists_are_checked_item_by_item_and_counted() {
    let batch = |recipient_keys| BatchEnqueueRequest {
        recipient_keys,
        payload: bytes(1),
        message_id: FOR_ID,
        ..BatchEnqueueRequest::default()
    };
    assert_eq!(batch(vec![FOR_KEY; 1000]).validate(), Ok(()));
    let error = Err(FieldError {
        field: "recipient_keys",
    });
    assert_eq!(batch(vec![FOR_KEY; 1001]).validate(), error);
    assert_eq!(batch(vec![FOR_KEY, bytes(31), FOR_KEY]).validate(), error);
}

#[test]
fn nested_messages_are_checked_and_must_be_there() {
    let missing = ResumeSessionRequest {
        auth: None,
        ..ResumeSessionRequest::default()
    };
    assert_eq!(missing.validate(), Err(FieldError { field: "auth" }));
    let auth = Auth {
        access_token: bytes(31),
        device_id: Bytes::new(),
    };
    let wrong = ResumeSessionRequest {
        auth: Some(auth),
        ..ResumeSessionRequest::default()
    };
    assert_eq!(
        wrong.validate(),
        Err(FieldError {
            field: "access_token"
        })
    );

    let commit = |welcomes| SubmitCommitRequest {
        channel_id: FOR_ID,
        commit: bytes(1),
        message_id: FOR_ID,
        welcomes,
        ..SubmitCommitRequest::default()
    };
    let welcome = CommitWelcome {
        recipient_key: FOR_KEY,
        ..CommitWelcome::default()
    };
    assert_eq!(commit(vec![welcome.clone(); 1000]).validate(), Ok(()));
    assert_eq!(
        commit(vec![welcome.clone(); 1001]).validate(),
        Err(FieldError { field: "welcomes" })
    );
    let wrong = CommitWelcome {
        device_id: bytes(1),
        ..welcome
    };
    assert_eq!(
        commit(vec![wrong]).validate(),
        Err(FieldError { field: "device_id" })
    );
}

#[test]
fn names_are_those_of_the_page() {
    let start = |username: &str| {
        OpaqueRegisterStartRequest {
            username: username.into(),
            request: bytes(32),
        }
        .validate()
    };
    for name in ["a", "0", "a.b_c-9", "abcdefghijklmnopqrstuvwxyz012345"] {
        assert_eq!(start(name), Ok(()), "{name}");
    }
    let error = Err(FieldError { field: "username" });
    for name in [
        "",
        "A",
        "a b",
        "ä",
        "a@b",
        "abcdefghijklmnopqrstuvwxyz0123456",
        "a\0",
    ] {
        assert_eq!(start(name), error, "{name}");
    }

    let resolve = |username: &str| {
        ResolveUserRequest {
            username: username.into(),
        }
        .validate()
    };
    let longest = |len| ["a@", &"d".repeat(len)].concat();
    for name in ["a", "a@example.org", &longest(253)] {
        assert_eq!(resolve(name), Ok(()), "{name}");
    }
    for name in ["", "@example.org", "a@", "A@example.org", &longest(254)] {
        assert_eq!(resolve(name), error, "{name}");
    }
}

#[test]
fn reasons_are_those_of_the_page() {
    let revoke = |reason: &str| {
        RevokeKeyRequest {
            identity_key: FOR_KEY,
            reason: reason.into(),
            signature: bytes(64),
            time_ms: 1,
        }
        .validate()
    };
    for reason in ["compromised", "superseded", "user_revoked"] {
        assert_eq!(revoke(reason), Ok(()));
    }
    for reason in ["", "Compromised", "other"] {
        assert_eq!(revoke(reason), Err(FieldError { field: "reason" }));
    }
}

#[test]
fn every_edge_of_a_rule() {
    let fits = |len: usize, rule| bytes(len).fits(rule);
    assert!(
        [
            fits(4, Exactly(4)),
            fits(0, EmptyOr(4)),
            fits(4, EmptyOr(4))
        ]
        .iter()
        .all(|fit| *fit)
    );
    assert!(
        [fits(0, AtMost(4)), fits(4, AtMost(4)), fits(4, NonEmpty(4))]
            .iter()
            .all(|fit| *fit)
    );
    assert!(
        ![
            fits(3, Exactly(4)),
            fits(5, Exactly(4)),
            fits(3, EmptyOr(4))
        ]
        .iter()
        .any(|fit| *fit)
    );
    assert!(
        ![
            fits(5, AtMost(4)),
            fits(0, NonEmpty(4)),
            fits(5, NonEmpty(4))
        ]
        .iter()
        .any(|fit| *fit)
    );
}
