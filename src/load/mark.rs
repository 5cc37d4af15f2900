//! The text of a chat message of a load run: who published it, which one it is, and when it was
//! due.

/// Comes before the facts in the text.
const MARKER: &str = "cb1:";
/// Longest text: the marker and three numbers.
const TEXT_BYTES_MAX: usize = 80;

/// The facts that a published message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Seat of the publisher in the room.
    pub seat: usize,
    /// Counts the publisher's messages from 1.
    pub number: u32,
    /// When it was due, in nanoseconds of the run.
    pub due_ns: u64,
}

impl Mark {
    /// Returns the text of the message.
    #[must_use]
    pub fn text(self) -> String {
        format!("{MARKER}{}:{}:{};", self.seat, self.number, self.due_ns)
    }

    /// Finds a mark anywhere in a frame.
    #[must_use]
    pub fn find(frame: &str) -> Option<Self> {
        let from = frame.find(MARKER)? + MARKER.len();
        let rest = &frame.as_bytes()[from..frame.len().min(from + TEXT_BYTES_MAX)];
        let end = rest.iter().position(|byte| *byte == b';')?;
        let mut numbers = frame[from..from + end].split(':');
        Some(Self {
            seat: numbers.next()?.parse().ok()?,
            number: numbers.next()?.parse().ok()?,
            due_ns: numbers.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_found_in_a_frame_and_nowhere_else() {
        let mark = Mark {
            seat: 3,
            number: 17,
            due_ns: 123_456_789_000,
        };
        let frame = format!(
            r#"{{"type":"MessageReceived","text":"{}","seq":9}}"#,
            mark.text()
        );
        assert_eq!(Mark::find(&frame), Some(mark));
        assert_eq!(Mark::find(r#"{"type":"Ack"}"#), None);
        assert_eq!(Mark::find("cb1:3:x:1;"), None);
        assert_eq!(Mark::find("cb1:3:1:1"), None);
    }
}
