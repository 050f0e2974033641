//! Metrics of the process, read from the operating system, under the names that the Prometheus
//! client libraries use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

use super::{gauge, made};

/// Seconds since the Unix epoch.
pub(super) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Returns the current values. Those that the system does not provide are omitted.
pub(super) fn families(started: f64) -> Vec<MetricFamily> {
    let start = made(Gauge::new(
        "process_start_time_seconds",
        "Start time of the server, in seconds since the Unix epoch.",
    ));
    start.set(started);
    let mut families = start.collect();
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let cpu = made(Counter::new(
            "process_cpu_seconds_total",
            "User and system CPU time, in seconds.",
        ));
        cpu.inc_by(seconds(usage.user_time()) + seconds(usage.system_time()));
        families.extend(cpu.collect());
    }
    if let Some(bytes) = fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(resident)
    {
        families.extend(gauge(
            "process_resident_memory_bytes",
            "Resident memory, in bytes.",
            bytes,
        ));
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        families.extend(gauge(
            "process_open_fds",
            "Open file descriptors.",
            files.count() as u64,
        ));
    }
    families
}

#[expect(clippy::cast_precision_loss, reason = "seconds of CPU time")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// Returns `VmRSS` from the text of `/proc/<pid>/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_reported_in_bytes() {
        assert_eq!(
            resident("Name:\tx\nVmPeak:\t  99 kB\nVmRSS:\t  12 kB\n"),
            Some(12 * 1024)
        );
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
