//! The system's date, for cores that know none.

use std::time::{SystemTime, UNIX_EPOCH};

use qpq_protocol::time::UnixTime;

/// The date now; 1970 if the system's clock is before that.
#[must_use]
pub fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    UnixTime::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
