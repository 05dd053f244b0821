//! HPKE (RFC 9180) in base mode over X25519 from aws-lc-rs; the suites with X-Wing as without it.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_traits::types::{
    AeadType, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext, HpkeConfig,
    HpkeKdfType, HpkeKemType, HpkeKeyPair, KemOutput,
};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use zeroize::Zeroizing;

use crate::mls::{
    aws_lc::{aead_decrypt, aead_encrypt},
    hpke as rust_crypto,
    kdf::{hkdf_expand, hkdf_extract},
};

/// DHKEM(X25519, HKDF-SHA256) (RFC 9180 §7.1): what its labels are bound to.
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
const KEM_HASH: HashType = HashType::Sha2_256;

pub fn seal(
    config: HpkeConfig,
    rng: ChaCha20Rng,
    public_key: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<HpkeCiphertext, CryptoError> {
    if config.0 != HpkeKemType::DhKem25519 {
        return rust_crypto::seal(config, rng, public_key, info, aad, plaintext);
    }
    let (enc, shared) = encapsulate(rng, public_key)?;
    let ciphertext = Context::new(&config, &shared, info)?.seal(plaintext, aad)?;
    Ok(HpkeCiphertext {
        kem_output: enc.into(),
        ciphertext: ciphertext.into(),
    })
}

pub fn open(
    config: HpkeConfig,
    input: &HpkeCiphertext,
    private_key: &[u8],
    info: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    if config.0 != HpkeKemType::DhKem25519 {
        return rust_crypto::open(config, input, private_key, info, aad);
    }
    let shared = decapsulate(input.kem_output.as_slice(), private_key)?;
    Context::new(&config, &shared, info)?.open(input.ciphertext.as_slice(), aad)
}

pub fn sender_export(
    config: HpkeConfig,
    rng: ChaCha20Rng,
    public_key: &[u8],
    info: &[u8],
    exporter_context: &[u8],
    len: usize,
) -> Result<(KemOutput, ExporterSecret), CryptoError> {
    if config.0 != HpkeKemType::DhKem25519 {
        return rust_crypto::sender_export(config, rng, public_key, info, exporter_context, len);
    }
    let (enc, shared) = encapsulate(rng, public_key)?;
    let secret = Context::new(&config, &shared, info)?.export(exporter_context, len)?;
    Ok((enc, secret))
}

pub fn receiver_export(
    config: HpkeConfig,
    enc: &[u8],
    private_key: &[u8],
    info: &[u8],
    exporter_context: &[u8],
    len: usize,
) -> Result<ExporterSecret, CryptoError> {
    if config.0 != HpkeKemType::DhKem25519 {
        return rust_crypto::receiver_export(config, enc, private_key, info, exporter_context, len);
    }
    let shared = decapsulate(enc, private_key)?;
    Context::new(&config, &shared, info)?.export(exporter_context, len)
}

pub fn derive_key_pair(config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
    if config.0 != HpkeKemType::DhKem25519 {
        return rust_crypto::derive_key_pair(config, ikm);
    }
    let private = derive_private(ikm)?;
    Ok(HpkeKeyPair {
        public: public_of(&key(&private)?)?,
        private: private.as_slice().into(),
    })
}

/// §7.1.3. Clamped (RFC 7748 §5), as the `hpke` crate stores it: agreement does so anyway.
fn derive_private(ikm: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let prk = labeled_extract(KEM_HASH, KEM_SUITE, b"", b"dkp_prk", ikm);
    let derived = labeled_expand(KEM_HASH, KEM_SUITE, prk.as_slice(), b"sk", &[], 32)?;
    let mut private = Zeroizing::new(derived.as_slice().to_vec());
    if let [first, .., last] = private.as_mut_slice() {
        *first &= 0b1111_1000;
        *last = *last & 0b0111_1111 | 0b0100_0000;
    }
    Ok(private)
}

fn key(private: &[u8]) -> Result<PrivateKey, CryptoError> {
    PrivateKey::from_private_key(&X25519, private).map_err(|_| CryptoError::InvalidLength)
}

fn public_of(key: &PrivateKey) -> Result<Vec<u8>, CryptoError> {
    let public = key.compute_public_key();
    let public = public.map_err(|_| CryptoError::CryptoLibraryError)?;
    Ok(public.as_ref().to_vec())
}

/// §4.1; refuses a public key that leads to an all-zero secret (§7.1.4).
fn agree(own: &PrivateKey, public: &[u8], context: &[u8]) -> Result<SecretVLBytes, CryptoError> {
    agreement::agree(
        own,
        UnparsedPublicKey::new(&X25519, public),
        CryptoError::InvalidPublicKey,
        |dh| {
            let prk = labeled_extract(KEM_HASH, KEM_SUITE, b"", b"eae_prk", dh);
            labeled_expand(
                KEM_HASH,
                KEM_SUITE,
                prk.as_slice(),
                b"shared_secret",
                &[context],
                32,
            )
        },
    )
}

fn encapsulate(
    mut rng: ChaCha20Rng,
    public_key: &[u8],
) -> Result<(Vec<u8>, SecretVLBytes), CryptoError> {
    let mut ikm = Zeroizing::new([0; 32]);
    rng.fill_bytes(ikm.as_mut_slice());
    let ephemeral = key(&derive_private(ikm.as_slice())?)?;
    let enc = public_of(&ephemeral)?;
    let shared = agree(&ephemeral, public_key, &[&enc, public_key].concat())?;
    Ok((enc, shared))
}

fn decapsulate(enc: &[u8], private_key: &[u8]) -> Result<SecretVLBytes, CryptoError> {
    let own = key(private_key)?;
    let context = [enc, &public_of(&own)?].concat();
    agree(&own, enc, &context).map_err(|_| CryptoError::HpkeDecryptionError)
}

/// The key schedule (§5.1), of which each use takes what it needs.
struct Context {
    hash: HashType,
    aead: AeadType,
    suite: Vec<u8>,
    secret: SecretVLBytes,
    context: Vec<u8>,
}

impl Context {
    fn new(config: &HpkeConfig, shared: &SecretVLBytes, info: &[u8]) -> Result<Self, CryptoError> {
        let hash = match config.1 {
            HpkeKdfType::HkdfSha256 => HashType::Sha2_256,
            HpkeKdfType::HkdfSha384 => HashType::Sha2_384,
            HpkeKdfType::HkdfSha512 => HashType::Sha2_512,
        };
        let aead = match config.2 {
            HpkeAeadType::AesGcm128 => AeadType::Aes128Gcm,
            HpkeAeadType::AesGcm256 => AeadType::Aes256Gcm,
            HpkeAeadType::ChaCha20Poly1305 => AeadType::ChaCha20Poly1305,
            HpkeAeadType::Export => return Err(CryptoError::UnsupportedCiphersuite),
        };
        let ids = [config.0 as u16, config.1 as u16, config.2 as u16].map(u16::to_be_bytes);
        let suite = [b"HPKE".as_slice(), ids.as_flattened()].concat();
        let extract = |label, ikm| labeled_extract(hash, &suite, b"", label, ikm);
        let (psk_id, info) = (extract(b"psk_id_hash", b""), extract(b"info_hash", info));
        let context = [&[0], psk_id.as_slice(), info.as_slice()].concat();
        let secret = labeled_extract(hash, &suite, shared.as_slice(), b"secret", b"");
        Ok(Context {
            hash,
            aead,
            suite,
            secret,
            context,
        })
    }

    fn derive(&self, label: &[u8], len: usize) -> Result<SecretVLBytes, CryptoError> {
        let secret = self.secret.as_slice();
        labeled_expand(self.hash, &self.suite, secret, label, &[&self.context], len)
    }

    fn key_and_nonce(&self) -> Result<(SecretVLBytes, SecretVLBytes), CryptoError> {
        let key = self.derive(b"key", self.aead.key_size())?;
        Ok((key, self.derive(b"base_nonce", self.aead.nonce_size())?))
    }

    /// The first and only message.
    fn seal(&self, plaintext: &[u8], aad: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (key, nonce) = self.key_and_nonce()?;
        aead_encrypt(self.aead, key.as_slice(), plaintext, nonce.as_slice(), aad)
            .map_err(|_| CryptoError::HpkeEncryptionError)
    }

    fn open(&self, ciphertext: &[u8], aad: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (key, nonce) = self.key_and_nonce()?;
        aead_decrypt(self.aead, key.as_slice(), ciphertext, nonce.as_slice(), aad)
            .map_err(|_| CryptoError::HpkeDecryptionError)
    }

    fn export(&self, context: &[u8], len: usize) -> Result<ExporterSecret, CryptoError> {
        let exporter = self.derive(b"exp", self.hash.size())?;
        let (hash, exporter) = (self.hash, exporter.as_slice());
        labeled_expand(hash, &self.suite, exporter, b"sec", &[context], len)
            .map(|secret| secret.as_slice().to_vec().into())
            .map_err(|_| CryptoError::ExporterError)
    }
}

/// §4.
fn labeled_extract(
    hash: HashType,
    suite: &[u8],
    salt: &[u8],
    label: &[u8],
    ikm: &[u8],
) -> SecretVLBytes {
    let ikm = Zeroizing::new([b"HPKE-v1", suite, label, ikm].concat());
    hkdf_extract(hash, salt, &ikm)
}

fn labeled_expand(
    hash: HashType,
    suite: &[u8],
    prk: &[u8],
    label: &[u8],
    info: &[&[u8]],
    len: usize,
) -> Result<SecretVLBytes, CryptoError> {
    let length = u16::try_from(len).map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
    let info = [
        &length.to_be_bytes(),
        b"HPKE-v1".as_slice(),
        suite,
        label,
        &info.concat(),
    ]
    .concat();
    hkdf_expand(hash, prk, &info, len)
}
