//! X-Wing and the hpke-pq vectors through this module's keys and contexts.
//!
//! Here and not in `tests/`, because they need given randomness and several messages a context, which
//! the public functions rightly do not offer.

use core::convert::Infallible;

use crate::vectors::{array, hex, hex_array, json, number};
use hpke::{Deserializable, Kem, Serializable};
use rand_core::{TryCryptoRng, TryRng};

use super::suite::{Receiver, Sender};
use super::{HybridPublicKey, HybridSecret};
use crate::x_wing::{ENC_LENGTH, PrivateKey, XWing};

/// Gives out the vector's encapsulation randomness.
pub(super) struct Script(pub Vec<u8>);

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Script {}

fn secret(bytes: &[u8]) -> HybridSecret {
    HybridSecret(PrivateKey::from_bytes(bytes).unwrap())
}

/// Encapsulates to `public` with given randomness and decapsulates again: the encapsulated key and
/// the shared secret.
fn round_trip(
    secret: &HybridSecret,
    public: &HybridPublicKey,
    randomness: Vec<u8>,
) -> (Vec<u8>, Vec<u8>) {
    let (sent, enc) = XWing::encap_with_rng(&public.key, None, &mut Script(randomness)).unwrap();
    let received = XWing::decap(&secret.0, None, &enc).unwrap();
    assert_eq!(sent.0, received.0);
    (enc.to_bytes().to_vec(), sent.0.to_vec())
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn xwing_draft() {
    let cases = json("xwing", "test-vectors.json");
    let cases = cases.as_array().unwrap();
    for case in cases {
        let secret = secret(&hex(case, "sk"));
        let public = secret.public();
        assert_eq!(public.as_bytes().as_slice(), hex(case, "pk"));
        let read = HybridPublicKey::from_bytes(&hex(case, "pk")).unwrap();
        let (ct, ss) = round_trip(&secret, &read, hex(case, "eseed"));
        assert_eq!(ct, hex(case, "ct"));
        assert_eq!(ss, hex(case, "ss"));
    }
    println!("xwing: {} cases", cases.len());
    assert_eq!(cases.len(), 3);
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn hpke_pq() {
    let cases = json("hpke-pq", "hpke-pq-2026-03.json");
    let (mut keys, mut schedules, mut messages, mut exports) = (0, 0, 0, 0);
    for case in cases.as_array().unwrap() {
        if number(case, "kem_id") != 0x647a {
            continue;
        }
        let secret = HybridSecret::from_key_material(&hex(case, "ikmR"));
        assert_eq!(secret.0.to_bytes().as_slice(), hex(case, "skRm"));
        let public = secret.public();
        assert_eq!(public.as_bytes().as_slice(), hex(case, "pkRm"));
        let (enc, shared_secret) = round_trip(&secret, &public, hex(case, "ikmE"));
        assert_eq!(enc, hex(case, "enc"));
        assert_eq!(shared_secret, hex(case, "shared_secret"));
        keys += 1;
        if (number(case, "kdf_id"), number(case, "aead_id")) != (1, 3) {
            continue;
        }
        schedules += 1;
        let info = hex(case, "info");
        let mut sender = Sender::setup(&public, &info, &mut Script(hex(case, "ikmE"))).unwrap();
        assert_eq!(sender.enc().as_slice(), enc);
        let enc = hex_array::<ENC_LENGTH>(case, "enc");
        let mut receiver = Receiver::setup(&secret, &enc, &info).unwrap();
        for message in array(case, "encryptions") {
            let (aad, pt, ct) = (hex(message, "aad"), hex(message, "pt"), hex(message, "ct"));
            assert_eq!(sender.seal(&aad, &pt).unwrap(), ct);
            assert_eq!(receiver.open(&aad, &ct).unwrap(), pt);
            messages += 1;
        }
        for export in array(case, "exports") {
            let mut value = vec![0; usize::try_from(number(export, "L")).unwrap()];
            receiver.export(&hex(export, "exporter_context"), &mut value);
            assert_eq!(value, hex(export, "exported_value"));
            exports += 1;
        }
    }
    println!(
        "hpke-pq: {keys} key pairs and encapsulations, {schedules} key schedule, \
         {messages} messages, {exports} exports"
    );
    assert_eq!((keys, schedules, messages, exports), (2, 1, 10, 5));
}
