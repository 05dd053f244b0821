//! The ristretto255 vectors of RFC 9807, Appendix C, through this module's own halves.
//!
//! Here and not in `tests/`, because the vectors need another context, no stretching and given
//! randomness, which the public functions rightly do not offer.

use crate::vectors::{hex, json, text};
use opaque_ke::Identifiers;
use opaque_ke::rand::{CryptoRng, Error, RngCore};
use serde_json::Value;

use super::{ServerSetup, Stretch, Terms, client, server};

/// Gives out the vector's random inputs in the order in which they are drawn.
struct Script(Vec<u8>);

impl Script {
    fn new(parts: &[&[u8]]) -> Self {
        Self(parts.concat())
    }
}

impl RngCore for Script {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Script {}

/// A scalar is drawn as 64 bytes, reduced; a canonical one followed by zeros is itself.
const PAD: [u8; 32] = [0; 32];

fn optional(inputs: &Value, key: &str) -> Option<Vec<u8>> {
    inputs.get(key).map(|_| hex(inputs, key))
}

fn setup(inputs: &Value, fake_public_key: &[u8]) -> ServerSetup {
    let bytes = [
        hex(inputs, "oprf_seed"),
        hex(inputs, "server_private_key"),
        fake_public_key.to_vec(),
    ]
    .concat();
    ServerSetup::from_bytes(&bytes).unwrap()
}

fn real(case: &Value) {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let input = |key: &str| hex(inputs, key);
    let setup = setup(inputs, &input("server_public_key"));
    let context = hex(&case["config"], "Context");
    let client_identity = optional(inputs, "client_identity");
    let server_identity = optional(inputs, "server_identity");
    let terms = Terms {
        context: &context,
        identifiers: Identifiers {
            client: client_identity.as_deref(),
            server: server_identity.as_deref(),
        },
    };
    let credential_identifier = input("credential_identifier");
    let password = input("password");

    let mut script = Script::new(&[&input("blind_registration"), &PAD]);
    let (state, request) = client::registration_start_with(&mut script, &password).unwrap();
    assert_eq!(request, hex(outputs, "registration_request"));
    let name = std::str::from_utf8(&credential_identifier).unwrap();
    let response = server::registration_start(&setup, name, &request).unwrap();
    assert_eq!(response, hex(outputs, "registration_response"));
    let mut script = Script::new(&[&input("envelope_nonce")]);
    let registration = state
        .finish_with(&mut script, &Stretch::Identity, terms, &password, &response)
        .unwrap();
    assert_eq!(registration.upload, hex(outputs, "registration_upload"));
    assert_eq!(
        registration.export_key.expose().as_slice(),
        hex(outputs, "export_key")
    );

    let mut script = Script::new(&[
        &input("blind_login"),
        &PAD,
        &input("client_keyshare_seed"),
        &input("client_nonce"),
    ]);
    let (state, ke1) = client::login_start_with(&mut script, &password).unwrap();
    assert_eq!(ke1, hex(outputs, "KE1"));
    // The masking key of a fake record is drawn always and used only without a record.
    let mut script = Script::new(&[
        &[0; 64],
        &input("masking_nonce"),
        &input("server_keyshare_seed"),
        &input("server_nonce"),
    ]);
    let record = Some(registration.upload.as_slice());
    let (login, ke2) = server::login_start_with(
        &setup,
        &mut script,
        terms,
        &credential_identifier,
        record,
        &ke1,
    )
    .unwrap();
    assert_eq!(ke2, hex(outputs, "KE2"));
    let finish = state
        .finish_with(
            &mut Script::new(&[]),
            &Stretch::Identity,
            terms,
            &password,
            &ke2,
        )
        .unwrap();
    assert_eq!(finish.finalization, hex(outputs, "KE3"));
    assert!(finish.export_key.ct_eq(&registration.export_key));
    let session_key = login.finish(&finish.finalization).unwrap();
    assert!(session_key.ct_eq(&finish.session_key));
    assert_eq!(session_key.expose().as_slice(), hex(outputs, "session_key"));
}

fn fake(case: &Value) {
    let (inputs, outputs) = (&case["inputs"], &case["outputs"]);
    let input = |key: &str| hex(inputs, key);
    let setup = setup(inputs, &input("client_public_key"));
    let context = hex(&case["config"], "Context");
    let (client, server) = (input("client_identity"), input("server_identity"));
    let terms = Terms {
        context: &context,
        identifiers: Identifiers {
            client: Some(&client),
            server: Some(&server),
        },
    };
    let mut script = Script::new(&[
        &input("masking_key"),
        &input("masking_nonce"),
        &input("server_keyshare_seed"),
        &input("server_nonce"),
    ]);
    let name = input("credential_identifier");
    let ke1 = input("KE1");
    let (_, ke2) = server::login_start_with(&setup, &mut script, terms, &name, None, &ke1).unwrap();
    assert_eq!(ke2, hex(outputs, "KE2"));
}

#[test]
#[ignore = "needs public vectors, in $QPQ_VECTORS"]
fn rfc9807() {
    let cases = json("opaque", "vectors.json");
    let (mut reals, mut fakes) = (0, 0);
    for case in cases.as_array().unwrap() {
        let config = &case["config"];
        if text(config, "Group") != "ristretto255" {
            continue;
        }
        if text(config, "Fake") == "True" {
            fake(case);
            fakes += 1;
        } else {
            real(case);
            reals += 1;
        }
    }
    println!("opaque: {reals} real, {fakes} fake");
    assert_eq!((reals, fakes), (2, 1));
}
