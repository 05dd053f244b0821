//! The Ed25519 key (RFC 8032) that signs whatever this crate signs, in groups and outside.
//!
//! [`dalek`] is the default; with the feature `aws-lc-rs` it is [`aws_lc`], which takes half the time. An
//! Ed25519 signature leaves nothing to choose, so both make the same bytes. Both keep the public key, which
//! costs as much to work out as a signature.
//!
//! What was signed is always *verified* by ed25519-dalek, in [`verify`](crate::identity::verify): strict
//! verification refuses keys and points of small order, aws-lc does not, and nobody may differ about a signature.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(any(test, not(feature = "aws-lc-rs")))]
mod dalek;

#[cfg(feature = "aws-lc-rs")]
pub use aws_lc::SigningKey;
#[cfg(not(feature = "aws-lc-rs"))]
pub use dalek::SigningKey;

#[cfg(test)]
mod tests {
    use super::SigningKey;
    use crate::vectors::decode_hex;

    /// RFC 8032 §7.1, tests 1 to 3: seed, public key, message, signature.
    const RFC8032: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn rfc8032() {
        for [seed, public, message, signature] in RFC8032.map(|case| case.map(decode_hex)) {
            let seed = seed.try_into().unwrap();
            for key in [
                SigningKey::from_seed(&seed),
                SigningKey::from_seed(&seed).clone(),
            ] {
                assert_eq!(key.seed(), &seed);
                assert_eq!(key.public().as_slice(), public);
                assert_eq!(key.sign(&message).as_slice(), signature);
            }
        }
    }
}
