//! The suites: which algorithms a record was made with, and what guessing a password costs.

use argon2::{Algorithm, Argon2, Params, Version};
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};

/// The cost of one Argon2id run (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Argon2idCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// Below this much memory, in KiB, a suite is weak: 19 MiB, the lowest that OWASP recommends.
const WEAK_BELOW_KIB: u32 = 19 * 1024;

/// Every suite this version knows, the newest strong one first.
pub const SUITES: [Suite; 2] = [
    Suite {
        id: "ristretto255-SHA512-3DH-Argon2id-65536-3-4",
        argon2id: Argon2idCost {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 4,
        },
    },
    Suite {
        id: "ristretto255-SHA512-3DH-Argon2id-32-1-1",
        argon2id: Argon2idCost {
            memory_kib: 32,
            passes: 1,
            lanes: 1,
        },
    },
];

/// Which suite a record was made with. It is stored with the record and sent with every login
/// response; the client refuses one it does not know, and weak ones.
///
/// The id names OPRF group and hash, key exchange, and the Argon2id cost (KiB, passes, lanes), in
/// ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Suite {
    id: &'static str,
    argon2id: Argon2idCost,
}

/// Why a suite sent by a server was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// Update this client: the server names a suite that this version does not know.
    #[error("unknown OPAQUE suite; a newer version may know it")]
    Unknown,
    /// Do not send the password: the server asks for less work than 19 MiB.
    #[error("OPAQUE suite is too weak for anything but tests")]
    Weak,
}

impl Suite {
    /// What new records are made with: Argon2id with 64 MiB, 3 passes, 4 lanes (the second choice of
    /// RFC 9106 §4).
    pub const DEFAULT: Self = SUITES[0];

    /// For tests and simulations, which run thousands of logins: Argon2id with 32 KiB, 1 pass, 1 lane.
    pub const TEST: Self = SUITES[1];

    /// The suite of this id.
    ///
    /// # Errors
    /// [`SuiteError::Unknown`]; [`SuiteError::Weak`] below 19 MiB.
    pub fn parse(id: &[u8]) -> Result<Self, SuiteError> {
        let suite = Self::parse_allowing_weak(id)?;
        if suite.is_weak() {
            return Err(SuiteError::Weak);
        }
        Ok(suite)
    }

    /// The suite of this id, weak ones too: for tests and simulations only.
    ///
    /// # Errors
    /// [`SuiteError::Unknown`].
    pub fn parse_allowing_weak(id: &[u8]) -> Result<Self, SuiteError> {
        SUITES
            .into_iter()
            .find(|suite| suite.as_bytes() == id)
            .ok_or(SuiteError::Unknown)
    }

    /// The id, at most 64 bytes of ASCII.
    pub fn as_bytes(&self) -> &'static [u8] {
        self.id.as_bytes()
    }

    /// Whether one guess takes less than 19 MiB.
    pub fn is_weak(&self) -> bool {
        self.argon2id.memory_kib < WEAK_BELOW_KIB
    }

    /// What one guess costs.
    pub fn argon2id(&self) -> Argon2idCost {
        self.argon2id
    }
}

/// The key-stretching function of RFC 9807 §4.1.1.
pub(super) enum Stretch {
    /// Argon2id version 1.3 with the 16 zero bytes of salt that RFC 9807 prescribes: the OPRF output
    /// that is stretched is already unique to server and name.
    Argon2id(Argon2idCost),
    /// None, as in the RFC's vectors.
    #[cfg(test)]
    Identity,
}

impl Default for Stretch {
    fn default() -> Self {
        Suite::DEFAULT.into()
    }
}

impl From<Suite> for Stretch {
    fn from(suite: Suite) -> Self {
        Self::Argon2id(suite.argon2id)
    }
}

impl opaque_ke::ksf::Ksf for Stretch {
    fn hash<L: ArrayLength<u8>>(
        &self,
        input: GenericArray<u8, L>,
    ) -> Result<GenericArray<u8, L>, InternalError> {
        match self {
            Self::Argon2id(cost) => {
                let mut output = GenericArray::<u8, L>::default();
                argon2id(*cost, &[0; 16], &input, &mut output)
                    .map_err(|_| InternalError::KsfError)?;
                Ok(output)
            }
            #[cfg(test)]
            Self::Identity => Ok(input),
        }
    }
}

/// Runs Argon2id version 1.3 (RFC 9106) without secret or associated data.
///
/// # Errors
/// Where `cost`, salt or output length is outside what RFC 9106 allows.
pub(crate) fn argon2id(
    cost: Argon2idCost,
    salt: &[u8],
    input: &[u8],
    output: &mut [u8],
) -> Result<(), argon2::Error> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(output.len()))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(input, salt, output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_say_what_they_cost() {
        for (index, suite) in SUITES.into_iter().enumerate() {
            let cost = suite.argon2id();
            let end = format!("-{}-{}-{}", cost.memory_kib, cost.passes, cost.lanes);
            assert!(suite.id.ends_with(&end));
            assert!(suite.id.is_ascii() && suite.id.len() <= 64);
            assert_eq!(Suite::parse_allowing_weak(suite.as_bytes()), Ok(suite));
            assert!(SUITES[..index].iter().all(|other| other.id != suite.id));
        }
    }

    #[test]
    fn only_who_asks_gets_a_weak_suite() {
        assert_eq!(Suite::parse(Suite::DEFAULT.as_bytes()), Ok(Suite::DEFAULT));
        assert!(!Suite::DEFAULT.is_weak());
        assert_eq!(Suite::parse(Suite::TEST.as_bytes()), Err(SuiteError::Weak));
        assert!(Suite::TEST.is_weak());
        assert_eq!(Suite::parse(b""), Err(SuiteError::Unknown));
        assert_eq!(Suite::parse_allowing_weak(b"x"), Err(SuiteError::Unknown));
    }
}
