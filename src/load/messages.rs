//! The chat messages that one client of a load run received: each message of each publisher once.

use super::{client::Violation, mark::Mark};

/// The messages of one stay.
pub(super) struct Messages {
    /// The last number of each publisher, by seat. Empty before the first message.
    numbers: Vec<u32>,
    /// Seats in the room.
    size: usize,
    /// Whether the server has no snapshots: numbers have no gap.
    is_bare: bool,
    pub count: u64,
    /// Whether a snapshot replaced some messages.
    pub has_gap: bool,
}

impl Messages {
    pub fn new(size: usize, is_bare: bool) -> Self {
        Self {
            numbers: Vec::new(),
            size,
            is_bare,
            count: 0,
            has_gap: false,
        }
    }

    pub fn begin_stay(&mut self) {
        self.numbers.clear();
        self.count = 0;
        self.has_gap = false;
    }

    /// Counts a message. Returns the violation if the message is a repeat or, without snapshots,
    /// not the next one.
    pub fn take(&mut self, mark: Mark) -> Option<Violation> {
        if self.numbers.is_empty() {
            self.numbers.resize(self.size, 0);
        }
        self.count += 1;
        let mut last = 0;
        if let Some(number) = self.numbers.get_mut(mark.seat) {
            last = std::mem::replace(number, mark.number);
        }
        let is_wrong = if self.is_bare {
            mark.number != last + 1
        } else {
            mark.number <= last
        };
        is_wrong.then(|| {
            let what = format!("message {} of {} after {last}", mark.number, mark.seat);
            Violation::new("each-once", &what)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken_by(messages: &mut Messages, numbers: &[u32]) -> Vec<&'static str> {
        let take = |number: &u32| {
            let mark = Mark {
                seat: 1,
                number: *number,
                due_ns: 5,
            };
            messages.take(mark).map(|violation| violation.promise)
        };
        numbers.iter().filter_map(take).collect()
    }

    #[test]
    fn a_message_under_two_events_is_named() {
        assert_eq!(
            broken_by(&mut Messages::new(2, false), &[1, 1]),
            ["each-once"]
        );
    }

    #[test]
    fn a_target_without_rules_must_deliver_each_message_once() {
        let mut messages = Messages::new(2, true);
        assert_eq!(broken_by(&mut messages, &[1, 2]), [""; 0]);
        assert_eq!(broken_by(&mut messages, &[4]), ["each-once"]);
        assert_eq!(broken_by(&mut messages, &[4]), ["each-once"]);
        assert_eq!(messages.count, 4);
    }

    #[test]
    fn a_snapshot_may_skip_messages() {
        let mut messages = Messages::new(2, false);
        assert_eq!(broken_by(&mut messages, &[1, 9]), [""; 0]);
    }
}
