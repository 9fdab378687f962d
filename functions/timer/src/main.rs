//! What is due becomes an envelope, as a process of its own.

fn main() -> std::process::ExitCode {
    gnomon_run::on_ports("timer", |program| async move {
        program.ready("runs");
        gnomon_timer::run(program.store, program.queue, gnomon_run::unique(), program.stop).await;
        Ok(())
    })
}
