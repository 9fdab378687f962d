//! What was measured, and how it is shown.

use std::time::Duration;

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) messages: u32,
    pub(crate) devices: u32,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    pub(crate) memory_kib: u64,
    pub(crate) redis_bytes: u64,
}

pub(crate) fn head(title: &str) -> String {
    let columns = ["messages/s", "per CPU-s", "CPU µs each", "MiB", "Redis B/device"];
    let columns: String = columns.iter().map(|column| format!("{column:>15}")).collect();
    format!("{title:<12}{columns}")
}

impl Figures {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.messages) / self.took.as_secs_f64()
    }

    /// Messages for each second of processor time.
    pub(crate) fn per_cpu(&self) -> f64 {
        f64::from(self.messages) / self.cpu.as_secs_f64()
    }

    pub(crate) fn row(&self, title: &str) -> String {
        let each = 1e6 / self.per_cpu();
        let (mib, of_redis) = (self.memory_kib / 1024, self.redis_bytes / u64::from(self.devices));
        let (rate, per_cpu) = (self.rate(), self.per_cpu());
        format!("{title:<12}{rate:>15.0}{per_cpu:>15.0}{each:>14.1}{mib:>14}{of_redis:>15}")
    }

    /// The run with the median rate.
    pub(crate) fn median(mut runs: Vec<Self>) -> Self {
        runs.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        runs[runs.len() / 2]
    }
}

/// A value below which that share of the sorted ones lies.
pub(crate) fn percentile(sorted: &[i64], share: f64) -> i64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = ((sorted.len().max(1) - 1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

/// A count in groups of three digits.
pub(crate) fn show(count: u32) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{},{:03}", count / 1000, count % 1000),
        _ => format!("{},{:03},{:03}", count / 1_000_000, count / 1000 % 1000, count % 1000),
    }
}
