//! The streams of one connection: what the core calls them, and what waits in both directions.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{ReadError, Side, VarInt, WriteError};

use super::open::{Names, Open};
use crate::ids::{ConnId, Dir, OwnStream, StreamId};
use crate::io::{Core, StreamInput};
use crate::time::Time;

/// All streams of one connection that have a half left.
pub(super) struct Streams {
    side: Side,
    open: Open<Stream>,
    names: Names,
    /// Streams the core opened and the peer does not allow yet, by direction.
    waiting: [VecDeque<OwnStream>; 2],
    /// Streams that may have something to read. Each is in here once: [`Stream::readable`].
    readable: VecDeque<StreamId>,
    /// Bytes of the core in all queues.
    unsent: usize,
    /// Halves that the peer abandoned.
    resets: u32,
}

struct Stream {
    /// Quinn's name, `None` while it waits to be opened.
    quic: Option<quinn_proto::StreamId>,
    /// Whether the peer may still send.
    receives: bool,
    readable: bool,
    /// Whether the core has heard of it.
    is_known: bool,
    sends: Sends,
    queue: VecDeque<Bytes>,
}

/// The state of our half.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// The core may add more.
    Open,
    /// It ends when the queue is empty.
    Ending,
    /// Nothing more is written.
    Done,
}

/// What the core is told of a stream that cannot be opened: there are too many (protocol.md §2).
const OVERLOADED: u64 = 5;

impl Streams {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            open: Open::default(),
            names: Names::new(side),
            waiting: [VecDeque::new(), VecDeque::new()],
            readable: VecDeque::new(),
            unsent: 0,
            resets: 0,
        }
    }

    /// Halves that the peer has abandoned since this was last asked.
    pub(super) const fn take_resets(&mut self) -> u32 {
        core::mem::replace(&mut self.resets, 0)
    }

    /// Bytes of the core that quinn has not taken yet.
    pub(super) const fn unsent(&self) -> usize {
        self.unsent
    }

    /// Whether a stream waits to be read that the core or the embedder had no room for.
    pub(super) fn has_unread(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Takes all streams that the peer opened. They get no `Readable` of their own.
    pub(super) fn accept(&mut self, quic: &mut quinn_proto::Connection, dir: quinn_proto::Dir) {
        while let Some(id) = quic.streams().accept(dir) {
            let (our_dir, sends) = match dir {
                quinn_proto::Dir::Bi => (Dir::Bi, Sends::Open),
                quinn_proto::Dir::Uni => (Dir::Uni, Sends::Done),
            };
            let name = StreamId::Peer(our_dir, id.index());
            let stream = Stream {
                quic: Some(id),
                receives: true,
                readable: true,
                is_known: false,
                sends,
                queue: VecDeque::new(),
            };
            self.open.insert(name, stream);
            self.readable.push_back(name);
        }
    }

    /// Abandons all streams that the peer opened meanwhile. They have to be taken for that: quinn
    /// counts a stream as one to send on when it is taken, and as one less when it is reset.
    pub(super) fn refuse(
        &mut self,
        quic: &mut quinn_proto::Connection,
        dir: quinn_proto::Dir,
        code: u64,
    ) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        while let Some(id) = quic.streams().accept(dir) {
            // Both fail only if the peer was faster.
            let _ = quic.recv_stream(id).stop(code);
            if dir == quinn_proto::Dir::Bi {
                let _ = quic.send_stream(id).reset(code);
            }
        }
    }

    /// Quinn says that there is something to read.
    pub(super) fn set_readable(&mut self, id: quinn_proto::StreamId) {
        let Some(name) = self.names.of(id) else {
            return;
        };
        if let Some(stream) = self.open.get_mut(name)
            && stream.receives
            && !stream.readable
        {
            stream.readable = true;
            self.readable.push_back(name);
        }
    }

    /// Gives the core what it has credit for; whether that was anything. `paused` counts as no
    /// credit.
    pub(super) fn read<C: Core>(
        &mut self,
        quic: &mut quinn_proto::Connection,
        core: &mut C,
        (conn, now, paused): (ConnId, Time, bool),
    ) -> bool {
        let mut any = false;
        for _ in 0..self.readable.len() {
            let Some(name) = self.readable.pop_front() else {
                break;
            };
            let Some(stream) = self.open.get_mut(name) else {
                continue;
            };
            stream.readable = false;
            let Some(id) = stream.quic.filter(|_| stream.receives) else {
                continue;
            };
            let (read, some) = read_one(quic, core, (conn, now, paused), name, id);
            any |= some;
            let is_known = core::mem::replace(&mut stream.is_known, true);
            match read {
                // It lacks its first byte: the core shall not wait for that for ever.
                Read::Everything if !is_known && !some => {
                    core.handle_stream(now, conn, name, StreamInput::Data(Bytes::new()));
                }
                Read::Everything => {}
                Read::NoCredit => {
                    stream.readable = true;
                    self.readable.push_back(name);
                }
                Read::Ended(input) => {
                    stream.receives = false;
                    self.forget_if_over(name);
                    if let Some(input) = input {
                        any = true;
                        if matches!(input, StreamInput::Reset(_)) {
                            self.resets = self.resets.saturating_add(1);
                        }
                        core.handle_stream(now, conn, name, input);
                    }
                }
            }
        }
        any
    }

    /// Opens a stream for the core, now or as soon as the peer allows it. `false`: too many wait.
    pub(super) fn open(
        &mut self,
        quic: &mut quinn_proto::Connection,
        own: OwnStream,
        dir: Dir,
        most_waiting: usize,
    ) -> bool {
        let name = StreamId::Own(own);
        if self.open.contains(name) {
            return true;
        }
        let stream = Stream {
            quic: None,
            receives: dir == Dir::Bi,
            readable: false,
            is_known: true,
            sends: Sends::Open,
            queue: VecDeque::new(),
        };
        let (quic_dir, waiting) = self.waiting(dir);
        if waiting.is_empty()
            && let Some(id) = quic.streams().open(quic_dir)
        {
            self.names.insert(id, own);
            let quic = Some(id);
            self.open.insert(name, Stream { quic, ..stream });
            return true;
        }
        if waiting.len() >= most_waiting {
            return false;
        }
        waiting.push_back(own);
        self.open.insert(name, stream);
        true
    }

    /// The peer allows more streams: opens those that wait.
    pub(super) fn open_waiting<C: Core>(
        &mut self,
        quic: &mut quinn_proto::Connection,
        core: &mut C,
        (conn, now): (ConnId, Time),
        dir: Dir,
    ) {
        loop {
            let (quic_dir, waiting) = self.waiting(dir);
            let Some(&own) = waiting.front() else { return };
            let name = StreamId::Own(own);
            if !self.open.contains(name) {
                // Reset by the core before it was opened.
                self.waiting(dir).1.pop_front();
                continue;
            }
            let Some(id) = quic.streams().open(quic_dir) else {
                return;
            };
            self.waiting(dir).1.pop_front();
            self.names.insert(id, own);
            if let Some(stream) = self.open.get_mut(name) {
                stream.quic = Some(id);
            }
            self.flush(quic, core, (conn, now), name);
        }
    }

    fn waiting(&mut self, dir: Dir) -> (quinn_proto::Dir, &mut VecDeque<OwnStream>) {
        let [bi, uni] = &mut self.waiting;
        match dir {
            Dir::Bi => (quinn_proto::Dir::Bi, bi),
            Dir::Uni => (quinn_proto::Dir::Uni, uni),
        }
    }

    /// Queues bytes of the core and gives quinn what it takes now.
    pub(super) fn send<C: Core>(
        &mut self,
        quic: &mut quinn_proto::Connection,
        core: &mut C,
        (conn, now): (ConnId, Time),
        name: StreamId,
        (data, fin): (Bytes, bool),
    ) {
        let Some(stream) = self.open.get_mut(name) else {
            return;
        };
        if stream.sends != Sends::Open {
            return;
        }
        if !data.is_empty() {
            self.unsent = self.unsent.saturating_add(data.len());
            stream.queue.push_back(data);
        }
        if fin {
            stream.sends = Sends::Ending;
        }
        self.flush(quic, core, (conn, now), name);
    }

    /// Quinn has room again for this stream, or its peer stopped it.
    pub(super) fn writable<C: Core>(
        &mut self,
        quic: &mut quinn_proto::Connection,
        core: &mut C,
        at: (ConnId, Time),
        id: quinn_proto::StreamId,
    ) {
        if let Some(name) = self.names.of(id) {
            self.flush(quic, core, at, name);
        }
    }

    fn flush<C: Core>(
        &mut self,
        quic: &mut quinn_proto::Connection,
        core: &mut C,
        (conn, now): (ConnId, Time),
        name: StreamId,
    ) {
        let Some(stream) = self.open.get_mut(name) else {
            return;
        };
        let Some(id) = stream.quic.filter(|_| stream.sends != Sends::Done) else {
            return;
        };
        let mut sent = 0_usize;
        let mut stopped = None;
        let mut send = quic.send_stream(id);
        while !stream.queue.is_empty() {
            match send.write_chunks(stream.queue.make_contiguous()) {
                Ok(written) => {
                    sent = sent.saturating_add(written.bytes);
                    stream.queue.drain(..written.chunks.min(stream.queue.len()));
                }
                Err(WriteError::Blocked) => break,
                Err(WriteError::Stopped(code)) => {
                    stopped = Some(code);
                    break;
                }
                Err(WriteError::ClosedStream) => {
                    stream.sends = Sends::Done;
                    break;
                }
            }
        }
        if stream.queue.is_empty() && stream.sends == Sends::Ending {
            // It fails only for a stream that was stopped or closed: nothing more to end.
            let _ = send.finish();
            stream.sends = Sends::Done;
        }
        self.unsent = self.unsent.saturating_sub(sent);
        self.forget_if_over(name);
        if sent > 0 {
            core.handle_stream(now, conn, name, StreamInput::Sent(sent));
        }
        if let Some(code) = stopped {
            self.stopped(quic, core, (conn, now), id, code);
        }
    }

    /// The peer wants no more of our half: drops what waits and resets it.
    pub(super) fn stopped<C: Core>(
        &mut self,
        quic: &mut quinn_proto::Connection,
        core: &mut C,
        (conn, now): (ConnId, Time),
        id: quinn_proto::StreamId,
        code: VarInt,
    ) {
        self.resets = self.resets.saturating_add(1);
        // Quinn keeps a stopped stream until it is reset.
        let _ = quic.send_stream(id).reset(code);
        let Some(name) = self.names.of(id) else {
            return;
        };
        let Some(stream) = self.open.get_mut(name) else {
            return;
        };
        if stream.sends == Sends::Done {
            return;
        }
        self.unsent = self.unsent.saturating_sub(drop_queue(stream));
        self.forget_if_over(name);
        core.handle_stream(now, conn, name, StreamInput::Stopped(code.into_inner()));
    }

    /// The core abandons a stream: both halves, opened or not.
    pub(super) fn reset(&mut self, quic: &mut quinn_proto::Connection, name: StreamId, code: u64) {
        let Some(mut stream) = self.open.remove(name) else {
            return;
        };
        let ends_well = stream.sends == Sends::Done;
        self.unsent = self.unsent.saturating_sub(drop_queue(&mut stream));
        let Some(id) = stream.quic else { return };
        self.names.forget(id);
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        // Both fail only for halves that are over already.
        if stream.receives {
            let _ = quic.recv_stream(id).stop(code);
        }
        if !ends_well {
            let _ = quic.send_stream(id).reset(code);
        }
    }

    /// Nothing more comes from the core: ends its own streams, abandons answers not begun, and
    /// reads nothing more, so that quinn's streams empty.
    pub(super) fn finish_all(&mut self, quic: &mut quinn_proto::Connection, code: u64) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        for stream in self.open.values_mut() {
            let Some(id) = stream.quic else { continue };
            if stream.receives {
                stream.receives = false;
                let _ = quic.recv_stream(id).stop(code);
            }
            if stream.sends == Sends::Open && !stream.queue.is_empty() {
                stream.sends = Sends::Ending;
            } else if stream.sends == Sends::Open {
                stream.sends = Sends::Done;
                let mut send = quic.send_stream(id);
                let _ = match id.initiator() == self.side {
                    true => send.finish().map_err(drop),
                    false => send.reset(code).map_err(drop),
                };
            }
        }
        self.readable.clear();
        self.waiting.iter_mut().for_each(VecDeque::clear);
        self.open
            .retain(|stream| stream.quic.is_some() && stream.sends == Sends::Ending);
    }

    fn forget_if_over(&mut self, name: StreamId) {
        if let Some(stream) = self.open.get(name)
            && !stream.receives
            && stream.sends == Sends::Done
        {
            if let Some(id) = stream.quic {
                self.names.forget(id);
            }
            self.open.remove(name);
        }
    }
}

/// Tells the core that a stream it opened will not be.
pub(super) fn refuse_open<C: Core>(
    core: &mut C,
    now: Time,
    conn: ConnId,
    own: OwnStream,
    dir: Dir,
) {
    let name = StreamId::Own(own);
    core.handle_stream(now, conn, name, StreamInput::Stopped(OVERLOADED));
    if dir == Dir::Bi {
        core.handle_stream(now, conn, name, StreamInput::Reset(OVERLOADED));
    }
}

fn drop_queue(stream: &mut Stream) -> usize {
    stream.sends = Sends::Done;
    stream.queue.drain(..).map(|bytes| bytes.len()).sum()
}

/// How far reading a stream came.
enum Read {
    /// All that is there; quinn will say when there is more.
    Everything,
    /// The rest stays in the transport.
    NoCredit,
    /// The peer's half is over; the core has yet to be told this.
    Ended(Option<StreamInput>),
}

fn read_one<C: Core>(
    quic: &mut quinn_proto::Connection,
    core: &mut C,
    (conn, now, paused): (ConnId, Time, bool),
    name: StreamId,
    id: quinn_proto::StreamId,
) -> (Read, bool) {
    let mut any = false;
    let mut recv = quic.recv_stream(id);
    let Ok(mut chunks) = recv.read(true) else {
        return (Read::Ended(None), any);
    };
    let read = loop {
        // Asked before anything is taken: what is taken can't be put back. With no credit, a read
        // of 0 bytes still tells data (an empty chunk) from the end.
        let credit = if paused { 0 } else { core.credit(conn, name) };
        match chunks.next(credit) {
            Ok(Some(chunk)) if chunk.bytes.is_empty() => break Read::NoCredit,
            Ok(Some(chunk)) => {
                any = true;
                core.handle_stream(now, conn, name, StreamInput::Data(chunk.bytes));
            }
            Ok(None) => break Read::Ended(Some(StreamInput::Fin)),
            Err(ReadError::Blocked) => break Read::Everything,
            Err(ReadError::Reset(code)) => {
                break Read::Ended(Some(StreamInput::Reset(code.into_inner())));
            }
        }
    };
    // The connection is polled for transmits after every turn anyway.
    let _ = chunks.finalize();
    (read, any)
}
