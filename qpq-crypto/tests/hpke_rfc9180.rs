//! RFC 9180, X25519 with HKDF-SHA256, all four modes, both AEADs, against the linked crate: base mode runs
//! through our own functions as well (`src/mls/tests/rfc9180.rs`), the other modes have none.

mod vectors;

use std::convert::Infallible;

use hpke::aead::{Aead, AesGcm128, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256 as Kem;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, PskBundle, Serializable};
use serde_json::Value;
use vectors::{array, hex, json, number};

type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
type PublicKey = <Kem as hpke::Kem>::PublicKey;
type EncappedKey = <Kem as hpke::Kem>::EncappedKey;

/// Gives out the vector's key material for the ephemeral key.
struct Script(Vec<u8>);

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// Checks one case; answers how many messages and exports it had.
fn check<A: Aead>(case: &Value) -> (usize, usize) {
    let (secret, public) = Kem::derive_keypair(&hex(case, "ikmR"));
    let read = PrivateKey::from_bytes(&hex(case, "skRm")).unwrap();
    assert!(Kem::sk_to_pk(&read) == public && Kem::sk_to_pk(&secret) == public);
    assert_eq!(public.to_bytes().as_slice(), hex(case, "pkRm"));

    let optional = |key| case.get(key).map(|_| hex(case, key)).unwrap_or_default();
    let (psk, psk_id) = (optional("psk"), optional("psk_id"));
    let psk = || PskBundle::new(&psk, &psk_id).unwrap();
    let from = || Kem::derive_keypair(&hex(case, "ikmS"));
    let from_public = || PublicKey::from_bytes(&hex(case, "pkSm")).unwrap();
    let (to, by) = match number(case, "mode") {
        0 => (OpModeS::<Kem>::Base, OpModeR::<Kem>::Base),
        1 => (OpModeS::Psk(psk()), OpModeR::Psk(psk())),
        2 => (OpModeS::Auth(from()), OpModeR::Auth(from_public())),
        3 => (
            OpModeS::AuthPsk(from(), psk()),
            OpModeR::AuthPsk(from_public(), psk()),
        ),
        mode => panic!("mode {mode}"),
    };
    let info = hex(case, "info");
    let mut rng = Script(hex(case, "ikmE"));
    let (enc, mut sender) =
        hpke::setup_sender_with_rng::<A, HkdfSha256, Kem>(&to, &public, &info, &mut rng).unwrap();
    assert_eq!(enc.to_bytes().as_slice(), hex(case, "enc"));
    let enc = EncappedKey::from_bytes(&hex(case, "enc")).unwrap();
    let mut receiver = hpke::setup_receiver::<A, HkdfSha256, Kem>(&by, &read, &enc, &info).unwrap();

    // The file holds some of the sequence numbers; those between are filled with other messages.
    let messages = array(case, "encryptions");
    let mut sequence = 0;
    for message in messages {
        while sequence < number(message, "seq") {
            let filler = sender.seal(b"between", b"").unwrap();
            assert_eq!(receiver.open(&filler, b"").unwrap(), b"between");
            sequence += 1;
        }
        let (aad, pt, ct) = (hex(message, "aad"), hex(message, "pt"), hex(message, "ct"));
        assert_eq!(sender.seal(&pt, &aad).unwrap(), ct);
        assert_eq!(receiver.open(&ct, &aad).unwrap(), pt);
        sequence += 1;
    }
    let exports = array(case, "exports");
    for export in exports {
        let mut value = vec![0; usize::try_from(number(export, "L")).unwrap()];
        receiver
            .export(&hex(export, "exporter_context"), &mut value)
            .unwrap();
        assert_eq!(value, hex(export, "exported_value"));
    }
    (messages.len(), exports.len())
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn x25519_subset() {
    let cases = json("hpke-rfc9180", "subset-x25519-hkdfsha256.json");
    let cases = cases.as_array().unwrap();
    let (mut messages, mut exports) = (0, 0);
    for case in cases {
        let counts = match number(case, "aead_id") {
            1 => check::<AesGcm128>(case),
            3 => check::<ChaCha20Poly1305>(case),
            id => panic!("aead {id}"),
        };
        messages += counts.0;
        exports += counts.1;
    }
    println!(
        "rfc9180: {} cases, {messages} messages, {exports} exports",
        cases.len()
    );
    assert_eq!((cases.len(), messages, exports), (8, 48, 24));
}
