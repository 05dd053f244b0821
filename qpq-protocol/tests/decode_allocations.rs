//! An answer of 4 MiB takes no multiple of that in memory, whatever it consists of. A binary of its
//! own, since it counts what the whole process allocates.

use allocation_counter::measure;
use bytes::Bytes;
use qpq_protocol::frame::MAX_PAYLOAD;
use qpq_protocol::method::{Method, Rpc, Visitor};
use qpq_protocol::wire;

/// Beyond the payload itself: the longest list of the largest items, and the shorter one that it grew
/// out of.
const MOST: u64 = 6 * 1024 * 1024;

/// Decodes a payload as the answer to a method; the most that was allocated at once.
struct Decode(Bytes);

impl Visitor for Decode {
    type Output = u64;
    fn visit<M: Rpc>(self) -> u64 {
        measure(|| drop(wire::decode_response::<M>(self.0))).bytes_max
    }
}

/// As many items as fit, as many as are allowed, and numbers packed into one field.
fn floods(field: u8) -> [Bytes; 3] {
    let key = field << 3 | 2;
    let mut packed = vec![key, 0xfa, 0xff, 0xff, 0x01];
    packed.resize(MAX_PAYLOAD, 1);
    [
        [key, 0].repeat(MAX_PAYLOAD / 2).into(),
        [key, 0].repeat(wire::MAX_RESPONSE_FIELDS).into(),
        packed.into(),
    ]
}

#[test]
fn an_answer_takes_no_multiple_of_its_length() {
    for field in 1..=8 {
        for flood in floods(field) {
            for method in Method::ALL {
                let most = method.visit(Decode(flood.clone()));
                let name = method.name();
                assert!(most <= MOST, "{name}, field {field}: {most} bytes");
            }
        }
    }
}

#[test]
fn errors_pushes_and_contents_do_not_either() {
    for field in 1..=8 {
        for flood in floods(field) {
            let decode = |of: &dyn Fn(Bytes)| measure(|| of(flood.clone())).bytes_max;
            let most = [
                decode(&|bytes| drop(wire::decode_error(bytes))),
                decode(&|bytes| drop(wire::decode_push(bytes))),
                decode(&|bytes| drop(wire::decode_delivery(bytes))),
                decode(&|bytes| drop(wire::decode_app(bytes))),
                decode(&|bytes| drop(wire::decode_fork_report(bytes))),
            ];
            assert!(most.iter().all(|most| *most <= MOST), "{field}: {most:?}");
        }
    }
}
