//! Pauses between attempts, longer each time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// First pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Pauses between attempts.
pub(crate) struct Pace {
    pause: Duration,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Self { pause: PAUSE_MIN }
    }

    /// An attempt succeeded: the next pause is a short one again.
    pub(crate) const fn succeeded(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Waits before the next attempt, or until `stop` is cancelled.
    pub(crate) async fn wait(&mut self, stop: &CancellationToken) {
        let _ = tokio::time::timeout(self.pause, stop.cancelled()).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
