//! CPU time, memory, threads and open files of this process, read from `/proc` (Linux). Names and
//! meaning are those of the Prometheus client libraries.

use std::fs;

use prometheus::{
    IntCounter, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rustix::param::{clock_ticks_per_second, page_size};

/// Reads `/proc` whenever the metrics are asked for.
pub(super) struct ProcessMetrics {
    cpu_seconds: IntCounter,
    open_files: IntGauge,
    max_files: IntGauge,
    virtual_bytes: IntGauge,
    resident_bytes: IntGauge,
    start_time: IntGauge,
    threads: IntGauge,
}

impl ProcessMetrics {
    pub(super) fn new() -> Self {
        let gauge = |[name, help]: [&str; 2]| IntGauge::new(name, help).expect("the name is valid");
        let [name, help] = [
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        ];
        Self {
            cpu_seconds: IntCounter::new(name, help).expect("the name is valid"),
            open_files: gauge(["process_open_fds", "Number of open file descriptors."]),
            max_files: gauge([
                "process_max_fds",
                "Maximum number of open file descriptors.",
            ]),
            virtual_bytes: gauge([
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
            ]),
            resident_bytes: gauge([
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
            ]),
            start_time: gauge([
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            ]),
            threads: gauge(["process_threads", "Number of OS threads in the process."]),
        }
    }

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.open_files,
            &self.max_files,
            &self.virtual_bytes,
            &self.resident_bytes,
            &self.start_time,
            &self.threads,
        ]
    }

    /// A value that cannot be read keeps what it was.
    fn update(&self) {
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(signed(files.count() as u64));
        }
        if let Ok(max) = rlimit::Resource::NOFILE.get_soft() {
            self.max_files.set(signed(max));
        }
        if let Some(status) = Status::read() {
            self.virtual_bytes.set(signed(status.virtual_bytes));
            self.resident_bytes.set(signed(status.resident_bytes));
            self.threads.set(signed(status.threads));
            let counted = self.cpu_seconds.get();
            let more = status.cpu_seconds.saturating_sub(counted);
            self.cpu_seconds.inc_by(more);
            if let Some(boot) = boot_time() {
                self.start_time.set(signed(boot + status.started_after));
            }
        }
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let collectors = self.collectors().into_iter();
        collectors.flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        let collectors = self.collectors().into_iter();
        collectors.flat_map(Collector::collect).collect()
    }
}

/// The fields of `/proc/self/stat` that are of use here, see `proc(5)`.
struct Status {
    cpu_seconds: u64,
    threads: u64,
    /// Seconds from the start of the machine to the start of the process.
    started_after: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Status {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in parentheses and may contain anything.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // `proc(5)` counts from 1, and two fields are cut off.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = clock_ticks_per_second();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            started_after: field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size() as u64,
        })
    }
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.parse().ok()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn process_describes_itself() {
        let metrics = ProcessMetrics::new();
        assert_eq!((metrics.desc().len(), metrics.collect().len()), (7, 7));
        assert!(metrics.threads.get() >= 1);
        assert!(metrics.open_files.get() >= 3);
        assert!(metrics.max_files.get() >= metrics.open_files.get());
        assert!(metrics.resident_bytes.get() > 1 << 20);
        assert!(metrics.virtual_bytes.get() >= metrics.resident_bytes.get());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs() as i64 - metrics.start_time.get();
        assert!((-2..3600).contains(&age), "{age}");
    }
}
