//! The services of the server core on the memory engine, through frames: a test a rule of
//! protocol.md §5, and random operations against a naive model.

mod support;

#[path = "services/bounds.rs"]
mod bounds;
#[path = "services/channels.rs"]
mod channels;
#[path = "services/commits.rs"]
mod commits;
#[path = "services/delivery.rs"]
mod delivery;
#[path = "services/families.rs"]
mod families;
#[path = "services/holdings.rs"]
mod holdings;
#[path = "services/key_packages.rs"]
mod key_packages;
#[path = "services/large.rs"]
mod large;
#[path = "services/limits.rs"]
mod limits;
#[path = "services/lists.rs"]
mod lists;
#[path = "services/model.rs"]
mod model;
#[path = "services/places.rs"]
mod places;
#[path = "services/quotas.rs"]
mod quotas;
#[path = "services/random.rs"]
mod random;
#[path = "services/requests.rs"]
mod requests;
#[path = "services/table.rs"]
mod table;
#[path = "services/upkeep.rs"]
mod upkeep;
