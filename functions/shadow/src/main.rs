//! What applications desire, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::function(|shelf, settings| gnomon_shadow::Shadow {
        models: shelf.models(),
        rules: shelf.rules(),
        waits: settings.waits(),
    })
}
