//! CPU time and resident memory of processes, from `/proc`.
//!
//! Limit: Linux only; CPU time has a resolution of a hundredth of a second, which is a fifth of a
//! percent of a five-second run. The CPU time of a process that ends between two samples is lost.

use std::fs;
use std::time::Duration;

/// Ticks per second of the times in `/proc/<pid>/stat`: 100 in the kernel's ABI, on every
/// architecture of today.
const TICKS_PER_SECOND: u64 = 100;

/// The used fields of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub parent: u32,
    /// User and system time so far.
    pub cpu: Duration,
}

/// Parses the text of `/proc/<pid>/stat`.
pub fn parse_stat(text: &str) -> Option<Stat> {
    // The program's name is in parentheses and may contain any character, so fields are counted
    // from the last one.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu: Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS_PER_SECOND),
    })
}

/// Returns the field `name` (`VmRSS`, `VmHWM`) of the text of `/proc/<pid>/status`, in bytes.
pub fn parse_memory(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns the CPU time of `pid` so far; zero if it has ended.
pub fn cpu_of(pid: u32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |stat| stat.cpu)
}

/// Returns the resident memory of `pid`, in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS")
}

/// Returns the peak resident memory of `pid`, in bytes.
pub fn peak(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM")
}

fn memory(pid: u32, name: &str) -> Option<u64> {
    parse_memory(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        name,
    )
}

/// CPU time of a Postgres server: of the backends of one database, and of all other processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PostgresCpu {
    /// Backends of the named database.
    pub backends: Duration,
    /// Checkpointer, writers, autovacuum, and backends of other databases.
    pub rest: Duration,
}

/// Returns the CPU time of the children of `postmaster`, split by whether they serve `database`.
pub fn postgres_cpu(postmaster: u32, database: &str) -> PostgresCpu {
    let mut cpu = PostgresCpu::default();
    for pid in pids() {
        let Some(stat) = stat(pid).filter(|stat| stat.parent == postmaster) else {
            continue;
        };
        if title(pid).is_some_and(|title| serves(&title, database)) {
            cpu.backends += stat.cpu;
        } else {
            cpu.rest += stat.cpu;
        }
    }
    cpu
}

/// Returns true if a backend's title (`postgres: NAME: USER DATABASE [local] idle`) contains
/// `database`.
fn serves(title: &str, database: &str) -> bool {
    title.split_ascii_whitespace().any(|word| word == database)
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn title(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4711 (a (strange) name) S 42 4711 4711 0 -1 4194560 9 0 0 0 150 50 7 8 20 0 3 0 100 1 2";

    #[test]
    fn stat_line_is_parsed_with_any_program_name() {
        let expected = Stat {
            parent: 42,
            cpu: Duration::from_secs(2),
        };
        assert_eq!(parse_stat(STAT), Some(expected));
        assert_eq!(parse_stat("4711 (short) S 42"), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        let status =
            "Name:\tholdfast\nVmPeak:\t   99 kB\nVmHWM:\t   15 kB\nVmRSS:\t   12 kB\nThreads:\t3\n";
        assert_eq!(parse_memory(status, "VmRSS"), Some(12 * 1024));
        assert_eq!(parse_memory(status, "VmHWM"), Some(15 * 1024));
        assert_eq!(parse_memory("Name:\tkthreadd\n", "VmRSS"), None);
    }

    #[test]
    fn backend_is_matched_by_its_whole_database_name() {
        let title = "postgres: holdfast-0a1b: postgres bench_1 [local] INSERT";
        assert!(serves(title, "bench_1"));
        assert!(!serves(title, "bench_11"));
        assert!(!serves("postgres: holdfast-0a1b: checkpointer ", "bench_1"));
    }

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let me = std::process::id();
        assert!(stat(me).is_some());
        assert!(resident(me).is_some_and(|bytes| bytes > 0));
        assert!(peak(me) >= resident(me));
    }
}
