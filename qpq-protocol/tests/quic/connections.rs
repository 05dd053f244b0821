//! Handshakes, trust, closing, loss of a peer.

use crate::echo::Event;
use crate::pair::Pair;

#[test]
fn both_sides_hear_of_a_connection_and_of_its_end() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.connect();
    pair.client.act(pair.now, |core| core.close(ours, 0));
    pair.run();
    assert_eq!(pair.client.events, [Event::Disconnected(ours)]);
    assert_eq!(pair.server.events, [Event::Disconnected(theirs)]);
    assert_eq!(pair.client.endpoint.connections(), 0);
    assert_eq!(pair.server.endpoint.connections(), 0);
}
