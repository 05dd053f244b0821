//! A second implementation of the X-Wing suites: X-Wing and HPKE written out from the drafts over
//! libcrux's ML-KEM and SHA-3, everything else from stock `openmls_rust_crypto` (whose own X-Wing
//! has another `DeriveKeyPair`). It draws from the OS.

use openmls_rust_crypto::{MemoryStorage, RustCrypto};
use openmls_traits::{
    OpenMlsProvider,
    crypto::OpenMlsCrypto,
    random::OpenMlsRand as _,
    types::{
        AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext,
        HpkeConfig, HpkeKdfType, HpkeKemType, HpkeKeyPair, KemOutput, SignatureScheme,
    },
};
use x25519_dalek::{PublicKey, StaticSecret};

type Secret = openmls::prelude::tls_codec::SecretVLBytes;
type Result<T> = std::result::Result<T, CryptoError>;

/// The provider with the X-Wing of this file.
#[derive(Default)]
pub struct Other {
    crypto: OtherCrypto,
    storage: MemoryStorage,
}

impl OpenMlsProvider for Other {
    type CryptoProvider = OtherCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = MemoryStorage;

    fn storage(&self) -> &MemoryStorage {
        &self.storage
    }

    fn crypto(&self) -> &OtherCrypto {
        &self.crypto
    }

    fn rand(&self) -> &RustCrypto {
        &self.crypto.0
    }
}

#[derive(Default)]
pub struct OtherCrypto(RustCrypto);

const KEM_ID: [u8; 2] = [0x64, 0x7a];

/// The three keys that stand behind a 32-byte X-Wing key (draft-connolly-cfrg-xwing-kem §5.2).
struct Expanded {
    ml_kem: libcrux_ml_kem::mlkem768::MlKem768KeyPair,
    x25519: StaticSecret,
}

impl Expanded {
    fn of(private: &[u8]) -> Self {
        let bytes: [u8; 96] = libcrux_sha3::shake256(private);
        Expanded {
            ml_kem: libcrux_ml_kem::mlkem768::generate_key_pair(bytes[..64].try_into().unwrap()),
            x25519: <[u8; 32]>::try_from(&bytes[64..]).unwrap().into(),
        }
    }

    fn public(&self) -> Vec<u8> {
        let x25519 = PublicKey::from(&self.x25519);
        [self.ml_kem.pk(), x25519.as_bytes().as_slice()].concat()
    }
}

fn combine(ml_kem: &[u8], x25519: &[u8], enc: &[u8], public: &[u8]) -> [u8; 32] {
    libcrux_sha3::sha256(&[ml_kem, x25519, enc, public, br"\.//^\"].concat())
}

fn encapsulate(public: &[u8], randomness: [u8; 64]) -> (Vec<u8>, [u8; 32]) {
    let (ml_kem, x25519) = public.split_at(1184);
    let ml_kem = <[u8; 1184]>::try_from(ml_kem).unwrap().into();
    let (ct, shared) =
        libcrux_ml_kem::mlkem768::encapsulate(&ml_kem, randomness[..32].try_into().unwrap());
    let ephemeral = StaticSecret::from(<[u8; 32]>::try_from(&randomness[32..]).unwrap());
    let enc = PublicKey::from(&ephemeral);
    let x25519: [u8; 32] = x25519.try_into().unwrap();
    let agreed = ephemeral.diffie_hellman(&x25519.into());
    let secret = combine(&shared, agreed.as_bytes(), enc.as_bytes(), &x25519);
    ([ct.as_slice().as_slice(), enc.as_bytes()].concat(), secret)
}

fn decapsulate(private: &[u8], enc: &[u8]) -> Option<[u8; 32]> {
    let own = Expanded::of(private);
    let (ct, ephemeral) = enc.split_at_checked(1088)?;
    let ct = <[u8; 1088]>::try_from(ct).ok()?.into();
    let shared = libcrux_ml_kem::mlkem768::decapsulate(own.ml_kem.private_key(), &ct);
    let ephemeral: [u8; 32] = ephemeral.try_into().ok()?;
    let agreed = own.x25519.diffie_hellman(&ephemeral.into());
    let public = PublicKey::from(&own.x25519);
    Some(combine(
        &shared,
        agreed.as_bytes(),
        &ephemeral,
        public.as_bytes(),
    ))
}

/// The HPKE key schedule in base mode (RFC 9180 §5.1).
struct Schedule<'a> {
    crypto: &'a RustCrypto,
    hash: HashType,
    aead: AeadType,
    suite_id: Vec<u8>,
    secret: Secret,
    context: Vec<u8>,
}

impl<'a> Schedule<'a> {
    fn new(
        crypto: &'a RustCrypto,
        config: &HpkeConfig,
        shared: &[u8],
        info: &[u8],
    ) -> Result<Self> {
        let (kdf_id, hash) = match config.1 {
            HpkeKdfType::HkdfSha256 => (1, HashType::Sha2_256),
            HpkeKdfType::HkdfSha384 => (2, HashType::Sha2_384),
            HpkeKdfType::HkdfSha512 => return Err(CryptoError::UnsupportedKdf),
        };
        let (aead_id, aead) = match config.2 {
            HpkeAeadType::AesGcm128 => (1, AeadType::Aes128Gcm),
            HpkeAeadType::AesGcm256 => (2, AeadType::Aes256Gcm),
            _ => return Err(CryptoError::UnsupportedAeadAlgorithm),
        };
        let mut schedule = Schedule {
            crypto,
            hash,
            aead,
            suite_id: [b"HPKE".as_slice(), &KEM_ID, &[0, kdf_id, 0, aead_id]].concat(),
            secret: Vec::new().into(),
            context: vec![0],
        };
        for (label, input) in [("psk_id_hash", b"".as_slice()), ("info_hash", info)] {
            let hash = schedule.extract(b"", label, input)?;
            schedule.context.extend_from_slice(hash.as_slice());
        }
        schedule.secret = schedule.extract(shared, "secret", b"")?;
        Ok(schedule)
    }

    fn extract(&self, salt: &[u8], label: &str, input: &[u8]) -> Result<Secret> {
        let input = [
            b"HPKE-v1",
            self.suite_id.as_slice(),
            label.as_bytes(),
            input,
        ]
        .concat();
        self.crypto.hkdf_extract(self.hash, salt, &input)
    }

    fn expand(&self, prk: &[u8], label: &str, info: &[u8], len: usize) -> Result<Secret> {
        let len_bytes = (len as u16).to_be_bytes();
        let info = [
            &len_bytes,
            b"HPKE-v1".as_slice(),
            &self.suite_id,
            label.as_bytes(),
            info,
        ];
        self.crypto.hkdf_expand(self.hash, prk, &info.concat(), len)
    }

    fn part(&self, label: &str, len: usize) -> Result<Secret> {
        self.expand(self.secret.as_slice(), label, &self.context, len)
    }

    fn key_and_nonce(&self) -> Result<(Secret, Secret)> {
        Ok((
            self.part("key", self.aead.key_size())?,
            self.part("base_nonce", 12)?,
        ))
    }

    fn export(&self, context: &[u8], len: usize) -> Result<ExporterSecret> {
        let exporter = self.part("exp", self.hash.size())?;
        let secret = self.expand(exporter.as_slice(), "sec", context, len)?;
        Ok(secret.as_slice().to_vec().into())
    }
}

impl OtherCrypto {
    fn sender(
        &self,
        config: &HpkeConfig,
        pk: &[u8],
        info: &[u8],
    ) -> Result<(Vec<u8>, Schedule<'_>)> {
        let randomness = self.0.random_array().unwrap();
        let (enc, shared) = encapsulate(pk, randomness);
        Ok((enc, Schedule::new(&self.0, config, &shared, info)?))
    }

    fn receiver(
        &self,
        config: &HpkeConfig,
        enc: &[u8],
        sk: &[u8],
        info: &[u8],
    ) -> Result<Schedule<'_>> {
        let shared = decapsulate(sk, enc).ok_or(CryptoError::HpkeDecryptionError)?;
        Schedule::new(&self.0, config, &shared, info)
    }
}

impl OpenMlsCrypto for OtherCrypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<()> {
        self.0.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.0.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<Secret> {
        self.0.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<Secret> {
        self.0.hmac(hash, key, message)
    }

    fn hkdf_expand(&self, hash: HashType, prk: &[u8], info: &[u8], len: usize) -> Result<Secret> {
        self.0.hkdf_expand(hash, prk, info, len)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>> {
        self.0.hash(hash, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>> {
        self.0.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>> {
        self.0.aead_decrypt(alg, key, ct, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>)> {
        self.0.signature_key_gen(alg)
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        self.0.verify_signature(alg, data, pk, signature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(alg, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext> {
        let (enc, schedule) = self.sender(&config, pk, info)?;
        let (key, nonce) = schedule.key_and_nonce()?;
        let ciphertext =
            self.0
                .aead_encrypt(schedule.aead, key.as_slice(), ptxt, nonce.as_slice(), aad)?;
        Ok(HpkeCiphertext {
            kem_output: enc.into(),
            ciphertext: ciphertext.into(),
        })
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>> {
        let schedule = self.receiver(&config, input.kem_output.as_slice(), sk, info)?;
        let (key, nonce) = schedule.key_and_nonce()?;
        self.0.aead_decrypt(
            schedule.aead,
            key.as_slice(),
            input.ciphertext.as_slice(),
            nonce.as_slice(),
            aad,
        )
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<(KemOutput, ExporterSecret)> {
        let (enc, schedule) = self.sender(&config, pk, info)?;
        Ok((enc, schedule.export(context, len)?))
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<ExporterSecret> {
        self.receiver(&config, enc, sk, info)?.export(context, len)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair> {
        assert_eq!(config.0, HpkeKemType::XWingKemDraft6);
        // LabeledDerive(ikm, "DeriveKeyPair", "", 32) of draft-ietf-hpke-hpke with SHAKE256.
        let input = [
            ikm,
            b"HPKE-v1KEM",
            &KEM_ID,
            &[0, 13],
            b"DeriveKeyPair",
            &[0, 32],
        ];
        let private: [u8; 32] = libcrux_sha3::shake256(&input.concat());
        Ok(HpkeKeyPair {
            private: private.to_vec().into(),
            public: Expanded::of(&private).public(),
        })
    }
}
