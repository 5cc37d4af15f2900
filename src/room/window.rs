//! Which of a participant's commands took effect: the last id and the 64 ids below it.

/// What is to be done with a command id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not yet decided: execute.
    New,
    /// Took effect before: acknowledge again, do nothing.
    Repeated,
    /// Too old to tell.
    BelowWindow,
}

/// Ids below the last that are remembered.
const WINDOW: u64 = 64;

/// Judges `id` by the highest id that took effect and the bits below it (bit n: `last - 1 - n`).
pub(super) fn judge(last: u64, bits: u64, id: u64) -> Verdict {
    if id == 0 {
        // Ids begin at 1; 0 stands for "none yet".
        return Verdict::BelowWindow;
    }
    if id > last {
        return Verdict::New;
    }
    if id == last {
        return Verdict::Repeated;
    }
    match last - id {
        distance if distance > WINDOW => Verdict::BelowWindow,
        distance if bits >> (distance - 1) & 1 == 1 => Verdict::Repeated,
        _ => Verdict::New,
    }
}

/// The window after `id` took effect.
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
    let former = if last > 0 && shift <= WINDOW {
        1 << (shift - 1)
    } else {
        0
    };
    (id, shifted | former)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_new_once_and_repeated_afterwards_in_any_order() {
        let (mut last, mut bits) = (0, 0);
        for id in [1, 3, 2, 70, 10, 69] {
            assert_eq!(judge(last, bits, id), Verdict::New, "{id}");
            (last, bits) = mark(last, bits, id);
            assert_eq!(judge(last, bits, id), Verdict::Repeated, "{id}");
        }
        assert_eq!(last, 70);
        assert_eq!(
            judge(last, bits, 6),
            Verdict::New,
            "the lowest of the window"
        );
        assert_eq!(judge(last, bits, 5), Verdict::BelowWindow);
        assert_eq!(judge(last, bits, 11), Verdict::New);
    }

    #[test]
    fn a_jump_keeps_exactly_sixty_four_ids() {
        let (last, bits) = mark(1, 0, 65);
        assert_eq!(judge(last, bits, 1), Verdict::Repeated);
        let (last, bits) = mark(last, bits, 66);
        assert_eq!(judge(last, bits, 1), Verdict::BelowWindow);
        assert_eq!(judge(last, bits, 65), Verdict::Repeated);
        let (last, bits) = mark(last, bits, u64::MAX);
        assert_eq!((last, bits), (u64::MAX, 0));
    }
}
