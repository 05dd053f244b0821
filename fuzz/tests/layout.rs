//! Targets for keys in storage and for flags; what they check is in `qpq_fuzz::{layout, config}`.

use bolero::check;
use qpq_fuzz::{config, layout};

#[test]
fn key_layout() {
    check!().for_each(layout::key_layout);
}

#[test]
fn config_flags() {
    check!().for_each(config::config);
}
