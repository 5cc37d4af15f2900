//! What is compared, and what the ratios may be at most.

use std::time::Duration;

use crate::server::PING_INTERVAL;

/// The unit of work that CPU time is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A message that arrived at a member.
    Delivery,
    /// A connect, upgrade and join.
    Join,
    /// A member who stays: memory instead of CPU time.
    Connection,
    /// All members who stay: the share of a core that they take.
    Quiet,
    /// A signalling request.
    Request,
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How it is asked for.
    pub name: &'static str,
    /// The load tool's profile.
    pub profile: &'static str,
    /// How many rooms.
    pub rooms: u32,
    /// People in each.
    pub size: u32,
    /// Units a second; the load tool's unit of the profile.
    pub rate: u32,
    /// What is counted.
    pub unit: Unit,
    /// What is asked of callboard.
    pub bound: Bound,
}

/// What is asked of callboard.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most so many times the baseline.
    Ratio(f64),
    /// At most so many kibibytes per connection.
    Kibibytes(f64),
    /// At least so many per second of CPU time.
    PerCpuSecond(f64),
    /// At most so many hundredths of a core.
    Percent(f64),
}

/// Two ping intervals: in a part of one a part of the pings would be missed.
const QUIET_WINDOW: Duration = PING_INTERVAL.saturating_mul(2);

/// Deliveries a second of the broadcasts.
const DELIVERIES: u32 = 20_000;

/// All rows, in the order of the table.
pub const ROWS: [Row; 8] = [
    broadcast("broadcast-100x10", 100, 10, DELIVERIES, 1.15),
    broadcast("broadcast-200x5", 200, 5, DELIVERIES, 1.35),
    broadcast("broadcast-1x500", 1, 500, DELIVERIES, 1.05),
    join_storm("join-storm-500", 1_200, 500),
    join_storm("join-storm-2000", 3_000, 2_000),
    Row {
        name: "idle",
        profile: "idle",
        rooms: 1_000,
        size: 10,
        rate: 1,
        unit: Unit::Connection,
        bound: Bound::Kibibytes(14.0),
    },
    Row {
        name: "idle-cpu",
        profile: "idle",
        rooms: 1_000,
        size: 10,
        rate: 1,
        unit: Unit::Quiet,
        bound: Bound::Percent(2.0),
    },
    Row {
        name: "churn",
        profile: "churn",
        rooms: 100,
        size: 2,
        // About as fast as a server on one core can go beside a load tool, Redis and PostgreSQL on
        // the other.
        rate: 700,
        unit: Unit::Request,
        bound: Bound::PerCpuSecond(20_000.0),
    },
];

/// The broadcast whose highest rate is looked for, and its least share of the baseline's.
pub const PEAK: Row = ROWS[0];
/// See [`PEAK`].
pub const PEAK_RATIO_MIN: f64 = 0.75;

/// Deliveries a second over all rooms, few or many.
const GROWTH_DELIVERIES: u32 = 8_000;
/// The most that a delivery may cost in many rooms, of what it costs in few.
pub const GROWTH_RATIO_MAX: f64 = 1.25;
/// The most that the slowest hundredth of commits may take in many rooms, of what it takes in few.
pub const GROWTH_COMMIT_P99_RATIO_MAX: f64 = 2.0;
/// The same load in few rooms and in about as many as fit into 20,000 files.
pub const GROWTH: [Row; 2] = [
    broadcast("growth-few", 10, 2, GROWTH_DELIVERIES, GROWTH_RATIO_MAX),
    broadcast("growth-many", 9_600, 2, GROWTH_DELIVERIES, GROWTH_RATIO_MAX),
];

const fn broadcast(name: &'static str, rooms: u32, size: u32, rate: u32, ratio_max: f64) -> Row {
    Row {
        name,
        profile: "broadcast",
        rooms,
        size,
        rate,
        unit: Unit::Delivery,
        bound: Bound::Ratio(ratio_max),
    }
}

/// So many rooms that nobody has to leave within 5 s: joins alone are measured.
const fn join_storm(name: &'static str, rooms: u32, rate: u32) -> Row {
    Row {
        name,
        profile: "join-storm",
        rooms,
        size: 5,
        rate,
        unit: Unit::Join,
        bound: Bound::Ratio(2.5),
    }
}

impl Row {
    /// Whether the baseline can do this as well: it has no lifecycle of calls.
    pub fn has_baseline(&self) -> bool {
        match self.unit {
            Unit::Delivery | Unit::Join | Unit::Connection | Unit::Quiet => true,
            Unit::Request => false,
        }
    }

    /// How long it must be measured at least.
    pub fn window_min(&self) -> Duration {
        match self.unit {
            Unit::Quiet => QUIET_WINDOW,
            Unit::Delivery | Unit::Join | Unit::Connection | Unit::Request => Duration::ZERO,
        }
    }

    /// The same, so small that it only shows that everything works.
    pub fn tiny(self) -> Self {
        Self {
            rooms: self.rooms.min(2),
            size: self.size.min(2),
            rate: self.rate.min(100),
            ..self
        }
    }
}

impl Unit {
    /// How it is written in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivery => "CPU µs per delivery",
            Self::Join => "CPU µs per join",
            Self::Connection => "KiB per connection",
            Self::Quiet => "CPU %",
            Self::Request => "requests per CPU second",
        }
    }
}
