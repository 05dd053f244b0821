//! What the machinery knows of a method: a line of the [`table`](super::table).

use core::time::Duration;

use crate::limits::Limits;

/// How long an answer may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// At most [`crate::limits::ENTRY`] bytes.
    Short,
    /// Up to a whole frame: it waits for its turn, and is for no one without a session.
    Long,
}

/// What is special about a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Special {
    /// The time of its answer could tell whether a name, an account or a token exists, so it leaves at a multiple of
    /// `pace` (protocol.md §5.17).
    Paced,
    /// It is a step of a registration or login, and has `login_time` to run.
    Login,
    /// It is answered while the server shuts down.
    Draining,
    /// A session of an unregistered device may call it (protocol.md §5.18, and 702 soon after a login, §5.27).
    Unregistered,
}

/// What the machinery knows of a method.
pub(super) struct Line {
    pub(super) answer: Answer,
    pub(super) special: &'static [Special],
}

impl Line {
    /// Whether the answer may be longer than [`crate::limits::ENTRY`].
    pub(super) const fn has_long_answer(&self) -> bool {
        matches!(self.answer, Answer::Long)
    }

    /// Whether the answer leaves at a multiple of `pace`.
    pub(super) fn is_paced(&self) -> bool {
        self.special.contains(&Special::Paced)
    }

    /// Whether it is a step of a registration or login.
    pub(super) fn is_login(&self) -> bool {
        self.special.contains(&Special::Login)
    }

    /// Whether it is answered while the server shuts down.
    pub(super) fn is_answered_while_draining(&self) -> bool {
        self.special.contains(&Special::Draining)
    }

    /// Whether a session of an unregistered device may call it.
    pub(super) fn is_open_to_unregistered(&self) -> bool {
        self.special.contains(&Special::Unregistered)
    }

    /// How long a step of a request may take.
    pub(super) fn time_to_run(&self, limits: &Limits) -> Duration {
        match self.is_login() {
            true => limits.login_time,
            false => limits.request_time,
        }
    }
}
