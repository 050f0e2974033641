//! The origin of a run's figures: the machine, the commit and the command, as docs/PERFORMANCE.md
//! requires them.

use std::fs;
use std::process::Command;

use crate::contenders::holdfast::workspace;
use crate::report::Provenance;

/// Collects the provenance.
pub fn collect_provenance(postgres: String) -> Provenance {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -p bench -- {}", arguments.join(" "));
    let command = command.trim_end_matches(" -- ").trim_end().to_owned();
    Provenance {
        date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        commit: commit(),
        command,
        machine: machine(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        postgres,
        profile: if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    }
}

fn commit() -> String {
    let short = git(&["rev-parse", "--short", "HEAD"]);
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    match (short, changes) {
        (Some(short), Some(changes)) if changes.is_empty() => short,
        (Some(short), _) => format!("{short}+"),
        (None, _) => "unknown".to_owned(),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(workspace());
    let output = command.output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = processor(&read("/proc/cpuinfo"));
    let memory = gibibytes(&read("/proc/meminfo"));
    format!("{cores} cores of {model}, {memory} GiB")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split_once(':'));
    model.map_or_else(
        || "an unnamed processor".to_owned(),
        |(_, model)| model.trim().to_owned(),
    )
}

fn gibibytes(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib: u64 = kib
        .and_then(|kib| kib.trim().parse().ok())
        .unwrap_or_default();
    kib.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_is_described_by_processor_and_memory() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Fast One @ 3 GHz\nflags\t: fpu\n";
        assert_eq!(processor(cpuinfo), "A Fast One @ 3 GHz");
        assert_eq!(processor(""), "an unnamed processor");
        assert_eq!(
            gibibytes("MemTotal:       25165824 kB\nMemFree: 1 kB\n"),
            24
        );
    }
}
