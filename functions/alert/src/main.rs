//! Alerts after they were raised, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::function(|_, settings| gnomon_alert::Alerts { waits: settings.waits() })
}
