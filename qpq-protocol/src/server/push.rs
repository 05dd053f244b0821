//! Pushes: who hears of what, and the one stream a connection that carries them.
//!
//! A push is a hint (protocol.md §5.5). It carries the envelope while the connection keeps up and its
//! account has room to spare, else it only says that there is news, and is dropped when even hints pile
//! up: the client finds the gap in `seq` and fetches.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Server;
use super::caller::{Caller, Session};
use super::charges::{Charge, Unsent};
use super::counters::Counters;
use super::effects::{Effects, Ended, SessionChange};
use super::event::Event;
use super::timers::Timer;
use crate::frame::encode_push;
use crate::ids::{ConnId, DeviceId, IdentityKey, OwnStream, StreamId};
use crate::io::{Dir, MAX_WAKE_BODY, Output, StreamInput, Topic, Wake};
use crate::method::Push;
use crate::proto;
use crate::status::AppCode;
use crate::storage::keys::{self, QueueId};

/// Bytes of hints without data that may wait on a connection; part of [`crate::limits::CONNECTION`].
const HINTS: usize = 4 * 1024;

/// The stream that pushes of a connection go out on.
pub(super) struct PushStream {
    pub(super) stream: OwnStream,
    /// Bytes that the transport has not taken.
    unsent: Unsent,
    /// What covers those of them that carry data.
    room: Option<Charge>,
}

/// Which connections each device has.
#[derive(Default)]
pub(super) struct Subscriptions(BTreeMap<IdentityKey, Vec<(Session, ConnId)>>);

impl Subscriptions {
    fn add(&mut self, session: Session, conn: ConnId) {
        let connections = self.0.entry(session.identity_key).or_default();
        connections.push((session, conn));
    }

    fn remove(&mut self, identity: &IdentityKey, conn: ConnId) {
        if let Some(connections) = self.0.get_mut(identity) {
            connections.retain(|(_, other)| *other != conn);
            if connections.is_empty() {
                self.0.remove(identity);
            }
        }
    }

    /// Connections of an account whose session is like that.
    fn of(&self, identity: &IdentityKey, is: impl Fn(&Session) -> bool) -> Vec<ConnId> {
        let connections = self.0.get(identity).map_or(&[][..], Vec::as_slice);
        connections
            .iter()
            .filter(|(session, _)| is(session))
            .map(|(_, conn)| *conn)
            .collect()
    }
}

impl Server {
    /// Changes whose connection this is, and with that what it hears of.
    pub(super) fn change_session(&mut self, conn: ConnId, change: SessionChange) {
        let session = match change {
            SessionChange::Keep => return,
            SessionChange::Bind(session) => Some(session),
            SessionChange::End => None,
        };
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let old = core::mem::replace(&mut connection.session, session);
        let closing = connection.closing;
        if let Some(old) = old {
            self.subscriptions.remove(&old.identity_key, conn);
        }
        match session {
            Some(new) => {
                if new.registered {
                    self.away.is_back(new.identity_key, new.device_id);
                }
                self.subscriptions.add(new, conn);
                self.strangers.leave(conn);
                self.outputs.push(Output::Admit { conn });
                self.bound_account(&new.identity_key, conn);
            }
            None if !closing => self.enter_as_stranger(conn),
            None => {}
        }
    }

    /// An account has one more connection: its longest silent one goes if that is one too many.
    fn bound_account(&mut self, identity: &IdentityKey, newest: ConnId) {
        let connections = self.subscriptions.of(identity, |_| true);
        if connections.len() > self.config.limits.account_connections {
            let others = connections.into_iter().filter(|conn| *conn != newest);
            self.close_longest_silent(others);
        }
    }

    /// Changes what a connection has by what storage said of its session, unless it has another one
    /// by now.
    pub(super) fn correct_session(&mut self, caller: &Caller, found: SessionChange) {
        if found == SessionChange::Keep {
            return;
        }
        let now = self
            .connections
            .get(&caller.conn)
            .and_then(|connection| connection.session);
        let same = |(one, other): (Session, Session)| one.token_hash == other.token_hash;
        if now.zip(caller.session).is_some_and(same) {
            self.change_session(caller.conn, found);
        }
    }

    /// Forgets what a connection wanted to hear of.
    pub(super) fn unsubscribe(&mut self, conn: ConnId) {
        self.change_session(conn, SessionChange::End);
    }

    /// Spreads what follows from a request of `conn`, or from the background, here and to other cores.
    pub(super) fn spread(&mut self, conn: Option<ConnId>, effects: Effects) {
        let Effects {
            notify,
            live,
            events,
            ended,
            ..
        } = effects;
        for event in events {
            self.outputs.push(Output::Event(event));
        }
        for (queue, message) in notify {
            self.notify(&queue, message);
        }
        for (to, event) in live {
            let Some(frame) = frame(&event) else {
                continue;
            };
            for identity in to {
                self.push_live(&identity, &frame);
                if frame.len() <= MAX_WAKE_BODY {
                    self.outputs.push(Output::Wake(Wake {
                        topic: Topic::Live(identity.0),
                        body: frame.clone(),
                    }));
                }
            }
        }
        for ended in ended {
            self.end_sessions(&ended, conn);
            self.outputs.push(Output::Wake(Wake {
                topic: Topic::Session(ended_topic(&ended)),
                body: Bytes::new(),
            }));
        }
    }

    fn notify(&mut self, queue: &QueueId, message: proto::NewMessagePush) {
        let (channel_id, seq) = (message.channel_id.clone(), message.seq);
        let envelope = message.envelope.as_ref();
        let carried = envelope
            .is_some_and(|envelope| envelope.data.len() <= self.config.limits.pushed_envelope);
        let full = carried.then(|| frame(&message.into())).flatten();
        let short = |full: &Bytes| full.len() <= MAX_WAKE_BODY;
        let hearing = self.hearing(queue);
        if hearing.is_empty() && self.away.misses(queue.recipient, queue.device) {
            self.outputs.push(Output::Event(Event::Waiting {
                identity_key: queue.recipient,
                device_id: queue.device,
            }));
        }
        // The hint is made only where somebody may get it.
        let body = match full {
            Some(full) if hearing.is_empty() && short(&full) => full,
            full => {
                let hint = proto::NewMessagePush {
                    channel_id,
                    seq,
                    envelope: None,
                };
                let Some(hint) = frame(&hint.into()) else {
                    return;
                };
                for conn in hearing {
                    self.push(conn, full.as_ref().unwrap_or(&hint), &hint);
                }
                full.filter(short).unwrap_or(hint)
            }
        };
        self.wake_waiters(queue);
        self.outputs.push(Output::Wake(Wake {
            topic: Topic::Queue(keys::queue(queue).into()),
            body,
        }));
    }

    /// The connections that hear of this queue.
    fn hearing(&self, queue: &QueueId) -> Vec<ConnId> {
        let hears = |session: &Session| session.registered && session.device_id == queue.device;
        self.subscriptions.of(&queue.recipient, hears)
    }

    /// Pushes to every connection of an account.
    fn push_live(&mut self, identity: &IdentityKey, frame: &Bytes) {
        for conn in self.subscriptions.of(identity, |_| true) {
            self.push(conn, frame, frame);
        }
    }

    /// What another core said.
    pub(super) fn wake(&mut self, wake: Wake) {
        if wake.body.len() > MAX_WAKE_BODY {
            return;
        }
        match wake.topic {
            Topic::Queue(key) => {
                if let Some(queue) = keys::parse_queue(&key) {
                    if !wake.body.is_empty() {
                        for conn in self.hearing(&queue) {
                            self.push(conn, &wake.body, &wake.body);
                        }
                    }
                    self.wake_waiters(&queue);
                }
            }
            Topic::Live(identity) => self.push_live(&IdentityKey(identity), &wake.body),
            Topic::Session(topic) => {
                if let Some(ended) = parse_ended(&topic) {
                    self.end_sessions(&ended, None);
                }
            }
        }
    }

    /// Closes the connections of sessions that ended. The caller's own stays, without a session, so
    /// that its answer can leave.
    fn end_sessions(&mut self, ended: &Ended, caller: Option<ConnId>) {
        let subscriptions = &self.subscriptions;
        let connections = match ended {
            Ended::Account(identity) => subscriptions.of(identity, |_| true),
            Ended::Device(identity, device) => {
                subscriptions.of(identity, |session| session.device_id == *device)
            }
            Ended::Session(identity, token_hash) => {
                subscriptions.of(identity, |session| session.token_hash == *token_hash)
            }
        };
        for conn in connections {
            if Some(conn) == caller {
                self.unsubscribe(conn);
            } else {
                self.close_connection(conn, AppCode::None);
            }
        }
    }

    /// Sends a push to one connection, or the hint, or nothing if it does not keep up.
    fn push(&mut self, conn: ConnId, full: &Bytes, hint: &Bytes) {
        let (now, limits) = (self.clock.now(), &self.config.limits);
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let holder = connection.holder();
        let (waits, room) = match &mut connection.push {
            Some(push) => (push.unsent.bytes(), push.room.take()),
            None => (0, None),
        };
        let mut room = room.unwrap_or_else(|| self.charges.answer(holder));
        let hints = waits.saturating_sub(room.bytes());
        let unsent = self.charges.unsent(conn);
        let keeps_up = unsent.saturating_add(full.len()) <= limits.connection_unsent;
        // What the connection's last account did not take is that one's.
        let carried = keeps_up
            && room.holder() == holder
            && self.charges.grow_if_idle(&mut room, full.len()).is_ok();
        let frame = if carried {
            Some(full)
        } else {
            Some(hint).filter(|hint| hints.saturating_add(hint.len()) <= HINTS)
        };
        let room = Some(room).filter(|room| room.bytes() > 0);
        let Some(frame) = frame else {
            if let Some(push) = &mut connection.push {
                push.room = room;
            }
            return;
        };
        let push = connection.push.get_or_insert_with(|| {
            self.last_stream = self.last_stream.saturating_add(1);
            let stream = OwnStream(self.last_stream);
            self.outputs.push(Output::Open {
                conn,
                stream,
                dir: Dir::Uni,
            });
            PushStream {
                stream,
                unsent: self.charges.nothing_unsent(conn),
                room: None,
            }
        });
        push.room = room;
        Counters::one(&mut self.counters.pushes);
        self.charges
            .send(&mut push.unsent, frame.len(), now, limits);
        let stream = StreamId::Own(push.stream);
        self.outputs.push(Output::Send {
            conn,
            stream,
            data: frame.clone(),
            fin: false,
        });
        if let Some(due) = self.charges.unsent_due(conn) {
            let timer = Timer::Connection(conn);
            self.timers
                .bring_forward(&mut connection.check_at, due, timer);
        }
    }

    /// Something happened on the stream of a connection's pushes.
    pub(super) fn push_input(&mut self, conn: ConnId, stream: OwnStream, input: &StreamInput) {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let Some(push) = connection
            .push
            .as_mut()
            .filter(|push| push.stream == stream)
        else {
            return;
        };
        match input {
            StreamInput::Sent(bytes) => {
                let (now, limits) = (self.clock.now(), &self.config.limits);
                let taken = self.charges.sent(&mut push.unsent, *bytes, now, limits);
                Counters::bytes(&mut self.counters.bytes_sent, taken);
                if let Some(room) = &mut push.room {
                    let left = push.unsent.bytes();
                    self.long_answers.shrink(&mut self.charges, room, left);
                }
            }
            StreamInput::Stopped(_) | StreamInput::Reset(_) => {
                if let Some(push) = connection.push.take() {
                    self.drop_push(push);
                }
            }
            StreamInput::Data(_) | StreamInput::Fin => return,
        }
        self.run_next_long(conn);
        self.shut_down_if_done();
    }

    /// Gives back what pushes hold that nobody wants any more.
    pub(super) fn drop_push(&mut self, push: PushStream) {
        self.unsend(push.unsent);
        self.drop_room(push.room);
    }
}

/// A push frame.
fn frame(event: &proto::PushEvent) -> Option<Bytes> {
    let id = Push::from(event.event.as_ref()?).id();
    encode_push(id, event).ok()
}

/// What ended: the account's identity key, then nothing, or a device (one zero byte for the default
/// one, 16 bytes for others), or the SHA-256 of a token.
fn ended_topic(ended: &Ended) -> Bytes {
    let (identity, rest) = match ended {
        Ended::Account(identity) => (identity, &[][..]),
        Ended::Device(identity, device) if device.is_default() => (identity, &[0][..]),
        Ended::Device(identity, device) => (identity, device.as_bytes()),
        Ended::Session(identity, token_hash) => (identity, &token_hash[..]),
    };
    [identity.as_bytes().as_slice(), rest].concat().into()
}

fn parse_ended(topic: &[u8]) -> Option<Ended> {
    let (identity, rest) = topic.split_first_chunk::<32>()?;
    let identity = IdentityKey(*identity);
    match rest.len() {
        0 => Some(Ended::Account(identity)),
        1 => Some(Ended::Device(identity, DeviceId::DEFAULT)),
        16 => Some(Ended::Device(identity, DeviceId::from_wire(rest).ok()?)),
        32 => Some(Ended::Session(identity, rest.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_sessions_come_back_from_their_topic() {
        let identity = IdentityKey([1; 32]);
        for ended in [
            Ended::Account(identity),
            Ended::Device(identity, DeviceId::DEFAULT),
            Ended::Device(identity, DeviceId::new([0; 16])),
            Ended::Session(identity, [0; 32]),
        ] {
            assert_eq!(parse_ended(&ended_topic(&ended)), Some(ended));
        }
        assert_eq!(parse_ended(&[0; 31]), None);
        assert_eq!(parse_ended(&[0; 40]), None);
    }
}
