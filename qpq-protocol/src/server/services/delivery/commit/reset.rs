//! Whether a member may begin a new MLS group in a channel now (protocol.md §5.8 and 5.10).

use crate::limits::Limits;
use crate::server::fault::Fault;
use crate::server::services::group::until;
use crate::storage::records::{Channel, Member};
use crate::time::UnixTime;

/// What allows a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reset {
    /// The member's last one was long enough ago.
    Hourly,
    /// It is free: of a DM that somebody has left since the last one.
    Free,
}

impl Reset {
    /// What allows this member a reset now, or after which time it may have one.
    pub(super) fn of(
        state: &Channel,
        member: &Member,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<Self, Fault> {
        let hourly = match member.reset_at_ms {
            0 => Ok(()),
            at_ms => until("reset", UnixTime::from_millis(at_ms), now, limits.reset),
        };
        match hourly {
            Ok(()) => Ok(Self::Hourly),
            Err(_) if state.dm && state.left_since_reset && free(state, now, limits) > 0 => {
                Ok(Self::Free)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Notes it in the rows of channel and member.
    pub(super) fn note(
        self,
        state: &mut Channel,
        member: &mut Member,
        now: UnixTime,
        limits: &Limits,
    ) {
        member.reset_at_ms = now.as_millis();
        state.left_since_reset = false;
        if self == Self::Free {
            if !is_of_today(state, now, limits) {
                (state.free_since_ms, state.free_resets) = (now.as_millis(), 0);
            }
            state.free_resets = state.free_resets.saturating_add(1);
        }
    }
}

/// How many free resets are left in the day that runs.
fn free(state: &Channel, now: UnixTime, limits: &Limits) -> u32 {
    let used = match is_of_today(state, now, limits) {
        true => state.free_resets,
        false => 0,
    };
    limits.free_resets.count.saturating_sub(used)
}

/// Whether the count of free resets is of the day that runs. One that is more than a day ahead was begun by a
/// clock that was wrong.
fn is_of_today(state: &Channel, now: UnixTime, limits: &Limits) -> bool {
    let (since, window) = (
        UnixTime::from_millis(state.free_since_ms),
        limits.free_resets.window,
    );
    since <= now + window && now < since + window
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn at(hours: u64) -> UnixTime {
        UnixTime::from_millis(1_767_225_600_000) + Duration::from_secs(3600 * hours)
    }

    #[test]
    fn a_dm_that_was_left_may_be_reset_five_times_a_day_more() {
        let limits = Limits::default();
        let (mut state, mut member) = (Channel::default(), Member::default());
        state.dm = true;
        let first = Reset::of(&state, &member, at(0), &limits);
        assert_eq!(first, Ok(Reset::Hourly));
        Reset::Hourly.note(&mut state, &mut member, at(0), &limits);
        assert!(Reset::of(&state, &member, at(0), &limits).is_err());
        for _ in 0..5 {
            state.left_since_reset = true;
            let free = Reset::of(&state, &member, at(0), &limits);
            assert_eq!(free, Ok(Reset::Free));
            Reset::Free.note(&mut state, &mut member, at(0), &limits);
            assert!(!state.left_since_reset, "one for each time somebody leaves");
        }
        state.left_since_reset = true;
        assert!(Reset::of(&state, &member, at(0), &limits).is_err());
        assert_eq!(
            Reset::of(&state, &member, at(1), &limits),
            Ok(Reset::Hourly)
        );
        member.reset_at_ms = at(24).as_millis();
        assert_eq!(Reset::of(&state, &member, at(24), &limits), Ok(Reset::Free));
    }

    #[test]
    fn a_group_has_no_free_resets() {
        let (mut state, mut member) = (Channel::default(), Member::default());
        (state.left_since_reset, member.reset_at_ms) = (true, at(0).as_millis());
        assert!(Reset::of(&state, &member, at(0), &Limits::default()).is_err());
    }

    #[test]
    fn a_date_that_a_wrong_clock_wrote_bars_nobody() {
        let (state, mut member) = (Channel::default(), Member::default());
        member.reset_at_ms = at(24 * 365).as_millis();
        let now = Reset::of(&state, &member, at(0), &Limits::default());
        assert_eq!(now, Ok(Reset::Hourly));
        member.reset_at_ms = at(0).as_millis() + 5;
        let behind = Reset::of(&state, &member, at(0), &Limits::default());
        assert!(behind.is_err(), "another core's clock is a little ahead");
    }
}
