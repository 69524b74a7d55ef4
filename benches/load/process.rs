//! CPU time and memory of a server, from /proc. On systems without it, both are reported as zero.

use std::fs;

/// What a process and its children have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, in microseconds; the kernel counts in steps of 10 ms.
    pub cpu_us: u64,
    /// Resident now, in KiB.
    pub resident_kib: u64,
    /// The most that was ever resident, in KiB.
    pub peak_kib: u64,
}

/// Threads, open descriptors and resident KiB of one process; zeros where it is not there.
pub fn footprint(pid: u32) -> (u64, u64, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |found| found.count() as u64);
    (status_number(pid, "Threads:"), descriptors, status_number(pid, "VmRSS:"))
}

/// Linux shows clock ticks of 1/100 s to user space on every architecture (USER_HZ).
const TICK_US: u64 = 10_000;

/// Sums over the process and its direct children, which are nginx's workers.
pub fn usage(pid: u32) -> Usage {
    let mut sum = Usage::default();
    for (id, parent, ticks) in processes() {
        if id == pid || parent == pid {
            sum.cpu_us += ticks * TICK_US;
            sum.resident_kib += status_number(id, "VmRSS:");
            sum.peak_kib += status_number(id, "VmHWM:");
        }
    }
    sum
}

/// (process, parent, ticks of CPU time) of every process that can be seen.
fn processes() -> impl Iterator<Item = (u32, u32, u64)> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| {
        let id = folder.file_name().to_str()?.parse().ok()?;
        let (parent, ticks) = parse_stat(&fs::read_to_string(folder.path().join("stat")).ok()?)?;
        Some((id, parent, ticks))
    })
}

/// Parent and CPU ticks: fields 4, 14 and 15 of proc_pid_stat(5). The second field is a name in
/// parentheses that may hold blanks and parentheses itself.
fn parse_stat(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, ticks(11)? + ticks(12)?))
}

/// A number of /proc/PID/status, in KiB where it is memory.
fn status_number(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "12 (a) b) S 3 1 1 0 -1 4194560 1 0 0 0 20 30 0 0 20 0 1 0 1 1 1 1";
        assert_eq!(parse_stat(stat), Some((3, 50)));
    }
}
