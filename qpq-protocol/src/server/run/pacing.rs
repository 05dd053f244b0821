//! Answers that must not tell by their time what was found (protocol.md §5.17).

use core::time::Duration;

use crate::method::Method;
use crate::server::table;
use crate::time::Time;

/// When an answer that is ready `now` leaves: for these methods the next multiple of `pace` after
/// the request came, at once for all others.
pub(in crate::server) fn leaves(method: Method, received: Time, now: Time, pace: Duration) -> Time {
    if !table::line(method).is_paced() || pace.is_zero() {
        return now;
    }
    let taken = now.since(received).max(Duration::from_micros(1));
    received + (Time::ZERO + taken).round_up(pace).since(Time::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_multiples_of_the_pace_are_seen() {
        let pace = Duration::from_millis(5);
        let received = Time::from_micros(1_234);
        let at = |method, micros| {
            leaves(
                method,
                received,
                received + Duration::from_micros(micros),
                pace,
            )
            .since(received)
        };
        assert_eq!(at(Method::ResolveUser, 0), pace);
        assert_eq!(at(Method::ResolveUser, 1), pace);
        assert_eq!(at(Method::ResolveUser, 5_000), pace);
        assert_eq!(at(Method::ResolveUser, 5_001), pace * 2);
        assert_eq!(at(Method::Health, 7), Duration::from_micros(7));
    }
}
