//! What the own switches of a client may show, after acknowledged and unanswered changes.

use serde_json::Value;

use super::{Command, pending::Pending};

/// The own switches that are checked, by their names on the wire.
pub const SWITCHES: [&str; 3] = ["isMuted", "isVideoOn", "isHandRaised"];

#[derive(Clone, Debug, Default)]
struct Allowed {
    /// The value of the last change acknowledged as durable. `None` if unknown.
    sure: Option<bool>,
    /// Values acknowledged later without durability. Each may hold or be lost.
    unsure: Vec<bool>,
}

/// What each of [`SWITCHES`] may show.
#[derive(Debug, Default)]
pub(super) struct Switches([Allowed; SWITCHES.len()]);

impl Switches {
    /// A change was acknowledged.
    pub fn acked(&mut self, switch: usize, value: bool, durable: bool) {
        let allowed = &mut self.0[switch];
        if durable {
            allowed.sure = Some(value);
            allowed.unsure.clear();
        } else {
            allowed.unsure.push(value);
        }
    }

    /// After `DurabilityChanged{true}` the changes acknowledged without durability hold.
    pub fn all_is_sure(&mut self) {
        for allowed in &mut self.0 {
            if let Some(last) = allowed.unsure.last() {
                allowed.sure = Some(*last);
            }
            allowed.unsure.clear();
        }
    }

    /// A durable room shows this participant.
    pub fn shown(&mut self, own: &Value) {
        for (allowed, name) in self.0.iter_mut().zip(SWITCHES) {
            allowed.sure = own[name].as_bool();
            allowed.unsure.clear();
        }
    }

    /// Returns the first switch that shows a value older than an acknowledged one.
    pub fn wrong<T: Command>(&self, own: &Value, pending: &Pending<T>) -> Option<&'static str> {
        let is_wrong = |switch: &usize| {
            let shown = own[SWITCHES[*switch]].as_bool();
            shown.is_none_or(|value| !self.may_show(*switch, value, pending))
        };
        (0..SWITCHES.len())
            .find(is_wrong)
            .map(|switch| SWITCHES[switch])
    }

    fn may_show<T: Command>(&self, switch: usize, value: bool, pending: &Pending<T>) -> bool {
        let allowed = &self.0[switch];
        allowed.sure.is_none_or(|sure| sure == value)
            || allowed.unsure.contains(&value)
            || pending
                .iter()
                .any(|(_, command)| command.switch() == Some((switch, value)))
    }
}
