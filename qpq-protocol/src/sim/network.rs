//! What a network is to the world.

use core::time::Duration;

use super::host::{Host, Hosts, Who};
use super::tap::Tap;
use crate::io::Core;
use crate::time::{Time, UnixTime};

/// A network: it makes the hosts and carries what they send.
pub(super) trait Network: Sized {
    type Parcel;
    type Host<C: Core>: Host<C, Parcel = Self::Parcel>;

    /// A process starts.
    fn host<C: Core>(&mut self, who: Who, core: Tap<C>, now: Time, unix: UnixTime)
    -> Self::Host<C>;
    /// A process is gone without a word.
    fn gone(&mut self, now: Time, who: Who);
    /// A host sends.
    fn carry(&mut self, now: Time, from: Who, parcel: Self::Parcel);
    /// When something arrives next.
    fn next(&self) -> Option<Time>;
    /// Hands over one thing that has arrived.
    fn deliver(&mut self, now: Time, hosts: &mut Hosts<Self>);
    /// `who` may have room again for what was held back.
    fn feed(&mut self, now: Time, who: Who, hosts: &mut Hosts<Self>);
    /// All connections of a client break, without a word to anyone.
    fn cut(&mut self, now: Time, client: usize);
    /// Nothing passes between a client and the servers until then.
    fn part(&mut self, client: usize, until: Time);
    /// A client has another address from now on.
    fn move_address(&mut self, client: usize);
    /// From now on the network is a good one.
    fn calm(&mut self);
    /// How long a side takes at most to notice that the other has gone without a word and to forget it,
    /// beyond what any network needs.
    fn silence(&self) -> Duration {
        Duration::ZERO
    }
    /// What it has carried, for the log.
    fn tally(&self) -> Option<String> {
        None
    }
}
