//! What Linux tells about a process: processor time and memory.

use std::fs;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ` is 100 on every platform that Linux still has.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time that all threads of a process have used, in steps of 10 ms; none when there is
/// no such process.
#[must_use]
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets and may hold spaces: fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Memory of a process that is in RAM, KiB: now, and at its highest.
#[must_use]
pub fn memory_kib(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let read = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    Some((read("VmRSS:")?, read("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_memory_and_not_a_day_of_time() {
        let own = std::process::id();
        assert!(cpu_time(own).unwrap() < Duration::from_secs(86_400));
        let (now, most) = memory_kib(own).unwrap();
        assert!(now > 100 && most >= now, "{now} {most}");
    }
}
