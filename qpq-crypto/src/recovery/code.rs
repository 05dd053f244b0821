//! The codes: 125 random bits and a checksum, for paper.

use hkdf::Hkdf;
use rand_core::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::random;
use crate::secret::{Secret, Secret32, SecretText};

/// How many codes an account gets.
pub const CODE_COUNT: usize = 8;

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols that carry the code: 25 of 5 bits.
const SYMBOLS: usize = 25;
/// Symbols of the checksum: a mistyped code passes once in 32,768 times.
const CHECK_SYMBOLS: usize = 3;
/// Symbols a group.
const GROUP: usize = 4;

/// Why a typed code was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Ask again: a code has 28 letters and digits besides spaces and hyphens.
    #[error("a recovery code has 28 letters and digits")]
    WrongLength,
    /// Ask again: there is no such letter in a code.
    #[error("a recovery code holds only digits and letters other than U")]
    BadSymbol,
    /// Ask again: a letter or digit was mistyped.
    #[error("the recovery code was mistyped")]
    BadChecksum,
}

/// A one-time code of 125 bits. Wiped on drop, not printable by accident: see
/// [`to_text`](Self::to_text).
pub struct RecoveryCode(Secret<SYMBOLS>);

impl RecoveryCode {
    /// The codes of an account, each independent of the others.
    pub fn generate_set(seed: &[u8; 32]) -> [Self; CODE_COUNT] {
        let mut rng = random::from_seed(seed);
        core::array::from_fn(|_| {
            let mut symbols = Zeroizing::new([0u8; SYMBOLS]);
            rng.fill_bytes(symbols.as_mut());
            for symbol in symbols.iter_mut() {
                *symbol %= 32;
            }
            Self(Secret::new(*symbols))
        })
    }

    /// The code as 7 groups of 4 symbols with hyphens between, 34 characters, to be printed.
    pub fn to_text(&self) -> SecretText {
        let checksum = self.checksum();
        let symbols = self.0.expose().iter().chain(&checksum);
        // Reserved at once, so that no copy is left behind by growing.
        let mut text = String::with_capacity(34);
        for (position, symbol) in symbols.enumerate() {
            if position > 0 && position % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(*symbol % 32)]));
        }
        SecretText::new(text)
    }

    /// Reads a typed code. Case, spaces and hyphens do not matter; O is read as 0, I and L as 1.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn from_text(text: &str) -> Result<Self, CodeError> {
        let mut symbols = Zeroizing::new([0u8; SYMBOLS + CHECK_SYMBOLS]);
        let mut count = 0;
        for letter in text.chars() {
            if letter.is_whitespace() || matches!(letter, '-' | '\u{2010}'..='\u{2015}') {
                continue;
            }
            let letter = match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let value = (0u8..)
                .zip(ALPHABET)
                .find_map(|(value, symbol)| (char::from(*symbol) == letter).then_some(value))
                .ok_or(CodeError::BadSymbol)?;
            *symbols.get_mut(count).ok_or(CodeError::WrongLength)? = value;
            count += 1;
        }
        if count != symbols.len() {
            return Err(CodeError::WrongLength);
        }
        let (code, checksum) = symbols
            .split_first_chunk::<SYMBOLS>()
            .ok_or(CodeError::WrongLength)?;
        let code = Self(Secret::new(*code));
        if code.checksum() != checksum {
            return Err(CodeError::BadChecksum);
        }
        Ok(code)
    }

    /// The first 15 bits of a SHA-256, as symbols.
    fn checksum(&self) -> [u8; CHECK_SYMBOLS] {
        let hash = Sha256::new()
            .chain_update(b"qpq recovery checksum v1")
            .chain_update(self.0.expose())
            .finalize();
        let bits = u16::from_be_bytes([hash[0], hash[1]]);
        [(bits >> 11) & 31, (bits >> 6) & 31, (bits >> 1) & 31].map(|symbol| symbol as u8)
    }

    fn derive(&self, info: &[u8]) -> Secret32 {
        let mut key = Zeroizing::new([0u8; 32]);
        Hkdf::<Sha256>::new(None, self.0.expose())
            .expand(info, key.as_mut())
            .expect("32 bytes are within HKDF's bound");
        Secret::new(*key)
    }

    /// What is shown to the server to fetch or delete the bundle.
    pub fn token(&self) -> Secret32 {
        self.derive(b"qpq recovery token v1")
    }

    /// The SHA-256 of the token: what the bundle is stored under.
    pub fn token_hash(&self) -> [u8; 32] {
        Sha256::digest(self.token().expose()).into()
    }

    /// What the bundle is sealed under.
    pub(super) fn key(&self) -> Secret32 {
        self.derive(b"qpq recovery key v1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_survive_paper() {
        let codes = RecoveryCode::generate_set(&[1; 32]);
        for code in &codes {
            let text = code.to_text();
            let text = text.expose();
            assert_eq!(text.len(), 34);
            let read = RecoveryCode::from_text(text).unwrap();
            assert!(read.0.ct_eq(&code.0));
            assert!(read.token().ct_eq(&code.token()));
            let sloppy = text.to_lowercase().replace('-', " ").replace('0', "o");
            let read = RecoveryCode::from_text(&sloppy.replace('1', "l")).unwrap();
            assert!(read.0.ct_eq(&code.0));
        }
        let mut hashes: Vec<_> = codes.iter().map(RecoveryCode::token_hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), CODE_COUNT);
    }

    #[test]
    fn every_wrong_symbol_is_found() {
        let [code, ..] = RecoveryCode::generate_set(&[2; 32]);
        let text = code.to_text();
        let text = text.expose();
        let mut passed = 0;
        for (position, right) in text.char_indices().filter(|(_, letter)| *letter != '-') {
            for wrong in ALPHABET.iter().map(|symbol| char::from(*symbol)) {
                let mut typed = text.to_string();
                typed.replace_range(position..=position, &wrong.to_string());
                match RecoveryCode::from_text(&typed).err() {
                    None => passed += usize::from(wrong != right),
                    Some(error) => assert_eq!(error, CodeError::BadChecksum),
                }
            }
        }
        // Of 868 wrong codes one in 32,768 may pass; with this seed none does.
        assert_eq!(passed, 0);
    }

    #[test]
    fn other_text_is_refused() {
        let error = |text: &str| RecoveryCode::from_text(text).err();
        assert_eq!(error(""), Some(CodeError::WrongLength));
        assert_eq!(error(&"0".repeat(27)), Some(CodeError::WrongLength));
        assert_eq!(error(&"0".repeat(29)), Some(CodeError::WrongLength));
        assert_eq!(error("U"), Some(CodeError::BadSymbol));
        assert_eq!(error("é"), Some(CodeError::BadSymbol));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*", close in "[0-9A-Za-z -]{20,40}") {
            let _ = RecoveryCode::from_text(&text);
            let _ = RecoveryCode::from_text(&close);
        }
    }
}
