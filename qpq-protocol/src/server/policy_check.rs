//! Asking the operator's [`Policy`], and the embedder where that leaves it to him.

use super::Server;
use super::ctx::Ctx;
use super::event::AskId;
use super::fault::Fault;
use super::policy::{Policy, Question, Verdict};
use super::step::{Next, Step};
use crate::time::Time;

impl Ctx<'_> {
    /// What the policy is to be asked; nothing if there is none, or if it has allowed the request already, which runs
    /// again.
    pub(super) fn question(&self, question: impl FnOnce() -> Question) -> Option<Question> {
        let is_open = self.policy.is_some() && !self.notes.is_allowed;
        is_open.then(question)
    }
}

/// Goes on if the policy allows it.
pub(super) fn check_policy<R: 'static>(
    ctx: &mut Ctx<'_>,
    question: Option<Question>,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R> + Send + 'static,
) -> Next<R> {
    let (Some(policy), Some(question)) = (ctx.policy, question) else {
        return then(ctx);
    };
    match policy.decide(&question) {
        Verdict::Ask => Ok(Step::ask_embedder(question, move |ctx, verdict| {
            follow_verdict(ctx, verdict, then)
        })),
        verdict => follow_verdict(ctx, verdict, then),
    }
}

fn follow_verdict<R>(
    ctx: &mut Ctx<'_>,
    verdict: Verdict,
    then: impl FnOnce(&mut Ctx<'_>) -> Next<R>,
) -> Next<R> {
    match verdict {
        Verdict::Allow => {
            ctx.notes.is_allowed = true;
            then(ctx)
        }
        Verdict::Refuse(refusal) => {
            let fault = Fault::new(refusal.status, refusal.message).for_now();
            Err(fault.retry_after(refusal.retry_after_ms))
        }
        Verdict::Ask => Err(undecided()),
    }
}

/// Nobody has decided.
pub(super) fn undecided() -> Fault {
    Fault::unavailable("this server has not decided yet whether it allows this: try again later")
        .retry_after(10_000)
}

impl Server {
    /// With an operator's own rules.
    #[must_use]
    pub fn with_policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Some(Box::new(policy));
        self
    }

    /// What was asked by [`Event::Asked`](super::Event::Asked) is decided. An id that nothing waits for any more is
    /// ignored.
    pub fn decide(&mut self, now: Time, ask: AskId, verdict: Verdict) {
        self.clock.advance(now);
        self.decided(ask, verdict);
        self.shut_down_if_done();
    }
}
