//! Targets that keep state; what they check is in `qpq_fuzz::stateful`. The allocator of this binary
//! counts what a thread holds: an input that needs more than its target's budget fails.

use bolero::check;
use qpq_fuzz::stateful::{client, glue, group, pair, peers, service};

/// Runs a target on one input, and gives the most bytes that were held meanwhile.
fn most_held(target: impl FnOnce()) -> usize {
    let info = allocation_counter::measure(target);
    usize::try_from(info.bytes_max).expect("bytes fit in memory")
}

/// A target that may hold so many bytes.
fn within(budget: usize, target: fn(&[u8])) -> impl Fn(&[u8]) {
    move |input| {
        let held = most_held(|| target(input));
        assert!(
            held <= budget,
            "{held} bytes were held, {budget} are the budget"
        );
    }
}

#[test]
fn server_services() {
    check!().for_each(within(service::budget(), service::service));
}

#[test]
fn server_peers() {
    check!().for_each(within(peers::budget(), peers::server_peers));
}

#[test]
fn hostile_server() {
    check!().for_each(within(client::budget(), client::hostile_server));
}

#[test]
fn core_pair() {
    check!().for_each(within(pair::budget(), pair::core_pair));
}

#[test]
fn group_messages() {
    check!().for_each(within(group::budget(), group::group_messages));
}

#[test]
fn x_wing_messages() {
    check!().for_each(within(group::budget_x_wing(), group::x_wing_messages));
}

#[test]
fn quic_glue() {
    check!().for_each(within(glue::budget(), glue::quic_glue));
}

#[test]
#[should_panic(expected = "are the budget")]
fn a_target_over_its_budget_fails() {
    within(1000, |input| drop(vec![1_u8; 1001 + input.len()]))(&[]);
}

/// It is the limits that hold memory down: under looser ones the same flood is over the budget.
#[test]
fn a_flood_of_requests_is_held_by_the_limits() {
    let flood = peers::flood();
    let budget = peers::budget();
    let held = most_held(|| peers::server_peers(&flood));
    assert!(held <= budget, "{held}");
    let held = most_held(|| peers::under(peers::loose(), &flood));
    assert!(held > budget, "{held}");
}

/// A client has no limits to loosen: the flood comes close to where credit ends, and no further.
#[test]
fn a_flood_of_pushes_is_held_by_credit() {
    let budget = client::budget();
    let held = most_held(|| client::hostile_server(&client::flood()));
    assert!((budget / 2..=budget).contains(&held), "{held}");
}

/// What an answer would be once it is decoded counts too: the client refuses it before that.
#[test]
fn an_answer_that_would_swell_is_refused_before_it_is_decoded() {
    let budget = client::budget();
    let held = most_held(|| client::hostile_server(&client::swollen()));
    assert!(held <= budget, "{held}");
}

/// The same for the transport, which lets a connection without a session open few streams, whatever the
/// core's limits are.
#[test]
fn a_flood_of_datagrams_is_held_by_the_limits() {
    let flood = glue::flood();
    let budget = glue::budget();
    let held = most_held(|| glue::quic_glue(&flood));
    assert!(held <= budget, "{held}");
}
