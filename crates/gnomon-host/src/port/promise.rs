//! What a server does to keep what it was told.

use serde::Serialize;

/// A server, its settings that matter for durability, and what a power cut of its machine costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// What it is, with its version: `NATS 2.12.1`.
    pub server: String,
    /// Names and values of settings, as the server calls them; `not visible` where it does not tell.
    pub settings: Vec<(String, String)>,
    /// What a power cut costs, in one line.
    pub power_cut: String,
    /// Whether that is more than a few seconds of acknowledged writes.
    pub weak: bool,
}

impl Promise {
    /// Of a server of which nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            server: "unknown".to_owned(),
            settings: Vec::new(),
            power_cut: "a power cut costs an unknown amount".to_owned(),
            weak: true,
        }
    }
}
