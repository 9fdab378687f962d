//! What devices report, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::function(|shelf| gnomon_telemetry::Telemetry {
        models: shelf.models(),
        rules: shelf.rules(),
    })
}
