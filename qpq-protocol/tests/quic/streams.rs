//! Bytes on streams: order, limits, credit, ends.

use crate::echo::Event;
use crate::pair::Pair;

#[test]
fn a_call_is_answered() {
    let mut pair = Pair::new();
    let (ours, _) = pair.connect();
    let stream = pair
        .client
        .act(pair.now, |core| core.call(ours, &b"hello"[..]));
    pair.run();
    let answer = Event::Answer(ours, stream, (&b"hello"[..]).into());
    assert_eq!(pair.client.events, [answer]);
}
