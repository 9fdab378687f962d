//! HTTP for applications, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::on_ports("api", gnomon_api::run)
}
