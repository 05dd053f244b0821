//! What a handler is made of: one function from a request to a [`Step`], reading from top to bottom.
//!
//! A handler gets [`Ctx`] (what the core knows), [`Caller`] (who asks) and the decoded request, and
//! returns its first step: an answer, a storage command with what to do next, or a wait. It knows
//! no stream, no connection, no frame. Lengths, session, ownership and rates of the method table
//! are checked before it runs. When what it has read has changed it runs again from its request.
//! What it reads and changes goes through [`txn`](super::txn).

use core::marker::PhantomData;

use bytes::BytesMut;
use prost::Message;

use super::ctx::Ctx;
use super::effects::Effects;
use super::fault::Fault;
use super::policy::{Question, Verdict};
use crate::frame::{Header as _, ResponseHeader};
use crate::io::Lane;
use crate::storage::{Command, Reply};
use crate::time::Time;

/// What a handler or a continuation returns on its way to the response `R`. A [`Fault`] is the answer and ends the
/// request.
pub(super) type Next<R = ()> = Result<Step<R>, Fault>;

/// What to do with a storage reply.
pub(super) type Then = Box<dyn FnOnce(&mut Ctx<'_>, Reply) -> Next + Send>;

/// What to do when a wait is over.
pub(super) type ThenWoken = Box<dyn FnOnce(&mut Ctx<'_>, Woken) -> Next + Send>;

/// What to do when the embedder has decided.
pub(super) type ThenDecided = Box<dyn FnOnce(&mut Ctx<'_>, Verdict) -> Next + Send>;

/// What a request needs next on its way to the response `R`: another method's is none of its answers. The
/// machinery, to which all responses are the same, knows it as `Step<()>`.
pub(super) struct Step<R = ()> {
    /// What is to be done.
    pub(super) todo: Todo,
    response: PhantomData<fn() -> R>,
}

/// What is to be done for a request.
pub(super) enum Todo {
    /// Nothing: this is the answer.
    Done(Outcome),
    /// A storage command.
    Store {
        /// Which commands it keeps its order with.
        lane: Lane,
        /// The command.
        command: Command,
        /// What to do with the reply.
        then: Then,
    },
    /// News in a queue that the request watches ([`Ctx::watch`]), or a point in time.
    Wait {
        /// When to stop waiting.
        until: Time,
        /// What to do then.
        then: ThenWoken,
    },
    /// The embedder's word on a question that the policy leaves to it.
    Ask {
        /// What is to be decided.
        question: Question,
        /// What to do then.
        then: ThenDecided,
    },
    /// To run again from its request: what it read has changed.
    Rerun,
}

/// Why a wait is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// There may be something new in the queue.
    News,
    /// The time has come, or the server shuts down.
    Deadline,
}

/// An Ok answer and what leaves with it.
pub(super) struct Outcome {
    /// The frame, its header still blank.
    pub(super) frame: BytesMut,
    /// What else follows, once the answer may leave.
    pub(super) effects: Effects,
}

impl Outcome {
    /// The answer Ok with this response.
    fn ok(response: &impl Message) -> Self {
        let len = response.encoded_len();
        let mut frame = BytesMut::with_capacity(ResponseHeader::LEN + len);
        frame.resize(ResponseHeader::LEN, 0);
        response.encode_raw(&mut frame);
        Self {
            frame,
            effects: Effects::default(),
        }
    }
}

impl<R> Step<R> {
    const fn new(todo: Todo) -> Self {
        Self {
            todo,
            response: PhantomData,
        }
    }

    /// A storage command, and what to do with the reply.
    pub(super) fn store(
        lane: Lane,
        command: Command,
        then: impl FnOnce(&mut Ctx<'_>, Reply) -> Next<R> + Send + 'static,
    ) -> Self {
        Self::new(Todo::Store {
            lane,
            command,
            then: Box::new(move |ctx, reply| then(ctx, reply).map(Step::erased)),
        })
    }

    /// A wait, and what to do when it is over.
    pub(super) fn wait(
        until: Time,
        then: impl FnOnce(&mut Ctx<'_>, Woken) -> Next<R> + Send + 'static,
    ) -> Self {
        Self::new(Todo::Wait {
            until,
            then: Box::new(move |ctx, woken| then(ctx, woken).map(Step::erased)),
        })
    }

    /// A question to the embedder, and what to do when it has decided.
    pub(super) fn ask_embedder(
        question: Question,
        then: impl FnOnce(&mut Ctx<'_>, Verdict) -> Next<R> + Send + 'static,
    ) -> Self {
        Self::new(Todo::Ask {
            question,
            then: Box::new(move |ctx, verdict| then(ctx, verdict).map(Step::erased)),
        })
    }

    /// The request is to run again.
    pub(super) const fn rerun() -> Self {
        Self::new(Todo::Rerun)
    }

    /// The same for the machinery, whatever is answered.
    pub(super) fn erased(self) -> Step {
        Step::new(self.todo)
    }
}

impl<R: Message> Step<R> {
    /// The answer Ok with this response and nothing else.
    pub(super) fn ok(response: &R) -> Self {
        Self::ok_with(response, Effects::default())
    }

    /// The answer Ok with this response, and effects.
    pub(super) fn ok_with(response: &R, effects: Effects) -> Self {
        Self::new(Todo::Done(Outcome {
            effects,
            ..Outcome::ok(response)
        }))
    }
}

impl Step {
    /// The end of something that nobody asked for.
    pub(super) fn none() -> Self {
        Self::none_with(Effects::default())
    }

    /// The end of something that nobody asked for, and what follows.
    pub(super) fn none_with(effects: Effects) -> Self {
        let frame = BytesMut::new();
        Self::new(Todo::Done(Outcome { frame, effects }))
    }
}
