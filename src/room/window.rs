//! Remembers which commands of a participant took effect: the last id and the 64 ids below it.

/// What is known of a command id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandStatus {
    /// It has not taken effect: the command is run.
    New,
    /// It took effect before: the command is acknowledged again, and not run.
    Repeated,
    /// It is too old to tell.
    BelowWindow,
}

/// How many ids below the last one are remembered.
const WINDOW: u64 = 64;

/// Looks up `id`. `last` is the highest id that took effect; bit n of `bits` is `last - 1 -
/// n`.
pub(super) fn status(last: u64, bits: u64, id: u64) -> CommandStatus {
    if id == 0 {
        // Ids begin at 1; 0 means "none yet".
        return CommandStatus::BelowWindow;
    }
    if id > last {
        return CommandStatus::New;
    }
    if id == last {
        return CommandStatus::Repeated;
    }
    match last - id {
        distance if distance > WINDOW => CommandStatus::BelowWindow,
        distance if bits >> (distance - 1) & 1 == 1 => CommandStatus::Repeated,
        _ => CommandStatus::New,
    }
}

/// Returns `last` and `bits` after `id` took effect.
pub(super) fn mark(last: u64, bits: u64, id: u64) -> (u64, u64) {
    if id <= last {
        let distance = last - id;
        let bit = if (1..=WINDOW).contains(&distance) {
            1 << (distance - 1)
        } else {
            0
        };
        return (last, bits | bit);
    }
    let shift = id - last;
    let shifted = if shift >= WINDOW { 0 } else { bits << shift };
    let last_bit = if last > 0 && shift <= WINDOW {
        1 << (shift - 1)
    } else {
        0
    };
    (id, shifted | last_bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_new_once_and_repeated_afterwards_in_any_order() {
        let (mut last, mut bits) = (0, 0);
        for id in [1, 3, 2, 70, 10, 69] {
            assert_eq!(status(last, bits, id), CommandStatus::New, "{id}");
            (last, bits) = mark(last, bits, id);
            assert_eq!(status(last, bits, id), CommandStatus::Repeated, "{id}");
        }
        assert_eq!(last, 70);
        assert_eq!(
            status(last, bits, 6),
            CommandStatus::New,
            "the lowest of the window"
        );
        assert_eq!(status(last, bits, 5), CommandStatus::BelowWindow);
        assert_eq!(status(last, bits, 11), CommandStatus::New);
    }

    #[test]
    fn a_jump_keeps_exactly_sixty_four_ids() {
        let (last, bits) = mark(1, 0, 65);
        assert_eq!(status(last, bits, 1), CommandStatus::Repeated);
        let (last, bits) = mark(last, bits, 66);
        assert_eq!(status(last, bits, 1), CommandStatus::BelowWindow);
        assert_eq!(status(last, bits, 65), CommandStatus::Repeated);
        let (last, bits) = mark(last, bits, u64::MAX);
        assert_eq!((last, bits), (u64::MAX, 0));
    }
}
