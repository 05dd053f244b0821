//! How a request ended ([`Status`]) and why a stream or connection did ([`AppCode`]),
//! protocol.md section 2.

/// Declares an enum whose variants are numbers on the wire, with its number, its name and the list
/// of all.
macro_rules! wire_codes {
    (
        $(#[$doc:meta])*
        $enum:ident: $repr:ty {
            $($(#[$variant_doc:meta])* $code:literal $variant:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $enum {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $enum {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> $repr {
                match self { $(Self::$variant => $code,)* }
            }

            /// The name as protocol.md writes it, for logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// The value with this number, `None` if this version knows none.
            #[must_use]
            pub const fn from_code(code: $repr) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

wire_codes! {
    /// First byte of every response.
    Status: u8 {
        /// The payload is the method's response; with every other status it is an `ErrorDetail`.
        0 Ok,
        /// The request is malformed, or breaks a rule that needs no state to check.
        1 BadRequest,
        /// The method needs a session, or a younger login.
        2 Unauthorized,
        /// The caller may not do this.
        3 Forbidden,
        /// What the request names does not exist.
        4 NotFound,
        /// Ask again after `retry_after_ms`.
        5 RateLimited,
        /// A name or slot is taken, or the version is stale.
        6 Conflict,
        /// A quota is used up.
        7 QuotaExceeded,
        /// The server did not finish in time; whether it did anything is unknown.
        8 DeadlineExceeded,
        /// The server cannot serve this now.
        9 Unavailable,
        /// The server failed.
        10 Internal,
        /// The server knows no method with this id.
        11 UnknownMethod,
    }
}

impl Status {
    /// The status a client acts on: one that it does not know is [`Status::Internal`].
    #[must_use]
    pub const fn from_wire(code: u8) -> Self {
        match Self::from_code(code) {
            Some(status) => status,
            None => Self::Internal,
        }
    }
}

wire_codes! {
    /// Application error code of a stream reset or a connection close.
    AppCode: u64 {
        /// Nothing went wrong.
        0 None,
        /// The bytes on the stream are not the frames that belong there.
        1 Frame,
        /// A payload is longer than 4 MiB or than its method allows.
        2 TooLarge,
        /// The peer was too slow.
        3 Timeout,
        /// The server shuts down.
        4 Shutdown,
        /// The server has too much to do.
        5 Overloaded,
        /// The account or address is banned.
        6 Banned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back() {
        for (expected, status) in (0..).zip(Status::ALL) {
            assert_eq!(status.code(), expected);
            assert_eq!(Status::from_code(expected), Some(*status));
        }
        for (expected, code) in (0..).zip(AppCode::ALL) {
            assert_eq!(code.code(), expected);
            assert_eq!(AppCode::from_code(expected), Some(*code));
        }
        assert_eq!(Status::ALL.len(), 12);
        assert_eq!(AppCode::ALL.len(), 7);
    }

    #[test]
    fn an_unknown_status_is_internal() {
        for code in 12..=u8::MAX {
            assert_eq!(Status::from_code(code), None);
            assert_eq!(Status::from_wire(code), Status::Internal);
        }
    }
}
