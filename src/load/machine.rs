//! What the kernel says about processes: CPU time and memory of the server and of the load tool
//! itself.

use std::fs;

use serde::Serialize;

use crate::fd_budget;

/// Ticks of `utime` and `stime` in a second: `USER_HZ`, 100 on every Linux that we run on
/// (proc(5)).
const TICKS_PER_SEC: f64 = 100.0;
/// Position of `utime` behind the command's name in `/proc/PID/stat` (proc(5)).
const UTIME: usize = 11;
/// Files needed beside the connections: libraries, standard streams, epoll, the HTTP pool.
const SPARE_FILES: u64 = 200;

/// A server process over the window.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerUse {
    /// CPU time in the window, user and system.
    pub cpu_secs: f64,
    /// Resident memory at the beginning of the window.
    pub rss_begin_kib: u64,
    /// At its end.
    pub rss_end_kib: u64,
    /// The most that was seen, once a second.
    pub rss_max_kib: u64,
}

/// Returns the CPU time of a process, user and system. `None` without such a process or without
/// Linux.
#[must_use]
pub fn cpu_secs(pid: u32) -> Option<f64> {
    cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

#[expect(clippy::cast_precision_loss, reason = "ticks of years are exact")]
fn cpu_of(stat: &str) -> Option<f64> {
    // The name may contain spaces and parentheses.
    let behind_name = stat.rsplit_once(')')?.1;
    let mut fields = behind_name.split_whitespace().skip(UTIME);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SEC)
}

/// Returns the resident memory of a process. `None` as for [`cpu_secs`].
#[must_use]
pub fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Raises the limit of open files as far as allowed; the error says how many are needed and
/// allowed.
pub(super) fn make_room_for(connections: usize) -> Result<(), String> {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX) + SPARE_FILES;
    let allowed = fd_budget::raise_limit(needed).map_err(|error| error.to_string())?;
    if allowed < needed {
        return Err(format!(
            "{connections} connections need {needed} open files, but this process may have {allowed}: raise the hard \
             limit (ulimit -Hn), or use several processes"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_strange_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0";
        assert_eq!(cpu_of(stat), Some(4.0));
        assert_eq!(cpu_of("nonsense"), None);
    }

    #[test]
    fn own_use_can_be_read() {
        let own = std::process::id();
        assert!(cpu_secs(own).is_some());
        assert!(rss_kib(own).is_some_and(|rss| rss > 1_000));
    }

    #[test]
    fn what_cannot_fit_is_refused_with_what_to_do() {
        let error = make_room_for(usize::MAX / 2).unwrap_err();
        assert!(error.contains("ulimit -Hn"), "{error}");
    }
}
