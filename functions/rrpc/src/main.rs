//! Calls and replies, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::function(|shelf, _| gnomon_rrpc::Rrpc { models: shelf.models() })
}
