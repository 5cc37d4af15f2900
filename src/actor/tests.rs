//! The actors over real sockets, with a mirror that obeys the test.

mod breaking;
#[path = "../../tests/common/client.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the black-box tests"
)]
mod client;
mod commits;
mod connections;
mod endings;
mod failures;
mod outages;
mod plan;
#[path = "../../tests/common/socket.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the black-box tests"
)]
mod socket;
mod stage;
mod starts;
mod turns;
#[path = "../../tests/common/view.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the black-box tests"
)]
mod view;
