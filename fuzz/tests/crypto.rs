//! Targets for end-to-end cryptography; what they check is in `qpq_fuzz::{crypto, logs, backups}`.

use bolero::check;
use qpq_fuzz::{crypto, logs};

#[test]
fn formats() {
    check!().for_each(crypto::formats);
}

#[test]
fn sealed() {
    check!().for_each(crypto::sealed);
}

#[test]
fn signed() {
    check!().for_each(crypto::signed);
}

#[test]
fn login() {
    check!().for_each(crypto::login);
}

#[test]
fn log_proofs() {
    check!().for_each(logs::log_proofs);
}

#[test]
fn backups() {
    check!().for_each(qpq_fuzz::backups::backups);
}
