//! The last events of a room, kept for replay: bounded in number and in bytes.

use std::collections::VecDeque;

use bytestring::ByteString;

use super::{record::TailEvent, rules::Rules};
use crate::ids::Seq;

/// Last events, oldest first, without gap.
#[derive(Debug, Default)]
pub(super) struct Tail {
    events: VecDeque<TailEvent>,
    bytes: usize,
}

impl Tail {
    pub(super) fn load(events: Vec<TailEvent>) -> Self {
        let bytes = events.iter().map(|event| event.frame.len()).sum();
        Self {
            events: events.into(),
            bytes,
        }
    }

    /// Appends an event and drops the oldest beyond the bounds; the newest always stays.
    pub(super) fn push(&mut self, event: TailEvent, rules: &Rules) {
        self.bytes += event.frame.len();
        self.events.push_back(event);
        while self.events.len() > 1
            && (self.events.len() > rules.tail_events_max || self.bytes > rules.tail_bytes_max)
        {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.frame.len();
            }
        }
    }

    /// Returns all events after `last`, or `None` if some of them are dropped. `current` is the
    /// room's last event.
    pub(super) fn after(&self, last: Seq, current: Seq) -> Option<Vec<ByteString>> {
        if last > current {
            return None;
        }
        let missing = usize::try_from(current.0 - last.0).ok()?;
        let start = self.events.len().checked_sub(missing)?;
        Some(
            self.events
                .range(start..)
                .map(|event| event.frame.clone())
                .collect(),
        )
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn to_vec(&self) -> Vec<TailEvent> {
        self.events.iter().cloned().collect()
    }

    /// Returns whether the events are without gap and end at `current`.
    pub(super) fn is_contiguous(&self, current: Seq) -> bool {
        let count = self.events.len() as u64;
        self.events
            .iter()
            .enumerate()
            .all(|(index, event)| event.seq.0 + count == current.0 + 1 + index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64, bytes: usize) -> TailEvent {
        TailEvent {
            seq: Seq(seq),
            frame: "x".repeat(bytes).into(),
        }
    }

    #[test]
    fn tail_keeps_at_most_its_events_and_bytes() {
        let rules = Rules {
            tail_events_max: 3,
            tail_bytes_max: 10,
            ..Rules::default()
        };
        let mut tail = Tail::default();
        for seq in 1..=3 {
            tail.push(event(seq, 1), &rules);
        }
        assert_eq!(
            tail.after(Seq(0), Seq(3)).map(|frames| frames.len()),
            Some(3)
        );
        tail.push(event(4, 1), &rules);
        assert_eq!(tail.after(Seq(0), Seq(4)), None);
        assert_eq!(
            tail.after(Seq(1), Seq(4)).map(|frames| frames.len()),
            Some(3)
        );
        tail.push(event(5, 9), &rules);
        assert_eq!(tail.len(), 2);
        tail.push(event(6, 100), &rules);
        assert_eq!(tail.len(), 1, "the newest always stays");
        assert!(tail.is_contiguous(Seq(6)));
    }

    #[test]
    fn events_beyond_the_room_are_no_basis_for_a_replay() {
        let tail = Tail::default();
        assert_eq!(tail.after(Seq(5), Seq(4)), None);
        assert_eq!(tail.after(Seq(4), Seq(4)), Some(vec![]));
    }
}
