//! What the kernel says about this process: CPU time, bytes written, resident memory.

use std::time::Duration;

/// A tick of the times in /proc: the kernel shows them in hundredths of a second on every platform.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of all threads so far, those of io_uring and those that have ended included.
#[must_use]
pub fn cpu() -> Duration {
    cpu_of(std::process::id())
}

/// The same of another process.
#[must_use]
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks: u32 = behind.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// CPU time of the calling thread so far.
#[must_use]
pub fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Bytes that this process has had written to storage.
#[must_use]
pub fn written() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

/// Bytes resident now.
#[must_use]
pub fn resident() -> u64 {
    field("/proc/self/status", "VmRSS:") * 1024
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
