//! How a group is run: what is kept, for how long, and what goes encrypted.

use openmls::{
    group::{
        GroupContext, MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY, MlsGroupCreateConfig, MlsGroupJoinConfig,
    },
    prelude::{Extensions, SenderRatchetConfiguration},
};

use super::{Suite, device::open_lifetime, suite};

/// Message keys of one past epoch are kept: the server refuses messages of older slots.
const MAX_PAST_EPOCHS: usize = 1;
/// How many messages of a sender may come late. openmls's 5 loses what a server may reorder.
const OUT_OF_ORDER_TOLERANCE: u32 = 32;
/// Of how many epochs the resumption PSK is kept (RFC 9420 §8.6): what openmls fixes for a group
/// that it makes, so that its joiners can follow.
const RESUMPTION_PSKS: usize = 32;
/// How many messages of a sender may be missing.
const MAXIMUM_FORWARD_DISTANCE: u32 = 2000;

/// For a group that is made here.
pub(super) fn create_config(
    suite: Suite,
    extensions: Extensions<GroupContext>,
) -> MlsGroupCreateConfig {
    let join = join_config();
    MlsGroupCreateConfig::builder()
        .ciphersuite(suite.ciphersuite())
        .capabilities(suite::capabilities(suite))
        .with_group_context_extensions(extensions)
        .lifetime(open_lifetime())
        .wire_format_policy(join.wire_format_policy())
        .padding_size(join.padding_size())
        .max_past_epochs(MAX_PAST_EPOCHS)
        .number_of_resumption_psks(RESUMPTION_PSKS)
        .sender_ratchet_configuration(*join.sender_ratchet_configuration())
        .use_ratchet_tree_extension(true)
        .build()
}

/// For a group that is joined; the same.
pub(super) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        // Handshakes are encrypted too; an external commit cannot be, so both are taken.
        .wire_format_policy(MIXED_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(MAX_PAST_EPOCHS)
        .number_of_resumption_psks(RESUMPTION_PSKS)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(
            OUT_OF_ORDER_TOLERANCE,
            MAXIMUM_FORWARD_DISTANCE,
        ))
        .use_ratchet_tree_extension(true)
        // The content comes padded.
        .padding_size(0)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_and_joined_groups_are_run_alike() {
        let made = create_config(Suite::X25519, Extensions::empty());
        assert_eq!(*made.join_config(), join_config());
    }
}
