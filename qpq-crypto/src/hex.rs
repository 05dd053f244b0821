//! Lower-case hexadecimal for fingerprints and `Debug` output of public keys.

use core::fmt;

/// Writes `bytes` as lower-case hexadecimal, two digits a byte.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
