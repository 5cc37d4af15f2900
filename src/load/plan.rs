//! The schedule of each profile. The seed fixes it before the run.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use super::{
    command::What,
    person::{Due, Order},
};

/// Mean time between two changes of a person's state, in seconds.
const STATE_SECS: f64 = 20.0;
/// Mean time between two messages of a person, in seconds.
const CHAT_SECS: f64 = 30.0;
/// Mean time between two acts of a room's host, in seconds.
const HOST_SECS: f64 = 60.0;
/// How long a room of a storm is empty, at least, before it is filled again: longer than a leave
/// takes.
const EMPTY_SECS: f64 = 2.0;
/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// In nanoseconds of the run.
    pub from_ns: u64,
    /// In nanoseconds of the run.
    pub until_ns: u64,
}

/// Times at random, so many a second on average (a Poisson process).
pub(super) struct Arrivals {
    random: SmallRng,
    per_sec: f64,
    next_ns: u64,
    until_ns: u64,
}

impl Arrivals {
    /// In a window.
    pub fn new(seed: u64, per_sec: f64, window: Window) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            per_sec,
            next_ns: window.from_ns,
            until_ns: window.until_ns,
        }
    }

    /// Any number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.next_ns += gap_ns(&mut self.random, 1.0 / self.per_sec);
        (self.next_ns < self.until_ns).then_some(self.next_ns)
    }
}

/// Time to the next arrival of those that come every `mean_secs` on average.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of nanoseconds; more than fit is the end of time"
)]
fn gap_ns(random: &mut SmallRng, mean_secs: f64) -> u64 {
    let uniform: f64 = random.random_range(f64::EPSILON..1.0);
    (-uniform.ln() * mean_secs * SECOND_NS) as u64
}

/// All clients join, evenly over the ramp, one room after the other.
pub(super) fn ramp(people: usize, window: Window) -> impl Iterator<Item = Due> {
    let length_ns = u128::from(window.until_ns - window.from_ns);
    (0..people).map(move |to| {
        let after_ns = length_ns * to as u128 / people as u128;
        Due {
            at_ns: window.from_ns + u64::try_from(after_ns).unwrap_or(u64::MAX),
            to,
            order: Order::Join,
        }
    })
}

/// Anybody publishes, so many a second over all.
pub(super) fn broadcast(
    people: usize,
    seed: u64,
    per_sec: f64,
    window: Window,
) -> impl Iterator<Item = Due> {
    let mut arrivals = Arrivals::new(seed, per_sec, window);
    std::iter::from_fn(move || {
        let at_ns = arrivals.next()?;
        let to = arrivals.below(people);
        Some(Due {
            at_ns,
            to,
            order: Order::Say,
        })
    })
}

/// All clients drop at once.
pub(super) fn drops(people: usize, at_ns: u64) -> impl Iterator<Item = Due> {
    (0..people).map(move |to| Due {
        at_ns,
        to,
        order: Order::Drop,
    })
}

/// Rooms are filled one after the other at this rate of joins. After the last room, each is emptied
/// some time before it is filled again.
pub(super) fn storm(
    rooms: usize,
    size: usize,
    seed: u64,
    per_sec: f64,
    window: Window,
) -> impl Iterator<Item = Due> {
    let ahead = rooms_ahead(rooms, size, per_sec);
    let arrivals = Arrivals::new(seed, per_sec, window);
    arrivals.enumerate().flat_map(move |(count, at_ns)| {
        let room = count / size;
        let needed = room + ahead;
        let is_emptied = count % size == 0 && needed >= rooms;
        let first = needed % rooms * size;
        let leaves = (0..if is_emptied { size } else { 0 }).map(move |seat| Due {
            at_ns,
            to: first + seat,
            order: Order::Leave,
        });
        leaves.chain(std::iter::once(Due {
            at_ns,
            to: room % rooms * size + count % size,
            order: Order::Join,
        }))
    })
}

/// How many rooms before its turn a room is emptied; at most half of them.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of rooms"
)]
fn rooms_ahead(rooms: usize, size: usize, per_sec: f64) -> usize {
    let ahead = (EMPTY_SECS * per_sec / size as f64).ceil() as usize;
    ahead.clamp(1, (rooms / 2).max(1))
}

/// What a participant of a meeting does repeatedly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Habit {
    State,
    Chat,
    Host,
}

impl Habit {
    const fn mean_secs(self) -> f64 {
        match self {
            Self::State => STATE_SECS,
            Self::Chat => CHAT_SECS,
            Self::Host => HOST_SECS,
        }
    }
}

/// What people in meetings do at `pace` times the real rate. `users` are the people by room and
/// seat.
pub(super) fn meeting(
    users: Vec<Vec<Uuid>>,
    seed: u64,
    pace: f64,
    window: Window,
) -> impl Iterator<Item = Due> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut next = BinaryHeap::new();
    let size = users.first().map_or(1, Vec::len);
    for person in 0..users.len() * size {
        let of_host: &[Habit] = if person % size == 0 && size > 1 {
            &[Habit::State, Habit::Chat, Habit::Host]
        } else {
            &[Habit::State, Habit::Chat]
        };
        for habit in of_host {
            let at_ns = window.from_ns + gap_ns(&mut random, habit.mean_secs() / pace);
            next.push(Reverse((at_ns, person, *habit)));
        }
    }
    std::iter::from_fn(move || {
        let Reverse((at_ns, to, habit)) = next.pop().filter(|next| next.0.0 < window.until_ns)?;
        let again_ns = at_ns + gap_ns(&mut random, habit.mean_secs() / pace);
        next.push(Reverse((again_ns, to, habit)));
        let order = match habit {
            Habit::Chat => Order::Say,
            Habit::State => Order::Act(What::State(random.random_range(0..16))),
            Habit::Host if random.random() => Order::Act(What::Lock(random.random())),
            Habit::Host => {
                let seat = random.random_range(1..size);
                Order::Act(What::Mute(users[to / size][seat]))
            }
        };
        Some(Due { at_ns, to, order })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        from_ns: 1_000_000_000,
        until_ns: 11_000_000_000,
    };

    #[test]
    fn arrivals_keep_rate_window_and_seed() {
        let once: Vec<u64> = Arrivals::new(7, 1_000.0, WINDOW).collect();
        let again: Vec<u64> = Arrivals::new(7, 1_000.0, WINDOW).collect();
        assert_eq!(once, again);
        assert!((9_000..11_000).contains(&once.len()), "{}", once.len());
        assert!(once.is_sorted());
        assert!(once[0] >= WINDOW.from_ns && once[once.len() - 1] < WINDOW.until_ns);
    }

    #[test]
    fn ramp_brings_everybody_once_over_its_length() {
        let all: Vec<Due> = ramp(10, WINDOW).collect();
        assert_eq!(
            (all[0].at_ns, all[9].at_ns),
            (1_000_000_000, 10_000_000_000)
        );
        assert!(all.iter().enumerate().all(|(to, due)| due.to == to));
    }

    #[test]
    fn storm_empties_a_room_before_it_fills_it_again() {
        let mut inside = [false; 20];
        let mut joins = 0;
        for due in storm(10, 2, 1, 100.0, WINDOW) {
            match due.order {
                Order::Join => {
                    assert!(!inside[due.to]);
                    inside[due.to] = true;
                    joins += 1;
                }
                Order::Leave => {
                    assert!(inside[due.to], "somebody is told to leave twice");
                    inside[due.to] = false;
                }
                Order::Act(_) | Order::Say | Order::Drop | Order::Tell(_) => unreachable!(),
            }
        }
        assert!(joins > 800, "{joins}");
    }

    #[test]
    fn meeting_has_chat_states_and_hosts_at_their_rates() {
        let users = vec![vec![Uuid::nil(); 4]; 100];
        let mut said = 0;
        let mut states = 0;
        let mut hosts = 0;
        for due in meeting(users, 3, 60.0, WINDOW) {
            match due.order {
                Order::Say => said += 1,
                Order::Act(What::State(_)) => states += 1,
                Order::Act(_) => {
                    assert_eq!(due.to % 4, 0, "only hosts act as hosts");
                    hosts += 1;
                }
                Order::Join | Order::Leave | Order::Drop | Order::Tell(_) => unreachable!(),
            }
        }
        assert!((7_000..9_000).contains(&said), "{said}");
        assert!((11_000..13_000).contains(&states), "{states}");
        assert!((900..1_100).contains(&hosts), "{hosts}");
    }
}
