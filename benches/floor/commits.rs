//! How long commits took, from callboard's own metrics.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::processes::Server;

/// The writer's histogram.
const BUCKET: &str = "callboard_mirror_commit_seconds_bucket{le=\"";
/// Longest wait for the metrics.
const PATIENCE: Duration = Duration::from_secs(5);

impl Server {
    /// Microseconds that half of all commits stayed below; none: this server makes none.
    pub fn commit_p50_us(&self) -> Option<f64> {
        let key = self.api_key.as_ref()?;
        let text = self.metrics(key).ok()?;
        median_us(&buckets(&text))
    }

    fn metrics(&self, key: &str) -> std::io::Result<String> {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET /metrics HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Upper bounds in seconds, each with the number of commits up to it.
fn buckets(text: &str) -> Vec<(f64, f64)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(BUCKET));
    lines
        .filter_map(|line| {
            let (bound, count) = line.split_once("\"} ")?;
            let bound = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().ok()?
            };
            Some((bound, count.trim().parse().ok()?))
        })
        .collect()
}

/// Straight between the bounds of the bucket that has the median, as Prometheus does it.
fn median_us(buckets: &[(f64, f64)]) -> Option<f64> {
    let half = buckets.last()?.1 / 2.0;
    let mut lower = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= half && count > lower.1 {
            let share = (half - lower.1) / (count - lower.1);
            let upper = if bound.is_finite() { bound } else { lower.0 };
            return Some((lower.0 + (upper - lower.0) * share) * 1e6);
        }
        lower = (bound, count);
    }
    None
}
