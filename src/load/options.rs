//! What a load run is asked to do, and what cannot be asked.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;
use url::{Host, Url};

/// Most rooms of a run.
const ROOMS_MAX: usize = 100_000;
/// Most people of a room: what a room may have.
const SIZE_MAX: usize = 10_000;
/// Most people of a run.
const PEOPLE_MAX: usize = 200_000;
/// Most source addresses: what 127/8 has in its last part.
const SOURCES_MAX: u8 = 250;
/// Highest rate of anything.
const RATE_MAX: f64 = 10_000_000.0;
/// Connections of concurrent calls.
const CHURN_CONNECTIONS: usize = 2 * super::churn::CALLS_MAX;
/// Longest run.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Meetings: join over the ramp, ICE, chat, states, host controls, leave. The rate scales it; 1
    /// is real time.
    Meeting,
    /// As many joins a second as the rate says.
    JoinStorm,
    /// All clients publish. The rate is deliveries a second over all rooms.
    Broadcast,
    /// Connections that answer pings.
    Idle,
    /// Calls of two that open and close; the rate is calls a second.
    Churn,
    /// All clients drop at once in the middle of the run and resume.
    Reconnect,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Meeting,
        Self::JoinStorm,
        Self::Broadcast,
        Self::Idle,
        Self::Churn,
        Self::Reconnect,
    ];

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meeting => "meeting",
            Self::JoinStorm => "join-storm",
            Self::Broadcast => "broadcast",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Reconnect => "reconnect",
        }
    }

    /// Whether a target without rules can take it.
    const fn is_for_bare(self) -> bool {
        match self {
            Self::JoinStorm | Self::Broadcast | Self::Idle => true,
            Self::Meeting | Self::Churn | Self::Reconnect => false,
        }
    }

    /// Whether people are in their rooms before the window begins.
    pub(super) const fn has_ramp(self) -> bool {
        match self {
            Self::Meeting | Self::Broadcast | Self::Idle | Self::Reconnect => true,
            Self::JoinStorm | Self::Churn => false,
        }
    }

    /// Whether people try to reach each other for audio and video.
    pub(super) const fn has_media(self) -> bool {
        match self {
            Self::Meeting => true,
            Self::JoinStorm | Self::Broadcast | Self::Idle | Self::Churn | Self::Reconnect => false,
        }
    }

    /// Whether the rate counts.
    const fn has_rate(self) -> bool {
        match self {
            Self::Meeting | Self::JoinStorm | Self::Broadcast | Self::Churn => true,
            Self::Idle | Self::Reconnect => false,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("must be one of {names}")
        })
    }
}

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the people do.
    pub profile: Profile,
    /// The nodes, at least one; rooms are spread over them.
    pub urls: Vec<Url>,
    /// An API key of the server; not needed by a bare target.
    pub key: Option<String>,
    /// Rooms, at most 100,000.
    pub rooms: usize,
    /// People of each room, at most 10,000.
    pub size: usize,
    /// What it counts depends on the profile.
    pub rate: f64,
    /// Length of the window that is measured, at most a day.
    pub duration: Duration,
    /// Time in which people join before the window.
    pub ramp: Duration,
    /// Of all random choices.
    pub seed: u64,
    /// Process whose CPU time and memory are measured; on this machine.
    pub server_pid: Option<u32>,
    /// Loopback addresses to connect from, at most 250: each has its own 28,000 ports.
    pub sources: u8,
    /// Worker threads.
    pub threads: usize,
    /// Whether the target is a fan-out without rules and without HTTP API.
    pub is_bare: bool,
    /// Whether a progress bar is drawn on stderr.
    pub has_progress: bool,
}

/// What cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct OptionsError(pub(super) String);

impl Options {
    /// People of the run.
    pub(super) fn people(&self) -> usize {
        self.rooms * self.size
    }

    /// Connections at once, at most.
    pub(super) fn connections(&self) -> usize {
        match self.profile {
            Profile::Churn => CHURN_CONNECTIONS,
            Profile::Meeting
            | Profile::JoinStorm
            | Profile::Broadcast
            | Profile::Idle
            | Profile::Reconnect => self.people(),
        }
    }

    /// Refuses what cannot be done.
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let wrong = |text: &str| Err(OptionsError(text.to_owned()));
        if self.urls.is_empty() {
            return wrong("--url is missing");
        }
        if self.key.is_none() && !self.is_bare {
            return wrong("--key or CALLBOARD_API_KEY is missing");
        }
        if self.is_bare && !self.profile.is_for_bare() {
            return wrong("--bare takes broadcast, join-storm and idle only");
        }
        if !(1..=ROOMS_MAX).contains(&self.rooms) || !(1..=SIZE_MAX).contains(&self.size) {
            return wrong("--rooms must be 1 to 100000 and --size 1 to 10000");
        }
        if self.people() > PEOPLE_MAX {
            return wrong("--rooms times --size must be at most 200000");
        }
        if self.profile.has_rate() && !(self.rate > 0.0 && self.rate <= RATE_MAX) {
            return wrong("--rate must be above 0 and at most 10000000");
        }
        if self.duration.is_zero() || self.duration > DURATION_MAX || self.ramp > DURATION_MAX {
            return wrong("--duration and --ramp must be at most a day, --duration above 0");
        }
        if self.threads == 0 || !(1..=SOURCES_MAX).contains(&self.sources) {
            return wrong("--threads must be at least 1 and --sources 1 to 250");
        }
        if self.sources > 1 && !self.urls.iter().all(is_loopback) {
            return wrong("--sources works with http://127.0.0.1 only");
        }
        Ok(())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Domain(_) | Host::Ipv6(_)) | None => false,
    }
}
