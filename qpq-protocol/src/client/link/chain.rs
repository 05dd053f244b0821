//! The chain of openings at work (protocol.md §5.31): shown with each session, and moved on before what
//! would be worst to do twice, a commit and many messages.
//!
//! A name of an opening is durable before it is sent, as everything is. What is to follow waits for the
//! server's answer, since only that tells whether this data is still the newest.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::rpc::{Answer, Then};
use super::timers::Timer;
use crate::client::Client;
use crate::client::error::DisconnectReason;
use crate::client::event::ConversationId;
use crate::client::keep::keys::Name;
use crate::client::keep::openings::{Opening, Verdict};
use crate::method::rpc;
use crate::proto;

/// Messages that are sent before the chain moves on.
const MESSAGES: u32 = 64;

/// How far the chain has come since the data was loaded.
#[derive(Default)]
pub(in crate::client) struct Chain {
    /// Shown, and not confirmed yet.
    shown: Option<Opening>,
    /// The chain moved on and no commit was submitted since.
    is_fresh: bool,
    /// Messages sent since it moved on.
    sent: u32,
    /// Conversations that wait for it to move on.
    waiting: BTreeSet<ConversationId>,
}

/// What the server's answer to a login or a resumed session says of time.
pub(in crate::client) struct Heard<'a> {
    pub(in crate::client) last: &'a [u8],
    pub(in crate::client) server_time_ms: u64,
    pub(in crate::client) server_epoch: u64,
}

impl Client {
    /// The openings that go with a request for a session.
    pub(in crate::client) fn show_opening(&mut self) -> proto::Chain {
        let next = match self.chain.shown {
            // The server may have heard it already.
            Some(shown) => shown,
            None => {
                let new = self.rng.bytes();
                let next = self.state.openings.show(new);
                self.keep_openings();
                self.chain.shown = Some(next);
                next
            }
        };
        let known = self.state.openings.known(&next).into_iter();
        proto::Chain {
            known: known.map(|name| Bytes::copy_from_slice(&name)).collect(),
            next: Bytes::copy_from_slice(&next),
        }
    }

    /// The server has answered: looks what that says of the past.
    pub(in crate::client) fn opening_confirmed(&mut self, heard: &Heard<'_>) {
        let (now, own_ms) = (self.clock.now(), self.unix_ms());
        if self.state.clocks.hear(now, own_ms, heard.server_time_ms) {
            self.writer.put(&Name::Clocks, &self.state.clocks.record());
        }
        let Some(shown) = self.chain.shown.take() else {
            return;
        };
        let before = self.state.openings.current();
        let verdict = self.state.openings.confirm(&shown, heard.last);
        let epoch = core::mem::replace(&mut self.state.openings.server_epoch, heard.server_epoch);
        self.keep_openings();
        self.chain.is_fresh = true;
        self.chain.sent = 0;
        let is_other_epoch = epoch != 0 && epoch != heard.server_epoch;
        match verdict {
            Verdict::ServerSetBack { since } => self.server_set_back(since),
            // It may be of a day before it had heard of this device.
            Verdict::Same if is_other_epoch && heard.last.is_empty() => self.server_set_back(0),
            Verdict::Same if is_other_epoch => self.server_set_back(before),
            Verdict::Same => {}
            Verdict::DeviceSetBack => self.device_set_back(),
        }
    }

    /// Whether a commit may be submitted now; if not, that conversation is driven on when it may.
    pub(in crate::client) fn may_commit(&mut self, id: ConversationId) -> bool {
        let may = core::mem::replace(&mut self.chain.is_fresh, false);
        if !may {
            self.wait_for_chain(id);
        }
        may
    }

    /// Whether a message may be sent now; if not, that conversation is driven on when it may.
    pub(in crate::client) fn may_send(&mut self, id: ConversationId) -> bool {
        let may = self.chain.sent < MESSAGES;
        match may {
            true => self.chain.sent += 1,
            false => self.wait_for_chain(id),
        }
        may
    }

    fn wait_for_chain(&mut self, id: ConversationId) {
        self.chain.waiting.insert(id);
        self.move_chain();
    }

    /// Shows the server the next opening, on the connection that stands.
    pub(in crate::client) fn move_chain(&mut self) {
        if !self.link.is_ready()
            || self.chain.waiting.is_empty()
            || self.link.is_asked(&Then::Chain)
            || self.timers.is_set(Timer::Chain)
        {
            return;
        }
        let chain = self.show_opening();
        if let Some(request) = self.resume_request(chain) {
            self.call::<rpc::ResumeSession>(&request, Then::Chain);
        }
    }

    pub(super) fn on_chain_moved(&mut self, answer: Answer<rpc::ResumeSession>) {
        let answer = match answer {
            Ok(answer) => answer,
            // A new connection finds out what is wrong.
            Err(_) => return self.disconnect(DisconnectReason::Lost),
        };
        self.opening_confirmed(&Heard {
            last: &answer.last,
            server_time_ms: answer.server_time_ms,
            server_epoch: answer.server_epoch,
        });
        for id in core::mem::take(&mut self.chain.waiting) {
            self.drive(id);
        }
    }

    /// The connection is gone: the next session shows an opening anyway.
    pub(in crate::client) fn forget_chain(&mut self) {
        self.chain.waiting.clear();
        self.chain.is_fresh = false;
        self.chain.sent = MESSAGES;
        self.timers.cancel(Timer::Chain);
        self.state.clocks.forget();
    }

    pub(in crate::client) fn keep_openings(&mut self) {
        self.writer
            .put(&Name::Openings, &self.state.openings.record());
    }
}
