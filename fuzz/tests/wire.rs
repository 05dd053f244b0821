//! Targets for the frame codec and the messages; what they check is in `qpq_fuzz::wire`.

use bolero::check;
use qpq_fuzz::wire;

#[test]
fn frames() {
    check!().for_each(wire::frames);
}

#[test]
fn split_streams() {
    check!().for_each(wire::split_streams);
}

#[test]
fn requests() {
    check!().for_each(wire::requests);
}

#[test]
fn responses() {
    check!().for_each(wire::responses);
}

#[test]
fn messages() {
    check!().for_each(wire::messages);
}
