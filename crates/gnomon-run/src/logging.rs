//! Log lines: to standard error, filtered by `GNOMON_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging at INFO, or as `GNOMON_LOG` says (`debug`, `gnomon_gateway=debug,info` ...).
pub fn start() {
    let filter = EnvFilter::try_from_env("GNOMON_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    lines.with_writer(std::io::stderr).init();
}
