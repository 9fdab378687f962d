//! The parts of `gnomon run`.

/// A part of `gnomon run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The listener for devices, or the bridge to the broker that they use.
    Gateway,
    /// The listener for applications.
    Api,
    /// What devices report.
    Telemetry,
    /// What applications desire.
    Shadow,
    /// Calls and replies.
    Rrpc,
    /// Acknowledgements and reminders.
    Alert,
    /// What is due.
    Timer,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Gateway,
        Self::Api,
        Self::Telemetry,
        Self::Shadow,
        Self::Rrpc,
        Self::Alert,
        Self::Timer,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Api => "api",
            Self::Telemetry => "telemetry",
            Self::Shadow => "shadow",
            Self::Rrpc => "rrpc",
            Self::Alert => "alert",
            Self::Timer => "timer",
        }
    }
}
