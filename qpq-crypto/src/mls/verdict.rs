//! Whose failure it is that openmls refuses a message: everybody's, or this member's alone
//! (protocol.md §5.8).
//!
//! What one member may have sent to some and not to others (path secrets, the confirmation tag, a
//! handshake message that used up a key) can fail here and succeed elsewhere. All else follows from
//! what all members of an epoch share.

use openmls::{
    framing::errors::{MessageDecryptionError, SecretTreeError},
    group::{ProcessMessageError, StageCommitError, ValidationError},
    prelude::{ApplyUpdatePathError, MlsGroupStateError},
};

use super::{ProcessErrorKind as Kind, process::Failure, storage::StoreError};

/// Of a message outside of a slot.
pub(super) fn of_message(error: ProcessMessageError<StoreError>) -> Failure {
    use ProcessMessageError as E;
    let kind = match &error {
        E::LibraryError(_) | E::StorageError(_) => Kind::State,
        E::GroupStateError(MlsGroupStateError::UseAfterEviction) => Kind::State,
        E::ValidationError(error) => match error {
            ValidationError::LibraryError(_) => Kind::State,
            ValidationError::NoPastEpochData | ValidationError::WrongEpoch => Kind::PastEpoch,
            ValidationError::UnableToDecrypt(MessageDecryptionError::SecretTreeError(error)) => {
                match error {
                    SecretTreeError::SecretReuseError => Kind::Duplicate,
                    SecretTreeError::TooDistantInThePast => Kind::PastEpoch,
                    _ => Kind::Void,
                }
            }
            _ => Kind::Void,
        },
        E::InvalidCommit(error) => of_staging(error),
        _ => Kind::Void,
    };
    Failure::new(kind, error)
}

/// Of the commit in a slot, in a group of ours.
pub(super) fn of_commit(error: ProcessMessageError<StoreError>) -> Failure {
    use ProcessMessageError as E;
    let kind = match &error {
        E::InvalidCommit(error) => match error {
            // No commit of ours refers to a proposal or a pre-shared key, so nobody keeps any.
            StageCommitError::MissingProposal | StageCommitError::PskError(_) => Kind::Void,
            error => of_slot(of_staging(error)),
        },
        _ => return of_foreign_commit(error),
    };
    Failure::new(kind, error)
}

/// Of the commit in a slot, in a group of other software.
pub(super) fn of_foreign_commit(error: ProcessMessageError<StoreError>) -> Failure {
    use ProcessMessageError as E;
    let kind = match &error {
        E::ValidationError(ValidationError::UnableToDecrypt(
            MessageDecryptionError::SecretTreeError(error),
        )) => match error {
            SecretTreeError::IndexOutOfBounds => Kind::Void,
            // Which generations are gone or too far depends on what a member was sent before.
            _ => Kind::PathOrTag,
        },
        E::ValidationError(ValidationError::LibraryError(_))
        | E::LibraryError(_)
        | E::StorageError(_) => Kind::PathOrTag,
        E::GroupStateError(_) => Kind::State,
        E::InvalidCommit(error) => of_slot(of_staging(error)),
        _ => Kind::Void,
    };
    Failure::new(kind, error)
}

/// The epoch was compared before, and what openmls did not expect may be this member's alone.
fn of_slot(kind: Kind) -> Kind {
    match kind {
        Kind::State => Kind::PathOrTag,
        Kind::PastEpoch => Kind::Void,
        kind => kind,
    }
}

fn of_staging(error: &StageCommitError) -> Kind {
    use StageCommitError as E;
    match error {
        E::LibraryError(_) => Kind::State,
        E::EpochMismatch => Kind::PastEpoch,
        E::OwnCommitMismatch => Kind::OwnMessage,
        // A proposal, pre-shared key or private key that others have.
        E::MissingProposal
        | E::PskError(_)
        | E::MissingDecryptionKey
        | E::OwnKeyNotFound
        | E::ConfirmationTagMismatch
        | E::UpdatePathError(
            ApplyUpdatePathError::LibraryError(_)
            | ApplyUpdatePathError::MissingOwnLeaf
            | ApplyUpdatePathError::UnableToDecrypt
            | ApplyUpdatePathError::PathMismatch
            | ApplyUpdatePathError::MissingCiphertext,
        ) => Kind::PathOrTag,
        _ => Kind::Void,
    }
}
