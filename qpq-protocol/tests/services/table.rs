//! The table of limits against the source and the tests: each number is read by something, and a test shows
//! it at work. The classes of rates are shown all at once by `limits.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use qpq_protocol::limits::{Limits, RateClass};

/// Which test shows what: files are those of this crate, tests named as in their file.
const SHOWN: &[(&str, &[(&str, &str)])] = &[
    (
        "tests/greedy_server.rs",
        &[
            (
                "connections",
                "one_connection_more_than_a_core_serves_is_closed",
            ),
            ("account_connections", "an_account_has_so_many_connections"),
            (
                "anonymous_connections",
                "the_longest_silent_of_an_address_gives_way",
            ),
            (
                "anonymous_streams",
                "a_stranger_has_eight_streams_and_a_session_the_rest",
            ),
            (
                "total_buffer",
                "where_a_pool_is_full_the_youngest_gives_way_and_the_oldest_arrives",
            ),
            (
                "small_buffer",
                "a_request_that_arrives_whole_goes_before_those_that_do_not",
            ),
            (
                "anonymous_buffer",
                "one_address_holds_a_sixteenth_of_what_strangers_may",
            ),
            (
                "anonymous_small_buffer",
                "one_address_holds_a_sixteenth_of_what_strangers_may",
            ),
            (
                "total_unsent",
                "a_request_whose_turn_does_not_come_is_answered",
            ),
            ("answer", "an_answer_is_no_longer_than_it_may_be"),
            (
                "long_answers",
                "a_connection_runs_so_many_requests_with_long_answers",
            ),
            (
                "outputs",
                "nothing_is_taken_while_too_much_output_is_queued",
            ),
            ("arrival_time", "a_slow_request_has_a_second_for_each_8_kib"),
            ("slowest", "a_slow_request_has_a_second_for_each_8_kib"),
            (
                "unsent_time",
                "an_account_that_takes_nothing_holds_up_nobody_and_is_closed",
            ),
            (
                "request_time",
                "what_storage_does_not_answer_is_answered_in_time",
            ),
            (
                "login_time",
                "a_silent_stranger_is_closed_and_a_session_is_not",
            ),
        ],
    ),
    (
        "tests/bad_input_server.rs",
        &[
            ("streams", "too_many_streams_and_too_much_at_once"),
            ("connection_buffer", "too_many_streams_and_too_much_at_once"),
            ("anonymous_payload", "more_than_64_kib_without_a_session"),
            (
                "login_state",
                "a_login_that_nobody_started_or_that_is_too_late",
            ),
            ("signed_time", "a_registration_signed_at_another_time"),
        ],
    ),
    (
        "tests/server_push.rs",
        &[
            (
                "connection_unsent",
                "a_peer_that_does_not_read_gets_hints_and_then_nothing",
            ),
            ("shutdown_time", "a_shutdown_does_not_wait_for_ever"),
            ("fetch_wait", "a_wait_ends_with_news_or_with_its_time"),
        ],
    ),
    (
        "tests/server_accounts.rs",
        &[
            ("session", "a_session_lasts_30_days_from_its_last_use"),
            (
                "session_check",
                "a_session_that_ended_elsewhere_is_noticed_within_a_minute",
            ),
            ("sessions", "the_session_used_longest_ago_makes_room"),
            (
                "pace",
                "answers_that_could_tell_something_leave_at_multiples_of_5_ms",
            ),
        ],
    ),
    (
        "tests/server_devices.rs",
        &[
            ("devices", "an_account_has_at_most_five_devices"),
            (
                "fresh_login",
                "a_device_that_finds_no_room_revokes_another_soon_after_its_login",
            ),
        ],
    ),
    (
        "tests/services/bounds.rs",
        &[
            ("conflicts", "a_request_runs_again_so_often"),
            (
                "cached_rows",
                "a_core_remembers_so_many_rows_bytes_and_accounts",
            ),
            (
                "cached_bytes",
                "a_core_remembers_so_many_rows_bytes_and_accounts",
            ),
            (
                "stored_accounts",
                "a_core_remembers_so_many_rows_bytes_and_accounts",
            ),
            (
                "sealed_identity",
                "a_key_package_and_a_sealed_identity_have_a_length",
            ),
            (
                "key_package",
                "a_key_package_and_a_sealed_identity_have_a_length",
            ),
            (
                "queue_bytes",
                "a_queue_holds_so_many_bytes_and_a_commit_more_closes_it",
            ),
            (
                "ttl_default",
                "a_message_lives_thirty_days_and_at_most_ninety",
            ),
            ("ttl_max", "a_message_lives_thirty_days_and_at_most_ninety"),
            (
                "stored_queue",
                "each_queue_counts_for_what_is_stored_in_a_day",
            ),
            ("members", "a_channel_has_so_many_members"),
            (
                "channel_devices",
                "a_channel_has_so_many_devices_and_goes_on_where_it_has_more",
            ),
            ("returns", "resets_and_returns_have_a_number_and_a_window"),
            ("reset", "resets_and_returns_have_a_number_and_a_window"),
        ],
    ),
    (
        "tests/services/quotas.rs",
        &[
            ("payload", "lengths_and_numbers_are_those_of_the_table"),
            ("welcome", "lengths_and_numbers_are_those_of_the_table"),
            ("recipients", "lengths_and_numbers_are_those_of_the_table"),
            ("commit_adds", "lengths_and_numbers_are_those_of_the_table"),
            ("group_info", "lengths_and_numbers_are_those_of_the_table"),
            (
                "group_metadata",
                "lengths_and_numbers_are_those_of_the_table",
            ),
            (
                "stored_a_day",
                "an_account_stores_so_much_for_others_in_a_day",
            ),
            ("stored_block", "an_allowance_is_asked_for_once_a_block"),
        ],
    ),
    (
        "tests/services/delivery.rs",
        &[
            (
                "pushed_envelope",
                "new_messages_are_pushed_in_order_short_ones_whole",
            ),
            (
                "queue_messages",
                "a_full_queue_refuses_unless_another_device_has_room",
            ),
            (
                "queue_sender_share",
                "one_sender_fills_a_quarter_of_a_queue_and_leaves_the_rest_to_others",
            ),
        ],
    ),
    (
        "tests/services/lists.rs",
        &[
            (
                "memberships_a_day",
                "one_gives_another_five_memberships_a_day_and_the_others_are_not_stopped",
            ),
            (
                "memberships_open",
                "memberships_are_open_until_they_are_used",
            ),
            (
                "memberships",
                "beyond_the_open_ones_the_oldest_of_who_gave_most_goes",
            ),
            (
                "free_resets",
                "a_dm_that_was_left_may_be_reset_within_the_hour_and_another_not",
            ),
        ],
    ),
    (
        "tests/server_policy.rs",
        &[("away_devices", "who_is_forgotten_is_told_of_again")],
    ),
    (
        "tests/services/channels.rs",
        &[(
            "slot_zero",
            "a_dm_has_one_name_for_both_and_is_new_for_its_creator_until_slot_0_is_taken",
        )],
    ),
    (
        "tests/services/key_packages.rs",
        &[
            ("key_packages", "a_device_has_a_bounded_pool"),
            (
                "key_package_seen",
                "what_is_known_of_uploads_is_bounded_and_ends",
            ),
        ],
    ),
    (
        "tests/services/upkeep.rs",
        &[
            ("upkeep", "expired_messages_leave_storage"),
            (
                "message_id",
                "a_message_id_is_known_for_a_day_and_as_long_as_its_message",
            ),
        ],
    ),
    (
        "src/server/rate.rs",
        &[("rate_counters", "a_table_of_one_counter_is_only_stricter")],
    ),
];

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The source of everything in this folder, but for the tests at the end of a file.
fn source(folder: PathBuf) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all += &source(path);
            continue;
        }
        let file = fs::read_to_string(path).expect("a source file");
        all += file
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
    }
    all
}

/// Whether the source names this, and not only something longer.
fn names(source: &str, what: &str) -> bool {
    let mut found = source.match_indices(what);
    found.any(|(at, _)| {
        let next = source[at + what.len()..].chars().next();
        next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
    })
}

/// The fields of the table, as it prints itself.
fn fields() -> BTreeSet<String> {
    let printed = format!("{:#?}", Limits::default());
    let lines = printed.lines().filter_map(|line| line.strip_prefix("    "));
    let fields = lines.filter(|line| !line.starts_with([' ', '}']));
    fields
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect()
}

#[test]
fn every_limit_is_read_and_shown() {
    let rates: BTreeSet<&str> = RateClass::ALL.iter().map(|class| class.name()).collect();
    let mut fields = fields();
    assert!(rates.iter().all(|rate| fields.remove(*rate)));
    let shown = SHOWN.iter().flat_map(|(_, tests)| tests.iter());
    let shown: BTreeSet<String> = shown.map(|(limit, _)| (*limit).to_owned()).collect();
    assert_eq!(shown, fields);

    let core = source(home().join("src/server"));
    for field in &fields {
        let read = names(&core, &format!("limits.{field}"));
        assert!(read, "nothing reads `{field}`");
    }
    for class in RateClass::ALL {
        let read = names(&core, &format!("RateClass::{class:?}"));
        assert!(read, "nothing counts {class:?}");
    }
    for (file, tests) in SHOWN {
        let source = fs::read_to_string(home().join(file)).expect("a test file");
        for (limit, test) in *tests {
            let there = source.contains(&format!("fn {test}("));
            assert!(there, "{file} has no test `{test}` for `{limit}`");
        }
    }
}
