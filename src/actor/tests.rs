//! The actors over real sockets, with a mirror that obeys the test.

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

use crate::{
    protocol::{Command, OwnCommand},
    room::{effect::Effect, input::Input},
};

/// A chat text at which the rules panic.
const FAIL: &str = "fail in the rules";
/// A chat text whose event makes the shell panic when it is to be sent.
const FAIL_LATER: &str = "fail outside the rules";

/// Panics in place of the rules, if a test says so.
pub(super) fn fail_if_told(input: &Input) {
    if let Input::Command {
        command: Command::Own(OwnCommand::SendMessage { text, .. }),
        ..
    } = input
    {
        assert_ne!(text, FAIL, "told to fail");
    }
}

/// Panics while effects are performed, if a test says so.
pub(super) fn fail_later_if_told(effect: &Effect) {
    if let Effect::Broadcast { event, .. } = effect {
        assert!(!event.frame.contains(FAIL_LATER), "told to fail");
    }
}
