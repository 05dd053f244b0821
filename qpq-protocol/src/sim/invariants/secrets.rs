//! No key and no nonce is used for two things, as far as the wire shows it.
//!
//! | what | where it is seen | what it shows |
//! | --- | --- | --- |
//! | nonce of a stored row | client's disk | `stored`: one nonce, one row and value |
//! | init key and leaf key of a key package | UploadKeyPackage | its private key is that of one package |
//! | encapsulated key in a Welcome | SubmitCommit | the ephemeral key encrypts to one joiner, once |
//! | sample of a PrivateMessage's ciphertext | BatchEnqueue, SubmitCommit | key and nonce of the sender data, made of it, are used once an epoch (RFC 9420 section 6.3.2) |
//!
//! The key and nonce of a message's content follow from group, epoch, leaf and generation. The last two are
//! encrypted, so nobody outside sees them; but a member deletes a key that it has used, and can't read a second
//! message of the same generation. That every message reaches every member's history is checked when
//! the world settles: this is what a generation used twice violates (the defect `generation_reused`).
//!
//! Clients seal no hybrid envelopes yet, so there are no encapsulated keys of those to look at.

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{Checker, Invariant};
use crate::method::Method;
use crate::proto::{self, delivery_payload::Payload};
use crate::time::Time;

/// Something that may be used for one thing only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Single {
    InitKey,
    LeafKey,
    Encapsulation,
    SenderData,
}

impl Checker {
    /// A client sends this request: what it shows of keys.
    pub(super) fn keys_are_fresh(&mut self, now: Time, method: Method, request: &Bytes) {
        let request = request.clone();
        match method {
            Method::UploadKeyPackage => {
                let request = proto::UploadKeyPackageRequest::decode(request).unwrap_or_default();
                self.package_is_fresh(now, &request.package);
            }
            Method::BatchEnqueue => {
                let request = proto::BatchEnqueueRequest::decode(request).unwrap_or_default();
                self.payload_is_fresh(now, &request.payload);
            }
            Method::SubmitCommit => {
                let request = proto::SubmitCommitRequest::decode(request).unwrap_or_default();
                if request.original.is_some() {
                    // What somebody else has put into a slot, whatever it is.
                    return;
                }
                self.message_is_fresh(now, &request.commit);
                for welcome in &request.welcomes {
                    self.payload_is_fresh(now, &welcome.payload);
                }
            }
            _ => {}
        }
    }

    fn payload_is_fresh(&mut self, now: Time, payload: &Bytes) {
        let payload = proto::DeliveryPayload::decode(payload.clone()).unwrap_or_default();
        match payload.payload {
            Some(Payload::MlsMessage(message)) => self.message_is_fresh(now, &message),
            Some(Payload::Welcome(welcome)) => self.message_is_fresh(now, &welcome.welcome),
            _ => {}
        }
    }

    /// A bare KeyPackage (RFC 9420 section 10).
    fn package_is_fresh(&mut self, now: Time, package: &[u8]) {
        let keys = package.get(4..).and_then(|rest| {
            let (init, rest) = vector(rest)?;
            Some((init, vector(rest)?.0))
        });
        let Some((init, leaf)) = keys else {
            return self.is_odd(now, "a key package");
        };
        self.once(now, Single::InitKey, init, package);
        self.once(now, Single::LeafKey, leaf, package);
    }

    /// An MLSMessage (RFC 9420 section 6): a PrivateMessage or a Welcome.
    fn message_is_fresh(&mut self, now: Time, message: &[u8]) {
        let fits = match message.split_first_chunk::<4>() {
            Some(([0, 1, 0, 2], private)) => self.sender_data_is_fresh(now, private),
            Some(([0, 1, 0, 3], welcome)) => self.encapsulations_are_fresh(now, welcome),
            // A PublicMessage has nothing that is encrypted but in its update path.
            Some(([0, 1, 0, 1], _)) => Some(()),
            _ => None,
        };
        if fits.is_none() {
            self.is_odd(now, "an MLS message");
        }
    }

    fn sender_data_is_fresh(&mut self, now: Time, private: &[u8]) -> Option<()> {
        let (group, rest) = vector(private)?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (_content_type, rest) = rest.split_first()?;
        let (_authenticated, rest) = vector(rest)?;
        let (sender_data, rest) = vector(rest)?;
        let (ciphertext, _) = vector(rest)?;
        // As long as a hash of the suite, which is SHA-256 here.
        let sample = ciphertext.get(..32).unwrap_or(ciphertext);
        let key = [group, epoch, sample].concat();
        self.once(now, Single::SenderData, &key, sender_data);
        Some(())
    }

    fn encapsulations_are_fresh(&mut self, now: Time, welcome: &[u8]) -> Option<()> {
        let (mut secrets, _) = vector(welcome.get(2..)?)?;
        while !secrets.is_empty() {
            let (joiner, rest) = vector(secrets)?;
            let (encapsulated, rest) = vector(rest)?;
            let (ciphertext, rest) = vector(rest)?;
            let what = [joiner, ciphertext].concat();
            self.once(now, Single::Encapsulation, encapsulated, &what);
            secrets = rest;
        }
        Some(())
    }

    /// `key` has been used for this, and is for nothing else.
    fn once(&mut self, now: Time, single: Single, key: &[u8], meaning: &[u8]) {
        let meaning: [u8; 32] = Sha256::digest(meaning).into();
        let known = self.singles.entry((single, key.to_vec()));
        let fits = *known.or_insert(meaning) == meaning;
        self.need(now, fits, Invariant::NonceOnce, || {
            format!("{single:?} is there for two things")
        });
    }

    fn is_odd(&mut self, now: Time, what: &str) {
        let detail = format!("{what} of a client can't be read");
        self.fail(now, Invariant::NothingBreaks, detail);
    }
}

/// A vector with its length before it (RFC 9420 section 2.1.2), and what follows.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let more = match first >> 6 {
        0 => 0,
        1 => 1,
        2 => 3,
        _ => return None,
    };
    let (more, rest) = rest.split_at_checked(more)?;
    let high = usize::from(first & 0x3f);
    let length = more
        .iter()
        .fold(high, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Config;
    use crate::sim::streams::Streams;
    use crate::sim::villains::Plan;
    use crate::sim::world::World;

    #[test]
    fn vectors_are_read_as_rfc_9420_writes_them() {
        assert_eq!(vector(&[2, 7, 8, 9]), Some((&[7, 8][..], &[9][..])));
        assert_eq!(vector(&[0x40, 1, 7]), Some((&[7][..], &[][..])));
        assert_eq!(vector(&[0x80, 0, 0, 1, 7]), Some((&[7][..], &[][..])));
        assert_eq!(vector(&[2, 7]), None);
        assert_eq!(vector(&[0xc0, 0]), None);
    }

    #[test]
    fn a_world_shows_keys_of_each_kind() {
        let config = Config::default();
        let streams = Streams::new(&config, config.clients, 0);
        let mut world = World::new(&config, 0, Plan::default(), streams);
        world.run();
        assert_eq!(world.checker.violation, None);
        for single in [
            Single::InitKey,
            Single::LeafKey,
            Single::Encapsulation,
            Single::SenderData,
        ] {
            let mut seen = world.checker.singles.keys();
            assert!(seen.any(|(one, _)| *one == single), "{single:?}");
        }
    }

    #[test]
    fn a_key_that_is_there_for_two_things_is_noticed() {
        let now = Time::ZERO;
        let package = |init: u8, leaf: u8| [0, 1, 0, 1, 1, init, 1, leaf];
        let mut checker = Checker::default();
        checker.package_is_fresh(now, &package(1, 2));
        // Sent again, it is the same thing.
        checker.package_is_fresh(now, &package(1, 2));
        checker.package_is_fresh(now, &package(3, 4));
        assert_eq!(checker.violation, None);
        checker.package_is_fresh(now, &package(1, 5));
        let broken = checker.violation.map(|violation| violation.invariant);
        assert_eq!(broken, Some(Invariant::NonceOnce));

        // group "g", epoch 1, application, no data, sender data "s", ciphertext.
        let private = |sender_data: u8| {
            let head = [0, 1, 0, 2, 1, b'g', 0, 0, 0, 0, 0, 0, 0, 1, 1, 0];
            [&head[..], &[1, sender_data, 2, 7, 7]].concat()
        };
        let mut checker = Checker::default();
        checker.message_is_fresh(now, &private(1));
        checker.message_is_fresh(now, &private(1));
        assert_eq!(checker.violation, None);
        checker.message_is_fresh(now, &private(2));
        let broken = checker.violation.map(|violation| violation.invariant);
        assert_eq!(broken, Some(Invariant::NonceOnce));

        // Suite 1, one joiner "j", encapsulation "e".
        let welcome = |ciphertext: u8| [0, 1, 0, 3, 0, 1, 6, 1, b'j', 1, b'e', 1, ciphertext, 0];
        let mut checker = Checker::default();
        checker.message_is_fresh(now, &welcome(1));
        assert_eq!(checker.violation, None);
        checker.message_is_fresh(now, &welcome(2));
        let broken = checker.violation.map(|violation| violation.invariant);
        assert_eq!(broken, Some(Invariant::NonceOnce));
    }
}
