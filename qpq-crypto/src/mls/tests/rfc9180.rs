//! RFC 9180's X25519 vectors in base mode, the one that MLS uses, through the functions that groups
//! call: key derivation, the first message both ways, exports both ways. The other modes and later
//! messages, which MLS does not have, run against the linked crate (`tests/hpke_rfc9180.rs`).

use core::convert::Infallible;

use openmls_traits::{
    crypto::OpenMlsCrypto,
    types::{HpkeCiphertext, HpkeConfig},
};
use rand_core::{TryCryptoRng, TryRng};

use super::Suite;
use crate::mls::{crypto::QpqCrypto, hpke};
use crate::vectors::{array, hex, json, number};

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

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn base_mode() {
    let cases = json("hpke-rfc9180", "subset-x25519-hkdfsha256.json");
    let crypto = QpqCrypto::unseeded();
    let (mut base, mut exported) = (0, 0);
    for case in cases.as_array().unwrap() {
        if number(case, "mode") != 0 {
            continue;
        }
        base += 1;
        let suite = match number(case, "aead_id") {
            1 => Suite::X25519,
            3 => Suite::X25519ChaCha20,
            id => panic!("aead {id}"),
        };
        let config = || -> HpkeConfig { suite.ciphersuite().hpke_config() };
        let ephemeral = || Script(hex(case, "ikmE"));
        let pair = crypto
            .derive_hpke_keypair(config(), &hex(case, "ikmR"))
            .unwrap();
        assert_eq!(pair.public, hex(case, "pkRm"));
        // The secret half comes clamped, which changes no result: the vector's opens below.
        let private = hex(case, "skRm");

        let (info, message) = (hex(case, "info"), &array(case, "encryptions")[0]);
        let (aad, pt, ct) = (hex(message, "aad"), hex(message, "pt"), hex(message, "ct"));
        let sealed = hpke::seal(config(), ephemeral(), &pair.public, &info, &aad, &pt).unwrap();
        let expected = HpkeCiphertext {
            kem_output: hex(case, "enc").into(),
            ciphertext: ct.into(),
        };
        assert_eq!(sealed, expected);
        let opened = crypto.hpke_open(config(), &expected, &private, &info, &aad);
        assert_eq!(opened.unwrap(), pt);

        for export in array(case, "exports") {
            let context = hex(export, "exporter_context");
            let length = usize::try_from(number(export, "L")).unwrap();
            let (enc, sent) =
                hpke::sender_export(config(), ephemeral(), &pair.public, &info, &context, length)
                    .unwrap();
            assert_eq!(enc, hex(case, "enc"));
            let received = crypto
                .hpke_setup_receiver_and_export(config(), &enc, &private, &info, &context, length)
                .unwrap();
            for value in [sent, received] {
                assert_eq!(&*value, hex(export, "exported_value"));
                exported += 1;
            }
        }
    }
    println!("rfc9180, base mode: {base} cases, a message and {exported} exports of each side");
    assert_eq!((base, exported), (2, 12));
}
