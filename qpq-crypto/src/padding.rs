//! Padding, so that the length of a ciphertext tells little about its content.
//!
//! Content, one byte 0x80, then zeros (ISO/IEC 7816-4), up to the next multiple of 256 bytes while
//! that is at most 4 KiB, and above to the next Padmé length (Nikitin et al., "Reducing Metadata
//! Leakage from Encrypted Files and Communication with PURBs", 2019), which costs at most 12 % and
//! leaves of the length L only the bits above its floor(log2 L) − floor(log2 log2 L) − 1 lowest.
//! Padding goes inside the encryption, so it needs no protection of its own.

/// Up to this many bytes lengths are multiples of [`STEP`].
const STEPS_UP_TO: usize = 4096;
/// The multiple, in bytes.
const STEP: usize = 256;
/// The byte after the content.
const MARK: u8 = 0x80;

/// The bytes are no padded content: refuse the message they came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("padding is malformed")]
pub struct BadPadding;

/// How many bytes [`pad`] makes of content of `length` bytes: always more than `length`, and at most
/// 12 % more where that is above 4 KiB. Lengths near `usize::MAX` saturate.
pub fn padded_length(length: usize) -> usize {
    let marked = length.saturating_add(1);
    let mask = if marked <= STEPS_UP_TO {
        STEP - 1
    } else {
        let exponent = marked.ilog2();
        let free_bits = exponent - (exponent.ilog2() + 1);
        (1usize << free_bits) - 1
    };
    marked.saturating_add(mask) & !mask
}

/// Pads `content`.
pub fn pad(content: &[u8]) -> Vec<u8> {
    let length = padded_length(content.len());
    let mut padded = Vec::with_capacity(length);
    padded.extend_from_slice(content);
    padded.push(MARK);
    padded.resize(length, 0);
    padded
}

/// The content of what [`pad`] made. There is exactly one padding for each content.
///
/// # Errors
/// [`BadPadding`] for anything that [`pad`] does not make.
pub fn unpad(padded: &[u8]) -> Result<&[u8], BadPadding> {
    let end = padded
        .iter()
        .rposition(|byte| *byte != 0)
        .ok_or(BadPadding)?;
    let (content, rest) = padded.split_at(end);
    if rest.first() != Some(&MARK) || padded_length(content.len()) != padded.len() {
        return Err(BadPadding);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_are_as_documented() {
        let table = [
            (0, 256),
            (255, 256),
            (256, 512),
            (4094, 4096),
            (4095, 4096),
            (4096, 4352),
            (5000, 5120),
            (65_535, 65_536),
            (65_536, 67_584),
            (1_000_000, 1_015_808),
        ];
        for (length, padded) in table {
            assert_eq!(padded_length(length), padded, "{length}");
        }
    }

    #[test]
    fn overhead_is_bounded_and_lengths_never_fall() {
        let mut last = 0;
        for length in 0..200_000usize {
            let padded = padded_length(length);
            assert!(padded > length && padded >= last);
            assert!(padded <= 4096 || padded * 100 <= (length + 1) * 112);
            last = padded;
        }
        assert!(padded_length(usize::MAX) >= usize::MAX - (usize::MAX >> 4));
    }

    #[test]
    fn malformed_padding_is_refused() {
        assert_eq!(unpad(&[]), Err(BadPadding));
        assert_eq!(unpad(&[0; 256]), Err(BadPadding));
        assert_eq!(unpad(&[0x80]), Err(BadPadding));
        let mut padded = pad(b"hi");
        padded[2] = 0x81;
        assert_eq!(unpad(&padded), Err(BadPadding));
        let twice = [pad(b"hi"), vec![0; 256]].concat();
        assert_eq!(unpad(&twice), Err(BadPadding));
    }

    proptest! {
        #[test]
        fn content_returns(content in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let padded = pad(&content);
            prop_assert_eq!(padded.len(), padded_length(content.len()));
            prop_assert_eq!(unpad(&padded), Ok(content.as_slice()));
        }

        #[test]
        fn content_that_looks_like_padding_returns(zeros in 0usize..600, marks in 0usize..3) {
            let content = [vec![0x80; marks], vec![0; zeros]].concat();
            let padded = pad(&content);
            prop_assert_eq!(unpad(&padded), Ok(content.as_slice()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(content) = unpad(&bytes) {
                prop_assert_eq!(pad(content), bytes);
            }
        }
    }
}
