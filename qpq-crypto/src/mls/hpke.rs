//! HPKE (RFC 9180) for the suites of [`super::Suite`], base mode, with randomness handed in.
//!
//! X-Wing's `DeriveKeyPair` is the labelled one of draft-ietf-hpke-pq, as its vectors have it.
//! Every node key of a tree comes from it: another derivation is another group.

use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable,
    aead::{AesGcm128, AesGcm256, ChaCha20Poly1305},
    kdf::{HkdfSha256, HkdfSha384},
    kem::X25519HkdfSha256,
    setup_receiver, setup_sender_with_rng,
};
use openmls_traits::types::{
    CryptoError, ExporterSecret, HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType,
    HpkeKemType, HpkeKeyPair, KemOutput,
};
use rand_core::CryptoRng;

use crate::x_wing::XWing;

/// Runs `$body` with the KEM, KDF and AEAD types of a suite, or fails for any other combination.
macro_rules! with_suite {
    ($config:expr, |$K:ident, $D:ident, $A:ident| $body:expr) => {
        match ($config.0, $config.1, $config.2) {
            (HpkeKemType::XWingKemDraft6, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128) => {
                type $K = XWing;
                type $D = HkdfSha256;
                type $A = AesGcm128;
                $body
            }
            (HpkeKemType::XWingKemDraft6, HpkeKdfType::HkdfSha384, HpkeAeadType::AesGcm256) => {
                type $K = XWing;
                type $D = HkdfSha384;
                type $A = AesGcm256;
                $body
            }
            (HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::AesGcm128) => {
                type $K = X25519HkdfSha256;
                type $D = HkdfSha256;
                type $A = AesGcm128;
                $body
            }
            (HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305) => {
                type $K = X25519HkdfSha256;
                type $D = HkdfSha256;
                type $A = ChaCha20Poly1305;
                $body
            }
            _ => Err(CryptoError::UnsupportedCiphersuite),
        }
    };
}

pub(super) fn seal(
    config: HpkeConfig,
    mut rng: impl CryptoRng,
    public_key: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<HpkeCiphertext, CryptoError> {
    with_suite!(config, |K, D, A| {
        let (enc, mut context) = setup_sender_with_rng::<A, D, K>(
            &OpModeS::Base,
            &public_key_of::<K>(public_key)?,
            info,
            &mut rng,
        )
        .map_err(|_| CryptoError::SenderSetupError)?;
        let ciphertext = context
            .seal(plaintext, aad)
            .map_err(|_| CryptoError::HpkeEncryptionError)?;
        Ok(HpkeCiphertext {
            kem_output: enc.to_bytes().to_vec().into(),
            ciphertext: ciphertext.into(),
        })
    })
}

pub(super) fn open(
    config: HpkeConfig,
    input: &HpkeCiphertext,
    private_key: &[u8],
    info: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    with_suite!(config, |K, D, A| {
        let mut context = setup_receiver::<A, D, K>(
            &OpModeR::Base,
            &private_key_of::<K>(private_key)?,
            &enc_of::<K>(input.kem_output.as_slice())?,
            info,
        )
        .map_err(|_| CryptoError::HpkeDecryptionError)?;
        context
            .open(input.ciphertext.as_slice(), aad)
            .map_err(|_| CryptoError::HpkeDecryptionError)
    })
}

pub(super) fn sender_export(
    config: HpkeConfig,
    mut rng: impl CryptoRng,
    public_key: &[u8],
    info: &[u8],
    exporter_context: &[u8],
    len: usize,
) -> Result<(KemOutput, ExporterSecret), CryptoError> {
    with_suite!(config, |K, D, A| {
        let (enc, context) = setup_sender_with_rng::<A, D, K>(
            &OpModeS::Base,
            &public_key_of::<K>(public_key)?,
            info,
            &mut rng,
        )
        .map_err(|_| CryptoError::SenderSetupError)?;
        let mut secret = vec![0; len];
        context
            .export(exporter_context, &mut secret)
            .map_err(|_| CryptoError::ExporterError)?;
        Ok((enc.to_bytes().to_vec(), secret.into()))
    })
}

pub(super) fn receiver_export(
    config: HpkeConfig,
    enc: &[u8],
    private_key: &[u8],
    info: &[u8],
    exporter_context: &[u8],
    len: usize,
) -> Result<ExporterSecret, CryptoError> {
    with_suite!(config, |K, D, A| {
        let context = setup_receiver::<A, D, K>(
            &OpModeR::Base,
            &private_key_of::<K>(private_key)?,
            &enc_of::<K>(enc)?,
            info,
        )
        .map_err(|_| CryptoError::ReceiverSetupError)?;
        let mut secret = vec![0; len];
        context
            .export(exporter_context, &mut secret)
            .map_err(|_| CryptoError::ExporterError)?;
        Ok(secret.into())
    })
}

pub(super) fn derive_key_pair(config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
    match config.0 {
        HpkeKemType::XWingKemDraft6 => Ok(key_pair::<XWing>(ikm)),
        HpkeKemType::DhKem25519 => Ok(key_pair::<X25519HkdfSha256>(ikm)),
        _ => Err(CryptoError::UnsupportedCiphersuite),
    }
}

fn key_pair<K: Kem>(ikm: &[u8]) -> HpkeKeyPair {
    let (private, public) = K::derive_keypair(ikm);
    HpkeKeyPair {
        private: private.to_bytes().as_slice().into(),
        public: public.to_bytes().to_vec(),
    }
}

fn public_key_of<K: Kem>(bytes: &[u8]) -> Result<K::PublicKey, CryptoError> {
    K::PublicKey::from_bytes(bytes).map_err(|_| CryptoError::InvalidPublicKey)
}

fn private_key_of<K: Kem>(bytes: &[u8]) -> Result<K::PrivateKey, CryptoError> {
    K::PrivateKey::from_bytes(bytes).map_err(|_| CryptoError::InvalidLength)
}

fn enc_of<K: Kem>(bytes: &[u8]) -> Result<K::EncappedKey, CryptoError> {
    K::EncappedKey::from_bytes(bytes).map_err(|_| CryptoError::HpkeDecryptionError)
}
