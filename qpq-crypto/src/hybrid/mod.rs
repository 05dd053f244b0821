//! The envelope: content sealed to an account's hybrid public key, safe against today's eavesdropper
//! with tomorrow's quantum computer.
//!
//! HPKE (RFC 9180) in base mode with the KEM 0x647a, X-Wing (X25519 and ML-KEM-768,
//! draft-ietf-hpke-pq), HKDF-SHA256 and ChaCha20-Poly1305. An envelope is
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | format version, 1 |
//! | 1120 | encapsulated key: ML-KEM ciphertext (1088), X25519 key (32) |
//! | content + 16 | ciphertext and tag |
//!
//! so it is [`OVERHEAD`] bytes longer than its content. [`seal`] says nothing about who sealed; in the
//! authenticated form ([`seal_authenticated`]) the content is preceded, inside the encryption, by the
//! sender's identity key (32) and its Ed25519 signature (64) over
//! `"qpq envelope v1" || version || enc || recipient key || associated data || content`, so it is
//! [`AUTHENTICATED_OVERHEAD`] bytes longer. The recipient learns and can prove to others who wrote it;
//! the recipient key in the signature keeps it from being passed on as written to someone else. The two
//! forms have different HPKE `info` strings, and neither opens as the other.
//!
//! Lengths are hidden only if the content was [padded](crate::padding) first.

mod key;
#[cfg(test)]
mod ml_kem;
mod suite;
#[cfg(test)]
mod vectors;

use crate::identity::{IdentityKey, IdentitySecret, SigningInput, verify};
use crate::random;
use crate::x_wing::ENC_LENGTH;

pub use key::{HybridPublicKey, HybridSecret, PUBLIC_KEY_LENGTH};

/// The version of the format.
const VERSION: u8 = 1;
/// HPKE `info` of the anonymous form.
const INFO: &[u8] = b"qpq hybrid envelope v1";
/// HPKE `info` of the authenticated form.
const INFO_AUTHENTICATED: &[u8] = b"qpq hybrid authenticated envelope v1";
/// Bytes of the authentication tag.
const TAG_LENGTH: usize = 16;
/// Bytes of sender key and signature.
const SENDER_LENGTH: usize = 32 + 64;

/// How many bytes an envelope is longer than its content.
pub const OVERHEAD: usize = 1 + ENC_LENGTH + TAG_LENGTH;

/// How many bytes an authenticated envelope is longer than its content.
pub const AUTHENTICATED_OVERHEAD: usize = OVERHEAD + SENDER_LENGTH;

/// Why an envelope could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HybridError {
    /// Refuse the key: it is not 1216 bytes or no ML-KEM-768 encapsulation key.
    #[error("hybrid public key is malformed")]
    BadKey,
    /// Update this application: a newer version sealed the envelope.
    #[error("envelope has an unknown version")]
    UnknownVersion,
    /// Refuse the envelope: it was changed, is for another key, of another form, or its associated
    /// data differ.
    #[error("envelope was changed or is not for this key")]
    Refused,
    /// Refuse the envelope: whom it names as sender did not write this for us.
    #[error("sender's signature in the envelope is not valid")]
    BadSender,
}

/// Seals `content` to `recipient`, with `associated_data` that both must know and that is not sent:
/// [`OVERHEAD`] bytes more than the content.
///
/// # Errors
/// [`HybridError::BadKey`] where encapsulation to the key fails.
pub fn seal(
    recipient: &HybridPublicKey,
    associated_data: &[u8],
    content: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, HybridError> {
    let mut sender = suite::Sender::setup(recipient, INFO, &mut random::from_seed(seed))?;
    let ciphertext = sender.seal(associated_data, content)?;
    Ok(envelope(sender.enc(), &ciphertext))
}

/// Opens what [`seal`] sealed.
///
/// # Errors
/// [`HybridError::UnknownVersion`], [`HybridError::Refused`].
pub fn open(
    secret: &HybridSecret,
    associated_data: &[u8],
    envelope: &[u8],
) -> Result<Vec<u8>, HybridError> {
    let (enc, ciphertext) = split(envelope)?;
    suite::Receiver::setup(secret, enc, INFO)?.open(associated_data, ciphertext)
}

/// Seals `content` to `recipient` and says, to nobody else, that `sender` wrote it:
/// [`AUTHENTICATED_OVERHEAD`] bytes more than the content.
///
/// # Errors
/// [`HybridError::BadKey`] where encapsulation to the key fails.
pub fn seal_authenticated(
    sender: &IdentitySecret,
    recipient: &HybridPublicKey,
    associated_data: &[u8],
    content: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, HybridError> {
    let mut context =
        suite::Sender::setup(recipient, INFO_AUTHENTICATED, &mut random::from_seed(seed))?;
    let signature = sender.sign(&sender_input(
        context.enc(),
        recipient,
        associated_data,
        content,
    ));
    let signed = [sender.public().as_bytes(), signature.as_slice(), content].concat();
    let ciphertext = context.seal(associated_data, &signed)?;
    Ok(envelope(context.enc(), &ciphertext))
}

/// Opens what [`seal_authenticated`] sealed: the sender and the content. Whether that identity may
/// write here is for the caller to decide.
///
/// # Errors
/// [`HybridError::UnknownVersion`], [`HybridError::Refused`], [`HybridError::BadSender`].
pub fn open_authenticated(
    secret: &HybridSecret,
    associated_data: &[u8],
    envelope: &[u8],
) -> Result<(IdentityKey, Vec<u8>), HybridError> {
    let (enc, ciphertext) = split(envelope)?;
    let signed = suite::Receiver::setup(secret, enc, INFO_AUTHENTICATED)?
        .open(associated_data, ciphertext)?;
    let (sender, rest) = signed
        .split_first_chunk::<32>()
        .ok_or(HybridError::BadSender)?;
    let (signature, content) = rest
        .split_first_chunk::<64>()
        .ok_or(HybridError::BadSender)?;
    let input = sender_input(enc, &secret.public(), associated_data, content);
    verify(sender, &input, signature).map_err(|_| HybridError::BadSender)?;
    Ok((IdentityKey(*sender), content.to_vec()))
}

/// What the sender of an authenticated envelope signs.
fn sender_input(
    enc: &[u8; ENC_LENGTH],
    recipient: &HybridPublicKey,
    associated_data: &[u8],
    content: &[u8],
) -> Vec<u8> {
    SigningInput::new("qpq envelope v1")
        .fixed(&[VERSION])
        .fixed(enc)
        .fixed(recipient.as_bytes())
        .var(associated_data)
        .var(content)
        .finish()
}

fn envelope(enc: &[u8; ENC_LENGTH], ciphertext: &[u8]) -> Vec<u8> {
    [&[VERSION], enc.as_slice(), ciphertext].concat()
}

/// The encapsulated key and the ciphertext of an envelope of our version.
fn split(envelope: &[u8]) -> Result<(&[u8; ENC_LENGTH], &[u8]), HybridError> {
    let (version, rest) = envelope.split_first().ok_or(HybridError::Refused)?;
    if *version != VERSION {
        return Err(HybridError::UnknownVersion);
    }
    rest.split_first_chunk().ok_or(HybridError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recipient() -> HybridSecret {
        HybridSecret::derive(&[1; 32], 0)
    }

    fn sender() -> IdentitySecret {
        IdentitySecret::from_seed([2; 32])
    }

    #[test]
    fn content_returns_to_the_recipient_alone() {
        let envelope = seal(&recipient().public(), b"ad", b"content", &[3; 32]).unwrap();
        assert_eq!(envelope.len(), b"content".len() + OVERHEAD);
        assert_eq!(
            open(&recipient(), b"ad", &envelope).as_deref(),
            Ok(b"content".as_slice())
        );
        let refused = Err(HybridError::Refused);
        assert_eq!(open(&recipient(), b"AD", &envelope), refused);
        assert_eq!(
            open(&HybridSecret::derive(&[1; 32], 1), b"ad", &envelope),
            refused
        );
        assert_eq!(
            open(&HybridSecret::derive(&[4; 32], 0), b"ad", &envelope),
            refused
        );
        // Another form is another message.
        let other_form = open_authenticated(&recipient(), b"ad", &envelope);
        assert_eq!(other_form.err(), Some(HybridError::Refused));
    }

    #[test]
    fn an_authenticated_envelope_names_its_sender() {
        let public = recipient().public();
        let envelope = seal_authenticated(&sender(), &public, b"ad", b"hi", &[3; 32]).unwrap();
        assert_eq!(envelope.len(), 2 + AUTHENTICATED_OVERHEAD);
        assert_eq!(
            open_authenticated(&recipient(), b"ad", &envelope),
            Ok((sender().public(), b"hi".to_vec()))
        );
        assert_eq!(
            open(&recipient(), b"ad", &envelope),
            Err(HybridError::Refused)
        );
    }

    #[test]
    fn a_recipient_cannot_pass_a_signature_on() {
        // Bob opens Alice's envelope and seals her key, signature and content to Carol.
        let (bob, carol) = (recipient(), HybridSecret::derive(&[7; 32], 0));
        let to_bob = seal_authenticated(&sender(), &bob.public(), b"", b"hi", &[3; 32]).unwrap();
        let (enc, ciphertext) = split(&to_bob).unwrap();
        let signed = suite::Receiver::setup(&bob, enc, INFO_AUTHENTICATED)
            .and_then(|mut context| context.open(b"", ciphertext))
            .unwrap();
        let mut context = suite::Sender::setup(
            &carol.public(),
            INFO_AUTHENTICATED,
            &mut random::from_seed(&[8; 32]),
        )
        .unwrap();
        let ciphertext = context.seal(b"", &signed).unwrap();
        let to_carol = envelope(context.enc(), &ciphertext);
        assert_eq!(
            open_authenticated(&carol, b"", &to_carol),
            Err(HybridError::BadSender)
        );
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let recipient = recipient();
        let public = recipient.public();
        let plain = seal(&public, b"ad", b"content", &[3; 32]).unwrap();
        let signed = seal_authenticated(&sender(), &public, b"ad", b"hi", &[3; 32]).unwrap();
        for position in 0..plain.len() {
            let mut bad = plain.clone();
            bad[position] ^= 0x80;
            assert!(open(&recipient, b"ad", &bad).is_err(), "plain {position}");
        }
        for position in 0..signed.len() {
            let mut bad = signed.clone();
            bad[position] ^= 0x80;
            let opened = open_authenticated(&recipient, b"ad", &bad);
            assert!(opened.is_err(), "signed {position}");
        }
        for length in [0, 1, 1120, 1121, OVERHEAD - 1, plain.len() - 1] {
            assert!(open(&recipient, b"ad", &plain[..length]).is_err());
        }
        assert!(open(&recipient, b"ad", &[plain.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let public = recipient().public();
        let sealed = |seed| seal(&public, b"", b"x", &[seed; 32]).unwrap();
        assert_eq!(sealed(1), sealed(1));
        assert_ne!(sealed(1), sealed(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2500),
            ours in any::<bool>(),
        ) {
            if let (true, Some(version)) = (ours, bytes.first_mut()) {
                *version = VERSION;
            }
            prop_assert!(open(&recipient(), b"", &bytes).is_err());
            prop_assert!(open_authenticated(&recipient(), b"", &bytes).is_err());
        }

        #[test]
        fn any_content_returns(
            content in proptest::collection::vec(any::<u8>(), 0..2000),
            associated_data in proptest::collection::vec(any::<u8>(), 0..50),
            seed in any::<[u8; 32]>(),
        ) {
            let public = recipient().public();
            let plain = seal(&public, &associated_data, &content, &seed).unwrap();
            prop_assert_eq!(open(&recipient(), &associated_data, &plain).unwrap(), content.clone());
            let signed =
                seal_authenticated(&sender(), &public, &associated_data, &content, &seed).unwrap();
            let (from, opened) =
                open_authenticated(&recipient(), &associated_data, &signed).unwrap();
            prop_assert_eq!(from, sender().public());
            prop_assert_eq!(opened, content);
        }
    }
}
