//! The HPKE suite and its two contexts.

use hpke::aead::{AeadCtxR, AeadCtxS, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;

use super::{HybridError, HybridPublicKey, HybridSecret};
use crate::x_wing::{ENC_LENGTH, XWing};

/// An HPKE sender context, with the encapsulated key to send in front.
pub(super) struct Sender {
    enc: Box<[u8; ENC_LENGTH]>,
    context: AeadCtxS<ChaCha20Poly1305, HkdfSha256, XWing>,
}

impl Sender {
    /// `SetupBaseS` (RFC 9180 §5.1.1). Draws 64 bytes.
    pub(super) fn setup(
        recipient: &HybridPublicKey,
        info: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, HybridError> {
        let (encapsulated, context) =
            hpke::setup_sender_with_rng::<_, _, XWing>(&OpModeS::Base, &recipient.key, info, rng)
                .map_err(|_| HybridError::BadKey)?;
        let mut enc = Box::new([0; ENC_LENGTH]);
        enc.copy_from_slice(&encapsulated.to_bytes());
        Ok(Self { enc, context })
    }

    pub(super) fn enc(&self) -> &[u8; ENC_LENGTH] {
        &self.enc
    }

    /// Seals the next message of the context.
    pub(super) fn seal(
        &mut self,
        associated_data: &[u8],
        content: &[u8],
    ) -> Result<Vec<u8>, HybridError> {
        self.context
            .seal(content, associated_data)
            .map_err(|_| HybridError::Refused)
    }
}

/// An HPKE receiver context.
pub(super) struct Receiver(AeadCtxR<ChaCha20Poly1305, HkdfSha256, XWing>);

impl Receiver {
    /// `SetupBaseR` (RFC 9180 §5.1.1).
    pub(super) fn setup(
        secret: &HybridSecret,
        enc: &[u8; ENC_LENGTH],
        info: &[u8],
    ) -> Result<Self, HybridError> {
        let enc = <XWing as Kem>::EncappedKey::from_bytes(enc).map_err(|_| HybridError::Refused)?;
        hpke::setup_receiver(&OpModeR::Base, &secret.0, &enc, info)
            .map(Self)
            .map_err(|_| HybridError::Refused)
    }

    /// Opens the next message of the context.
    pub(super) fn open(
        &mut self,
        associated_data: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, HybridError> {
        self.0
            .open(ciphertext, associated_data)
            .map_err(|_| HybridError::Refused)
    }

    /// The exporter (RFC 9180 §5.3), which the envelope does not use and the vectors check.
    #[cfg(test)]
    pub(super) fn export(&self, context: &[u8], value: &mut [u8]) {
        self.0.export(context, value).unwrap();
    }
}
