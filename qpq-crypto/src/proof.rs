//! What servers and accounts sign so that others can hold them to it.
//!
//! | proof | signed by | says | protocol.md |
//! | --- | --- | --- | --- |
//! | [`register`] | the account | this record belongs to this name on this server | §5.15 |
//! | [`hybrid_key`] | the account | seal to this key | §5.21 |
//! | [`revoke`] | the account | this identity is over | §5.23 |
//! | [`commit`] | the server | this commit took this slot; two for one slot are evidence of a fork | §5.13 |
//! | [`delivery`] | the server | this payload was accepted as this sequence number at this time | §5.26 |
//!
//! Every signature is Ed25519 (RFC 8032), 64 bytes, over a domain-separated string; every `verify_*`
//! is strict and refuses with [`BadSignature`]. Each string has a public `*_input` function, so that
//! other languages can check theirs byte for byte.

use sha2::{Digest, Sha256};

use crate::identity::{BadSignature, IdentityKey, IdentitySecret, SigningInput, verify};

/// SHA-256 of `bytes`.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `"qpq register v1" || domain || username || SHA-256(upload) || SHA-256(sealed_identity) ||
/// time_ms`.
pub fn register_input(
    domain: &str,
    username: &str,
    upload: &[u8],
    sealed_identity: &[u8],
    time_ms: u64,
) -> Vec<u8> {
    SigningInput::new("qpq register v1")
        .var(domain.as_bytes())
        .var(username.as_bytes())
        .fixed(&sha256(upload))
        .fixed(&sha256(sealed_identity))
        .u64(time_ms)
        .finish()
}

/// Signs a registration: the OPAQUE `upload` and `sealed_identity` (empty when opted out) are the
/// record of `username` at the server `domain` as of `time_ms` (milliseconds since 1970).
pub fn register(
    identity: &IdentitySecret,
    domain: &str,
    username: &str,
    upload: &[u8],
    sealed_identity: &[u8],
    time_ms: u64,
) -> [u8; 64] {
    identity.sign(&register_input(
        domain,
        username,
        upload,
        sealed_identity,
        time_ms,
    ))
}

/// Verifies [`register`]. The caller checks that `time_ms` is within 5 minutes of its clock.
///
/// # Errors
/// [`BadSignature`], also when the signature is not 64 bytes long.
pub fn verify_register(
    identity_key: &IdentityKey,
    domain: &str,
    username: &str,
    upload: &[u8],
    sealed_identity: &[u8],
    time_ms: u64,
    signature: &[u8],
) -> Result<(), BadSignature> {
    let input = register_input(domain, username, upload, sealed_identity, time_ms);
    verify(identity_key.as_bytes(), &input, signature)
}

/// `"qpq hybrid v1" || identity_key || hybrid_public_key || created_at_ms`.
pub fn hybrid_key_input(
    identity_key: &IdentityKey,
    hybrid_public_key: &[u8],
    created_at_ms: u64,
) -> Vec<u8> {
    SigningInput::new("qpq hybrid v1")
        .fixed(identity_key.as_bytes())
        .fixed(hybrid_public_key)
        .u64(created_at_ms)
        .finish()
}

/// Signs the account's hybrid public key ([`hybrid::PUBLIC_KEY_LENGTH`](crate::hybrid) bytes), made
/// at `created_at_ms` (milliseconds since 1970).
pub fn hybrid_key(
    identity: &IdentitySecret,
    hybrid_public_key: &[u8],
    created_at_ms: u64,
) -> [u8; 64] {
    identity.sign(&hybrid_key_input(
        &identity.public(),
        hybrid_public_key,
        created_at_ms,
    ))
}

/// Verifies [`hybrid_key`]. The caller refuses a `created_at_ms` older than one it has seen.
///
/// # Errors
/// [`BadSignature`], also when the signature is not 64 bytes long.
pub fn verify_hybrid_key(
    identity_key: &IdentityKey,
    hybrid_public_key: &[u8],
    created_at_ms: u64,
    signature: &[u8],
) -> Result<(), BadSignature> {
    let input = hybrid_key_input(identity_key, hybrid_public_key, created_at_ms);
    verify(identity_key.as_bytes(), &input, signature)
}

/// `"qpq revoke v1" || identity_key || reason || time_ms`.
pub fn revoke_input(identity_key: &IdentityKey, reason: &str, time_ms: u64) -> Vec<u8> {
    SigningInput::new("qpq revoke v1")
        .fixed(identity_key.as_bytes())
        .var(reason.as_bytes())
        .u64(time_ms)
        .finish()
}

/// Signs the end of the identity, for `reason`, at `time_ms` (milliseconds since 1970). Final.
pub fn revoke(identity: &IdentitySecret, reason: &str, time_ms: u64) -> [u8; 64] {
    identity.sign(&revoke_input(&identity.public(), reason, time_ms))
}

/// Verifies [`revoke`].
///
/// # Errors
/// [`BadSignature`], also when the signature is not 64 bytes long.
pub fn verify_revoke(
    identity_key: &IdentityKey,
    reason: &str,
    time_ms: u64,
    signature: &[u8],
) -> Result<(), BadSignature> {
    let input = revoke_input(identity_key, reason, time_ms);
    verify(identity_key.as_bytes(), &input, signature)
}

/// Which commit took which slot, and whose it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitSlot<'a> {
    /// 16-byte channel id.
    pub channel_id: &'a [u8; 16],
    /// The slot.
    pub slot: u64,
    /// SHA-256 of the commit, a bare MLSMessage.
    pub commit_hash: &'a [u8; 32],
    /// The member that submitted it.
    pub sender: &'a IdentityKey,
}

/// Bytes of a commit proof: `server_epoch` (u64 big-endian), then the signature.
pub const COMMIT_PROOF_LENGTH: usize = 8 + 64;

/// `"qpq commit v2" || server_epoch || channel_id || slot || SHA-256(commit) || sender_key`.
pub fn commit_input(server_epoch: u64, taken: &CommitSlot<'_>) -> Vec<u8> {
    SigningInput::new("qpq commit v2")
        .u64(server_epoch)
        .fixed(taken.channel_id)
        .u64(taken.slot)
        .fixed(taken.commit_hash)
        .fixed(taken.sender.as_bytes())
        .finish()
}

/// The server signs that this commit took its slot. `server_epoch` is drawn when a database is made
/// and when a backup is put back, so that two proofs for one slot contradict each other only if both
/// are of one epoch.
pub fn commit(
    server: &IdentitySecret,
    server_epoch: u64,
    taken: &CommitSlot<'_>,
) -> [u8; COMMIT_PROOF_LENGTH] {
    dated(
        server_epoch,
        &server.sign(&commit_input(server_epoch, taken)),
    )
}

/// Verifies [`commit`] under the server's signing key and answers the `server_epoch` that it was made
/// in.
///
/// # Errors
/// [`BadSignature`], also when the proof is not 72 bytes long.
pub fn verify_commit(
    server_key: &[u8; 32],
    taken: &CommitSlot<'_>,
    proof: &[u8],
) -> Result<u64, BadSignature> {
    let (epoch, signature) = proof.split_first_chunk::<8>().ok_or(BadSignature)?;
    let server_epoch = u64::from_be_bytes(*epoch);
    verify(server_key, &commit_input(server_epoch, taken), signature)?;
    Ok(server_epoch)
}

/// A number that was signed, before its signature.
fn dated(number: u64, signature: &[u8; 64]) -> [u8; 72] {
    let mut proof = [0; 72];
    let (first, rest) = proof.split_at_mut(8);
    first.copy_from_slice(&number.to_be_bytes());
    rest.copy_from_slice(signature);
    proof
}

/// Bytes of a delivery proof: `accepted_at_ms` (u64 big-endian), then the signature.
pub const DELIVERY_PROOF_LENGTH: usize = 8 + 64;

/// `"qpq delivery v1" || message_id || recipient_key || channel_id || SHA-256(payload) || seq ||
/// accepted_at_ms`. `channel_id` is 16 bytes, or empty for the default channel.
pub fn delivery_input(
    accepted_at_ms: u64,
    message_id: &[u8; 16],
    recipient: &IdentityKey,
    channel_id: &[u8],
    payload_hash: &[u8; 32],
    seq: u64,
) -> Vec<u8> {
    SigningInput::new("qpq delivery v1")
        .fixed(message_id)
        .fixed(recipient.as_bytes())
        .var(channel_id)
        .fixed(payload_hash)
        .u64(seq)
        .u64(accepted_at_ms)
        .finish()
}

/// The server signs that it accepted a payload for `recipient` at `accepted_at_ms` (milliseconds
/// since 1970) as `seq` of the recipient's first device by id.
pub fn delivery(
    server: &IdentitySecret,
    accepted_at_ms: u64,
    message_id: &[u8; 16],
    recipient: &IdentityKey,
    channel_id: &[u8],
    payload_hash: &[u8; 32],
    seq: u64,
) -> [u8; DELIVERY_PROOF_LENGTH] {
    let signature = server.sign(&delivery_input(
        accepted_at_ms,
        message_id,
        recipient,
        channel_id,
        payload_hash,
        seq,
    ));
    dated(accepted_at_ms, &signature)
}

/// Verifies [`delivery`] under the server's signing key and answers when the payload was accepted, in
/// milliseconds since 1970.
///
/// # Errors
/// [`BadSignature`], also when the proof is not 72 bytes long.
pub fn verify_delivery(
    server_key: &[u8; 32],
    message_id: &[u8; 16],
    recipient: &IdentityKey,
    channel_id: &[u8],
    payload_hash: &[u8; 32],
    seq: u64,
    proof: &[u8],
) -> Result<u64, BadSignature> {
    let (time, signature) = proof.split_first_chunk::<8>().ok_or(BadSignature)?;
    let accepted_at_ms = u64::from_be_bytes(*time);
    let input = delivery_input(
        accepted_at_ms,
        message_id,
        recipient,
        channel_id,
        payload_hash,
        seq,
    );
    verify(server_key, &input, signature)?;
    Ok(accepted_at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret() -> IdentitySecret {
        IdentitySecret::from_seed([5; 32])
    }

    /// Runs `check` over the proof with each of its bits flipped, and cut and extended.
    fn refuses_tampering(proof: &[u8], check: impl Fn(&[u8]) -> bool) {
        assert!(check(proof));
        for bit in 0..proof.len() * 8 {
            let mut bad = proof.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&bad), "bit {bit}");
        }
        assert!(!check(&proof[..proof.len() - 1]));
        assert!(!check(&[proof, &[0]].concat()));
        assert!(!check(&[]));
    }

    #[test]
    fn registration() {
        let key = secret().public();
        let proof = register(&secret(), "example.org", "alice", b"up", b"sealed", 7);
        refuses_tampering(&proof, |p| {
            verify_register(&key, "example.org", "alice", b"up", b"sealed", 7, p).is_ok()
        });
        let refused = [
            verify_register(&key, "example.com", "alice", b"up", b"sealed", 7, &proof),
            verify_register(&key, "example.org", "alicf", b"up", b"sealed", 7, &proof),
            verify_register(&key, "example.orga", "lice", b"up", b"sealed", 7, &proof),
            verify_register(&key, "example.org", "alice", b"uq", b"sealed", 7, &proof),
            verify_register(&key, "example.org", "alice", b"up", b"", 7, &proof),
            verify_register(&key, "example.org", "alice", b"up", b"sealed", 8, &proof),
        ];
        assert_eq!(refused, [Err(BadSignature); 6]);
    }

    #[test]
    fn hybrid_keys_and_revocations() {
        let key = secret().public();
        let proof = hybrid_key(&secret(), &[1; 1216], 9);
        refuses_tampering(&proof, |p| {
            verify_hybrid_key(&key, &[1; 1216], 9, p).is_ok()
        });
        assert!(verify_hybrid_key(&key, &[2; 1216], 9, &proof).is_err());
        assert!(verify_hybrid_key(&key, &[1; 1216], 8, &proof).is_err());

        let proof = revoke(&secret(), "compromised", 9);
        refuses_tampering(&proof, |p| verify_revoke(&key, "compromised", 9, p).is_ok());
        assert!(verify_revoke(&key, "superseded", 9, &proof).is_err());
        assert!(verify_revoke(&key, "compromised", 10, &proof).is_err());
    }

    #[test]
    fn commits() {
        let key = secret().public().0;
        let (sender, other) = (IdentityKey([6; 32]), IdentityKey([7; 32]));
        let taken = CommitSlot {
            channel_id: &[1; 16],
            slot: 3,
            commit_hash: &[2; 32],
            sender: &sender,
        };
        let proof = commit(&secret(), 9, &taken);
        assert_eq!(verify_commit(&key, &taken, &proof), Ok(9));
        refuses_tampering(&proof, |p| verify_commit(&key, &taken, p).is_ok());
        let others = [
            CommitSlot {
                channel_id: &[2; 16],
                ..taken
            },
            CommitSlot { slot: 4, ..taken },
            CommitSlot {
                commit_hash: &[3; 32],
                ..taken
            },
            CommitSlot {
                sender: &other,
                ..taken
            },
        ];
        for other in others {
            assert_eq!(verify_commit(&key, &other, &proof), Err(BadSignature));
        }
    }

    #[test]
    fn deliveries() {
        let key = secret().public().0;
        let to = IdentityKey([6; 32]);
        let proof = delivery(&secret(), 1_000, &[1; 16], &to, &[2; 16], &[3; 32], 4);
        let check = |p: &[u8]| verify_delivery(&key, &[1; 16], &to, &[2; 16], &[3; 32], 4, p);
        assert_eq!(check(&proof), Ok(1_000));
        refuses_tampering(&proof, |p| check(p).is_ok());
        let other = IdentityKey([7; 32]);
        let refused = [
            verify_delivery(&key, &[2; 16], &to, &[2; 16], &[3; 32], 4, &proof),
            verify_delivery(&key, &[1; 16], &other, &[2; 16], &[3; 32], 4, &proof),
            verify_delivery(&key, &[1; 16], &to, &[], &[3; 32], 4, &proof),
            verify_delivery(&key, &[1; 16], &to, &[2; 16], &[4; 32], 4, &proof),
            verify_delivery(&key, &[1; 16], &to, &[2; 16], &[3; 32], 5, &proof),
        ];
        assert_eq!(refused, [Err(BadSignature); 5]);
    }

    #[test]
    fn the_signed_strings_are_as_written_down() {
        let key = IdentityKey([0xee; 32]);
        assert_eq!(
            revoke_input(&key, "x", 2),
            [
                b"qpq revoke v1".as_slice(),
                &[0xee; 32],
                b"\0\0\0\x01x\0\0\0\0\0\0\0\x02"
            ]
            .concat()
        );
        assert_eq!(
            delivery_input(1, &[0xaa; 16], &key, &[], &[0xbb; 32], 2),
            [
                b"qpq delivery v1".as_slice(),
                &[0xaa; 16],
                &[0xee; 32],
                b"\0\0\0\0",
                &[0xbb; 32],
                b"\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01"
            ]
            .concat()
        );
    }

    proptest! {
        #[test]
        fn a_proof_for_one_purpose_is_none_for_another(proof in any::<[u8; 32]>()) {
            // The same fields in the same places, signed as a commit, are no revocation.
            let key = secret().public();
            let taken = CommitSlot {
                channel_id: &[1; 16],
                slot: 2,
                commit_hash: &proof,
                sender: &key,
            };
            let signature = secret().sign(&commit_input(2, &taken));
            prop_assert!(verify_revoke(&key, "compromised", 2, &signature).is_err());
            prop_assert!(verify_hybrid_key(&key, &proof, 2, &signature).is_err());
        }
    }
}
