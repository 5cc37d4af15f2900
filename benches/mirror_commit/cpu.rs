//! CPU time that was used, by this process and by Redis.

use std::time::Duration;

use crate::redis_server::RedisServer;

/// Readings at one moment.
#[derive(Clone, Copy)]
pub struct Cpu {
    own: Duration,
    redis: Option<Duration>,
}

impl Cpu {
    /// What was used until now.
    pub fn read(server: Option<&RedisServer>) -> Self {
        Self {
            own: own(),
            redis: server.map(of_redis),
        }
    }

    /// Microseconds used from this reading to a later one, for each of `count`: here, and in Redis
    /// if it was read.
    pub fn each_us(self, later: Self, count: u64) -> (f64, Option<f64>) {
        let each = |from: Duration, to: Duration| {
            to.saturating_sub(from).as_secs_f64() * 1e6 / count.max(1) as f64
        };
        let redis = self.redis.zip(later.redis);
        (
            each(self.own, later.own),
            redis.map(|(from, to)| each(from, to)),
        )
    }
}

/// User and system time of all threads.
fn own() -> Duration {
    let seconds = callboard::load::cpu_secs(std::process::id());
    Duration::from_secs_f64(seconds.expect("Linux tells processes of themselves"))
}

fn of_redis(server: &RedisServer) -> Duration {
    let info: String = server.command(&["INFO", "cpu"]);
    let seconds = ["used_cpu_sys:", "used_cpu_user:"].map(|name| {
        let value = info.lines().find_map(|line| line.strip_prefix(name));
        let value = value.expect("Redis tells its CPU time").trim();
        value.parse::<f64>().expect("seconds")
    });
    Duration::from_secs_f64(seconds.iter().sum())
}
