//! Sealed sender: messages whose sender the server does not learn (protocol.md §5.22).
//!
//! A sealed message is a [hybrid envelope](crate::hybrid) to the recipient's hybrid key. Inside, and
//! only there, are the sender's [`Credential`] with its certificate, the device key, and the device's
//! signature over recipient, purpose, time and content. It is handed in on a connection that never had
//! a session; instead of a session the sender shows a key that only contacts ([`AccessKey`]) or
//! members of the channel ([`ChannelKey`]) can have.
//!
//! | the server sees | the server does not see |
//! | --- | --- |
//! | recipient, or all members of the channel | sender, its device, its keys |
//! | when, and how long up to [padding](crate::padding) | content, time written |
//! | that the sender is a contact or a member | which one |
//! | the network address of the connection | whose connection it is, unless the address tells |
//!
//! The signature names the recipient, so that a message cannot be passed on as if it had been written to
//! someone else; to whom the recipient shows it, it proves who wrote it.
//! A sealed message can be delivered twice: what is inside carries an id of its own to deduplicate by.
//! There is no forward secrecy beyond the rotation of the hybrid key: sealed messages are for first
//! contact and for reports, conversations belong into MLS groups.

mod access;

pub use access::{AccessKey, CHANNEL_KEY_LABEL, ChannelKey, authorised};

use crate::encoding::{Reader, push_var};
use crate::hybrid::{self, HybridError, HybridPublicKey, HybridSecret};
use crate::identity::{Credential, DeviceKey, DeviceSecret, IdentityKey, SigningInput, verify};
use crate::padding::{pad, unpad};

/// What a sealed message is for. One sealed for one purpose does not open for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An application message. Wire value 1.
    Message,
    /// A member's view of a channel, to be compared. Wire value 2.
    ForkReport,
}

impl Purpose {
    fn wire(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::ForkReport => 2,
        }
    }
}

/// An opened sealed message. `Debug` shows everything but what was written.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedMessage {
    /// Who sent it. Certificate and signature are verified; whether this is a contact is for the
    /// caller to decide.
    pub sender: Credential,
    /// The device that sent it.
    pub device_key: DeviceKey,
    /// When it was written, by the sender's clock, in milliseconds since 1970.
    pub sent_at_ms: u64,
    /// What was written.
    pub content: Vec<u8>,
}

impl core::fmt::Debug for SealedMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SealedMessage")
            .field("sender", &self.sender)
            .field("device_key", &self.device_key)
            .field("sent_at_ms", &self.sent_at_ms)
            .field("bytes", &self.content.len())
            .finish()
    }
}

/// Why a message could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Seal with the device's own credential: this one is another's.
    #[error("credential does not belong to this device")]
    BadCredential,
    /// Shorten the content: it is 4 GiB or longer.
    #[error("content is too long")]
    TooLong,
    /// Drop the message: what opened is not from whom it says, or not laid out as this version does.
    #[error("sealed message does not prove its sender")]
    BadSender,
    /// Drop the message: the envelope did not open.
    #[error(transparent)]
    Envelope(#[from] HybridError),
}

/// Seals `content` from a device with its credential to an account and its hybrid key, written at
/// `sent_at_ms` (milliseconds since 1970). The sealed message is as long as an envelope around the
/// [padded](crate::padding) content and at most 228 bytes about the sender.
///
/// # Errors
/// [`SealedError::BadCredential`], [`SealedError::TooLong`], or [`SealedError::Envelope`] for a bad
/// hybrid key.
pub fn seal(
    purpose: Purpose,
    (device, credential): (&DeviceSecret, &Credential),
    (recipient, recipient_key): (&IdentityKey, &HybridPublicKey),
    sent_at_ms: u64,
    content: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, SealedError> {
    let device_key = device.public();
    credential
        .verify(&device_key)
        .map_err(|_| SealedError::BadCredential)?;
    let encoded = credential.encode();
    let signature = device.sign(&signed_input(
        purpose,
        recipient,
        recipient_key,
        &encoded,
        &device_key,
        sent_at_ms,
        content,
    ));
    let mut inner = Vec::with_capacity(encoded.len() + 4 + 32 + 8 + 64 + content.len());
    push_var(&mut inner, &encoded).ok_or(SealedError::TooLong)?;
    inner.extend_from_slice(device_key.as_bytes());
    inner.extend_from_slice(&sent_at_ms.to_be_bytes());
    inner.extend_from_slice(&signature);
    inner.extend_from_slice(content);
    let associated_data = associated_data(purpose, recipient);
    Ok(hybrid::seal(
        recipient_key,
        &associated_data,
        &pad(&inner),
        seed,
    )?)
}

/// Opens a sealed message to `recipient`, the account that `secret` belongs to.
///
/// # Errors
/// [`SealedError::Envelope`] where it is not for this key, recipient or purpose, or was changed;
/// [`SealedError::BadSender`] where it opens but certificate or signature are wrong.
pub fn open(
    purpose: Purpose,
    secret: &HybridSecret,
    recipient: &IdentityKey,
    sealed: &[u8],
) -> Result<SealedMessage, SealedError> {
    let padded = hybrid::open(secret, &associated_data(purpose, recipient), sealed)?;
    let inner = unpad(&padded).map_err(|_| SealedError::BadSender)?;
    read(purpose, secret, recipient, inner).ok_or(SealedError::BadSender)
}

fn read(
    purpose: Purpose,
    secret: &HybridSecret,
    recipient: &IdentityKey,
    inner: &[u8],
) -> Option<SealedMessage> {
    let mut reader = Reader::new(inner);
    let encoded = reader.var()?;
    let device_key = DeviceKey(reader.array()?);
    let sent_at_ms = reader.u64()?;
    let signature = reader.array::<64>()?;
    let content = reader.rest();
    let sender = Credential::decode(encoded).ok()?;
    sender.verify(&device_key).ok()?;
    let input = signed_input(
        purpose,
        recipient,
        &secret.public(),
        encoded,
        &device_key,
        sent_at_ms,
        content,
    );
    verify(device_key.as_bytes(), &input, &signature).ok()?;
    Some(SealedMessage {
        sender,
        device_key,
        sent_at_ms,
        content: content.to_vec(),
    })
}

fn associated_data(purpose: Purpose, recipient: &IdentityKey) -> Vec<u8> {
    SigningInput::new("qpq sealed to v1")
        .fixed(&[purpose.wire()])
        .fixed(recipient.as_bytes())
        .finish()
}

fn signed_input(
    purpose: Purpose,
    recipient: &IdentityKey,
    recipient_key: &HybridPublicKey,
    credential: &[u8],
    device_key: &DeviceKey,
    sent_at_ms: u64,
    content: &[u8],
) -> Vec<u8> {
    SigningInput::new("qpq sealed v1")
        .fixed(&[purpose.wire()])
        .fixed(recipient.as_bytes())
        .fixed(recipient_key.as_bytes())
        .var(credential)
        .fixed(device_key.as_bytes())
        .u64(sent_at_ms)
        .var(content)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{DeviceId, IdentitySecret};
    use proptest::prelude::*;

    const TO: IdentityKey = IdentityKey([9; 32]);

    fn secret() -> HybridSecret {
        HybridSecret::derive(&[1; 32], 0)
    }

    fn device() -> (DeviceSecret, Credential) {
        let device = DeviceSecret::from_seed([2; 32]);
        let identity = IdentitySecret::from_seed([3; 32]);
        let id = DeviceId::new([4; 16]);
        let credential = Credential::issue(&identity, id, device.public(), 5);
        (device, credential)
    }

    fn sealed(purpose: Purpose, content: &[u8]) -> Vec<u8> {
        let (device, credential) = device();
        let key = secret().public();
        let seed = [6; 32];
        let from = (&device, &credential);
        seal(purpose, from, (&TO, &key), 7, content, &seed).unwrap()
    }

    #[test]
    fn the_recipient_learns_who_wrote() {
        let message = sealed(Purpose::Message, b"hello");
        assert_eq!(message.len(), 256 + hybrid::OVERHEAD);
        let (device, credential) = device();
        let opened = open(Purpose::Message, &secret(), &TO, &message);
        let expected = SealedMessage {
            sender: credential,
            device_key: device.public(),
            sent_at_ms: 7,
            content: b"hello".to_vec(),
        };
        assert_eq!(opened, Ok(expected));
        // Nothing of the sender is in the clear.
        for secret in [credential.identity_key.0, device.public().0] {
            assert!(!message.windows(8).any(|window| window == &secret[..8]));
        }
    }

    #[test]
    fn it_opens_for_its_recipient_and_purpose_alone() {
        let message = sealed(Purpose::Message, b"hello");
        let refused = Err(SealedError::Envelope(HybridError::Refused));
        let other = IdentityKey([8; 32]);
        assert_eq!(open(Purpose::Message, &secret(), &other, &message), refused);
        assert_eq!(open(Purpose::ForkReport, &secret(), &TO, &message), refused);
        let other = HybridSecret::derive(&[1; 32], 1);
        assert_eq!(open(Purpose::Message, &other, &TO, &message), refused);
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let message = sealed(Purpose::Message, b"hello");
        let secret = secret();
        for position in 0..message.len() {
            let mut bad = message.clone();
            bad[position] ^= 1;
            let opened = open(Purpose::Message, &secret, &TO, &bad);
            assert!(opened.is_err(), "byte {position}");
        }
    }

    #[test]
    fn a_sender_cannot_pose_as_another() {
        let (device, credential) = device();
        let key = secret().public();
        let stranger = DeviceSecret::from_seed([7; 32]);
        let from = (&stranger, &credential);
        let posed = seal(Purpose::Message, from, (&TO, &key), 7, b"", &[6; 32]);
        assert_eq!(posed, Err(SealedError::BadCredential));

        // The same by hand: every byte of what is inside counts.
        let (encoded, device_key) = (credential.encode(), device.public());
        let input = signed_input(Purpose::Message, &TO, &key, &encoded, &device_key, 7, b"hi");
        let mut inner = Vec::new();
        push_var(&mut inner, &encoded).unwrap();
        inner.extend_from_slice(device_key.as_bytes());
        inner.extend_from_slice(&7u64.to_be_bytes());
        inner.extend_from_slice(&device.sign(&input));
        inner.extend_from_slice(b"hi");
        let read = |inner: &[u8]| read(Purpose::Message, &secret(), &TO, inner);
        assert!(read(&inner).is_some());
        for position in 0..inner.len() {
            let mut bad = inner.clone();
            bad[position] ^= 1;
            assert!(read(&bad).is_none(), "byte {position}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_content_returns(content in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let message = sealed(Purpose::ForkReport, &content);
            let opened = open(Purpose::ForkReport, &secret(), &TO, &message).unwrap();
            prop_assert_eq!(opened.content, content);
        }

        #[test]
        fn arbitrary_inner_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            prop_assert!(read(Purpose::Message, &secret(), &TO, &bytes).is_none());
        }
    }
}
